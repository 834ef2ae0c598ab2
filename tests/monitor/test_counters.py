"""Counts in a file: slots of processes add up exactly, whatever ends a process, and a file of something else is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inferd.monitor.counters import HEADER, MAGIC, PAGE, Counters, divided

SIZES = (3, 1000)


def test_those_of_one_process(tmp_path: Path) -> None:
    for path in (None, tmp_path / "counts"):
        counters = Counters(path, SIZES)
        counters.words[0][:] = (1, 2, 3)
        counters.words[1][999] = 2**64 - 1
        assert counters.is_shared == (path is not None)
        assert counters.first() == 1
        total = divided(counters.total(), SIZES)
        assert total[0].tolist() == [1, 2, 3]
        assert int(total[1][999]) == 2**64 - 1


def test_slots_add_up_and_one_that_is_free_is_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "counts"
    one, other = Counters(path, SIZES), Counters(path, SIZES)
    one.words[0][:], other.words[0][:] = (1, 1, 1), (10, 10, 10)
    assert one.first() == other.first() == 11
    words = other.words
    del other
    third = Counters(path, SIZES)  # the memory of `other` still counts in its slot
    third.words[0][0] = 100
    words[0][0] += 1
    assert one.total()[0] == 112
    del words, third
    again = Counters(path, SIZES)
    again.words[0][0] += 1000
    assert one.total()[0] == 1112
    assert path.stat().st_size == PAGE + 3 * 2 * PAGE


PROGRAM = """
import sys
from pathlib import Path
from inferd.monitor.counters import Counters
counters = Counters(Path(sys.argv[1]), (3, 1000))
print("ready", flush=True)
for line in sys.stdin:
    counters.words[1][7] += int(line)
    print(int(counters.words[1][7]), flush=True)
"""


def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    path, total = tmp_path / "counts", 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            assert program.stdout.readline() == "ready\n"
            for count in (5, 7):
                total += count
                program.stdin.write(f"{count}\n")
                program.stdin.flush()
                assert int(program.stdout.readline()) == total  # each begins in the slot of the one before
            os.kill(program.pid, signal.SIGKILL)
            program.stdin.close()
    assert Counters(path, SIZES).total()[3 + 7] == total


@pytest.mark.parametrize("content", [b"something else entirely, and long enough", HEADER.pack(MAGIC, 5)])
def test_another_file_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    path = tmp_path / "counts"
    path.write_bytes(content)
    counters = Counters(path, SIZES)
    counters.words[0][0] = 5
    assert (counters.is_shared, counters.first()) == (False, 5)
    assert path.read_bytes().startswith(content)
    assert "counts cannot be used" in caplog.text
    assert "remove it" in caplog.text


def test_a_full_disk_is_no_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    counters = Counters(tmp_path / "counts", SIZES)
    counters.words[1][:] = np.arange(1000)
    assert counters.total()[3:].tolist() == list(range(1000))
    assert "No space left on device" in caplog.text
