"""What `protege doctor` says of simulators and pictures."""

from protege.core.errors import UserError
from protege.sim import doctor
from protege.sim.simulators.simulator import Backend


def test_a_backend_that_is_not_installed_comes_with_its_extra(monkeypatch):
    monkeypatch.setattr(
        doctor, "backends", lambda: {"mujoco": Backend("", ("mujoco",)), "other": Backend("", ("no_such",))}
    )
    monkeypatch.setattr(doctor, "is_installed", lambda name: name == "mujoco")
    found = {finding.name: finding for finding in doctor.check_sim()}
    assert found["mujoco"].state == "ok" and found["mujoco"].found.startswith("mujoco 3.")
    assert found["other"].state == "absent" and found["other"].remedy == 'pip install "protege-sim[other]"'


def test_missing_opengl_is_broken_and_says_why(monkeypatch):
    def fails(width: int, height: int):
        raise UserError("no driver", "install one")

    monkeypatch.setattr(doctor, "make_context", fails)
    [picture] = [finding for finding in doctor.check_sim() if finding.name == "OpenGL"]
    assert picture.state == "broken" and "no driver" in picture.found
