"""Help and shell completion: quick, and short enough for a terminal of 80 columns."""

import os
import subprocess
import sys

import pytest
from tiny_runs import protege


@pytest.mark.parametrize(
    "words", ["", "core train", "sim motions", "teachers zoo", "distill", "distill train", "deploy run"]
)
def test_help_imports_no_slow_packages(words):
    """Printing the options needs no package that takes seconds to import."""
    code = f"""
import sys
from protege.core.cli.umbrella import main
main({[*words.split(), "--help"]}, standalone_mode=False)
assert not {{"torch", "mujoco", "onnxruntime"}} & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "Usage:" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "words", ["", "core", "sim", "sim motions", "sim robots", "teachers", "teachers zoo", "distill", "deploy"]
)
def test_no_summary_in_a_list_of_commands_is_cut(words):
    listed = protege(*words.split(), "--help").stdout.split("Commands:")[1]
    assert listed.strip() and "..." not in listed


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("protege dis", "distill"),
        ("protege core train full_body_tracker/w", "full_body_tracker/wide_speed full_body_tracker/world_model"),
        ("protege core train distillation/", ""),  # of another package
        ("protege distill train distillation/unified", "distillation/unified_lightweight"),
        ("protege distill train --che", "--checkpoint"),
    ],
)
def test_completion_knows_commands_options_and_presets(typed, expected):
    code = "from protege.core.cli.umbrella import main; main(prog_name='protege')"
    asked = {"_PROTEGE_COMPLETE": "bash_complete", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True)
    assert [line.removeprefix("plain,") for line in done.stdout.split()] == expected.split()
