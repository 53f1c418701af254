"""A library that does not fit the device: sampling frequencies of its clips, and frames equal to those of one that fits."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from many_clips import many

from protege.core.errors import UserError
from protege.core.motions import MotionLibrary, StreamedLibrary, slots
from protege.core.motions.block_draws import BlockDraws
from protege.core.motions.frames import ClipFrames
from protege.core.motions.slots import EMPTY
from protege.core.motions.streamed import DRAWS_PER_SLOT
from protege.core.robots.robot import Robot

CPU = torch.device("cpu")
DRAIN, INTERVAL = 7, 10
WEIGHTS = st.lists(st.floats(0.1, 5.0), min_size=1, max_size=20)


def streamed(robot: Robot, share: float = 0.3, count: int = 60, weights=None, seed: int = 0) -> StreamedLibrary:
    frames = ClipFrames(many(robot, count), robot, weights)
    return StreamedLibrary(frames, robot, CPU, int(share * frames.counts.sum()), DRAIN, INTERVAL, seed)


def same(a, b) -> None:
    for name, x in vars(a).items():
        assert torch.equal(x, getattr(b, name)), name


# Draws -------------------------------------------------------------------------------------------------------------------


@given(WEIGHTS, st.integers(0, 1000))
def test_every_clip_is_drawn_in_proportion_to_its_weight(weights: list[float], seed: int) -> None:
    """Not only in the long run: when clips of weight W together have been drawn n times, one of weight w has been n w / W times,
    but for one draw of its own and one of each other clip's."""
    draws, counts = BlockDraws(np.array(weights), seed), np.zeros(len(weights))
    share = np.array(weights) / sum(weights)
    for n in range(1, 400):
        counts[draws.next()] += 1
        draws.take()
        assert (np.abs(counts - n * share) <= 1.0 + share * len(weights) + 1e-9).all()


def test_clips_of_weight_zero_are_never_drawn_and_the_order_changes():
    draws, order = BlockDraws(np.array([1.0, 0.0, 1.0, 1.0, 1.0]), 3), []
    for _ in range(40):
        order.append(draws.next())
        draws.take()
    assert 1 not in order and all(9 <= n <= 11 for n in Counter(order).values()) and len(Counter(order)) == 4
    assert len({tuple(order[i : i + 4]) for i in range(0, 40, 4)}) > 2


def test_saved_draws_resume_exactly():
    draws = BlockDraws(np.arange(1.0, 9.0), 1)

    def some(of: BlockDraws) -> list[int]:
        taken = []
        for _ in range(50):
            taken.append(of.next())
            of.take()
        return taken

    some(draws)
    other = BlockDraws(np.arange(1.0, 9.0), 7)
    other.load_state_dict(draws.state_dict())
    assert some(draws) == some(other)


# Blocks ------------------------------------------------------------------------------------------------------------------


def test_frames_equal_those_of_a_library_that_fits_bitwise(robot: Robot) -> None:
    whole, library = streamed(robot, share=1.0), streamed(robot)
    assert not whole.streams and library.streams
    assert whole.clips.tolist() == list(range(60)) and not whole.advance()
    addresses = [x.data_ptr() for x in (*vars(library.state).values(), library.starts, library.counts, library.shares)]
    seen = set()
    for _ in range(80 * INTERVAL):
        for slot in np.flatnonzero(library.clips != EMPTY) if library.step % INTERVAL == DRAIN else []:
            clip, first, count = library.clips[slot], int(library.starts[slot]), int(library.counts[slot])
            there = int(whole.starts[clip])
            same(library.state[first : first + count], whole.state[there : there + count])
            seen.add(clip)
        library.advance()
    assert seen == set(range(60))
    assert addresses == [
        x.data_ptr() for x in (*vars(library.state).values(), library.starts, library.counts, library.shares)
    ]


def test_frames_nearly_equal_those_of_clips_resampled_together(robot: Robot) -> None:
    """To the last digits of double precision, before they become float32."""
    whole, plain = streamed(robot, share=1.0), MotionLibrary(many(robot, 60), robot, "cpu")
    assert torch.equal(whole.starts, plain.starts) and torch.equal(whole.counts, plain.counts)
    for name, x in vars(plain.state).items():
        torch.testing.assert_close(getattr(whole.state, name), x, rtol=0.0, atol=5e-7, msg=name)


def test_frames_map_to_their_slot_and_clip(robot: Robot) -> None:
    library = streamed(robot)
    for _ in range(3 * INTERVAL):
        library.advance()
    for slot in np.flatnonzero(library.clips != EMPTY):
        first, last = library.starts[slot], library.starts[slot] + library.counts[slot] - 1
        ends = torch.stack([first, last])
        assert library.slot_at(ends).tolist() == [slot, slot]
        assert library.clip_at(ends).tolist() == [library.clips[slot]] * 2


def test_a_block_is_not_sampled_for_the_longest_episode_before_its_replacement(robot: Robot) -> None:
    library, generator = streamed(robot), torch.Generator().manual_seed(0)
    last_drawn = np.full(library.num_clips, -1)
    content, exchanges = library.clips.copy(), 0
    for step in range(30 * INTERVAL):
        changed = library.clips != content
        if changed.any():
            exchanges += 1
            assert (step - last_drawn[changed] >= DRAIN).all()
            content = library.clips.copy()
        drawn = library.sample_clips(500, generator).numpy()
        assert (library.clips[drawn] != EMPTY).all()
        last_drawn[drawn] = step
        library.advance()
    assert exchanges == 30


@pytest.mark.parametrize("weighted", [False, True])
def test_in_the_long_run_every_clip_is_sampled_in_proportion_to_its_weight(
    robot: Robot, weighted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tenth of the time, and over all of it: blocks of long clips hold fewer of them, which evens out."""
    monkeypatch.setattr(slots, "body_frames", lambda *_: ())  # which clips, not where their bodies are
    weights = np.tile([0.5, 1.0, 3.0], 200) if weighted else np.ones(600)
    library, want = streamed(robot, count=600, weights=weights), weights / weights.sum()
    counts = np.zeros((10, 600))
    for row in counts:
        for _ in range(200):
            shares = library.shares.double().numpy()
            row += np.bincount(library.clips[shares > 0], shares[shares > 0], minlength=600)
            for _ in range(INTERVAL):
                library.advance()
        assert (np.abs(row / row.sum() / want - 1.0) < 0.7).all()
    off = np.abs(counts.sum(0) / counts.sum() / want - 1.0)
    assert off.max() < 0.08 and off.mean() < 0.02


def test_a_clip_of_very_large_weight_does_not_exclude_others(robot: Robot) -> None:
    library = streamed(robot, weights=[1e5, *[1.0] * 59])
    assert library.clips.reshape(library.blocks, -1)[:, 0].tolist() == [0] * library.blocks
    assert (library.times.reshape(library.blocks, -1).sum(1) == DRAWS_PER_SLOT * library.block_slots).all()


@pytest.mark.parametrize("steps", [0, 3, DRAIN, INTERVAL + 2, 33 * INTERVAL + DRAIN + 1])
def test_a_saved_library_resumes_exactly(robot: Robot, steps: int) -> None:
    library = streamed(robot, weights=np.linspace(0.5, 2.0, 60))
    for _ in range(steps):
        library.advance()
    other = streamed(robot, weights=np.linspace(0.5, 2.0, 60), seed=9)
    other.load_state_dict(library.state_dict())
    for _ in range(3 * INTERVAL):
        assert np.array_equal(library.clips, other.clips) and np.array_equal(library.times, other.times)
        assert all(torch.equal(getattr(library, x), getattr(other, x)) for x in ("starts", "counts", "shares", "edges"))
        for slot in np.flatnonzero(library.clips != EMPTY)[:5]:
            rows = slice(int(library.starts[slot]), int(library.starts[slot] + library.counts[slot]))
            same(library.state[rows], other.state[rows])
        assert library.advance() == other.advance()


def test_a_clip_that_fits_into_no_block_is_named(robot: Robot) -> None:
    with pytest.raises(UserError, match=r"clip\d+ has \d+ frames; env\.track\.device_frames=\d+ has room for clips of"):
        streamed(robot, share=0.05)
