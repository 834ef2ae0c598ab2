"""A load's threads leave one core alone, and get it back for serving."""

from __future__ import annotations

import os
import threading

import pytest

from inferd.engine.loading.spared_core import SparedCore


def cores_of(thread: int) -> set[int]:
    return os.sched_getaffinity(thread)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot be spared")
def test_threads_that_a_load_starts_have_one_core_less_while_it_runs() -> None:
    every = cores_of(0)
    started, over = threading.Event(), threading.Event()
    numbers: list[int] = []

    def wait() -> None:
        numbers.append(threading.get_native_id())
        started.set()
        over.wait()

    def load() -> None:
        spared = SparedCore(len(every))
        with spared:
            assert len(cores_of(0)) == len(every) - 1
            threading.Thread(target=wait, daemon=True).start()
            started.wait()
            assert cores_of(numbers[0]) == cores_of(0) < every
        assert cores_of(0) == cores_of(numbers[0]) == every
        with spared:  # the second time, the thread is there already
            assert cores_of(numbers[0]) == cores_of(0) < every
        assert cores_of(numbers[0]) == every
        done.append(True)

    done: list[bool] = []
    loader = threading.Thread(target=load)
    loader.start()
    loader.join()
    over.set()
    assert done
    assert cores_of(0) == every


def test_a_load_has_one_core_at_least() -> None:
    every = cores_of(0)
    with SparedCore(1):
        assert len(cores_of(0)) == 1
    assert cores_of(0) == every


def test_a_load_that_fails_gives_the_cores_back() -> None:
    every = cores_of(0)
    with pytest.raises(ValueError, match="broken"), SparedCore(len(every)):
        raise ValueError("broken")
    assert cores_of(0) == every
