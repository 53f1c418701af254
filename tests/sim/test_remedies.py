"""Remedies that are commands can be pasted into a shell, also for files whose names have spaces."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from motion_files import csv, phc

from protege.core.errors import UserError
from protege.core.motions import load_clip, read_clip
from protege.core.motions.clip_paths import find_clip
from protege.sim.cli import main
from protege.sim.robots import get_robot


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROTEGE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "my clips").mkdir()
    return tmp_path / "my clips"


def words(remedy: str) -> list[str]:
    """The command in a remedy, as a shell splits it."""
    return shlex.split(remedy[remedy.index("protege sim") :])


def test_the_import_of_a_file_that_lacks_an_option(folder: Path) -> None:
    file = folder / "a walk.csv"
    file.write_bytes(csv(get_robot("g1")))
    with pytest.raises(UserError) as caught:
        load_clip(file, get_robot("g1"))
    assert words(caught.value.remedy) == ["protege", "sim", "motions", "import", str(file), "--robot", "g1"]


def test_the_import_of_a_file_of_several_motions(folder: Path) -> None:
    file = folder / "a library.pkl"
    file.write_bytes(phc())
    with pytest.raises(UserError) as caught:
        read_clip(file, get_robot("smpl"))
    assert words(caught.value.remedy) == ["protege", "sim", "motions", "import", str(file), "--robot", "smpl"]


def test_the_inspection_of_a_doubtful_clip(folder: Path) -> None:
    file = folder / "a walk.npy"
    shutil.copy(find_clip(Path("smpl_humanoid_walk.npy")), file)
    frames = np.load(file)
    frames["root_pos_w"][:, 2] += 0.1  # it floats
    np.save(file, frames)
    rows = json.loads(CliRunner().invoke(main, ["motions", "list", "--folder", str(folder), "--json"]).stdout)
    assert [row["name"] for row in rows if row["warnings"]] == [file.name], "the clip has a warning"
    shown = CliRunner().invoke(main, ["motions", "list", "--folder", str(folder)]).stdout
    (line,) = [line for line in shown.splitlines() if line.startswith(f"{file.name}: ")]
    assert words(line) == ["protege", "sim", "motions", "inspect", str(file)]
