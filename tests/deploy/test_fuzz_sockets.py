"""Invalid and forged packets on the live sockets of a run and a viewer: a little of scripts/fuzz_sockets.py."""

from pathlib import Path

import pytest
from fuzz_sockets import TARGETS


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "dds"])  # test_unitree_robot.py does that
def test_live_sockets_obey_their_peer_alone(target: str, exported: Path) -> None:
    fuzz, key = TARGETS[target]
    result = fuzz(exported, 300 if target == "page" else 1500, key)
    assert result["forged"] == 0 and result["obeyed"] and result["event"] is None, result
    assert result["late_mb"] - result["early_mb"] < (30.0 if target == "page" else 5.0), result
    if target != "page":
        assert result["counted"] > 0.9 * result["sent"] and result["steps"] > 10, result
