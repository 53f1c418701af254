"""The extra `motions`: what needs it says so, and nothing else imports it."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from protege.core.errors import UserError
from protege.sim import doctor, motions_extra
from protege.sim.motions.inverse_kinematics import Aims, solve
from protege.sim.render import write_mp4

PACKAGES = Path(__file__).parents[2] / "packages"


@pytest.fixture
def without(monkeypatch):
    """Makes the extra's modules impossible to import, as where it is not installed."""
    for name in motions_extra.MODULES:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without")
def test_a_film_names_the_extra(tmp_path):
    with pytest.raises(UserError, match=r'a film needs imageio_ffmpeg.*make setup EXTRA="cpu motions"'):
        write_mp4(tmp_path / "film.mp4", [np.zeros((16, 16, 3), dtype=np.uint8)])
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("without")
def test_retargeting_names_the_extra(robot):
    aims = Aims([], {}, {}, 1.0)
    with pytest.raises(UserError, match=r'retargeting needs mink.*pip install "protege-sim\[motions\]"'):
        solve(robot, aims)


def test_another_missing_module_is_not_the_extras():
    with pytest.raises(ModuleNotFoundError, match="no_such"), motions_extra.needs_motions_extra("a film"):
        import no_such  # noqa: F401


def test_doctor_names_the_extra_where_it_is_missing(monkeypatch):
    def motions():
        return next(finding for finding in doctor.check_sim() if finding.name == "motions")

    assert motions().state == "ok" and motions().found.startswith("mink ")
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert motions().state == "absent" and motions().remedy == motions_extra.REMEDY
    assert "needs mink, imageio_ffmpeg" in motions().found


def test_no_module_imports_the_extra_at_its_top():
    """So commands start without it. Imports under TYPE_CHECKING are not executed."""
    files = list(PACKAGES.glob("*/src/**/*.py"))
    assert len(files) > 100
    for file in files:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                named = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
                assert not {name.split(".")[0] for name in named} & set(motions_extra.MODULES), file
