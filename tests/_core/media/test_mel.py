"""The native mel bank against numpy's FFT in double precision."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd._core.media.mel import MelBank

FFTS = [fft for fft in range(2, 1025) if MelBank.fits(fft)]


def lanes_here() -> list[int]:
    """Every width that this machine can work in."""
    widest = MelBank(np.ones(2, np.float32), np.ones((1, 2), np.float32)).lanes
    return [lanes for lanes in (4, 8) if lanes <= widest]


LANES = lanes_here()


def reference(samples, window, weights, first, hop, frames):
    """Windows, powers and bands as the formulas have them, in double precision."""
    fft = len(window)
    at = first + hop * np.arange(frames)[:, np.newaxis] + np.arange(fft)
    at = np.abs(at)
    at = np.where(at < len(samples), at, 2 * (len(samples) - 1) - at)
    spectrum = np.fft.rfft(samples.astype(np.float64)[at] * window.astype(np.float64))
    return weights.astype(np.float64) @ (np.abs(spectrum) ** 2).T


def random_bank(rng, fft, bands):
    window = rng.uniform(0, 1, fft).astype(np.float32)
    weights = np.zeros((bands, fft // 2 + 1), np.float32)
    for band in weights:
        begin, end = sorted(rng.integers(0, fft // 2 + 2, 2))
        band[begin:end] = rng.uniform(0, 1, end - begin)
    return window, weights


@pytest.mark.parametrize("lanes", LANES)
@given(fft=st.sampled_from(FFTS), bands=st.integers(1, 12), frames=st.integers(1, 40), hop=st.integers(1, 50), seed=st.integers(0, 2**32))
def test_is_what_the_formula_says(lanes, fft, bands, frames, hop, seed) -> None:
    rng = np.random.default_rng(seed)
    window, weights = random_bank(rng, fft, bands)
    samples = rng.normal(0, 0.3, fft // 2 + 1 + (frames - 1) * hop + fft // 2).astype(np.float32)
    first = int(rng.integers(-(fft // 2), fft // 2 + 1))
    out = np.full((bands, frames), np.nan, np.float32)
    MelBank(window, weights, lanes).run(samples, first, hop, out)
    expected = reference(samples, window, weights, first, hop, frames)
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=1e-5 * max(1.0, expected.max()))


@pytest.mark.parametrize("fft", [400, 512, 7 * 5 * 3 * 4 * 2])
def test_weak_bins_beside_a_strong_tone(fft) -> None:
    """A tone at full scale, and a second one 74 dB below."""
    n = np.arange(4 * fft)
    samples = (np.sin(2 * np.pi * n * 0.21) + 2e-4 * np.sin(2 * np.pi * n * 0.4)).astype(np.float32)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)).astype(np.float32)
    weights = np.eye(fft // 2 + 1, dtype=np.float32)
    out = np.empty((fft // 2 + 1, 20), np.float32)
    MelBank(window, weights).run(samples, 0, 7, out)
    expected = reference(samples, window, weights, 0, 7, 20)
    seen = expected > expected.max() * 1e-8
    assert seen[round(fft * 0.4)].all()
    np.testing.assert_allclose(np.log10(out[seen]), np.log10(expected[seen]), atol=1e-3)
    loud = expected > expected.max() * 1e-5
    np.testing.assert_allclose(np.log10(out[loud]), np.log10(expected[loud]), atol=2e-5)


def test_the_longest_window() -> None:
    rng = np.random.default_rng(9)
    window, weights = random_bank(rng, MelBank.MOST_FFT, 4)
    samples = rng.normal(0, 0.3, MelBank.MOST_FFT + 9000).astype(np.float32)
    out = np.empty((4, 10), np.float32)
    MelBank(window, weights).run(samples, -100, 1000, out)
    np.testing.assert_allclose(out, reference(samples, window, weights, -100, 1000, 10), rtol=1e-5)


def test_every_width_gives_the_same_to_the_bit() -> None:
    rng = np.random.default_rng(5)
    window, weights = random_bank(rng, 420, 30)
    samples = rng.normal(size=9000).astype(np.float32)
    answers = []
    for lanes in LANES:
        out = np.empty((30, 53), np.float32)
        MelBank(window, weights, lanes).run(samples, -210, 160, out)
        answers.append(out)
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


def test_a_window_does_not_depend_on_those_beside_it() -> None:
    rng = np.random.default_rng(6)
    window, weights = random_bank(rng, 400, 20)
    samples = rng.normal(size=8000).astype(np.float32)
    bank = MelBank(window, weights)
    together = np.empty((20, 37), np.float32)
    bank.run(samples, -200, 160, together)
    for frame in range(37):
        alone = np.empty((20, 1), np.float32)
        bank.run(samples, -200 + 160 * frame, 160, alone)
        np.testing.assert_array_equal(alone[:, 0], together[:, frame])


@pytest.mark.parametrize("frames", [1, 7, 8, 16, 17, 33])
def test_any_layout_of_the_result_and_nothing_beside_it(frames) -> None:
    rng = np.random.default_rng(7)
    window, weights = random_bank(rng, 64, 5)
    samples = rng.normal(size=2000).astype(np.float32)
    bank = MelBank(window, weights)
    plain = np.empty((5, frames), np.float32)
    bank.run(samples, 0, 30, plain)
    framed = np.full((frames + 2, 7), -1, np.float32)
    bank.run(samples, 0, 30, framed[1:-1, 1:-1].T)
    np.testing.assert_array_equal(framed[1:-1, 1:-1].T, plain)
    framed[1:-1, 1:-1] = -1
    assert (framed == -1).all()
    spaced = np.full((10, 2 * frames), -1, np.float32)
    bank.run(samples, 0, 30, spaced[::2, ::2])
    np.testing.assert_array_equal(spaced[::2, ::2], plain)
    assert (spaced[1::2] == -1).all()
    assert (spaced[:, 1::2] == -1).all()


def test_a_band_without_bins_has_no_power() -> None:
    weights = np.zeros((3, 33), np.float32)
    weights[1, 32] = 1
    out = np.full((3, 4), np.nan, np.float32)
    MelBank(np.ones(64, np.float32), weights).run(np.ones(200, np.float32), 0, 10, out)
    np.testing.assert_array_equal(out, np.zeros((3, 4)))


def test_many_threads_share_one_bank() -> None:
    rng = np.random.default_rng(8)
    window, weights = random_bank(rng, 400, 80)
    clips = rng.normal(size=(4, 16000)).astype(np.float32)
    bank = MelBank(window, weights)
    expected = [np.empty((80, 100), np.float32) for _ in clips]
    for clip, out in zip(clips, expected, strict=True):
        bank.run(clip, -200, 160, out)
    wrong = []

    def work(clip, right) -> None:
        out = np.empty_like(right)
        for _ in range(20):
            out[:] = np.nan
            bank.run(clip, -200, 160, out)
            if not (out == right).all():
                wrong.append(clip)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(clips, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("first", "hop", "frames", "fits"),
    [
        (-99, 1, 1, True),
        (-100, 1, 1, False),
        (99, 1, 37, True),  # its last window ends at sample 198, the first's reflection
        (99, 1, 38, False),
        (100, 1, 1, False),
        (-99, 18, 14, True),
        (-99, 18, 15, False),
        (0, 0, 1, False),
        (0, -1, 1, False),
        (0, 2**62, 1, True),
        (0, 2**62, 2, False),
        (-(2**63), 1, 1, False),
        (2**63 - 1, 2**63 - 1, 1, False),
    ],
)
def test_windows_reach_as_far_as_reflections(first, hop, frames, fits) -> None:
    bank = MelBank(np.ones(64, np.float32), np.ones((1, 33), np.float32))
    samples, out = np.ones(100, np.float32), np.empty((1, frames), np.float32)
    if fits:
        bank.run(samples, first, hop, out)
    else:
        with pytest.raises(ValueError, match="window"):
            bank.run(samples, first, hop, out)


def test_no_samples() -> None:
    bank = MelBank(np.ones(2, np.float32), np.ones((1, 2), np.float32))
    bank.run(np.empty(0, np.float32), 0, 1, np.empty((1, 0), np.float32))
    with pytest.raises(ValueError):
        bank.run(np.empty(0, np.float32), 0, 1, np.empty((1, 1), np.float32))


@pytest.mark.parametrize("fft", [0, 1, 3, 11, 22, 26, 2 * 11 * 7, MelBank.MOST_FFT + 2, -2])
def test_sizes_that_do_not_fit(fft) -> None:
    assert not MelBank.fits(fft)
    if fft > 0:
        with pytest.raises(ValueError, match="prime"):
            MelBank(np.ones(fft, np.float32), np.ones((1, fft // 2 + 1), np.float32))


@pytest.mark.parametrize("lanes", [1, 3, 5, 16, -4])
def test_widths_that_are_none(lanes) -> None:
    with pytest.raises(ValueError, match="lanes"):
        MelBank(np.ones(8, np.float32), np.ones((1, 5), np.float32), lanes)


@pytest.mark.parametrize("shape", [(1, 4), (5,), (1, 5, 1)])
def test_weights_of_another_size(shape) -> None:
    with pytest.raises(ValueError, match="weights"):
        MelBank(np.ones(8, np.float32), np.ones(shape, np.float32))


@pytest.mark.parametrize("out", [np.empty((2, 3), np.float32), np.empty((1, 3), np.float64), np.empty(3, np.float32)])
def test_room_of_another_shape_or_datatype(out) -> None:
    bank = MelBank(np.ones(8, np.float32), np.ones((1, 5), np.float32))
    with pytest.raises(ValueError):
        bank.run(np.ones(50, np.float32), 0, 1, out)


def test_what_is_no_number_stays_in_its_windows() -> None:
    samples = np.ones(200, np.float32)
    samples[100] = np.nan
    out = np.empty((1, 18), np.float32)
    MelBank(np.ones(20, np.float32), np.ones((1, 11), np.float32)).run(samples, 0, 10, out)
    assert np.isnan(out[0]).tolist() == [frame in (9, 10) for frame in range(18)]
