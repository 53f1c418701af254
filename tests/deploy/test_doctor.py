"""What `protege doctor` says of the runtime."""

import os

from protege.deploy import doctor


def test_a_missing_onnxruntime_is_reported_as_broken(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    states = {name: (state, remedy) for name, state, _, remedy in doctor.check_deploy()}
    assert states["onnxruntime"] == ("broken", 'pip install "protege-deploy[cpu]" (or [gpu])')
    assert {states[extra][0] for extra in doctor.EXTRAS} == {"absent"}


def test_real_time_priority_is_tried_and_undone(monkeypatch):
    before = os.sched_getscheduler(0)
    list(doctor.check_deploy())
    assert os.sched_getscheduler(0) == before

    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refused)
    [row] = [row for row in doctor.check_deploy() if row[0] == "real-time priority"]
    assert row[1] == "absent" and "rtprio" in row[3]
