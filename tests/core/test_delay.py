"""Late targets by hand: in each physics step, and their mean over a control step."""

import pytest
import torch

from protege.core.delay import arriving, in_effect, queued, whole_steps

QUEUE = torch.tensor([[[3.0], [2.0], [1.0]]])
"""One joint of one env: 3 is sent now, 2 was sent one control step ago, 1 two."""


@pytest.mark.parametrize(
    ("late", "wanted"),
    [
        (0, [3, 3, 3, 3]),
        (1, [2, 3, 3, 3]),
        (3, [2, 2, 2, 3]),
        (4, [2, 2, 2, 2]),
        (6, [1, 1, 2, 2]),
        (8, [1, 1, 1, 1]),
    ],
)
def test_targets_of_four_physics_steps(late, wanted):
    steps = torch.tensor([late])
    had = [in_effect(QUEUE, steps, k, 4).item() for k in range(4)]
    assert had == wanted
    assert arriving(QUEUE, steps / 4).item() == pytest.approx(sum(wanted) / 4)


def test_the_mean_is_exact_where_a_delay_is_whole():
    queue = torch.randn(3, 3, 5)
    got = arriving(queue, torch.tensor([0.0, 1.0, 2.0]))
    assert torch.equal(got, torch.stack([queue[0, 0], queue[1, 1], queue[2, 2]]))


def test_delays_are_rounded_to_the_nearest_step_as_python_does():
    seconds = [0.0, 0.004, 0.0042, 0.0125, 5.5 / 120]
    got = whole_steps(torch.tensor(seconds, dtype=torch.float64), 1 / 120)
    assert got.tolist() == [round(x * 120) for x in seconds] == [0, 0, 1, 2, 6]


def test_a_queue_begins_with_the_newest():
    assert torch.equal(queued(torch.tensor([[4.0]]), QUEUE[:, :-1]), torch.tensor([[[4.0], [3.0], [2.0]]]))
