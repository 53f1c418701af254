"""Sources of motion files, and the registry of readers."""

import hashlib
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from deepmimic_clips import document, frame, import_deepmimic, walk
from smpl_clips import ROBOT

from protege.core.errors import UserError
from protege.core.motions import load_clip, save_clip
from protege.sim.motions.readers import READERS, get_reader
from protege.sim.motions.sources import find_sources


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two clips, as files and in an archive beside something else."""
    (tmp_path / "humanoid3d_walk.txt").write_bytes(walk())
    (tmp_path / "humanoid3d_stand.txt").write_bytes(document([frame()] * 3))
    with ZipFile(tmp_path / "data.whl", "w") as archive:
        for name in ("walk", "stand"):
            archive.write(tmp_path / f"humanoid3d_{name}.txt", f"some/where/humanoid3d_{name}.txt")
        archive.writestr("some/where/dog3d_trot.txt", "woof")
        archive.writestr("some/where/humanoid3d_walk.ckpt", "weights")
    return tmp_path


def read(sources: list[Path], names: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Contents by name, of DeepMimic's files alone."""
    return {found.name: found.read() for found in find_sources(sources, names, get_reader("deepmimic"))}


def test_a_file_is_read_under_its_own_or_another_name(folder):
    assert read([folder / "humanoid3d_walk.txt"]) == {"walk": walk()}
    assert read([folder / "humanoid3d_walk.txt"], ("stroll",)) == {"stroll": walk()}
    (folder / "mine.json").write_bytes(b"x")
    assert read([folder / "mine.json"]) == {"mine": b"x"}


def test_archives_and_folders_are_read_by_name_or_whole(folder):
    stand = document([frame()] * 3)
    assert read([folder / "data.whl"]) == {"walk": walk(), "stand": stand}
    assert read([folder / "data.whl"], ("walk",)) == {"walk": walk()}
    assert read([folder]) == {"walk": walk(), "stand": stand}
    (folder / "data.whl").rename(folder / "data.zip")
    assert list(read([folder / "data.zip"], ("stand",))) == ["stand"]


def test_sources_that_cannot_be_read_are_named(folder):
    (folder / "broken.zip").write_bytes((folder / "data.whl").read_bytes()[:300])
    ZipFile(folder / "empty.zip", "w").close()
    cases = [
        ([folder / "nowhere.txt"], (), "cannot read .*nowhere.txt .No such file or directory"),
        ([folder / "nowhere.whl"], (), "cannot read .*nowhere.whl .No such file or directory"),
        ([folder / "broken.zip"], (), "cannot read .*broken.zip .not a whole archive"),
        ([folder / "empty.zip"], (), r"empty.zip holds no humanoid3d_\*.txt"),
        ([folder / "data.whl"], ("walk", "fly"), "no humanoid3d_fly.txt in .*data.whl"),
        ([folder / "humanoid3d_walk.txt", folder / "humanoid3d_stand.txt"], ("a",), "cannot all be called"),
    ]
    for sources, names, message in cases:
        with pytest.raises(UserError, match=message):
            read(sources, names)


def test_the_registry_names_what_it_knows():
    assert "deepmimic" in READERS
    with pytest.raises(UserError, match=r"no motion format 'fbx'\. Known: .*deepmimic"):
        get_reader("fbx")


def test_a_clip_that_is_imported_twice_is_the_same_file(tmp_path):
    files = [save_clip(tmp_path / name, import_deepmimic(walk(), name, ROBOT)) for name in ("a", "b")]
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert len(digests) == 1
    again = load_clip(files[0], ROBOT)
    np.testing.assert_array_equal(again.joint_pos, import_deepmimic(walk(), "a", ROBOT).joint_pos)
