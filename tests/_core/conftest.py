"""What tests of the native modules share: encodings, and a pool of messages that holds in the end what it held before."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from inferd._core.grpc import message as messages
from tests.leak_check import counted, end_by_hand


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Tests here make sessions and batches by hand, and many let go of them as they are: what counts then is what is left after them."""
    yield
    if counted():
        end_by_hand()


@pytest.fixture(params=["gzip", "deflate"])
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def before() -> Iterator[int]:
    """What the pool holds, and must hold in the end."""
    gc.collect()
    held = messages.in_use()
    yield held
    messages.set_budget(1 << 30)
    gc.collect()
    assert messages.in_use() == held


@pytest.fixture(scope="module")
def nothing_stays() -> Iterator[None]:
    """The pool holds what it held before the module's tests."""
    gc.collect()
    before = messages.live(), messages.in_use()
    yield
    gc.collect()
    assert (messages.live(), messages.in_use()) == before
