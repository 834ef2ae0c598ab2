"""Segments: what is written is there after any end of the process, within its limits, whatever the disk says."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inferd.errors import StartError
from inferd.record.reader import CUT, Segments, read
from inferd.record.writer import segments_of
from tests.record.records import OFFSET_NS, columns, record, tapped, writer


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = record(tmp_path, columns(tapped("a", 3, 2), tapped("", 4)), columns(tapped("c", 5, model="other", version="7")))
    first, second, third = read(file)
    assert (first.id, first.model, first.version, first.arm, first.code, first.error) == ("a", "double", "1", "", 0, "")
    assert first.arrival_ns == OFFSET_NS
    assert list(first.times_ns) == ["decode_ns", "queue_ns", "preprocess_ns", "execute_ns", "encode_ns", "total_ns"]
    assert first.times_ns["total_ns"] >= first.times_ns["execute_ns"] > 0
    np.testing.assert_array_equal(first.inputs["x"], np.full((2, 4), 3, np.float32))
    np.testing.assert_array_equal(first.outputs["y"], np.full((2, 4), 6, np.float32))
    assert (second.id, second.inputs["x"][0, 0], second.where.endswith("row 1 of a batch")) == ("", 4, True)
    assert (third.id, third.model, third.version, third.datatypes) == ("c", "other", "7", {"y": "FP32"})


def test_a_segment_ends_when_it_is_large_or_old(tmp_path: Path) -> None:
    now_s = 0.0
    made = writer(tmp_path, segment_bytes=1, segment_s=10, clock=lambda: now_s)
    for _ in range(2):
        made.write(columns(tapped()))
    assert len(segments_of(tmp_path)) == 2
    made = writer(tmp_path, segment_s=10, clock=lambda: now_s)
    made.write(columns(tapped()))
    now_s = 9.0
    made.look()
    made.write(columns(tapped()))
    assert len(segments_of(tmp_path)) == 3
    now_s = 10.0
    made.look()
    made.write(columns(tapped()))
    made.end_segment()
    assert len(segments_of(tmp_path)) == 4
    assert len(list(read(tmp_path))) == 5
    assert made.written_bytes > 0


def test_a_file_system_that_knows_no_direct_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def usual(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "no")
        return opened(path, flags, *mode)

    monkeypatch.setattr("os.open", usual)
    record(tmp_path, columns(tapped("a")))
    assert [request.id for request in read(tmp_path)] == ["a"]


def test_a_batch_that_cannot_be_made_costs_itself_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it left behind: a part of it in the file would be the end of all that follow."""
    now_s = 0.0
    made, failing = writer(tmp_path, clock=lambda: now_s), columns(tapped("b"))
    assert made.write(columns(tapped("a")))
    stream = made._stream

    class Half:
        def write_batch(self, batch: object) -> None:
            stream.write_batch(batch)
            raise MemoryError

        def close(self) -> None:
            stream.close()

    made._stream = Half()
    assert not made.write(failing)
    failing.clear()  # nobody looks at its buffers any more
    now_s = 1.0
    assert made.write(columns(tapped("c")))
    made.end_segment()
    assert [request.id for request in read(tmp_path)] == ["a", "c"]
    assert made.failures == 1


def test_the_oldest_segments_leave(tmp_path: Path) -> None:
    whole = writer(tmp_path / "one", segment_bytes=1)
    whole.write(columns(tapped()))
    nbytes = segments_of(tmp_path / "one")[0].stat().st_size
    made = writer(tmp_path / "two", segment_bytes=1, limit_bytes=2 * nbytes + 100)
    for number in range(5):
        made.write(columns(tapped(str(number))))
    assert [request.id for request in read(tmp_path / "two")] == ["3", "4"]


def test_a_segment_that_is_written_is_not_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two processes write into one folder, and one of them is slow."""
    slow, fast = writer(tmp_path, limit_bytes=1), writer(tmp_path, segment_bytes=1, limit_bytes=1)
    assert slow.write(columns(tapped("slow")))
    with caplog.at_level(logging.INFO):
        for number in range(3):
            assert fast.write(columns(tapped(str(number))))
    assert slow.write(columns(tapped("slow again")))
    assert [request.id for request in read(tmp_path)] == ["slow", "slow again", "2"]
    assert caplog.text.count("deleted the segment") == 2
    slow.end_segment()
    assert [request.id for request in read(tmp_path)] == ["2"]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", flock)
    made = writer(tmp_path, segment_bytes=1, limit_bytes=1)
    for number in range(2):
        assert made.write(columns(tapped(str(number))))
    assert [request.id for request in read(tmp_path)] == ["1"]


def test_a_cut_segment_gives_all_whole_batches_before_the_cut(tmp_path: Path) -> None:
    batches = [columns(tapped(str(number))) for number in range(3)]
    content = record(tmp_path / "whole", *batches).read_bytes()
    file = tmp_path / "cut.arrow"
    ends = []
    for nbytes in [*range(0, len(content), 41), len(content)]:
        file.write_bytes(content[:nbytes])
        segments = Segments([file])
        ids = [request.id for request in segments.requests()]
        assert ids == ["0", "1", "2"][: len(ids)]
        assert len(ids) == 3 or nbytes < len(content)
        ends.append(len(ids))
        assert segments.faults in ({}, {file: CUT})
        assert not segments.faults or nbytes < len(content)
    assert ends == sorted(ends)
    assert set(ends) == {0, 1, 2, 3}


def test_a_full_disk_costs_its_batches_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    made = writer(tmp_path, clock=lambda: now_s)
    assert made.write(columns(tapped("first")))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = columns(*(tapped(value=1, rows=8) for _ in range(400)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with caplog.at_level(logging.ERROR):
            assert not made.write(large)
        assert not made.write(columns(tapped("too soon")))
        now_s = 1.0
        assert not made.write(large)  # not even the head of a new segment stays
        now_s = 2.0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert made.write(columns(tapped("last")))
    made.end_segment()
    segments = Segments([tmp_path])
    assert [request.id for request in segments.requests()] == ["first", "last"]
    assert (made.failures, len(segments.files)) == (2, 2)
    assert "requests are served as before" in caplog.text


def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    writer(tmp_path / "record")
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o700


def test_segments_are_for_their_owner_alone_in_a_folder_that_was_there(tmp_path: Path) -> None:
    assert record(tmp_path, columns(tapped("a", 3))).stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path) -> None:
    made = writer(tmp_path / "record")
    (tmp_path / "record").rmdir()
    assert made.write(columns(tapped("a", 3)))
    made.end_segment()
    assert len(segments_of(tmp_path / "record")) == 1


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match=r"record: cannot write into the folder .*choose another folder"):
        writer(tmp_path / "file" / "record")


KILLED = """
import json, os, random, signal, sys
from pathlib import Path
from tests.record.records import columns, tapped, writer

rows = [tapped(str(number), rows=8) for number in range(40)]
told = []
for attempt in range(12):
    folder = Path(sys.argv[1], str(attempt))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        made = writer(folder, segment_bytes=30_000)
        while True:
            assert made.write(columns(*rows))
            os.write(writing, b".")
    os.close(writing)
    told.append(sum(len(os.read(reading, 1)) for _ in range(random.Random(attempt).randint(1, 8))))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(reading, 4096):
        told[-1] += len(more)
    os.close(reading)
print(json.dumps(told))
"""


def test_a_process_that_is_killed_loses_one_batch_at_most(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    for attempt, told in enumerate(json.loads(done.stdout)):
        segments = Segments([tmp_path / str(attempt)])
        found = sum(1 for _ in segments.requests())
        assert found % 40 == 0
        assert found // 40 in (told, told + 1)  # it was killed before it could say so
        assert len(segments.faults) <= 1
