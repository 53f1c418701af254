"""What every test starts from: one seed, one thread, no deadlines on a busy machine."""

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
