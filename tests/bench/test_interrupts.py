"""Pressed once Ctrl-C ends what is measured; pressed again it loses nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from inferd.bench.interrupts import interrupted_once, interrupts_noted


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def raising(number: signal.Signals) -> Iterator[None]:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    yield


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_raises_and_a_second_ctrl_c_does_not(first: signal.Signals) -> None:
    with interrupted_once(), raising(first):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_second_sigterm_ends_it() -> None:
    with interrupted_once(), raising(signal.SIGINT), raising(signal.SIGTERM):
        pass


def test_where_nothing_came_all_is_as_before() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with interrupted_once():
        signal.raise_signal(signal.SIGTERM)  # ignored already: nohup, say
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_what_is_noted_counts_as_the_first() -> None:
    with interrupted_once():
        with interrupts_noted() as interrupted:
            assert not interrupted()
            signal.raise_signal(signal.SIGINT)
            assert interrupted()
        signal.raise_signal(signal.SIGINT)


def test_noted_where_ctrl_c_raises_by_itself() -> None:
    with interrupts_noted() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
    with raising(signal.SIGINT):
        pass
