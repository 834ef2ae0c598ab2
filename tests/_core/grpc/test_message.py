"""Messages: content, the pool's budget and reuse, no leak."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inferd._core.grpc import message
from inferd._core.grpc.message import Message
from inferd.errors import InvalidArgument, ResourceExhausted
from tests._core.http2_client import Client, Served, frame
from tests.wire import LIMIT_S

KiB = 1 << 10
MiB = 1 << 20


@pytest.fixture
def budget() -> object:
    """Sets a budget for one test."""
    yield message.set_budget
    message.set_budget(1 << 30)


@given(st.binary(max_size=4 * KiB))
def test_content_is_kept(content: bytes) -> None:
    assert bytes(Message(content)) == content
    assert len(Message(content)) == len(content)
    assert bytes(Message.wrap(content)) == content


def test_wrap_shares_the_memory() -> None:
    content = b"x" * KiB
    before = message.in_use()
    wrapped = Message.wrap(content)
    assert message.in_use() == before
    del content
    gc.collect()
    assert bytes(wrapped) == b"x" * KiB


def test_is_read_only() -> None:
    with pytest.raises(TypeError):
        memoryview(Message(b"abc"))[0] = 1


def test_every_message_counts() -> None:
    before = message.in_use()
    kept = [Message(b"x" * 100) for _ in range(100)]
    assert message.in_use() == before + 100 * 512
    del kept
    assert message.in_use() == before


@pytest.mark.parametrize(("nbytes", "block_nbytes"), [(0, 512), (512, 512), (513, 1024), (1024, 1024), (1025, 2048), (100_000, 131_072)])
def test_a_block_holds_its_message(nbytes: int, block_nbytes: int) -> None:
    before = message.in_use()
    held = Message(bytes(nbytes))
    assert message.in_use() - before == block_nbytes
    assert len(held) == nbytes


def test_blocks_come_back_and_are_used_again() -> None:
    before, live = message.in_use(), message.live()
    first = Message(b"x" * 100 * KiB)
    assert message.in_use() == before + 128 * KiB
    assert message.live() == live + 1
    del first
    assert message.in_use() == before
    kept = message.kept()
    assert kept >= 128 * KiB
    second = Message(b"y" * 100 * KiB)
    assert message.kept() == kept - 128 * KiB
    assert bytes(second) == b"y" * 100 * KiB


def test_free_blocks_beyond_the_pools_size_go_back_to_the_system() -> None:
    blocks = [Message(bytes(32 << 20)) for _ in range(4)]
    del blocks
    assert message.kept() <= 64 << 20


@pytest.mark.parametrize("nbytes", [8 << 20, 1 << 20])
def test_a_small_budget_keeps_half_of_itself(budget: Callable[[int], None], nbytes: int) -> None:
    """Also where a single block is larger than that."""
    held = [Message(bytes(3 << 20)) for _ in range(22)]  # all that the pool can have of this size
    budget(nbytes)
    del held
    Message(b"x")  # which makes room among what was kept before
    assert message.kept() <= nbytes // 2


@pytest.mark.parametrize("hoarded", [400, 100 * KiB, 32 << 20, 64 << 20])
def test_sizes_that_came_once_leave_room_to_those_that_come_now(hoarded: int) -> None:
    hoard = [Message(bytes(hoarded)) for _ in range(max(1, (64 << 20) // max(hoarded, 512)))]
    del hoard
    Message(bytes(600 * KiB))  # made, and given back
    kept = message.kept()
    assert kept <= 64 << 20
    held = Message(bytes(600 * KiB))
    assert message.kept() < kept, "its block had been kept"
    del held


def one_more(nbytes: int) -> Message | None:
    """None: it finds no room."""
    try:
        return Message(bytes(nbytes))
    except ResourceExhausted:
        return None


def test_the_smaller_a_message_is_the_later_it_finds_no_room(budget: object) -> None:
    """One of 128 KiB or more leaves an eighth free, one of 64 KiB a sixteenth, one of 1 KiB a thousandth."""
    room = 64 << 20
    budget(message.in_use() + room)  # type: ignore[operator]
    before, held = message.in_use(), []
    budget_nbytes = before + room
    for nbytes, share in ((8 << 20, 8), (128 * KiB, 8), (64 * KiB, 16), (KiB, 1024)):
        rejected = message.rejected()
        while (found := one_more(nbytes)) is not None:
            held.append(found)
        assert message.rejected() == rejected + 1
        left = budget_nbytes - message.in_use()
        assert budget_nbytes // share - KiB <= left <= budget_nbytes // share + nbytes
    assert bytes(Message(b"a health check")) == b"a health check"


def test_budget_rejects_and_recovers(budget: object) -> None:
    budget(message.in_use() + 2048 * KiB)  # type: ignore[operator]
    kept: list[Message] = []
    while (found := one_more(100 * KiB)) is not None:
        kept.append(found)
    with pytest.raises(ResourceExhausted, match="message_memory_bytes") as rejected:
        Message(bytes(100 * KiB))
    assert rejected.value.reason == "message_memory"
    assert rejected.value.retry_after_ns > 0
    kept.pop()
    assert len(Message(bytes(100 * KiB))) == 100 * KiB
    assert len(kept) > 10


def test_budget_must_be_positive(budget: object) -> None:
    with pytest.raises(InvalidArgument, match="positive"):
        budget(0)  # type: ignore[operator]


def resident_nbytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def test_large_blocks_are_given_back_by_a_few_threads() -> None:
    """Since it takes long; all of it, soon. Half is looked for: a sanitizer keeps what this loop itself frees."""
    before = threads()
    large = [Message(bytes(33 * MiB)) for _ in range(8)]
    full = resident_nbytes()
    large.clear()
    assert threads() <= before + 4
    limit = time.monotonic() + LIMIT_S
    while resident_nbytes() > full - 8 * 33 * MiB // 2 or threads() > before:
        assert time.monotonic() < limit
        os.sched_yield()


def virtual_nbytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def test_what_is_announced_and_does_not_come_has_no_block() -> None:
    """Except the first one, whose turn it is."""
    client = Client(Served())
    before = virtual_nbytes()
    for _ in range(100):
        client.send(client.open(), (b"\0" + (64 * MiB).to_bytes(4, "big")) + b"x", end=False)
    assert virtual_nbytes() - before < 2 * 64 * MiB
    client.connection.close()


@given(st.lists(st.integers(1, 3000), max_size=20), st.integers(0, 40_000))
@example([1, 510, 1, 1, 3000, 600, 1], 40_000)
def test_a_message_that_comes_in_pieces_is_whole(pieces: list[int], nbytes: int) -> None:
    content = bytes(number * 7 & 0xFF for number in range(nbytes))
    client = Client(served := Served())
    stream, left = client.open(), frame(content)
    gc.disable()  # it could end messages of tests before this one just now
    try:
        before = message.in_use()
        for piece in pieces:
            client.send(stream, left[:piece], end=False)
            left = left[piece:]
        client.send(stream, left)
        [call] = served.calls
        assert bytes(call.message) == content
        assert before + nbytes <= message.in_use() <= before + max(512, 2 * nbytes)
    finally:
        gc.enable()
    served.let_go()
    client.connection.close()
