"""The environment: N envs of one robot, divided among tasks.

One step: apply the actions, run the physics, refresh the state once, evaluate the terms, reset. Each task owns a contiguous slice
of the envs. It is a command plus dicts of terms (`tasks/`). Observations come from `protege.core.observations` and are the same
for every task.

Everything after the physics has fixed shapes, changes its tensors in place and never reads a value from the device, so that on a
GPU it is one CUDA graph. Resets are therefore computed for all envs, and take effect where an episode ended.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from protege.core import observations
from protege.core.env import Obs, Step
from protege.core.errors import UserError
from protege.core.learning.cuda_graph import Recorded
from protege.core.motions import Clip, StreamedLibrary
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState, Snapshot
from protege.core.runs.checkpoint_checks import check_layout
from protege.core.runs.clip_selection import SelectedMotions, motions_in_memory
from protege.core.tasks import tasks

from .clip_library import make_library
from .env_config import EnvConfig
from .episodes import EpisodeLog
from .floor import Floor
from .history import History
from .imagined_env import ImaginedEnv, check_imaginable
from .motion_quality import MEASURES, MotionQuality
from .observing import command_shapes, joined, observation_shapes, observe_tasks
from .onboard import Onboard
from .randomization import Randomization
from .references.gait_set import GaitSet
from .references.placement import Placement
from .references.rows import assign_where
from .simulators.simulator import Simulator
from .tasks.task import TaskContext, TaskTerms, make_scenes, rewards_motion_quality
from .tasks.terms import Scene

log = logging.getLogger(__name__)


class HumanoidEnv:
    """Implements `protege.core.env.Env`.

    Args:
        simulator: physics of N envs.
        clips: the motions to track; the references of walking tasks are warped from them, too.
        config: the environment's config.
        seed: of every random draw in this environment.
        evaluation: end episodes by the tasks' failure rules instead of training's terminations.
        sensors: one of `observations.SENSORS`; with `onboard` the env observes what onboard sensors measure besides the full state.
        robot: as its policy sees it, if the simulated one differs in more than that; by default the simulator's.
    """

    def __init__(
        self,
        simulator: Simulator,
        clips: Sequence[Clip] | SelectedMotions,
        config: EnvConfig,
        seed: int,
        *,
        evaluation: bool = False,
        sensors: str = observations.FULL_STATE,
        robot: Robot | None = None,
    ) -> None:
        self.simulator, self.config, self.evaluation = simulator, config, evaluation
        self.robot = robot or simulator.robot
        self.device, self.num_envs, self.num_actions = simulator.device, simulator.num_envs, self.robot.num_joints
        self.generator = torch.Generator(self.device).manual_seed(seed)
        motions = clips if isinstance(clips, SelectedMotions) else motions_in_memory(clips, self.robot)
        self.library = make_library(motions, self.robot, self.device, config, seed, evaluation=evaluation)
        self.clip_names = self.library.names
        self.default_joint_pos = self.robot.default_pose(self.device)
        self.action_scale = self.robot.action_scale(self.device)
        self.randomization = Randomization(config.randomization.when(evaluation), simulator, self.generator)
        self.floor = None if simulator.terrain is None else Floor(simulator.terrain, self.num_envs, self.device)
        observed = evaluation or rewards_motion_quality(config)
        self.motion_quality = MotionQuality(self.robot, self.num_envs, self.floor, self.device) if observed else None
        self.feet = torch.tensor(self.robot.body_ids(self.robot.feet), device=self.device)
        self._gaits: GaitSet | None = None
        self._pending_messages: list[tuple[int, str]] = []
        self._clips = motions.clips
        self.obs_shapes = observation_shapes(self.robot, config, sensors)
        self.command_shapes = command_shapes(config)
        n, (p,) = self.num_envs, self.obs_shapes["proprioception"]
        self.sensed = History(n, config.history_steps, p, self.device)
        self.true = History(n, config.history_steps, p, self.device) if self.randomization.misreads else None
        onboard = sensors == observations.ONBOARD
        self.onboard = Onboard(self.robot, n, config.history_steps, self.device) if onboard else None
        self.trail = torch.zeros(n, round(1.0 / self.robot.control_dt) + 1, 2, device=self.device)
        self.target = self.default_joint_pos.repeat(n, 1)
        self.invalid = torch.zeros(n, dtype=torch.bool, device=self.device)
        self.invalid_count = torch.zeros((), dtype=torch.long, device=self.device)
        self._assign_tasks(config.task_mix)

    @property
    def state(self) -> RobotState:
        return self.simulator.state

    @property
    def _streamed(self) -> StreamedLibrary | None:
        """The library, if its clips are replaced during training."""
        return self.library if isinstance(self.library, StreamedLibrary) and self.library.streams else None

    # Tasks -------------------------------------------------------------------------------------------------------------

    def set_task_mix(self, mix: dict[str, float]) -> Obs:
        """Reassign the envs to tasks by weight, and reset them all."""
        self._assign_tasks(mix)
        return self.reset()

    def _assign_tasks(self, mix: dict[str, float]) -> None:
        if unknown := set(mix) - set(tasks()):
            raise UserError(f"env.task_mix: unknown task {min(unknown)!r}", f"Known: {', '.join(tasks())}")
        # Commands are not saved: loading a state draws them again from here.
        self.assignment_rng_state = self.generator.get_state()
        weights = {name: weight for name, weight in mix.items() if weight > 0.0}
        if not weights or len(weights) > self.num_envs:
            raise UserError("env.task_mix: needs a positive weight, and an env for each task", f"It is {dict(mix)}")
        total, edges, cumulative = sum(weights.values()), [0], 0.0
        for left, weight in zip(range(len(weights) - 1, -1, -1), weights.values(), strict=True):
            cumulative += weight
            edges.append(min(max(round(self.num_envs * cumulative / total), edges[-1] + 1), self.num_envs - left))
        self.task_names = list(weights)
        self.task_slices = {name: slice(edges[i], edges[i + 1]) for i, name in enumerate(weights)}
        self.tasks: dict[str, TaskTerms] = {}  # frees the old reference tables before the new ones are made
        self.tasks = {name: self._build(name, part) for name, part in self.task_slices.items()}
        task_ids = torch.zeros(self.num_envs, dtype=torch.long, device=self.device)
        for index, part in enumerate(self.task_slices.values()):
            task_ids[part] = index
        measured = {
            name: [*task.metrics, *(MEASURES if self.motion_quality else ())] for name, task in self.tasks.items()
        }
        self.log = EpisodeLog(task_ids, measured)
        self._after_physics = Recorded(self._assess, self.device, self.generator)
        self._observe_truth = Recorded(self._true_obs, self.device)

    def _build(self, name: str, part: slice) -> TaskTerms:
        task = tasks()[name]
        context = TaskContext(
            task=task,
            n=part.stop - part.start,
            config=self.config,
            robot=self.robot,
            library=self.library,
            gaits=self.gaits,
            generator=self.generator,
            device=self.device,
            evaluation=self.evaluation,
        )
        built = task.build(context)
        built.command.reference.floor = None if self.floor is None else self.floor[part]
        params, dt = self.config.reanchor, self.robot.control_dt
        if params.enabled and self.config.randomization.pushes and not self.evaluation:
            return_time = params.return_time if built.command.returns else None
            built.command.reference.placement = Placement.of(context.n, dt, params.after, return_time, self.device)
        return built

    def gaits(self) -> GaitSet:
        """The gaits with which walking commands are followed, made from the clips."""
        if self._gaits is None:
            self._gaits = GaitSet(self._clips, self.robot, self.device)
            self._pending_messages = self._gaits.notes
        return self._gaits

    # The loop ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def reset(self) -> Obs:
        """Start a new episode in every env."""
        everywhere = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self.log.restart(everywhere)
        self.randomization.advance()
        return self._restart(everywhere, self.sensed.past, None if self.onboard is None else self.onboard.sensed.past)

    @torch.no_grad()
    def step(self, action: Tensor) -> Step:
        """One control step of every env. action: (N, J) about the default pose, in units of each joint's scale.

        The first step logs the gaits: by then all of the user's settings have been checked.
        """
        while self._pending_messages:
            log.log(*self._pending_messages.pop(0))
        if self._streamed is not None and self._streamed.advance():
            self._refresh_clips()
        if self.onboard is not None:
            self.onboard.last_action.copy_(action)
        self.randomization.act()
        sent = self.default_joint_pos + self.action_scale * action
        self.target = self.randomization.arriving(sent)
        if self.motion_quality is not None:
            self.motion_quality.sent.copy_(self.target)
        self.invalid.copy_(self.simulator.step(sent))
        return self._after_physics()

    def _refresh_clips(self) -> None:
        """Notify the tasks that the clips on the device have changed."""
        for task in self.tasks.values():
            task.command.refresh_clips()

    def _assess(self) -> Step:
        """Rewards and terminations of the step that the physics has just made, and the start of new episodes."""
        pushed = self.randomization.pushed
        self.randomization.advance()
        history = self.sensed.next_past()
        onboard_history = None if self.onboard is None else self.onboard.sensed.next_past()
        self.trail.copy_(torch.cat([self.trail[:, 1:], self.state.root_pos_w[:, None, :2]], dim=1))
        for name, part in self.task_slices.items():
            command = self.tasks[name].command
            command.advance(self.state[part])
            command.reference.follow(self.state[part], None if pushed is None else pushed[part])
        motion_quality = {} if self.motion_quality is None else dict(self.motion_quality.measure(self.state))
        gentleness = {name: value * weight for name, (value, weight) in motion_quality.items()}
        if self.motion_quality is not None:
            gentleness["power"] = self.motion_quality.power(self.state)
        scenes = make_scenes(self.tasks, self.task_slices, self.state, self.trail, self.robot, gentleness)
        causes, failed = self._broken(scenes), self.invalid.clone()
        for broken in causes.values():
            failed |= broken
        timed_out = joined([scene.command.over(scene.state) for scene in scenes.values()]) & ~failed
        for name, part in self.task_slices.items():
            for metric, measure in self.tasks[name].metrics.items():
                self.log.add(metric, part, *measure(scenes[name]))
        for name, (value, weight) in motion_quality.items():
            self.log.add(name, slice(None), value, weight)
        reward = joined([task.reward(scenes[name]) for name, task in self.tasks.items()])
        self.log.step(reward)
        self.invalid_count += self.invalid.sum()
        clip = joined([task.command.clip for task in self.tasks.values()])
        for name, part in self.task_slices.items():
            self.tasks[name].command.record_failures(failed[part])
        episodes = self.log.rows(failed) | {"clip": clip} | causes
        measured, ended = self._measured(), failed | timed_out
        next_obs = self._observe(history, measured, self._proprioception(measured))
        if self.onboard is not None and onboard_history is not None:
            next_obs |= self.onboard.observe(measured, onboard_history)
        self.log.restart(ended)
        obs = self._restart(ended, history, onboard_history)
        return Step(obs, reward, failed, timed_out, next_obs, episodes, self.invalid.clone())

    def _broken(self, scenes: Mapping[str, Scene]) -> dict[str, Tensor]:
        """Which envs broke each rule, (N,) bool each; a rule applies only to the tasks that have it."""
        broken: dict[str, dict[str, Tensor]] = {}
        for name, task in self.tasks.items():
            for cause, failed in task.broken_rules(scenes[name], evaluation=self.evaluation).items():
                broken.setdefault(f"failed_by/{cause}", {})[name] = failed
        unbroken = torch.zeros_like(self.invalid)
        none = {name: unbroken[part] for name, part in self.task_slices.items()}
        return {cause: joined([*(none | own).values()]) for cause, own in broken.items()}

    def _restart(self, mask: Tensor, history: Tensor, onboard: Tensor | None) -> Obs:
        """Start new episodes in the envs where mask (N,) is True; the others keep their histories (N, H, P).

        `onboard` is the history of the onboard sensors, if any. Returns the observation to act on next.
        """
        if self.floor is not None:
            self.floor.move(mask, self.generator)
            self.simulator.place(mask, self.floor.origin)
        for name, part in self.task_slices.items():
            self.tasks[name].command.reference.release(mask[part])
        start = RobotState.cat([task.command.reset(mask[self.task_slices[name]]) for name, task in self.tasks.items()])
        if self.floor is not None:
            start.body_pos_w[..., 2] += self.floor.obstacle(start.body_pos_w, self.feet).unsqueeze(1)
        self.randomization.restart(mask, start)
        self.simulator.write(mask, start)
        assign_where(self.trail, mask, self.state.root_pos_w[:, None, :2])
        if self.motion_quality is not None:
            self.motion_quality.restart(mask, self.state)
        measured = self._measured()
        proprioception = self._proprioception(measured)
        obs = self._observe(self.sensed.restart(mask, proprioception, history), measured, proprioception)
        if self.true is not None:
            self.true.restart(mask, self._proprioception(self.state), self.true.next_past())
        if self.onboard is not None and onboard is not None:
            obs |= self.onboard.restart(mask, measured, onboard)
        return obs

    @torch.no_grad()
    def true_observations(self) -> Obs | None:
        """See `Env.true_observations`."""
        return None if self.true is None else self._observe_truth()

    def _true_obs(self) -> Obs:
        """All observations of the true state."""
        assert self.true is not None
        return self._observe(self.true.past, Snapshot.of(self.state), self.true.now)

    def _measured(self) -> Snapshot:
        """What the sensors measure of the current state."""
        return Snapshot.of(self.randomization.measured(self.state))

    def _observe(self, history: Tensor, measured: RobotState, proprioception: Tensor) -> Obs:
        """All observations. history: (N, H, P). proprioception: (N, P), of the measured state."""
        commands = [task.command for task in self.tasks.values()]
        seen = observe_tasks(commands, measured, self.command_shapes, onboard=self.onboard is not None)
        return {"proprioception": proprioception, "history": history, **seen}

    def _proprioception(self, measured: RobotState) -> Tensor:
        """See `observations.proprioception`; the root's height is measured from the ground."""
        if self.floor is not None:
            measured = replace(measured, body_pos_w=self.floor.above(measured.body_pos_w))
        return observations.proprioception(measured)

    def set_progress(self, progress: float) -> None:
        """See `Env.set_progress`: the strength of the randomisation depends on it."""
        self.randomization.set_progress(progress)

    def statistics(self) -> list[Tensor]:
        return [x for task in self.tasks.values() for x in task.command.statistics()]

    # Imagination -------------------------------------------------------------------------------------------------------

    @property
    def factor_ranges(self) -> dict[str, tuple[float, float]]:
        """See `Randomization.factor_ranges`."""
        return self.randomization.factor_ranges

    def rows(self) -> dict[str, Tensor]:
        """Rows of commands by `<task>/<name>`, `Randomization.rows`, and `last_action` with onboard sensors, (n, ...) each."""
        own = self.randomization.rows() | ({} if self.onboard is None else self.onboard.rows())
        return own | {f"{name}/{key}": x for name, task in self.tasks.items() for key, x in task.command.rows().items()}

    def imagine(self, num_envs: int, generator: torch.Generator) -> ImaginedEnv:
        """Envs without physics, with the same tasks and training's terminations; `generator` makes their draws.

        Raises:
            UserError: the ground is not flat, or there are fewer envs than tasks.
        """
        check_imaginable(self.config, rough=self.floor is not None)
        shares = {name: part.stop - part.start for name, part in self.task_slices.items()}
        return ImaginedEnv(self.robot, self.tasks, shares, self.command_shapes, num_envs, generator, self.onboard)

    # Saving ------------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that is needed to continue exactly, as tensors and numbers."""
        return {
            "task_mix": {name: part.stop - part.start for name, part in self.task_slices.items()},
            "simulator": self.simulator.state_dict(),
            "commands": {name: task.command.state_dict() for name, task in self.tasks.items()},
            **{name: x.clone() for name, x in self._saved_tensors.items()},
            "randomization": self.randomization.state_dict(),
            "log": self.log.state_dict(),
            **({} if self.floor is None else {"floor": self.floor.origin.clone()}),
            **({} if self.onboard is None else {"onboard": self.onboard.state_dict()}),
            **({} if self.motion_quality is None else {"conduct": self.motion_quality.state_dict()}),
            **({} if self._streamed is None else {"library": self._streamed.state_dict()}),
            "generator": self.generator.get_state(),
            "dealt_with": self.assignment_rng_state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken: same config, seed and number of envs.

        Raises:
            ValueError: it is not the state of such an environment.
        """
        counts = state["task_mix"]
        if not all(isinstance(n, int) and n > 0 for n in counts.values()) or sum(counts.values()) != self.num_envs:
            raise ValueError(f"task_mix is {counts}, not {self.num_envs} envs")
        check_layout(state["dealt_with"], self.assignment_rng_state, "env.dealt_with")
        same_mix = counts == {name: part.stop - part.start for name, part in self.task_slices.items()}
        if not same_mix or not torch.equal(state["dealt_with"].cpu(), self.assignment_rng_state):
            self.generator.set_state(state["dealt_with"].cpu())
            self._assign_tasks({name: float(count) for name, count in state["task_mix"].items()})
        check_layout(state, self.state_dict(), "env")
        self.simulator.load_state_dict(state["simulator"])
        if self._streamed is not None:
            self._streamed.load_state_dict(state["library"])
            self._refresh_clips()
        for name, saved in state["commands"].items():
            self.tasks[name].command.load_state_dict(saved)
        for name, x in self._saved_tensors.items():
            x.copy_(state[name])
        if self.floor is not None:
            self.floor.origin.copy_(state["floor"])
        if self.onboard is not None:
            self.onboard.load_state_dict(state["onboard"])
        if self.motion_quality is not None:
            self.motion_quality.load_state_dict(state["conduct"])
        self.log.load_state_dict(state["log"])
        self.randomization.load_state_dict(state["randomization"])
        self.generator.set_state(state["generator"])

    @property
    def _saved_tensors(self) -> dict[str, Tensor]:
        true = {} if self.true is None else {"true": self.true.now, "true_history": self.true.past}
        sensed = {"history": self.sensed.past, "proprioception": self.sensed.now}
        return {**sensed, **true, "trail": self.trail, "invalid_count": self.invalid_count}

    def close(self) -> None:
        self.simulator.close()
