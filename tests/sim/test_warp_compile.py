"""Warp's kernels are compiled together, by other processes, before their first launch."""

# pyright: reportIndexIssue=false

import os
import time
from unittest.mock import patch

import pytest
import torch

from protege.sim.robots import get_robot

pytest.importorskip("mujoco_warp")
import warp as wp
from warp._src.context import Module

from protege.sim.simulators import mjwarp, warp_compile

ROBOT = get_robot("smpl")
N = 3
TARGET = ROBOT.default_pose().expand(N, ROBOT.num_joints)
run_codegen = Module._run_codegen


def test_kernels_are_compiled_without_being_launched():
    simulator = mjwarp.MjwarpSimulator(ROBOT, N, device="cpu")
    before, modules = simulator.state.root_pos_w.clone(), set()

    def loaded(module, device, *block_dim):
        modules.add(module)

    with patch.object(Module, "load", loaded):
        warp_compile.Build(lambda: simulator.step(TARGET), workers=2).load()
    assert len(modules) > 20
    assert torch.equal(simulator.state.root_pos_w, before), "nothing moved"
    simulator.step(TARGET)
    assert not torch.equal(simulator.state.root_pos_w, before)


@pytest.fixture
def empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(wp.config, "kernel_cache_dir", str(tmp_path))
    return tmp_path


def doubled_and_halved():
    """Launches of two new kernels, each in a module of its own, and the two arrays that they write."""

    @wp.kernel(module="unique")
    def double(x: wp.array[float], y: wp.array[float]):
        y[wp.tid()] = 2.0 * x[wp.tid()]

    @wp.kernel(module="unique")
    def halve(x: wp.array[float], y: wp.array[float]):
        y[wp.tid()] = 0.5 * x[wp.tid()]

    x = wp.array([3.0, 4.0], dtype=float, device="cpu")
    results = [wp.zeros_like(x), wp.zeros_like(x)]

    def work():
        for kernel, y in zip((double, halve), results, strict=True):
            wp.launch(kernel, dim=2, inputs=[x, y], device="cpu")

    return work, results


def test_modules_are_built_by_other_processes(empty_cache):
    work, results = doubled_and_halved()
    here = patch.object(Module, "_run_codegen", side_effect=AssertionError("built in this process"))
    with here, patch.object(warp_compile, "_build", in_a_child):
        warp_compile.Build(work, workers=2).load()
    assert len(list(empty_cache.rglob("*.o"))) == 2
    work()
    assert [y.numpy().tolist() for y in results] == [[6.0, 8.0], [1.5, 2.0]]


def in_a_child(module, block_dim, device):
    """`warp_compile._build`, which may generate code."""
    Module._run_codegen = run_codegen
    module._compile(device, options=module.resolve_options(wp.config, block_dim=block_dim))


def test_a_module_whose_process_dies_is_built_here(empty_cache):
    work, results = doubled_and_halved()
    with patch.object(warp_compile, "_build", lambda *job: os._exit(1)):
        warp_compile.Build(work, workers=2).load()
    work()
    assert [y.numpy().tolist() for y in results] == [[6.0, 8.0], [1.5, 2.0]]


def test_a_build_can_be_cancelled(empty_cache):
    work, _ = doubled_and_halved()
    with patch.object(warp_compile, "_build", lambda *_: time.sleep(60.0)):
        build = warp_compile.Build(work, workers=2)
    assert build.builder is not None and build.builder.is_alive()
    build.cancel()
    build.builder.join(10.0)
    assert not build.builder.is_alive()
