"""`protege-sim`: clips, robots, and the speed of environments. Each command imports the heavy modules that it needs."""

import json
from pathlib import Path

import click

from protege.core.cli.group import Group, main_group

from .command_parts import json_option, print_table, robot_option
from .motion_commands import motions

main = main_group("protege-sim", "Robots, motion clips, simulators and training environments.")
main.add_command(motions)


class _ShowByDefault(Group):
    """A group that runs its command `show` if none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = args[:1] and args[0] in (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["show", *args])


@main.group(cls=_ShowByDefault)
def robots() -> None:
    """List robots, show the joints of one, check its files.

    `robots` alone lists them. `robots NAME` shows one; NAME is a name or the path of a robot.yaml.
    """


@robots.command("show")
@click.argument("name", required=False)
@click.option("--mjcf", is_flag=True, help="print NAME as a MuJoCo model")
@click.option("--usd", type=click.Path(path_type=Path), help="write NAME to a USD file, such as NAME.usda")
def show_robot(name: str | None, mjcf: bool, usd: Path | None) -> None:
    """List the robots, or show the joints of NAME. The word `show` may be omitted."""
    from .robots import get_robot, robot_names

    if name is None:
        if mjcf or usd:
            raise click.UsageError(f"--{'mjcf' if mjcf else 'usd'} needs the robot's NAME")
        head = ("robot", "bodies", "joints", "mass kg", "control Hz", "physics Hz")
        print_table([head, *((r.name, r.num_bodies, r.num_joints, f"{r.mass:.1f}", round(1 / r.control_dt),
                         round(1 / r.physics_dt)) for r in map(get_robot, robot_names()))])  # fmt: skip
    elif mjcf:
        from .robots.mjcf import robot_xml

        click.echo(robot_xml(name), nl=False)
    elif usd:
        from .simulators.isaaclab.usd import export_robot

        export_robot(get_robot(name), usd)
        click.echo(usd)
    else:
        head = ("joint", "body", "from rad", "to rad", "stiffness N·m/rad", "damping N·m·s/rad", "limit N·m")
        print_table([head, *((j.name, j.body, *j.range, *(round(x, 3) for x in (j.stiffness, j.damping)), j.effort_limit)
                        for j in get_robot(name).joints)])  # fmt: skip


@robots.command("check")
@click.argument("robot", metavar="FILE|NAME")
@click.option("--output", type=click.Path(path_type=Path), help="folder for the picture; results/NAME_check by default")
@click.option(
    "--simulator",
    "simulators",
    multiple=True,
    help="simulator to try it in (repeatable); all installed ones by default",
)
def check_robot(robot: str, output: Path | None, simulators: tuple[str, ...]) -> None:
    """Check a robot's files and how it stands in each simulator.

    Prints facts and doubts, draws a picture, and lets the robot hang and stand.

    Exit code 2, with all errors, if the files cannot be used or the servos make the physics explode.
    """
    from .robot_check.report import check
    from .robots import examine

    described = examine(robot)
    folder = output or Path("results") / f"{described.name}_check"
    for line in check(described, folder / f"{described.name}.png", simulators):
        click.echo(line)


@main.command()
@click.option("--simulator", default="mujoco", show_default=True, help="mujoco, mjwarp or isaaclab")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1")
@click.option("--num-envs", default=64, show_default=True, type=click.IntRange(1), help="number of envs")
@click.option(
    "--seconds", default=5.0, show_default=True, type=click.FloatRange(0.1), help="duration of each measurement, s"
)
@click.option(
    "--threads", default=0, show_default=True, type=click.IntRange(0), help="threads of physics; 0: one per core"
)
@click.option("--against", help="another simulator to compare with, measured alternately")
@click.option(
    "--task",
    "tasks",
    multiple=True,
    default=["track"],
    show_default=True,
    help="task of the envs; repeat to mix several",
)
@click.option("--motion-file", multiple=True, help="clips; by default the robot's walk")
@robot_option
@json_option
def bench(
    simulator: str,
    device: str,
    num_envs: int,
    seconds: float,
    threads: int,
    against: str | None,
    tasks: tuple[str, ...],
    motion_file: tuple[str, ...],
    robot: str | None,
    as_json: bool,
) -> None:
    """Measure control steps per second.

    Of the whole environment, of its simulator and, for mujoco, of bare MuJoCo.
    """
    from .bench import measure

    rates = measure(num_envs, seconds, threads, robot, simulator, device, tasks, against, motion_file)
    if as_json:
        click.echo(json.dumps(rates.to_dict(), indent=2))
        return
    click.echo(
        f"{num_envs} envs of {rates.backend} on {rates.device}, {rates.threads} threads; "
        "control steps of all envs per second:"
    )
    for label in ("bare_mujoco", "simulator", "environment"):
        if rate := getattr(rates, label):
            click.echo(f"{label.replace('_', ' '):<12} {rate:>9,.0f}  {rate / rates.physics:.0%}")
    for label in ("simulator", "environment") if against else ():
        mine, other = getattr(rates, label), getattr(rates, f"against_{label}")
        click.echo(f"{label} of {against}: {other:,.0f}; {simulator} has {mine / other:.0%} of it")


if __name__ == "__main__":
    main()
