"""The viewer's robot under other conditions, and its time: pause, single steps, slow motion."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
from waiting import seen, until

from protege.deploy.interface import Mode
from protege.deploy.policy.metadata import load
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.viewer import playback as playback_module
from protege.deploy.viewer.conditions import ConditionedRobot, Conditions
from protege.deploy.viewer.playback import Playback
from protege.deploy.viewer.simulation import Simulation


def targets(robot: MujocoRobot, count: int) -> np.ndarray:
    """Joint targets that wander about the default pose, (count, J) rad."""
    default, random = np.array(robot.metadata.default_joint_pos), np.random.default_rng(1)
    return default + 0.2 * random.standard_normal((count, len(default)))


def pair(export: Path, conditions: Conditions) -> tuple[MujocoRobot, ConditionedRobot]:
    """The exported robot, and the same under conditions, both standing."""
    plain, other = MujocoRobot(export), ConditionedRobot(export)
    plain.reset()
    other.reset()
    other.apply(conditions)
    return plain, other


def play(robot: MujocoRobot, sent: np.ndarray) -> np.ndarray:
    for target in sent:
        robot.write(target)
    return robot.data.qpos.copy()


def test_default_conditions_are_the_exported_robot(each_exported: Path) -> None:
    plain, other = pair(each_exported, Conditions())
    sent = targets(plain, 20)
    assert np.array_equal(play(plain, sent), play(other, sent))
    plain.write(sent[0], Mode.DAMPING)
    other.write(sent[0], Mode.DAMPING)
    assert np.array_equal(plain.data.qpos, other.data.qpos)


def test_a_delay_of_one_control_step_shifts_all_targets_by_one(each_exported: Path) -> None:
    plain, other = pair(each_exported, Conditions(delay=load(each_exported).control_dt))
    sent, held = targets(plain, 12), plain.data.qpos[plain._qpos].copy()
    assert np.array_equal(play(other, sent), play(plain, np.concatenate([held[None], sent[:-1]])))


def test_a_delay_of_one_physics_step_begins_each_control_step_with_the_target_before(each_exported: Path) -> None:
    plain, other = pair(each_exported, Conditions(delay=load(each_exported).physics_dt))
    sent, before = targets(plain, 6), plain.data.qpos[plain._qpos].copy()
    for target in sent:
        for substep in range(plain.metadata.substeps):
            plain.data.ctrl[plain._servos] = before if substep == 0 else target
            mujoco.mj_step(plain.model, plain.data)
        before = target
    assert np.array_equal(play(other, sent), plain.data.qpos)


def test_friction_strength_and_payload_change_the_model_and_can_be_reverted(each_exported: Path) -> None:
    robot = ConditionedRobot(each_exported)
    model = robot.model
    before = {name: getattr(model, name).copy() for name in ("geom_friction", "jnt_actfrcrange", "body_mass")}
    pose = robot.data.qpos.copy()
    robot.apply(Conditions(friction=0.3, strength=0.6, payload=20.0))
    np.testing.assert_allclose(model.geom_friction, 0.3 * before["geom_friction"])
    np.testing.assert_allclose(model.jnt_actfrcrange, 0.6 * before["jnt_actfrcrange"])
    assert model.body_mass.sum() == pytest.approx(before["body_mass"].sum() + 20.0)
    assert model.body_subtreemass[0] == pytest.approx(model.body_mass.sum())
    assert np.array_equal(robot.data.qpos, pose)
    robot.apply(Conditions())
    for name, value in before.items():
        np.testing.assert_allclose(getattr(model, name), value)


def test_only_joint_velocities_are_noisy(each_exported: Path) -> None:
    robot = ConditionedRobot(each_exported)
    robot.reset()
    true = robot.read()
    robot.apply(Conditions(joint_vel_noise=0.5))
    readings = [robot.read() for _ in range(200)]
    noise = np.stack([reading.joint_vel for reading in readings]) - true.joint_vel
    assert noise.std() == pytest.approx(0.5, rel=0.05) and abs(noise.mean()) < 0.02
    assert all(np.array_equal(reading.joint_pos, true.joint_pos) for reading in readings)


def test_contact_forces_sum_to_the_grounds_force_on_the_robot(each_exported: Path) -> None:
    robot = ConditionedRobot(each_exported)
    robot.reset()
    play(robot, np.tile(robot.metadata.default_joint_pos, (20, 1)))
    mujoco.mj_forward(robot.model, robot.data)
    points, forces = robot.contact_forces()
    assert len(points) >= 2 and np.abs(points[:, 2]).max() < 0.05
    # Of all constraints only contacts act on the place of the whole robot.
    np.testing.assert_allclose(forces.sum(axis=0), robot.data.qfrc_constraint[:3], rtol=1e-6, atol=1e-6)
    weight = 9.81 * robot.model.body_mass.sum()
    assert 0.3 * weight < forces[:, 2].sum() < 3.0 * weight


# Time ---------------------------------------------------------------------------------------------------------------------


def test_pause_stops_the_simulation_and_single_steps_advance_it(exported: Path) -> None:
    simulation = Simulation({"tiny": exported})
    simulation.start()
    until(lambda: simulation.frame is not None, "no frame")
    simulation.playback.step()
    until(lambda: simulation.playback._steps._value == 0, "the step was not played")
    before = seen(simulation).index
    simulation.playback.step()
    until(lambda: seen(simulation).index == before + 1, "not one step")
    simulation.conditions = Conditions(friction=0.5)
    simulation.playback.step()
    until(lambda: simulation._robot.conditions.friction == 0.5, "the conditions were not applied")
    assert seen(simulation).index == before + 2
    simulation.reset()
    until(lambda: seen(simulation).time < 0.1, "a paused simulation cannot begin anew")
    simulation.playback.pause(False)
    until(lambda: seen(simulation).index > before + 6, "it does not go on")
    simulation.close()
    assert simulation.error is None


@pytest.mark.parametrize(("speed", "waits"), [(1.0, 0.0), (0.5, 0.03), (0.1, 0.27)])
def test_slow_motion_waits_for_the_additional_time(speed: float, waits: float, monkeypatch) -> None:
    class Clock:
        now, slept = 5.0, 0.0

        def perf_counter(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now, self.slept = self.now + seconds, self.slept + seconds

    clock, playback = Clock(), Playback()
    monkeypatch.setattr(playback_module, "time", clock)
    playback.speed = speed
    playback.wait(0.03, lambda: False)
    assert clock.slept == pytest.approx(waits, abs=1e-9)


def test_the_end_of_the_simulation_does_not_wait() -> None:
    playback = Playback()
    playback.pause(True)
    playback.wait(0.03, lambda: True)  # returns
