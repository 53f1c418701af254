"""`protege doctor`: every package's checks in one table, as JSON, and an exit code for scripts."""

import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from protege.core.cli import doctor as module
from protege.core.cli.umbrella import main


def run(*words: str):
    return CliRunner().invoke(main, ["doctor", *words])


def test_every_package_is_checked_and_what_works_here_is_ok():
    findings = {finding["name"]: finding for finding in json.loads(run("--json").output)}
    working = ["python", "protege-core", "protege-sim", "protege-deploy", "torch", "mujoco", "robots", "onnxruntime"]
    assert {findings[name]["state"] for name in working} == {"ok"}
    assert {"g1", "smpl"} <= set(findings["robots"]["found"].split(", "))
    assert "CPUExecutionProvider" in findings["onnxruntime"]["found"]
    assert all(finding["state"] == "ok" or finding["remedy"] for finding in findings.values())


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("absent", 0), ("broken", 1)])
def test_only_what_is_broken_fails(state, code, monkeypatch):
    checks = [SimpleNamespace(name="other", load=lambda: lambda: [("motor", state, "of another package", "oil it")])]
    monkeypatch.setattr(module, "entry_points", lambda group: checks)
    result = run()
    assert result.exit_code == code
    lines = result.output.splitlines()
    assert lines[0].split(maxsplit=2)[1:] == ["motor", "of another package"] and lines[1].strip() == "oil it"


def test_a_missing_gpu_says_what_to_do(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    [gpu] = [finding for finding in module.check_core() if finding.name == "gpu"]
    assert gpu.state == "absent" and gpu.remedy


def test_several_gpus_are_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    card = SimpleNamespace(name="A card", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    cards = [finding.found for finding in module.check_core() if finding.name.startswith("gpu")]
    assert len(cards) == 2 and all(found.startswith("A card, 80 GiB") for found in cards)
