"""Fixtures of several test files of core."""

import pytest
from recorded_pipelines import Recorder

from protege.core.runs import pipeline as module


@pytest.fixture
def recorder(monkeypatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(module, "_run", recorder)
    return recorder
