"""Pressed once Ctrl-C ends what is measured; pressed again it loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inferd.bench.interrupts import AGAIN_S, ignore_interrupts, interrupted_once, interrupts_held, interrupts_noted
from tests.command import TIMEOUT_S, environment


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def raising(number: signal.Signals) -> Iterator[None]:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    yield


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_raises_and_a_second_one_of_a_terminal_does_not(first: signal.Signals) -> None:
    with interrupted_once(), raising(first):
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGINT):
            signal.raise_signal(number)
    assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_second_sigterm_ends_it() -> None:
    with interrupted_once(), raising(signal.SIGINT), raising(signal.SIGTERM):
        pass


def test_sigterm_that_comes_twice_at_once_is_one() -> None:
    """timeout(1) sends it to its child, and to the group in which that is."""
    now_s = 100.0
    with interrupted_once(lambda: now_s), raising(signal.SIGTERM):
        now_s += AGAIN_S / 2
        signal.raise_signal(signal.SIGTERM)
        now_s += AGAIN_S
        with raising(signal.SIGTERM):
            pass


def test_where_nothing_came_all_is_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interrupted_once():
        signal.raise_signal(signal.SIGHUP)  # ignored already, by nohup
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


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


def test_what_is_held_comes_at_the_end_of_the_block() -> None:
    reached = []

    def hold() -> None:
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        hold()
    assert reached == ["the end"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


STARTS_ONE = """
import multiprocessing, signal
from inferd.bench.interrupts import interrupts_held

def tell(pipe):
    pipe.send({signal.SIGINT, signal.SIGHUP, signal.SIGTERM} <= signal.pthread_sigmask(signal.SIG_BLOCK, []))

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=tell, args=(theirs,))
    with interrupts_held():
        process.start()
    print(pipe.recv(), signal.pthread_sigmask(signal.SIG_BLOCK, []))
    process.join()
"""


def test_a_process_that_is_started_meanwhile_has_it_held_from_its_very_start(tmp_path: Path) -> None:
    """Even the first one of a program, with which another comes along."""
    (tmp_path / "starts.py").write_text(STARTS_ONE)
    words = [sys.executable, str(tmp_path / "starts.py")]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    assert done.stdout == "True set()\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_what_was_held_is_ignored_by_who_ignores_it(number: signal.Signals) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    signal.raise_signal(number)
    ignore_interrupts()
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    signal.raise_signal(number)
