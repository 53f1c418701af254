"""`protege-deploy run`: a policy controls a robot, and the run is measured. Large packages are imported when they are needed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from ..commands.order_kind import RunContext
from ..commands.orders import MODES
from ..commands.registry import KINDS, TurnLimit
from ..errors import DeployError
from ..files import check_writable, write_json
from ..loop.pace import CATCH_UP
from ..safety.ranges import Ranges
from . import start
from .options import AnyFiniteFloat, FiniteFloat, provider_option, threads_option
from .signals import interruptible

DEFAULT_SECONDS = 10.0
LOOP_OPTIONS = ("realtime", "rate", "catch_up", "fifo", "core")
"""Options that are arguments of `ControlLoop`."""


def task_options() -> Iterator[Callable]:
    """The options of each modality. An option that several modalities share appears once."""
    users: dict[str, list[str]] = {}
    for name, kind in KINDS.items():
        for flag in kind.options:
            users.setdefault(flag, []).append(name)
    for flag, names in users.items():
        settings = {"show_default": True, "type": AnyFiniteFloat(), **KINDS[names[0]].options[flag]}
        yield click.option(flag, **{**settings, "help": f"{', '.join(names)}: {settings['help']}"})


OPTIONS: list[Callable] = [
    # One command, and the sources of several.
    click.option("--task", metavar=f"[{'|'.join(MODES)}]", help="task to run; by default the first that the policy takes"),
    click.option("--motion-file", help="clip for --task motion, or for a key: a .npy file, or the name of a shipped clip"),
    *task_options(),
    click.option("--commands", metavar="SOURCE",
                 help="source of commands during the run, instead of --task: script:FILE, udp:[HOST:]PORT, keyboard, "
                      "gamepad[:DEVICE]"),
    click.option("--policy", "policy_file", metavar="FILE",
                 help="locomotion policy of holosoma (.onnx) that drives the robot of FOLDER instead"),
    click.option("--turn-limit", type=FiniteFloat(0.1, 100.0), metavar="RATE",
                 help="fastest turn of the commanded direction, rad/s; by default it turns at once"),
    # Where, and for how long.
    click.option("--robot", "robot_name", default="mujoco", show_default=True, metavar="ROBOT",
                 help="mujoco; udp:[HOST:]PORT, for a robot process that sends there; unitree:INTERFACE; or unitree-sdk:INTERFACE"),
    click.option("--key-file", metavar="FILE",
                 help="key shared with the sender to udp:; or set PROTEGE_UDP_KEY. Without a key only this machine may send"),
    click.option("--seconds", type=FiniteFloat(0.1, 86400.0),
                 help="duration, 10 by default; a motion ends with its clip, --commands with Ctrl-C"),
    click.option("--standing", is_flag=True, help="start at rest instead of in motion"),
    threads_option,
    provider_option,
    *start.OPTIONS,
    # How the loop keeps time, and what the safety layer allows.
    click.option("--realtime/--fast", default=True, show_default=True, help="run at the control rate, or as fast as possible"),
    click.option("--rate", type=FiniteFloat(1.0, 10_000.0), help="control steps per second; by default the policy's rate"),
    click.option("--catch-up", type=click.Choice(list(CATCH_UP)), default="skip", show_default=True,
                 help="after a late step: skip the missed ones, or run them at once"),
    click.option("--fifo", type=int, metavar="PRIORITY", help="real-time priority (SCHED_FIFO), 1 to 99"),
    click.option("--core", type=int, help="CPU core to run on"),
    click.option("--safety/--no-safety", default=True, show_default=True,
                 help="check readings and targets against limits; --no-safety stops only for values that are not finite"),
    click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE",
                 help="change a limit of the safety layer; NAME=off turns it off; repeatable"),
    # Files that the run writes.
    click.option("--report", help="write the measurements as JSON"),
    click.option("--record",
                 help="write every step to a .npz or .safetensors file for `replay`, `compare`, `clip` and `check --states`"),
]  # fmt: skip


def _with_options(command: Callable) -> Callable:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("folder")
@_with_options
def run(
    folder: str, policy_file: str | None, commands: str | None, robot_name: str, key_file: str | None,
    seconds: float | None, standing: bool, threads: int, provider: str, soft_start: int | None, hold: float, begin: str,
    after_fall: str, turn_limit: float | None,
    safety: bool, limits: tuple[str, ...], report: str | None, record: str | None, **options: Any,
) -> None:  # fmt: skip
    """Run the policy in MuJoCo or on a robot, and measure it.

    Prints the time of each stage of a control step, missed deadlines, and how well the robot followed its commands.
    """
    from ..commands.commander import Commander
    from ..commands.motion import MotionCommand
    from ..loop.closed_loop import run_closed_loop
    from ..loop.loop import ControlLoop
    from ..loop.recorder import Recorder
    from ..network.keys import load_key
    from ..safety.limits import Limits
    from ..safety.safety import Safety
    from . import connections

    timing = {name: options.pop(name) for name in LOOP_OPTIONS}
    key = load_key(key_file)
    open_robot = connections.find_robot(robot_name, realtime=timing["realtime"], key=key, fifo=timing["fifo"])
    policy = _policy(folder, policy_file, threads, provider)
    if record and policy_file:
        raise DeployError("a recording holds the inputs of our policies", "Leave out --record or --policy")
    allowed = (Limits.of(policy.metadata) if safety else Limits.off()).changed(limits)
    if report:
        check_writable(Path(report))
    recorder = None
    with ExitStack() as stack:
        robot, load_kinematics = open_robot(folder, policy.metadata, standing)
        stack.callback(robot.close)
        # Orders in flight may be motions: loading them then would delay a step.
        kinematics = load_kinematics() if commands is not None or options["motion_file"] else None
        if commands is not None:
            command, seconds = connections.open_commands(
                commands, policy, kinematics, seconds, stack, key=key, **options
            )
        else:
            command, seconds = _task(policy, robot, kinematics, seconds, standing=standing, **options)
        metadata = policy.metadata
        if after_fall == "resume" and (policy.needs_poses or isinstance(command, MotionCommand)):
            raise DeployError("a clip cannot go on after a fall", "Leave out --after-fall resume")
        start_up = start.start_up(
            robot, robot_name, metadata, soft_start=soft_start, hold=hold, begin=begin, after_fall=after_fall
        )
        safety_layer = Safety(allowed, metadata)
        loop = ControlLoop(
            policy, robot, command, metadata.control_dt, safety=safety_layer, start_up=start_up, **timing
        )
        if turn_limit is not None:
            loop.turn_limit = TurnLimit(turn_limit, metadata.control_dt)
        recorder = stack.enter_context(Recorder(Path(record), policy.metadata)) if record else None
        if recorder is not None:
            policy.on_inputs, loop.on_step = recorder.feed, recorder
        if isinstance(command, Commander):
            command.on_end = loop.stop
        stack.enter_context(interruptible(loop.stop))
        result = run_closed_loop(loop, seconds, kinematics)
        if recorder is not None:
            recorder.facts |= {"event": result["loop"]["event"], "clipped": result["loop"]["clipped"]}
    # The summary comes first: a full disk may prevent the recording and the report.
    _show(result)
    if report:
        write_json(Path(report), result)
    if recorder is not None and recorder.problem is not None:
        raise recorder.problem


def _policy(folder: str, file: str | None, threads: int, provider: str) -> Any:
    """The policy of an export, or of a file of holosoma's for the export's robot."""
    if file is None:
        from ..policy.onnx_policy import OnnxPolicy

        return OnnxPolicy(folder, threads, provider)
    from ..peers.holosoma import HolosomaPolicy
    from ..policy.metadata import load

    return HolosomaPolicy(file, load(folder), threads)


def _task(
    policy: Any, robot: Any, kinematics: Any, seconds: float | None, *, task: str | None, motion_file: str | None,
    standing: bool, **options: Any,
) -> tuple[Any, float]:  # fmt: skip
    """The command source of `--task`, and the run's duration, s."""
    from . import tasks

    chosen, length = tasks.choose_task(task, motion_file, policy), seconds or DEFAULT_SECONDS
    if chosen != "motion":
        metadata = policy.metadata
        context = RunContext(robot.read().pose_2d, length, metadata.path_times, Ranges(metadata.command_ranges))
        return KINDS[chosen].from_options(options, context), length
    if kinematics is None:
        raise DeployError("a motion needs the robot's kinematics", 'pip install "protege-deploy[mujoco]"')
    return tasks.motion_command(str(motion_file), policy, robot, kinematics, length, standing=standing)


def _show(result: dict[str, Any]) -> None:
    loop = result["loop"]
    for stage, latency in loop["stages_ms"].items():
        if latency:
            click.echo(f"{stage:<12} {'  '.join(f'{key} {value:.2f}' for key, value in latency.items())} ms")
    worst = f", the worst by {loop['worst_overrun_ms']:.2f} ms" if loop["missed_deadlines"] else ""
    click.echo(f"deadlines    {loop['missed_deadlines']} of {loop['steps']} missed{worst}")
    errors = "  ".join(f"{name} {value:.3f}" for name, value in result["errors"].items())
    how = "stood" if result["stood"] else f"fell at {result['fell_at_s']:.1f} s"
    walked = "" if result["walked_m"] is None else f"walked {result['walked_m']:.2f} m  "
    click.echo(f"motion       {how}  {walked}{errors}".rstrip())
    for fall in loop["resumed"]:
        click.echo(f"resumed      after step {fall['step']}: {fall['message']}")
    for note in result["notes"]:
        click.echo(f"note         {note['time']:.1f} s: {note['message']}")
    clipped = ", ".join(f"{limit} {count}" for limit, count in loop["clipped"].items() if count)
    if clipped:
        click.echo(f"clipped      steps with clipped targets: {clipped}")
    if result.get("messages_late_ms"):
        late = "  ".join(f"{key} {value:.2f}" for key, value in result["messages_late_ms"].items())
        click.echo(f"messages     late by {late} ms")
    memory = result["memory_mb"]
    if memory["after_a_minute"] is not None:
        click.echo(
            f"memory       {memory['after_a_minute']:.1f} MB after a minute, {memory['at_the_end']:.1f} at the end"
        )
    for key, what in (("dropped", "packets"), ("dropped_orders", "orders")):
        if result[key]:
            reasons = ", ".join(f"{count} {reason}" for reason, count in result[key].items())
            click.echo(f"dropped      {what}: {reasons}")
    if loop["event"]:
        event = loop["event"]
        click.echo(f"damped       step {event['step']}: {event['message']}; damped for {loop['damped_steps']} steps")
