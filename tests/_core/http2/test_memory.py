"""Blocks are what C's malloc, calloc and realloc promise, whatever was in them before; what is kept of them has a limit."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
from http2_access import give, take, take_other, take_zeroed
from hypothesis import given
from hypothesis import strategies as st

from inferd._core.http2.memory import keep, kept
from tests._core.http2_client import Client, Served

CLASS_NBYTES = 256 << 10  # of each size
LARGEST = 512  # of what is kept
NEVER = 2**64 - 1

SIZES = st.integers(0, 3000) | st.sampled_from([0, 1, 31, 32, 33, LARGEST - 1, LARGEST, LARGEST + 1])
STEPS = st.lists(st.tuples(st.sampled_from(["take", "take_zeroed", "take_other", "give"]), SIZES, st.integers(0, 2**31)), max_size=60)


def fill(address: int, nbytes: int, seed: int) -> bytes:
    content = bytes((seed + i) % 251 for i in range(nbytes))
    ctypes.memmove(address, content, nbytes)
    return content


@given(steps=STEPS)
def test_blocks_are_apart_from_each_other_and_hold_what_was_written(steps: list[tuple[str, int, int]]) -> None:
    held: dict[int, bytes] = {}
    try:
        for step, nbytes, seed in steps:
            chosen = sorted(held)[seed % len(held)] if held else None
            if step == "give":
                if chosen is not None:
                    del held[chosen]
                    give(chosen)
                continue
            before = b""
            if step == "take_zeroed":
                address = take_zeroed(nbytes, 1)
                assert ctypes.string_at(address, nbytes) == bytes(nbytes)
            elif step == "take_other":
                before = held.pop(chosen) if chosen is not None else b""
                address = take_other(chosen or 0, nbytes)
            else:
                address = take(nbytes)
            assert address % 16 == 0
            assert address not in held
            least = min(len(before), nbytes)
            assert ctypes.string_at(address, least) == before[:least]
            held[address] = fill(address, nbytes, seed)
            assert all(ctypes.string_at(other, len(content)) == content for other, content in held.items())
    finally:
        for address in held:
            give(address)
    assert kept() <= (LARGEST // 32 + 1) * CLASS_NBYTES


def test_nothing_is_given_where_no_memory_can_be() -> None:
    assert take(NEVER) == take(NEVER - 15) == take_zeroed(NEVER, 2) == take_zeroed(2**33, 2**33) == 0
    address = take(10)
    content = fill(address, 10, 3)
    assert take_other(address, NEVER) == 0
    assert ctypes.string_at(address, 10) == content
    give(address)
    give(0)


@pytest.fixture(scope="module", autouse=True)
def keeping() -> Iterator[None]:
    """In debug builds, too, which keep none elsewhere."""
    before = keep(True)
    yield
    keep(before)


@pytest.fixture
def empty() -> Iterator[None]:
    """Nothing is kept when the test begins."""
    blocks = []
    for nbytes in range(0, LARGEST + 1, 32):
        before = kept() + 1
        while kept() < before:
            before = kept()
            blocks.append(take(nbytes))
    assert kept() == 0
    yield
    for address in blocks:
        give(address)


@pytest.mark.usefixtures("empty")
def test_a_block_comes_again_for_what_is_of_its_size() -> None:
    address = take(130)
    give(address)
    assert kept() == 16 + 160
    assert take(161) != address
    assert take(160) == address
    assert kept() == 0
    give(address)


@pytest.mark.usefixtures("empty")
def test_what_is_kept_of_each_size_has_a_limit() -> None:
    """Of one size much is left behind by a wave of connections, say: it takes no place of the others."""
    before = 0
    for nbytes in (0, 1, LARGEST):
        for address in [take(nbytes) for _ in range(CLASS_NBYTES // (8 + nbytes))]:
            give(address)
        assert CLASS_NBYTES - LARGEST - 16 < kept() - before <= CLASS_NBYTES
        before = kept()
    give(take(LARGEST + 1))
    assert kept() == before


@pytest.mark.usefixtures("empty")
def test_a_session_gives_back_all_that_it_took() -> None:
    def live() -> int:
        client = Client(Served(lambda call: call.reply(b"answer")))
        for _ in range(20):
            stream_id = client.call(b"x")
        assert client.status(stream_id) == (0, "")
        client.connection.close()
        return kept()

    after_one = live()
    assert 0 < after_one == live() == live()
