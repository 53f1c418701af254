"""What every test starts from: one seed, one thread, no deadlines on a busy machine."""

from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("protege", deadline=None, derandomize=True)
settings.load_profile("protege")
# Test tensors are small: a second thread costs more than it gives.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_tracker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run: a small tracker of the real robot after two iterations, see tests/core/tiny_runs.py."""
    from tiny_runs import TRACKER, train

    return train(TRACKER, tmp_path_factory.mktemp("tiny"), "tracker", "run.max_iterations=2")
