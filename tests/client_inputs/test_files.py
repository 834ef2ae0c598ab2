"""Files are read whole, once, and no further than the limit."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from inferd.client_inputs.files import read_whole
from inferd.errors import ConfigError

LIMIT = 3 << 20


def test_up_to_the_limit_all_is_read(tmp_path: Path) -> None:
    for size in (0, 5, LIMIT):
        (tmp_path / "file").write_bytes(b"x" * size)
        assert read_whole(tmp_path / "file", "--flag file", LIMIT, "cure") == b"x" * size


def test_what_is_too_large_is_rejected_with_its_size(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * (LIMIT + 1))
    with pytest.raises(ConfigError) as caught:
        read_whole(tmp_path / "file", "--flag file", LIMIT, "send less")
    assert str(caught.value) == "--flag file: expected 3 MiB at most, got 3,145,729 bytes; send less"


def test_what_never_ends_is_rejected() -> None:
    with pytest.raises(ConfigError, match="--flag /dev/zero: expected 3 MiB at most, got more; send less"):
        read_whole("/dev/zero", "--flag /dev/zero", LIMIT, "send less")


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"all",))
    writer.start()
    assert read_whole(tmp_path / "pipe", "--flag pipe", LIMIT, "cure") == b"all"
    writer.join()
