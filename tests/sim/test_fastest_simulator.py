"""The default simulator of an evaluation among the installed ones."""

import sys

import pytest
import torch

from protege.sim.simulators.simulator import Backend, fastest_simulator, is_installed


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Make modules look as if they were not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_a_backend_without_its_modules_is_not_installed(monkeypatch):
    assert is_installed("mujoco") and not is_installed("bullet")
    needs = {"both": Backend("", ("json", "mujoco_warp")), "one": Backend("", ("json",))}
    monkeypatch.setattr("protege.sim.simulators.simulator.SIMULATORS", needs)
    hide(monkeypatch, "mujoco_warp")
    assert is_installed("one") and not is_installed("both")


ALL = ("mujoco", "mjwarp", "isaaclab")


@pytest.mark.parametrize(
    ("device", "gpu", "trained_in", "installed", "chosen"),
    [
        ("auto", False, "mjwarp", ALL, "mujoco"),
        ("auto", False, "isaaclab", ALL, "mujoco"),
        ("cpu", True, "mjwarp", ALL, "mujoco"),
        ("auto", True, "mjwarp", ALL, "mjwarp"),
        ("auto", True, "isaaclab", ALL, "isaaclab"),
        ("auto", True, "isaaclab", ("mujoco", "mjwarp"), "mujoco"),
        ("auto", True, "mjwarp", ("mujoco",), "mujoco"),
        ("auto", True, "mujoco", ALL, "mujoco"),
        ("cuda:1", True, "isaaclab", ALL, "isaaclab"),
        ("cuda", True, "mujoco", ALL, "mjwarp"),
        ("cuda", True, "mujoco", ("mujoco",), "mujoco"),
    ],
)
def test_the_fastest_installed_simulator_is_chosen_for_the_device(
    device, gpu, trained_in, installed, chosen, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr("protege.sim.simulators.simulator.is_installed", lambda name: name in installed)
    assert fastest_simulator(device, trained_in) == chosen
