"""gzip and deflate of a message, held against Python's own zlib and gzip: what is taken, what is rejected, and what it may hold."""

from __future__ import annotations

import gzip
import random
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd._core.grpc import message as messages
from inferd._core.grpc.compression import Compression, Decompression
from inferd._core.grpc.message import Message
from inferd.errors import DeadlineExceeded, Internal, ResourceExhausted

KiB, MiB = 1 << 10, 1 << 20
LIMIT = 64 * MiB
PIECE = 256 * KiB  # what is decompressed between two looks
CONTENTS = {
    "nothing": b"",
    "a byte": b"x",
    "zeros": bytes(3 * MiB + 7),
    "numbers": struct.pack("<200000I", *range(200_000)),
    "one block": bytes(range(256)) * 2,
    "a block and a byte": bytes(range(256)) * 2 + b"x",
    "a piece": bytes(PIECE),
    "more than a mapped block": bytes(range(256)) * 1025,
}


def compressed(content: bytes, encoding: str) -> bytes:
    return gzip.compress(content) if encoding == "gzip" else zlib.compress(content)


def decompressed(content: bytes, encoding: str) -> bytes:
    return gzip.decompress(content) if encoding == "gzip" else zlib.decompress(content)


def decompress(content: bytes, encoding: str = "gzip", limit: int = LIMIT) -> bytes:
    """What is made of it. Raises what was wrong."""
    conversion = Decompression(Message(content), encoding, limit)
    conversion.run()
    assert conversion.over
    if conversion.error is not None:
        assert conversion.result is None
        raise conversion.error
    assert conversion.result is not None
    return bytes(conversion.result)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_others_compressed(content: bytes, encoding: str) -> None:
    for level in (0, 1, 9):
        compressor = zlib.compressobj(level, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
        assert decompress(compressor.compress(content) + compressor.flush(), encoding) == content


@given(st.binary(max_size=2000), st.integers(0, 9))
def test_any_bytes_there_and_back(content: bytes, repeated: int) -> None:
    content *= repeated
    for encoding in ("gzip", "deflate"):
        assert decompress(compressed(content, encoding), encoding) == content
        conversion = Compression(Message(content), encoding)
        conversion.run()
        assert (conversion.over, conversion.error) == (True, None)
        if conversion.result is not None:
            assert len(conversion.result) < len(content)
            assert decompressed(bytes(conversion.result), encoding) == content


@pytest.mark.parametrize("content", [CONTENTS["zeros"], CONTENTS["numbers"], CONTENTS["more than a mapped block"]])
def test_what_others_decompress(content: bytes, encoding: str) -> None:
    conversion = Compression(Message(content), encoding)
    conversion.run()
    assert conversion.result is not None
    assert decompressed(bytes(conversion.result), encoding) == content


def test_what_compressing_does_not_make_smaller_has_no_result(encoding: str, before: int) -> None:
    noise = random.Random(1).randbytes(300_000)
    conversion = Compression(Message(noise), encoding)
    conversion.run()
    assert (conversion.over, conversion.error, conversion.result) == (True, None, None)


def test_an_empty_message_is_one(encoding: str) -> None:
    """As grpc's own servers take it, although it is no gzip."""
    assert decompress(b"", encoding) == b""


def test_the_limit_counts_what_comes_out(encoding: str) -> None:
    for nbytes in (999, 1000):
        assert decompress(compressed(bytes(nbytes), encoding), encoding, 1000) == bytes(nbytes)
    with pytest.raises(
        ResourceExhausted, match=r"at most 1000 bytes \(max_message_bytes.*\) once it is decompressed, got more from \d+ bytes"
    ):
        decompress(compressed(bytes(1001), encoding), encoding, 1000)


def test_a_bomb_holds_no_more_than_the_limit(encoding: str, before: int) -> None:
    bomb = Message(compressed(bytes(100 * MiB), encoding))
    conversion = Decompression(bomb, encoding, 4 * MiB)
    free = messages.in_use() + 4 * MiB + 1  # no byte more than the limit and the one that shows that it is passed,
    messages.set_budget(-(-free * 8 // 7) + 1024)  # beside the eighth that a large message leaves free
    conversion.run()
    assert isinstance(conversion.error, ResourceExhausted)
    assert conversion.error.reason == "message_size"
    assert conversion.result is None


def test_what_comes_out_counts_in_the_budget_of_messages(encoding: str, before: int) -> None:
    source = Message(compressed(bytes(8 * MiB), encoding))
    messages.set_budget(messages.in_use() + 2 * MiB)
    conversion = Decompression(source, encoding, LIMIT)
    conversion.run()
    assert isinstance(conversion.error, ResourceExhausted)
    assert conversion.error.reason == "message_memory"
    messages.set_budget(1 << 30)
    conversion = Decompression(source, encoding, LIMIT)
    held = messages.in_use()
    conversion.run()
    assert conversion.result is not None
    assert messages.in_use() - held >= 7 * MiB  # the compressed one is free
    del source
    assert messages.in_use() - before == 8 * MiB


def test_memory_of_a_result_grows_with_it(before: int) -> None:
    """What passes a block of the pool gets a larger one, and blocks that were too small go back."""
    for nbytes in (1, 512, 513, 32 * KiB, 255 * KiB, 256 * KiB, 257 * KiB, 600 * KiB, 3 * MiB):
        content = bytes(range(251)) * (nbytes // 251 + 1)
        conversion = Decompression(Message(gzip.compress(content)), "gzip", LIMIT)
        conversion.run()
        assert conversion.result is not None
        assert bytes(conversion.result) == content
        del conversion
        assert messages.in_use() == before


# ---- what is wrong


def test_cut_at_every_byte(encoding: str) -> None:
    """gzip's last eight bytes and zlib's last four are a checksum, and must be there as well."""
    whole = compressed(b"hello, hello, hello " * 20, encoding)
    for nbytes in range(1, len(whole)):
        with pytest.raises(Internal, match=rf"expected {nbytes} bytes of {encoding}, as grpc-encoding says; they are cut short"):
            decompress(whole[:nbytes], encoding)


def test_a_large_one_that_is_cut_short(encoding: str) -> None:
    with pytest.raises(Internal, match="cut short"):
        decompress(compressed(CONTENTS["numbers"], encoding)[:-1], encoding)


@pytest.mark.parametrize("behind", [b"\0", b"x" * 100_000, gzip.compress(b"another member", mtime=0)])
def test_bytes_behind_the_end(encoding: str, behind: bytes) -> None:
    for content in (b"hello", CONTENTS["numbers"]):
        with pytest.raises(Internal, match="there are more behind its end"):
            decompress(compressed(content, encoding) + behind, encoding)


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"something else altogether",
        bytes(1000),
        zlib.compress(b"hello")[2:-4],  # raw deflate, which some take the word for
    ],
)
def test_what_is_something_else(encoding: str, content: bytes) -> None:
    with pytest.raises(Internal, match=rf"expected \d+ bytes of {encoding}, as grpc-encoding says; they are (something else|cut short)"):
        decompress(content, encoding)


def test_one_for_the_other(encoding: str) -> None:
    other = {"gzip": "deflate", "deflate": "gzip"}[encoding]
    with pytest.raises(Internal, match="something else"):
        decompress(compressed(b"hello", other), encoding)


def test_a_wrong_checksum(encoding: str) -> None:
    content = bytearray(compressed(b"hello" * 100, encoding))
    content[-1 if encoding == "deflate" else -5] ^= 1
    with pytest.raises(Internal, match="something else"):
        decompress(bytes(content), encoding)


@given(st.data())
def test_a_changed_byte_is_rejected_or_changes_nothing(data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(["gzip", "deflate"]))
    content = b"row after row after row of numbers: " * 10
    wrong = bytearray(compressed(content, encoding))
    wrong[data.draw(st.integers(0, len(wrong) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Internal, ResourceExhausted):
        assert decompress(bytes(wrong), encoding) == content


@given(st.binary(max_size=500), st.sampled_from(["gzip", "deflate"]))
def test_random_bytes_are_taken_or_rejected(content: bytes, encoding: str) -> None:
    try:
        found = decompress(content, encoding, 10_000)
    except (Internal, ResourceExhausted):
        return
    assert found == (decompressed(content, encoding) if content else b"")


def test_no_text_of_zlib_reaches_the_client() -> None:
    with pytest.raises(Internal) as caught:
        decompress(b"something else")
    assert "Error" not in str(caught.value)
    assert caught.value.__suppress_context__


# ---- turns


@pytest.mark.parametrize("kind", [Compression, lambda source, encoding: Decompression(source, encoding, LIMIT)], ids=["there", "back"])
def test_a_run_that_is_too_short_holds_nothing(
    kind: Callable[[Message, str], Compression | Decompression], encoding: str, before: int
) -> None:
    """A run whose time is over does a piece and loses it. A run to the end comes to the same as ever."""
    content = CONTENTS["numbers"]
    source = Message(content if kind is Compression else compressed(content, encoding))
    conversion = kind(source, encoding)
    held = messages.in_use()
    for _ in range(3):
        assert (conversion.run(0), conversion.over, conversion.result, messages.in_use()) == (False, False, None, held)
    assert conversion.run()
    assert conversion.over
    assert conversion.run(0), "once and for all"
    assert conversion.result is not None
    assert (decompressed(bytes(conversion.result), encoding) if kind is Compression else bytes(conversion.result)) == content


# ---- who no longer wants it


def test_cancelled_before_it_began(encoding: str, before: int) -> None:
    told: list[None] = []
    conversion = Decompression(Message(compressed(bytes(MiB), encoding)), encoding, LIMIT, lambda: told.append(None))
    conversion.cancel()
    assert messages.in_use() == before
    conversion.run()
    conversion.done()
    assert (conversion.over, conversion.result, told) == (False, None, [])


def test_who_has_it_is_told_once(encoding: str, before: int) -> None:
    told: list[Compression] = []
    conversion = Compression(Message(CONTENTS["numbers"]), encoding)
    conversion.when_cancelled = told.append
    assert not conversion.run(0)
    conversion.cancel()
    conversion.cancel()
    assert (told, conversion.cancelled, conversion.run(0), messages.in_use()) == ([conversion], True, True, before)


def test_cancelled_when_it_was_over(encoding: str, before: int) -> None:
    told: list[None] = []
    conversion = Decompression(Message(compressed(bytes(MiB), encoding)), encoding, LIMIT, lambda: told.append(None))
    conversion.run()
    assert messages.in_use() > before
    conversion.cancel()
    assert messages.in_use() == before
    conversion.done()
    assert told == []


def test_told_once(encoding: str) -> None:
    told: list[None] = []
    conversion = Compression(Message(bytes(10_000)), encoding, lambda: told.append(None))
    conversion.run()
    assert told == []
    conversion.done()
    conversion.done()
    assert told == [None]


def test_a_deadline_that_has_passed_ends_it(encoding: str, before: int) -> None:
    source = Message(compressed(bytes(MiB), encoding))
    conversion = Decompression(source, encoding, LIMIT, None, time.monotonic_ns())
    conversion.run()
    assert isinstance(conversion.error, DeadlineExceeded)
    assert conversion.result is None
    conversion = Decompression(source, encoding, LIMIT, None, time.monotonic_ns() + 3600 * 10**9)
    conversion.run()
    assert conversion.error is None


def test_what_was_decompressed_counts_as_copied_once() -> None:
    content = compressed(bytes(range(250)) * 5000, "gzip")
    before = messages.copied_nbytes()
    assert len(decompress(content)) == 1_250_000
    assert messages.copied_nbytes() - before == 1_250_000
