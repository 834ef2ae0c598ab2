"""Texts of a PNG file: what is damaged or too long says nothing. That they are read as Pillow reads them is in test_picture.py."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.steps.png_text import EXIF_PROFILE, MAX_TEXT_BYTES, TEXT_CHUNKS, XMP, keyword, profile, text


def read(name: bytes, content: bytes) -> bytes:
    return text(name, memoryview(content))


def test_a_keyword_ends_within_80_bytes() -> None:
    assert keyword(memoryview(XMP + b"\0and more")) == XMP
    assert keyword(memoryview(b"k" * 79 + b"\0")) == b"k" * 79
    assert keyword(memoryview(b"k" * 80 + b"\0")) == keyword(memoryview(XMP)) == keyword(memoryview(b"")) == b""


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_packed_text_has_a_limit(more: int) -> None:
    """A chunk of 1 KB becomes 1 MB, and no more."""
    packed = zlib.compress(bytes(MAX_TEXT_BYTES + more))
    expected = 0 if more > 0 else MAX_TEXT_BYTES + more
    assert len(read(b"zTXt", b"k\0\0" + packed)) == len(read(b"iTXt", b"k\0\1\0en\0word\0" + packed)) == expected


def test_a_plain_text_is_read_up_to_the_limit() -> None:
    assert read(b"tEXt", b"k\0" + b"a" * (MAX_TEXT_BYTES + 5)) == read(b"iTXt", b"k\0\0\0\0\0" + b"a" * (MAX_TEXT_BYTES + 5))
    assert len(read(b"tEXt", b"k\0" + b"a" * (MAX_TEXT_BYTES + 5))) == MAX_TEXT_BYTES


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (b"zTXt", b"k\0"),
        (b"zTXt", b"k\0\1" + zlib.compress(b"another method")),
        (b"zTXt", b"k\0\0damaged"),
        (b"iTXt", b"k\0"),
        (b"iTXt", b"k\0\0\0no end"),
        (b"iTXt", b"k\0\0\0" + b"l" * 2000 + b"\0\0far"),
        (b"iTXt", b"k\0\1\1\0\0" + zlib.compress(b"another method")),
    ],
)
def test_what_cannot_be_read_says_nothing(name: bytes, content: bytes) -> None:
    assert read(name, content) == b""


@pytest.mark.parametrize("said", [b"\nexif\n4\n12345", b"\nexif\n4\nnothing", b"\nexif\n4\n\xff\xff"])
def test_a_profile_that_is_none(said: bytes) -> None:
    assert profile(said) is None
    assert profile(b"\nexif\n       4\n4949\n2a00\n") == b"II*\0"


@given(st.sampled_from(TEXT_CHUNKS), st.sampled_from([b"", XMP + b"\0", EXIF_PROFILE + b"\0\0", XMP + b"\0\1\0"]), st.binary(max_size=200))
def test_any_bytes(name: bytes, front: bytes, noise: bytes) -> None:
    assert len(profile(read(name, front + noise)) or b"") <= MAX_TEXT_BYTES
