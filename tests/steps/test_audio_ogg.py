"""OGG files page by page: what is a whole stream, and what is rejected before a library sees it."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.steps import audio_ogg
from inferd.steps.audio_container import BadClip
from inferd.steps.audio_ogg import check_ogg
from tests.clips import ogg_checksum, ogg_pages, sound, with_checksums, written

CODECS = ["VORBIS", "OPUS"]
VORBIS = written(sound(60_000), kind=("OGG", "VORBIS"))
PAGES = list(ogg_pages(VORBIS))
FIRST = 28  # where the first packet begins


def rejection(content, seconds=300.0):
    with pytest.raises(BadClip) as raised:
        check_ogg(memoryview(content), seconds)
    return str(raised.value)


def changed(content, at, replacement, pages=None):
    """The same with other bytes at that place, and checksums that fit."""
    content = content[:at] + replacement + content[at + len(replacement) :]
    return with_checksums(content, list(ogg_pages(content)) if pages is None else pages)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("samples", [1, 1000, 200_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_whole_files(codec, samples, channels) -> None:
    content = written(sound(samples, channels=channels), kind=("OGG", codec))
    for tail in (b"", bytes(100), b"TAG" + bytes(125), b"ID3\4 and more"):
        check_ogg(memoryview(content + tail), 300)


@given(st.binary(min_size=26, max_size=200))
def test_the_checksum_is_the_formats(page) -> None:
    assert audio_ogg._checksum(page) == ogg_checksum(page)


@pytest.mark.parametrize("codec", CODECS)
def test_any_changed_byte_is_told(codec) -> None:
    content = written(sound(3000), kind=("OGG", codec))
    rng = np.random.default_rng(1)
    for at in {*range(300), *rng.integers(0, len(content), 200).tolist()}:
        damaged = bytearray(content)
        damaged[at] ^= int(rng.integers(1, 256))
        assert rejection(bytes(damaged)).startswith("the OGG file is c")


@pytest.mark.parametrize("codec", CODECS)
def test_files_that_are_cut_off(codec) -> None:
    content = written(sound(3000), kind=("OGG", codec))
    for end in range(0, len(content), 3):
        assert "cut off" in rejection(content[:end])


def test_a_page_that_is_missing_or_twice() -> None:
    for missing in PAGES[1:-1]:
        without = VORBIS[: missing.start] + VORBIS[missing.stop :]
        assert "the OGG file is corrupt: expected page " in rejection(without)
        assert "the OGG file is corrupt: expected page " in rejection(VORBIS[: missing.stop] + VORBIS[missing])
        assert "expected page " in rejection(VORBIS[: missing.start] + VORBIS[PAGES[-1]])
    assert rejection(VORBIS[PAGES[1].start :]) == (
        "the OGG file is corrupt: expected a page with the first header, and nothing else, at byte 0, got another"
    )
    assert "its last page is missing" in rejection(VORBIS[: PAGES[-1].start])


def test_something_between_or_behind_the_pages() -> None:
    at = PAGES[3].start
    assert rejection(VORBIS[:at] + b"abc" + VORBIS[at:]) == f"the OGG file is corrupt: expected a page at byte {at}, got something else"
    assert rejection(VORBIS + b"abc") == f"the OGG file is corrupt: expected its end at byte {len(VORBIS)}, got something else"
    assert rejection(changed(VORBIS, 4, b"\1")) == "the OGG file is corrupt: expected a page at byte 0, got something else"


def test_several_streams() -> None:
    other = written(sound(9000), kind=("OGG", "OPUS"))
    assert rejection(VORBIS + other) == (
        f"expected an OGG file of one stream, got another at byte {len(VORBIS)}: send each as a file of its own"
    )
    first_page = next(iter(ogg_pages(other)))
    both = other[first_page] + VORBIS  # as films have them
    assert rejection(both).startswith(f"expected an OGG file of one stream, got another at byte {first_page.stop}: ")
    again = changed(VORBIS, PAGES[2].start + 5, b"\2")
    assert "of one stream" in rejection(again)


def test_packets_that_do_not_go_on() -> None:
    for page in PAGES[1:-1]:
        flags = VORBIS[page.start + 5]
        assert "does not go on where the one before it ends" in rejection(changed(VORBIS, page.start + 5, bytes([flags ^ 1])))


def test_pages_without_packets_change_nothing() -> None:
    at, (number,) = PAGES[2].start, struct.unpack_from("<I", VORBIS, PAGES[2].start + 18)
    empty = VORBIS[at : at + 18] + struct.pack("<IIB", number, 0, 0)
    later = b""
    for page in PAGES[2:]:
        (number,) = struct.unpack_from("<I", VORBIS, page.start + 18)
        later += VORBIS[page.start : page.start + 18] + struct.pack("<I", number + 1) + VORBIS[page.start + 22 : page.stop]
    content = VORBIS[:at] + empty + later
    check_ogg(memoryview(with_checksums(content, list(ogg_pages(content)))), 300)


@pytest.mark.parametrize(
    ("at", "replacement"),
    [(7, b"\1"), (11, b"\0"), (12, b"\0\0\0\0"), (28, b"\x85"), (28, b"\xe8"), (28, b"\x7b"), (29, b"\0")],
    ids=["version", "channels", "rate", "small block", "large block", "blocks in the wrong order", "framing"],
)
def test_first_headers_of_vorbis_that_the_library_does_not_like(at, replacement) -> None:
    assert rejection(changed(VORBIS, FIRST + at, replacement)) == "the OGG file is corrupt: its first header is not Vorbis'"


def test_headers_that_are_missing() -> None:
    second = PAGES[1]
    ending = bytearray(VORBIS[: second.stop])
    ending[second.start + 5] |= 4
    sizes = ending[second.start + 27 : second.start + 27 + ending[second.start + 26]]
    assert sum(size < 255 for size in sizes) == 2
    ending[second.start + 26 + len(sizes)] = 255  # the second of them does not end
    content = bytes(ending) + bytes(255 - sizes[-1])
    assert rejection(with_checksums(content, list(ogg_pages(content)))) == "the OGG file is corrupt: expected 3 headers, got 2"


@pytest.mark.parametrize("magic", [b"\x7fFLAC\1\0", b"Speex  ", b"fishead", b"\x80theora"])
def test_other_codecs_are_rejected(magic) -> None:
    assert rejection(changed(VORBIS, FIRST, magic)) == (
        "expected a WAV, FLAC, OGG or MP3 file, got an OGG file that begins with neither Vorbis nor Opus: convert it"
    )


def test_more_pages_than_the_clip_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_ogg, "MOST_OTHER_PAGES", 1)
    check_ogg(memoryview(VORBIS), len(PAGES) / 400)
    assert rejection(VORBIS, 0.01) == "expected an OGG file of at most 5 pages, got more: send a shorter clip"


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_any_bytes(edits, fitting) -> None:
    content = bytearray(VORBIS)
    for at, byte in edits:
        content[at] = byte
    try:
        check_ogg(memoryview(with_checksums(bytes(content), PAGES) if fitting else content), 300)
    except BadClip:
        return
    assert fitting or bytes(content) == VORBIS
