"""MP3 files frame by frame: tags around them, and frames that cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.steps.audio_container import BadClip
from inferd.steps.audio_mp3 import RATES, mp3_frames
from tests.clips import sound, written

ALL_RATES = sorted(rate for rates in RATES for rate in rates)


def mp3(samples, rate=16_000, mode="CONSTANT", level=0.5):
    return written(samples, rate, ("MP3", "MPEG_LAYER_III"), bitrate_mode=mode, compression_level=level)


MONO = mp3(sound(8000))
FRAME = 360  # bytes: every frame of MONO has them, at 80 kbit/s


def rejection(content, seconds=300.0):
    with pytest.raises(BadClip) as raised:
        mp3_frames(memoryview(content), seconds)
    return str(raised.value)


def with_bits(content, at, value, count):
    """The same with a number of `count` bits in place of those from bit `at` on."""
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    bits[at : at + count] = [value >> place & 1 for place in reversed(range(count))]
    return np.packbits(bits).tobytes()


def frames_of(content, seconds=300.0):
    """Without the tag that is put in front of those that have none."""
    return bytes(mp3_frames(memoryview(content), seconds)[-1])


def noise(rate, channels):
    return np.random.default_rng(2).uniform(-0.9, 0.9, (2 * rate, channels)) * (np.arange(2 * rate) % 5000 < 3000)[:, np.newaxis]


@pytest.mark.parametrize("rate", ALL_RATES)
@pytest.mark.parametrize("mode", ["CONSTANT", "AVERAGE", "VARIABLE"])
def test_whole_files_of_every_kind(rate, mode) -> None:
    channels = 1 + (ALL_RATES.index(rate) + len(mode)) % 2  # each with each rate and with each mode
    for samples in (sound(rate, rate, channels), noise(rate, channels), np.zeros((rate, channels))):
        for level in (0, 0.99):
            content = mp3(samples, rate, mode, level)
            assert frames_of(content) == content


def test_a_clip_cut_out_of_another_is_whole() -> None:
    """Its first frames have data in frames that are not there."""
    content = mp3(noise(44_100, 2), 44_100, "VARIABLE")
    whole = memoryview(content)
    begins = [
        at for at in range(1, len(content) - 4) if content[at : at + 2] == content[:2] and content[at + 2] & 0x0C == content[2] & 0x0C
    ]
    cut = next(at for at in begins[20:] if mp3_frames_or_none(whole[at:]) is not None)
    assert frames_of(content[cut:]) == content[cut:]


def mp3_frames_or_none(content):
    try:
        return mp3_frames(content, 300)
    except BadClip:
        return None


def test_tags_are_left_out() -> None:
    tag = b"ID3\4\0\0" + bytes([0, 0, 1, 5]) + bytes(133)
    for front in (b"", tag, tag + bytes(77), tag + tag):
        for behind in (b"", b"TAG" + bytes(125), bytes(100), tag):
            assert frames_of(front + MONO + behind) == MONO


def test_a_file_that_counts_its_frames_stays_as_it_is() -> None:
    content = mp3(sound(8000), mode="VARIABLE")
    assert b"Xing" in content[:40]
    assert mp3_frames(memoryview(content), 300) == [content]


@pytest.mark.parametrize("difference", [-3, -1, 1, 1000])
def test_a_count_of_other_frames_is_rejected(difference) -> None:
    content = bytearray(mp3(sound(8000), mode="VARIABLE"))
    at = content.index(b"Xing") + 8
    there = int.from_bytes(content[at : at + 4], "big")
    content[at : at + 4] = (there + difference).to_bytes(4, "big")
    assert rejection(content).startswith(f"expected {there + difference} frames, as the MP3 file's header says, got {there}: ")


def test_a_file_of_free_format_is_told_as_such() -> None:
    content = bytearray(MONO)
    content[2] &= 0x0F
    assert rejection(content).endswith("got one of free format: encode it at a standard bit rate")


def test_more_frames_than_the_clip_can_have() -> None:
    assert rejection(MONO * 4, 0.5) == "expected at most 0.5 seconds, got more: send a shorter clip"


# Of a frame of MPEG 2 with one channel: 4 bytes of head, then 8 bits (what it has in frames before), 1 that is free, then 12 (bits of its
# data), 9 (pairs of large values), 8, 9, 1 (whether the window is another), 2 (which) and so on.
SIDE = 8 * (2 * FRAME + 4)


PAIRS, WINDOW = SIDE + 9 + 12, SIDE + 9 + 12 + 9 + 8 + 9


@pytest.mark.parametrize(("at", "value", "count"), [(PAIRS, 289, 9), (WINDOW, 0b100, 3)], ids=["pairs", "window of no kind"])
def test_frames_that_cannot_be(at, value, count) -> None:
    content = with_bits(MONO, at, value, count)
    assert rejection(content) == f"the MP3 file is corrupt: the frame at byte {2 * FRAME} says of itself what cannot be"


def test_a_frame_with_more_data_than_there_are() -> None:
    own_bits = 8 * (FRAME - 4 - 9)
    for before in (0, 3):
        content = with_bits(MONO, SIDE, before, 8)
        mp3_frames(memoryview(with_bits(content, SIDE + 9, own_bits + 8 * before, 12)), 300)
        assert "says of itself what cannot be" in rejection(with_bits(content, SIDE + 9, own_bits + 8 * before + 1, 12))


def test_the_most_that_a_frame_can_say() -> None:
    content = with_bits(with_bits(MONO, PAIRS, 288, 9), WINDOW, 0b110, 3)
    mp3_frames(memoryview(content), 300)


def test_a_checksum_behind_the_head_is_left_out() -> None:
    frame = bytearray(MONO[FRAME : 2 * FRAME])
    frame[1] &= 0xFE
    with_checksum = bytes(frame[:4]) + b"\xff\xff" + bytes(frame[4:-2])
    mp3_frames(memoryview(MONO[:FRAME] + with_checksum + MONO[2 * FRAME :]), 300)
    wrong = with_bits(with_checksum, 8 * 6 + 9 + 12, 289, 9)
    assert "says of itself what cannot be" in rejection(MONO[:FRAME] + wrong + MONO[2 * FRAME :])


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (16_000, 2), (44_100, 1), (44_100, 2)])
def test_random_frames_are_told(rate, channels) -> None:
    rng = np.random.default_rng(5)
    content = bytearray(mp3(noise(rate, channels), rate, level=0.9))
    whole = memoryview(bytes(content))
    head = bytes(whole[:2])
    at, told = len(content) // 2, 0
    at = content.index(head, at)
    size = content.index(head, at + 4) - at
    for _ in range(50):
        content[at + 4 : at + size] = rng.bytes(size - 4)
        told += mp3_frames_or_none(memoryview(content)) is None
    assert told > 25


@given(st.lists(st.tuples(st.integers(0, len(MONO) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, len(MONO)))
def test_any_bytes(edits, end) -> None:
    content = bytearray(MONO)
    for at, byte in edits:
        content[at] = byte
    frames = mp3_frames_or_none(memoryview(content)[:end])
    assert frames is None or sum(map(len, frames)) <= end + FRAME
