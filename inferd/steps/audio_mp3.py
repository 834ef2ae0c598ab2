"""MP3 files: whether one frame follows the other to the end, and whether the header of each is possible.

libsndfile takes a truncated file for a shorter clip, and libmpg123 decodes an impossible frame to silence and a line on stderr. They guess
the length of a file from its size and its first frame, unless a tag there counts the frames. Then they drop the rest, two thirds of some
files. So the frames are counted here. A tag with another count is rejected, and a file without a tag gets one. libmpg123 drops the
decoder's delay after a tag: audio_file.py puts these samples in front again. An MP3 without a tag that was cut off exactly after a frame
counts as a shorter clip, for nothing in it says otherwise. Never in here: spectra, samples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from inferd.steps.audio_container import BadClip, corrupt, cut_off, only_tags

DECODER_DELAY = 529  # samples that libmpg123 leaves out behind a tag

MOST_TAGS = 16  # in front of an MP3
MOST_ZEROS = 65_536  # between them and its first frame

# MPEG audio, layer III. Sampling rates by the two bits of the version: 2.5, none, 2, 1. Bit rates by four bits, kbit/s; 0 is any, 15 none.
RATES = ((11_025, 12_000, 8_000), (), (22_050, 24_000, 16_000), (44_100, 48_000, 32_000))
MPEG2_KILOBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG1_KILOBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)

# Where the data of a frame would begin; behind it four bytes, the last of which says what is there, and the count.
TAGS = (b"Xing", b"Info")
COUNTED = 1  # of that byte: the number of frames is
TAG_BYTES = 12

MOST_PAIRS = 288  # of the 576 values of a granule

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]


class Side(NamedTuple):
    """Places within the side information of a frame. It is in front of the frame's data, some of which lies in earlier frames."""

    nbytes: int
    borrowed_bits: int  # of the first number: how many bytes lie there
    first_granule: int  # the bit; for each channel of each there are:
    # Bits of its data (12), pairs of large values (9), loudness (8), scale factors, whether the window is another (1) ...
    granule_bits: int
    scale_bits: int


# By whether it is MPEG 1, and the number of channels.
SIDES = {
    (True, 1): Side(17, 9, 18, 59, 4),
    (True, 2): Side(32, 9, 20, 59, 4),
    (False, 1): Side(9, 8, 9, 63, 9),
    (False, 2): Side(17, 8, 10, 63, 9),
}


def mp3_frames(content: memoryview, seconds: float) -> list[bytes | memoryview]:
    """The frames, without the tags around them. A file that does not count its frames gets a first piece that does.

    Raises BadClip, also for more than `seconds` of them."""
    begin = _first_frame(content)
    first = bytes(content[begin : begin + 4])
    if len(first) < 4:
        raise cut_off("MP3", "its first frame is")
    rates, rate_index = RATES[first[1] >> 3 & 3], first[2] >> 2 & 3
    if first[0] != 0xFF or first[1] & 0xE6 != 0xE2 or not rates or rate_index == 3:
        raise corrupt("MP3", f"expected its first frame at byte {begin}, got something else")
    if first[2] >> 4 == 0:
        raise BadClip("expected an MP3 file whose frames say their bit rate, got one of free format: encode it at a standard bit rate")
    starts = _starts(content, begin, first, seconds)
    end = starts.pop()
    if end > len(content):
        raise cut_off("MP3", f"{end - len(content)} bytes are")
    if not only_tags(content[end:]):
        raise corrupt("MP3", f"expected a frame like its first at byte {end}, got something else")
    if starts:
        _check_frames(np.frombuffer(content, np.uint8), np.array(starts), np.diff(starts, append=end), mpeg1=_is_mpeg1(first))
    return _counted(content[begin:end], len(starts))


def _counted(frames: memoryview, count: int) -> list[bytes | memoryview]:
    """The same, and a tag where they have none. Raises BadClip for one that counts others."""
    head = bytes(frames[:4])
    mpeg1, channels = _is_mpeg1(head), 1 if head[3] >> 6 == 3 else 2
    at = 4 + SIDES[mpeg1, channels].nbytes
    tag = bytes(frames[at : at + TAG_BYTES])
    if tag[:4] in TAGS and tag[7] & COUNTED:
        said = int.from_bytes(tag[8:], "big")
        if said != count - 1:
            raise BadClip(f"expected {said} frames, as the MP3 file's header says, got {count - 1}: send all of it as it was written")
        return [frames]
    return [_tag(head, at, count), frames]


def _tag(head: bytes, at: int, count: int) -> bytes:
    """A frame without sound that says how many follow, like one with that head: of the least bit rate that has room for it."""
    heads = (bytes([0xFF, head[1] | 1, rate << 4 | head[2] & 0x0C, head[3]]) for rate in range(1, 15))
    own = next(head for head in heads if _frame_bytes(head) >= at + TAG_BYTES)
    tag = TAGS[1] + COUNTED.to_bytes(4, "big") + count.to_bytes(4, "big")
    return (own + bytes(at - 4) + tag).ljust(_frame_bytes(own), b"\0")


def _first_frame(content: memoryview) -> int:
    """Behind the tags in front of an MP3, and the zeros that may follow them."""
    at = 0
    for _ in range(MOST_TAGS):
        head = bytes(content[at : at + 10])
        if head[:3] != b"ID3" or len(head) < 10:
            break
        a, b, c, d = (byte & 0x7F for byte in head[6:])
        at += 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if head[5] & 0x10 else 0)
    rest = bytes(content[at : at + MOST_ZEROS])
    return at + len(rest) - len(rest.lstrip(b"\0"))


def _is_mpeg1(frame: bytes | memoryview) -> bool:
    """Whether it is MPEG 1, of 32 kHz and more; else 2 or 2.5."""
    return frame[1] & 0x18 == 0x18


def _rate(frame: bytes | memoryview) -> int:
    """Samples a second."""
    return RATES[frame[1] >> 3 & 3][frame[2] >> 2 & 3]


def _frame_bytes(frame: bytes | memoryview) -> int:
    """How long a frame is, by its head."""
    kilobits, factor = (MPEG1_KILOBITS, 144_000) if _is_mpeg1(frame) else (MPEG2_KILOBITS, 72_000)
    return factor * kilobits[frame[2] >> 4] // _rate(frame) + (frame[2] >> 1 & 1)


def _starts(content: memoryview, at: int, first: bytes, seconds: float) -> list[int]:
    """Where each frame begins, and where the last of them ends."""
    rate, samples = _rate(first), 1152 if _is_mpeg1(first) else 576
    starts = [at]
    for _ in range(int((seconds + 1) * rate / samples)):  # a second for what encoders put in front and behind
        frame = content[at : at + 3]
        # The version, the layer and the sample rate are those of the first.
        if len(frame) < 3 or frame[0] != 0xFF or (frame[1] ^ first[1]) & 0xFE or (frame[2] ^ first[2]) & 0x0C or frame[2] >> 4 in (0, 15):
            return starts
        at += _frame_bytes(frame)
        starts.append(at)
    raise BadClip(f"expected at most {seconds:g} seconds, got more: send a shorter clip")


def _check_frames(content: Bytes, starts: Numbers, sizes: Numbers, *, mpeg1: bool) -> None:
    """Raises BadClip for a frame whose side information cannot be."""
    alone = content[starts + 3] >> 6 == 3  # one channel
    checked = content[starts + 1] & 1 == 0  # two bytes of a checksum stand behind the head
    for channels, here in ((1, alone), (2, ~alone)):
        side = SIDES[mpeg1, channels]
        begin = starts[here] + 4 + 2 * checked[here]
        bits = np.unpackbits(content[begin[:, np.newaxis] + np.arange(side.nbytes)], axis=1)
        wrong = _wrong_sides(side, bits, 8 * (starts[here] + sizes[here] - begin - side.nbytes))
        if wrong.any():
            raise corrupt("MP3", f"the frame at byte {starts[here][np.argmax(wrong)]} says of itself what cannot be")


def _wrong_sides(side: Side, bits: Bytes, own_bits: Numbers) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether the side information of each frame is impossible. bits: of the side information. own_bits: of data behind it."""

    def number(first: int, count: int) -> Numbers:
        return bits[:, first : first + count] @ (1 << np.arange(count)[::-1])

    wrong = np.zeros(len(bits), np.bool_)
    taken = np.zeros(len(bits), np.int64)
    for first in range(side.first_granule, 8 * side.nbytes, side.granule_bits):
        taken += number(first, 12)
        wrong |= number(first + 12, 9) > MOST_PAIRS
        switched = first + 29 + side.scale_bits
        wrong |= (number(switched, 1) == 1) & (number(switched + 1, 2) == 0)  # another window, and none is named
    return wrong | (taken > own_bits + 8 * number(0, side.borrowed_bits))
