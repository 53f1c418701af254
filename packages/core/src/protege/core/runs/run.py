"""A training run: its folder, log, budget, checkpoints and signals."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch.utils.tensorboard import SummaryWriter

from ..errors import UserError
from ..files import write_atomically
from ..learning.divergence import MAX_FALLS, DivergenceMonitor
from ..learning.optim import set_rate_share
from ..learning.process_group import SINGLE_PROCESS, ProcessGroup
from ..motions.provenance import Origin, joined
from ..robots.plain import to_plain
from ..robots.robot import Robot
from ..terminal import console
from .checkpoint import Checkpoint, load, save
from .config import Config, RunConfig
from .resuming import check_config, check_robot, check_sources
from .run_folder import BEST, CONFIG, LAST, LOG, drop_rows, move_aside, pause_after_save, remove_temporaries
from .status_line import clock, shown
from .stop_signals import StopSignals
from .training_state import load_weights, of_rank
from .training_state import restore as restore_training

NOT_FINITE = "weights are NaN or infinite"


def run_folder(settings: RunConfig) -> Path:
    """Path of a run's folder."""
    return Path(settings.results_dir) / settings.experiment_name


class Run:
    """One run in `results/<experiment_name>/`: config.yaml, metrics.jsonl, TensorBoard events, last.ckpt.

        with Run(config, "tracker", env.robot, env.obs_shapes) as run:
            run.restore({"policy": policy, "optimizer": optimizer, "env": env, "trainer": state})
            for iteration in run:
                ...
                run.log(metrics, samples=n)

    Nothing is written before the first iteration, so that a run that cannot start does not change its folder. The loop ends when
    the budget is spent. Ctrl-C, SIGTERM and SIGHUP end it after the current iteration. In either case the checkpoint is saved, and
    the same command resumes from it. A second Ctrl-C stops at once. A signal that is ignored when the run begins stays ignored,
    such as SIGHUP under nohup, or Ctrl-C for a script's background process.

    Only one process may work in a folder: the caller holds the folder's lock (see `lock`), as `training.train` does.

    With several ranks, all stop after the same iteration if one receives a signal, and log the mean of their metrics. The first
    rank writes files and prints.

    Training that diverges (see `divergence`) falls back to its last checkpoint with half the learning rates. After `MAX_FALLS`
    times, or before the first checkpoint, it ends with an error.

    Args:
        config: the whole config; its `run` part names the folder and the budget.
        kind: of the policy, for the checkpoint.
        robot: that the policy controls.
        obs_shapes: of the environment.
        group: the ranks that train the policy.
    """

    def __init__(
        self,
        config: Config,
        kind: str,
        robot: Robot,
        obs_shapes: Mapping[str, tuple[int, ...]],
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.config, self.kind, self.robot, self.group = config, kind, robot, group
        self.obs_shapes = {name: list(shape) for name, shape in obs_shapes.items()}
        settings = config.run
        self.folder = run_folder(settings)
        self.sources: dict[str, str] = {}
        self.motions: list[dict[str, str]] = []
        self.iteration, self.samples, self.seconds, self._save_at = 0, 0, 0.0, 0.0
        self.finished = self.interrupted = False
        self.latest: dict[str, float] = {}
        self._parts: dict[str, Any] = {}
        self._resumed = False
        self._writer: SummaryWriter | None = None
        self._console = console(stderr=True, quiet=not group.first)
        agent = getattr(config, "agent", None)
        self._divergence = DivergenceMonitor(agent.updates if agent else 0)
        self._divergence_reason, self._falls = "", 0
        self.signals = StopSignals(
            group.size, lambda: self._print("\nstopping after this iteration; Ctrl-C to stop at once")
        )
        self._first_rate: tuple[float, int] = (0.0, 0)

    def __enter__(self) -> Self:
        self.signals.install()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.signals.uninstall()
        if self._writer and self.folder.is_dir():  # without the folder its thread would print a traceback
            try:
                self._writer.close()
            except OSError as error:
                if kind is None:
                    raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write the log in {self.folder} ({error.strerror})", "Was the folder moved, or is the disk full?"
        )

    @property
    def resumes(self) -> bool:
        """Whether `restore` will find a checkpoint to resume from."""
        return self.config.run.resume and (self.folder / LAST).is_file()

    def record_sources(self, digests: Mapping[str, str]) -> None:
        """Record files that the training learns from, before `restore`, which raises an error if one has changed.

        Args:
            digests: SHA-256 by file name; see `resuming`.
        """
        self.sources |= digests

    def record_motions(self, origins: Iterable[Mapping[str, str] | Origin]) -> None:
        """Record the motions that the policy or its teachers learn from, for its checkpoints."""
        self.motions = joined(self.motions, origins)

    def restore(self, parts: Mapping[str, Any]) -> None:
        """Set the parts that checkpoints save (objects with `state_dict`), and load the checkpoint to resume from, if any.

        The part `policy` is saved as the checkpoint's `model`; if weights are averaged, it is the average. The state of torch's CPU
        random number generator is saved and restored too.

        Raises:
            UserError: the checkpoint has another kind, config or shape, or has learned from other files.
        """
        self._parts = dict(parts)
        last, settings = self.folder / LAST, self.config.run
        if self.resumes:
            saved = load(last, "cpu")
            self._same_kind(saved, last, "Choose another --experiment-name")
            check_config(last, saved.config, self.config.to_dict())
            check_robot(last, saved, self.robot, "physics_dt", "solver")
            if self.group.first:
                check_sources(last, saved.training.get("sources", {}), self.sources)
            self._load(saved, last)
            self.seconds, self._falls = saved.seconds, saved.training.get("falls", 0)
            self._slow_down(1.0)
            self.record_motions(saved.motions)
        elif settings.checkpoint:
            path = Path(settings.checkpoint)
            saved = load(path, "cpu")
            self._same_kind(saved, path, f"Give run.checkpoint a {self.kind}; other keys name experts and teachers")
            load_weights(parts["policy"], saved, path)
            self.record_motions(saved.motions)
        if len(set(self.group.gather(self.iteration))) > 1:
            raise UserError(f"not all ranks see {last}", "Put run.results_dir where all machines see it")
        self.group.broadcast(parts["policy"])

    def _load(self, saved: Checkpoint, last: Path) -> None:
        load_weights(self._parts["policy"], saved, last)
        restore_training(self._parts, of_rank(saved, last, self.group), last)
        self.iteration, self.samples, self.latest, self._resumed = saved.iteration, saved.samples, saved.metrics, True

    def _slow_down(self, factor: float) -> None:
        """Multiply the current learning rates by `factor`, and halve rates that are set later once for each fall."""
        for part in self._parts.values():
            if isinstance(part, torch.optim.Optimizer):
                set_rate_share(part, 0.5**self._falls, factor)

    def _fall_back(self, reason: str) -> None:
        """Continue from the last checkpoint with half the learning rates. The time spent still counts.

        Raises:
            UserError: there is no checkpoint, or the run has fallen back too often.
        """
        last, fell_in = self.folder / LAST, self.iteration
        if self._falls >= MAX_FALLS or not last.is_file():
            raise self._diverged(reason)
        saved = load(last, "cpu")
        self._load(saved, last)
        self._falls += 1
        self._slow_down(0.5 ** (self._falls - saved.training.get("falls", 0)))
        self._divergence_reason, self._divergence.bad_iterations, self.finished = "", 0, False
        if self._writer:
            self._writer.close()
        self._open()
        self._first_rate = (self.seconds, self.samples)
        self.print_line(
            f"diverged in iteration {fell_in}: {reason}. Goes on from {last} (iteration {self.iteration}) with half the "
            f"learning rates; fall {self._falls} of {MAX_FALLS}"
        )

    def _same_kind(self, saved: Checkpoint, path: Path, remedy: str) -> None:
        if saved.kind != self.kind:
            raise UserError(f"{path} holds a {saved.kind}, not a {self.kind}", remedy)

    def __iter__(self) -> Iterator[int]:
        """Iteration numbers until the budget is spent or the run is stopped.

        Raises:
            UserError: the folder is not writable, or the training has diverged; see `_fall_back`.
        """
        self._open()
        interval = self.config.run.checkpoint_interval
        self._tick = self._printed_at = time.monotonic()
        self._first_rate = (self.seconds, self.samples)
        while True:
            while not self._is_over():
                yield self.iteration
                now = time.monotonic()
                self.seconds += now - self._tick
                self._tick = now
                if self._divergence_reason:
                    self._fall_back(self._divergence_reason)
                    continue
                self.iteration += 1
                due = interval and self.iteration % interval == 0 and self.seconds >= self._save_at
                if due and not self._divergence.bad_iterations:
                    self._save_or_fall_back()
            self.finished = not self.interrupted
            if self._save_or_fall_back():
                break
        self._print_status(last=True)

    def _save_or_fall_back(self) -> bool:
        """Save if all weights are finite, else fall back. Returns whether it saved."""
        if self._weights_are_finite():
            self.save()
            return True
        self._fall_back(NOT_FINITE)
        return False

    def _weights_are_finite(self) -> bool:
        """Whether all weights are finite."""
        weights = [x for x in self._parts["policy"].state_dict().values() if x.is_floating_point()]
        return bool(torch.stack([x.isfinite().all() for x in weights]).all())

    @property
    def progress(self) -> float:
        """Spent share of the budget, 0 to 1, by the limit that is nearest."""
        settings, elapsed = self.config.run, self.seconds
        if hasattr(self, "_tick") and self.group.size == 1:  # several ranks synchronise the time once per iteration
            elapsed += time.monotonic() - self._tick
        limits = [
            (self.iteration, settings.max_iterations),
            (self.samples, settings.max_samples),
            (elapsed, settings.max_time),
        ]
        shares = [spent / limit if limit > 0 else 1.0 for spent, limit in limits if limit is not None]
        return min(1.0, max(shares, default=0.0))

    def log(self, metrics: Mapping[str, float], samples: int, notes: Mapping[str, Any] | None = None) -> None:
        """Write an iteration's metrics to TensorBoard (over samples), to metrics.jsonl and, at intervals, to the terminal.

        Args:
            samples: transitions that this iteration collected on this rank.
            notes: further plain data of this iteration for metrics.jsonl.

        Raises:
            UserError: the log cannot be written.
        """
        metrics = self.group.mean_metrics(dict(metrics)) | ({"agent/falls": float(self._falls)} if self._falls else {})
        self.samples += samples * self.group.size
        self.latest = {**self.latest, **metrics}
        if self.group.first:
            self._log(metrics, notes or {})
        self._divergence_reason = self._divergence.update(metrics)

    def _log(self, metrics: Mapping[str, float], notes: Mapping[str, Any]) -> None:
        assert self._writer, "call log only in or after the loop over the run"
        elapsed = round(self.seconds + time.monotonic() - self._tick, 2)
        row = {"iteration": self.iteration, "samples": self.samples, "seconds": elapsed, **metrics, **notes}
        try:
            with open(self.folder / LOG, "a") as file:
                file.write(json.dumps(row) + "\n")
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, self.samples)
        except OSError as error:
            raise self._unwritable(error) from error
        if time.monotonic() - self._printed_at > (0.5 if self._console.is_terminal else 15.0):
            self._print_status()

    def print_line(self, text: str) -> None:
        """Print a line to the terminal."""
        self._print(f"{self.config.run.experiment_name}  {text}", soft_wrap=True)

    def _print(self, text: str, **options: Any) -> None:
        """Print to the terminal. If the terminal was closed, training continues without output."""
        try:
            self._console.print(text, **options)
        except OSError:
            self._console.quiet = True

    def save(self) -> None:
        """Write `last.ckpt`; all ranks must call it.

        Raises:
            UserError: weights are not finite, or the file cannot be written.
        """
        if not self._weights_are_finite():
            raise self._diverged(NOT_FINITE)
        begin = time.monotonic()
        training = {key: part.state_dict() for key, part in self._parts.items() if key != "policy"}
        training["rng"] = torch.get_rng_state()
        if self.group.size > 1:
            same = {key: training.pop(key) for key in ("optimizer",) if key in training}
            training = {**same, "ranks": self.group.gather_to_first(training)}
        if self.group.first:
            falls = {"falls": self._falls} if self._falls else {}
            self._write(LAST, {**training, **falls, "sources": self.sources})
        self.group.wait()  # no rank exits before the file is complete
        self._save_at = self.seconds + pause_after_save(time.monotonic() - begin)

    def save_best(self, metrics: Mapping[str, float]) -> None:
        """Write the current policy with its evaluation to `best.ckpt`, which is then loaded for the run's folder."""
        self.latest = {**self.latest, **metrics}
        self._write(BEST, {})

    def _write(self, name: str, training: dict[str, Any]) -> None:
        checkpoint = Checkpoint(
            kind=self.kind,
            config=self.config.to_dict(),
            robot=self.robot.name,
            joint_names=list(self.robot.joint_names),
            description=to_plain(self.robot),
            obs_shapes=self.obs_shapes,
            model=dict(self._parts["policy"].state_dict()),
            iteration=self.iteration,
            samples=self.samples,
            seconds=self.seconds,
            finished=self.finished,
            metrics=self.latest,
            training=training,
            motions=self.motions,
        )
        save(self.folder / name, checkpoint)

    def _is_over(self) -> bool:
        """Whether the run ends now: for all ranks if it does for one, by the first rank's clock."""
        self.interrupted = self.signals.requested
        if self.group.size > 1:
            times = [self.seconds, self._save_at] if self.group.first else [0.0, 0.0]
            mine = [float(self.signals.requested), *times]
            all_ranks = self.group.sum(torch.tensor(mine, dtype=torch.float64, device=self.group.device))
            stops, self.seconds, self._save_at = all_ranks.tolist()
            self.interrupted = stops > 0.0
        return self.interrupted or self.progress >= 1.0

    def _diverged(self, reason: str) -> UserError:
        last = self.folder / LAST
        start = f"--checkpoint {last}" if last.is_file() else "from scratch"
        return UserError(
            f"training diverged in iteration {self.iteration}: {reason}",
            f"Try again {start} under another --experiment-name, with a lower agent.learning_rate or, if the envs break "
            "(agent/invalid_fraction), other env keys",
        )

    def _open(self) -> None:
        """Prepare the folder, on the first rank.

        A new run moves the files of an earlier one aside. Rows that an earlier session logged after its last checkpoint, or before
        its first, are removed, because their iterations are repeated.
        """
        if not self.group.first:
            return
        try:
            self._tidy()
        except OSError as error:
            raise UserError(f"cannot write {self.folder} ({error.strerror})", "Choose another folder") from error
        write_atomically(self.folder / CONFIG, lambda file: file.write(self.config.to_yaml().encode()))
        self._writer = SummaryWriter(str(self.folder), purge_step=self.samples + 1)

    def _tidy(self) -> None:
        if not self.folder.is_dir():
            return
        if not self._resumed and (earlier := move_aside(self.folder)):
            self.print_line(f"starts from scratch; the earlier run was moved to {earlier}")
        drop_rows(self.folder / LOG, self.iteration)
        remove_temporaries(self.folder)

    def _print_status(self, *, last: bool = False) -> None:
        """Print a status line: progress, speed and remaining time."""
        self._printed_at = time.monotonic()
        elapsed = self.seconds + (0.0 if last else time.monotonic() - self._tick)
        rate = (self.samples - self._first_rate[1]) / max(elapsed - self._first_rate[0], 1e-9)
        done = self.progress
        left = elapsed * (1.0 - done) / done if done > 0.0 else 0.0
        state = ("stopped" if self.interrupted else "done") if last else f"{clock(left)} left"
        spent = f"iteration {self.iteration}  {self.samples:,} samples  {rate:,.0f}/s  {clock(elapsed)}"
        line = f"{self.config.run.experiment_name}  {spent}  {state}  {shown(self.latest)}"
        if self._console.is_terminal and not last:
            self._print(line, end="\r", overflow="ellipsis", no_wrap=True)
        else:
            self._print(line, soft_wrap=True)
