"""A training run: its folder, its log, its budget, and how it survives being stopped."""

import json
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Self

import torch
from rich.console import Console
from torch.utils.tensorboard import SummaryWriter

from .checkpoint import Checkpoint, load, save, write_atomically
from .commands import as_yaml
from .config import Config
from .distributed import ALONE, World
from .divergence import Watch
from .errors import UserError
from .robot import Robot

FREE = {
    *(
        f"run.{x}"
        for x in ("max_iterations", "max_samples", "max_time", "checkpoint_interval", "num_threads", "device")
    ),
    *(f"run.{x}" for x in ("resume", "results_dir", "experiment_name", "mixed_precision", "compile")),
    *("agent.evaluation_interval", "agent.evaluation_episodes"),
    *(f"env.{x}.{y}" for x in ("mjwarp", "isaaclab") for y in ("contacts", "constraints")),
}
"""Keys that may change when a run goes on. Of all others the optimiser, the worlds or the log already hold the old value."""

PATHS = ("motion_file", "checkpoint", "expert_model_path")
"""Last parts of the keys that hold a path or several. The same file in another spelling is no difference."""

SHOWN = ("episode/length", "episode/return", "episode/success", "actor/imitation_loss", "actor/distillation_loss")
"""Metrics that the progress line shows, where a run has them."""


ECHO = 3.0
"""s after Ctrl-C in which another signal is no second one: the terminal sends it to every rank, torchrun once more."""


class Run:
    """One run in `results/<experiment_name>/`: config.yaml, metrics.jsonl, TensorBoard events, last.ckpt.

        with Run(config, "tracker", env.robot, env.obs_shapes) as run:
            run.restore({"policy": policy, "optimizer": optimizer, "env": env, "trainer": state})
            for iteration in run:
                ...
                run.log(metrics, samples=n)

    Nothing is written before the first iteration: a run that cannot start leaves its folder as it was. The loop ends when the
    budget is spent. Ctrl-C and SIGTERM end it after the iteration that they interrupt; the checkpoint is saved either way, and the
    same command goes on from it. A second Ctrl-C stops at once.

    Several ranks make one run: they stop after the same iteration, whichever of them is told to, and log the mean of their
    metrics. The first one writes and speaks. A training that diverges is stopped; see `divergence`.

    Args:
        config: the whole config; its `run` part names the folder and the budget.
        kind: of the policy, for the checkpoint.
        robot: what the policy drives.
        obs_shapes: of the environment.
        world: the ranks that train.
    """

    def __init__(
        self,
        config: Config,
        kind: str,
        robot: Robot,
        obs_shapes: Mapping[str, tuple[int, ...]],
        world: World = ALONE,
    ) -> None:
        self.config, self.kind, self.robot, self.world = config, kind, robot, world
        self.obs_shapes = {name: list(shape) for name, shape in obs_shapes.items()}
        settings = config.run
        self.folder = Path(settings.results_dir) / settings.experiment_name
        self.iteration, self.samples, self.seconds = 0, 0, 0.0
        self.finished = self.interrupted = False
        self.latest: dict[str, float] = {}
        self._parts: dict[str, Any] = {}
        self._writer: SummaryWriter | None = None
        self._console = Console(stderr=True, highlight=False, quiet=not world.first)
        agent = getattr(config, "agent", None)
        self._watch = Watch(agent.epochs * agent.minibatches if agent else 0)
        self._asked = False
        self._asked_at = 0.0
        self._first_rate: tuple[float, int] = (0.0, 0)

    def __enter__(self) -> Self:
        self._old = {s: signal.signal(s, self._stop) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if self._writer and self.folder.is_dir():  # its thread would print a traceback of its own
            try:
                self._writer.close()
            except OSError as error:
                if kind is None:
                    raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write the log in {self.folder} ({error.strerror})", "Was the folder moved, or is the disk full?"
        )

    def restore(self, parts: Mapping[str, Any]) -> None:
        """Name what a checkpoint keeps (objects with `state_dict`), and load it if there is one to go on from.

        The part `policy` goes into the checkpoint's `model`: where weights are averaged,
        the average. All random draws of torch on the CPU go on exactly too.

        Raises:
            UserError: the checkpoint is of another kind, config or shape.
        """
        self._parts = dict(parts)
        last, settings = self.folder / "last.ckpt", self.config.run
        if settings.resume and last.is_file():
            saved = load(last, "cpu")
            self._same_kind(saved, last, "Choose another --experiment-name")
            if changed := _first_difference(saved.config, self.config.to_dict()):
                key, was, now = changed
                raise UserError(
                    f"{last} was trained with {key}={was}, not {now}",
                    "Leave that as it was, or begin anew: --no-resume, or another --experiment-name",
                )
            load_weights(parts["policy"], saved, last)
            training = self._mine(saved, last)
            for name, state in training.items():
                if name in parts:
                    parts[name].load_state_dict(state)
            torch.set_rng_state(training["rng"])
            self.iteration, self.samples, self.seconds = saved.iteration, saved.samples, saved.seconds
            self.latest = saved.metrics
        elif settings.checkpoint:
            path = Path(settings.checkpoint)
            saved = load(path, "cpu")
            self._same_kind(saved, path, f"Give run.checkpoint a {self.kind}; other keys name experts and teachers")
            load_weights(parts["policy"], saved, path)
        if len(set(self.world.gather(self.iteration))) > 1:
            raise UserError(f"not all ranks see {last}", "Put run.results_dir where all machines see it")
        self.world.share(parts["policy"])

    def _mine(self, saved: Checkpoint, path: Path) -> dict[str, Any]:
        """This rank's part of what a checkpoint holds for training."""
        training = dict(saved.training)
        ranks: list[dict[str, Any]] = training.pop("ranks", [{}])
        if len(ranks) != self.world.size:
            raise UserError(
                f"{path} is of a run on {_ranks(len(ranks))}, not {self.world.size}",
                f"Start {_ranks(len(ranks))}, or begin anew from its weights: "
                f"--checkpoint {path} and another --experiment-name",
            )
        return training | ranks[self.world.rank]

    def _same_kind(self, saved: Checkpoint, path: Path, remedy: str) -> None:
        if saved.kind != self.kind:
            raise UserError(f"{path} holds a {saved.kind}, not a {self.kind}", remedy)

    def __iter__(self) -> Iterator[int]:
        """Iteration numbers until the budget is spent or the run is stopped.

        Raises:
            UserError: the folder cannot be written.
        """
        self._open()
        interval = self.config.run.checkpoint_interval
        self._tick = self._told = time.monotonic()
        self._first_rate = (self.seconds, self.samples)
        while not self._over():
            yield self.iteration
            now = time.monotonic()
            self.seconds += now - self._tick
            self._tick = now
            self.iteration += 1
            if interval and self.iteration % interval == 0 and not self._watch.strikes:
                self.save()
        self.finished = not self.interrupted
        self.save()
        self._tell(last=True)

    @property
    def progress(self) -> float:
        """How much of the budget is spent, 0 to 1; by the limit that is nearest."""
        settings, elapsed = self.config.run, self.seconds
        if hasattr(self, "_tick") and self.world.size == 1:  # several ranks agree on the time once an iteration
            elapsed += time.monotonic() - self._tick
        limits = [
            (self.iteration, settings.max_iterations),
            (self.samples, settings.max_samples),
            (elapsed, settings.max_time),
        ]
        shares = [spent / limit if limit > 0 else 1.0 for spent, limit in limits if limit is not None]
        return min(1.0, max(shares, default=0.0))

    def log(self, metrics: Mapping[str, float], samples: int) -> None:
        """Write an iteration's metrics: TensorBoard (over samples), metrics.jsonl, and now and then a line to the terminal.

        Args:
            samples: transitions that this iteration collected, on this rank.

        Raises:
            UserError: the training has diverged, or the log cannot be written.
        """
        metrics = self.world.metrics(dict(metrics))
        self.samples += samples * self.world.size
        self.latest = {**self.latest, **metrics}
        if self.world.first:
            self._log(metrics)
        if trouble := self._watch.see(metrics):
            raise self._diverged(trouble)

    def _log(self, metrics: Mapping[str, float]) -> None:
        assert self._writer, "log is for the loop over the run and after it"
        elapsed = round(self.seconds + time.monotonic() - self._tick, 2)
        row = {"iteration": self.iteration, "samples": self.samples, "seconds": elapsed, **metrics}
        try:
            with open(self.folder / "metrics.jsonl", "a") as file:
                file.write(json.dumps(row) + "\n")
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, self.samples)
        except OSError as error:
            raise self._unwritable(error) from error
        if time.monotonic() - self._told > (0.5 if self._console.is_terminal else 15.0):
            self._tell()

    def say(self, text: str) -> None:
        """A line to the terminal."""
        self._console.print(f"{self.config.run.experiment_name}  {text}", soft_wrap=True)

    def save(self) -> None:
        """Write `last.ckpt`; all ranks together.

        Raises:
            UserError: weights are not finite, or the file cannot be written.
        """
        weights = [x for x in self._parts["policy"].state_dict().values() if x.is_floating_point()]
        if not torch.stack([x.isfinite().all() for x in weights]).all():
            raise self._diverged("weights are NaN or infinite")
        training = {key: part.state_dict() for key, part in self._parts.items() if key != "policy"}
        training["rng"] = torch.get_rng_state()
        if self.world.size > 1:
            same = {key: training.pop(key) for key in ("optimizer",) if key in training}
            training = {**same, "ranks": self.world.gather_to_first(training)}
        if self.world.first:
            self._write("last.ckpt", training)
        self.world.wait()  # none goes away before the file is whole

    def save_best(self, metrics: Mapping[str, float]) -> None:
        """Write the policy as it is now to `best.ckpt`, with its evaluation; a folder then stands for this one."""
        self.latest = {**self.latest, **metrics}
        self._write("best.ckpt", {})

    def _write(self, name: str, training: dict[str, Any]) -> None:
        checkpoint = Checkpoint(
            kind=self.kind,
            config=self.config.to_dict(),
            robot=self.robot.name,
            joint_names=list(self.robot.joint_names),
            obs_shapes=self.obs_shapes,
            model=dict(self._parts["policy"].state_dict()),
            iteration=self.iteration,
            samples=self.samples,
            seconds=self.seconds,
            finished=self.finished,
            metrics=self.latest,
            training=training,
        )
        save(self.folder / name, checkpoint)

    def _over(self) -> bool:
        """Whether the run ends here: for all ranks if it does for one, by the first one's clock."""
        self.interrupted = self._asked
        if self.world.size > 1:
            mine = [float(self._asked), self.seconds if self.world.first else 0.0]
            all_ranks = self.world.sum(torch.tensor(mine, dtype=torch.float64, device=self.world.device))
            stops, self.seconds = all_ranks.tolist()
            self.interrupted = stops > 0.0
        return self.interrupted or self.progress >= 1.0

    def _diverged(self, trouble: str) -> UserError:
        last = self.folder / "last.ckpt"
        kept = f"--checkpoint {last}" if last.is_file() else "from scratch"
        return UserError(
            f"training diverged in iteration {self.iteration}: {trouble}",
            f"Try again {kept} under another --experiment-name, with a lower agent.learning_rate or, if the worlds break "
            "(agent/invalid_fraction), other env keys",
        )

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._asked:
            if self.world.size > 1 and now - self._asked_at < ECHO:
                return
            raise KeyboardInterrupt
        self._asked = True
        self._asked_at = now
        self._console.print("\nstopping after this iteration; once more to stop at once")

    def _open(self) -> None:
        """Make the folder ready; the first rank does.

        What an earlier session left there after the checkpoint, or without one, is not of this run.
        """
        if not self.world.first:
            return
        write_atomically(self.folder / "config.yaml", lambda file: file.write(self.config.to_yaml().encode()))
        path = self.folder / "metrics.jsonl"
        if path.is_file():
            # The last line may be torn: the process that wrote it was killed.
            rows = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
            rows = [row for row in rows if json.loads(row)["iteration"] < self.iteration]
            write_atomically(path, lambda file: file.write("".join(rows).encode()))
        if not self.iteration:
            (self.folder / "best.ckpt").unlink(missing_ok=True)
        self._writer = SummaryWriter(str(self.folder), purge_step=self.samples + 1)

    def _tell(self, *, last: bool = False) -> None:
        """One line: where the run is, how fast, how long yet."""
        self._told = time.monotonic()
        elapsed = self.seconds + (0.0 if last else time.monotonic() - self._tick)
        rate = (self.samples - self._first_rate[1]) / max(elapsed - self._first_rate[0], 1e-9)
        done = self.progress
        left = elapsed * (1.0 - done) / done if done > 0.0 else 0.0
        shown = "  ".join(f"{name.split('/')[-1]} {self.latest[name]:.4g}" for name in SHOWN if name in self.latest)
        state = ("stopped" if self.interrupted else "done") if last else f"{_clock(left)} left"
        line = (
            f"{self.config.run.experiment_name}  iteration {self.iteration}  {self.samples:,} samples"
            f"  {rate:,.0f}/s  {_clock(elapsed)}  {state}  {shown}"
        )
        if self._console.is_terminal and not last:
            self._console.print(line, end="\r", overflow="ellipsis", no_wrap=True)
        else:
            self._console.print(line, soft_wrap=True)


def _first_difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The first key, in the new config's order, that is not in `FREE` and whose value another config does not share."""
    old, new = dict(_flat(was)), dict(_flat(now))
    for key in [*new, *old]:
        if key not in FREE and _resolved(key, old.get(key)) != _resolved(key, new.get(key)):
            before, after = (as_yaml(data[key]) if key in data else "nothing" for data in (old, new))
            return key, before, after
    return None


def _resolved(key: str, value: Any) -> Any:
    """The value of a key, paths in full."""
    if isinstance(value, list):
        return [_resolved(key, item) for item in value]
    return Path(value).resolve() if value and key.split(".")[-1] in PATHS else value


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def load_weights(policy: Any, checkpoint: Checkpoint, path: Path) -> None:
    """Load a checkpoint's weights into a policy.

    Raises:
        UserError: tensors are missing or of another shape.
    """
    mine, other = policy.state_dict(), checkpoint.model
    wrong = [name for name in mine if name not in other or other[name].shape != mine[name].shape]
    wrong += [name for name in other if name not in mine]
    if wrong:
        raise UserError(
            f"{path} holds a policy of another shape ({wrong[0]} and {len(wrong) - 1} more tensors differ)",
            "Use the model sizes and tokens in its config, or another checkpoint",
        )
    policy.load_state_dict(other)


def _ranks(count: int) -> str:
    return f"{count} rank" + "s" * (count > 1)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
