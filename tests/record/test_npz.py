"""Arrays in .npz files: how their bytes stand there, and which names there may be. tests/record/test_export.py reads them back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd.errors import ConfigError
from inferd.record.npz import write_npz


def test_only_texts_that_end_with_nul_stand_behind_their_lengths(tmp_path: Path) -> None:
    texts = np.empty((2, 1), object)
    texts[:, 0] = [b"a\0", "é"]
    write_npz(tmp_path / "t.npz", {"ends": texts, "else": texts[1:], "none": texts[:0], "numbers": np.arange(3)})
    with np.load(tmp_path / "t.npz", allow_pickle=False) as loaded:
        assert [element.tobytes() for element in loaded["ends"].ravel()] == [b"\2\0\0\0a\0", b"\2\0\0\0\xc3\xa9"]
        assert (loaded["ends"].shape, loaded["else"].tolist(), loaded["none"].shape) == ((2, 1), [[b"\xc3\xa9"]], (0, 1))
        assert loaded["numbers"].tolist() == [0, 1, 2]


def test_a_name_that_no_archive_can_hold(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no name with NUL: expected another name of the tensor 'a\\x00b'"):
        write_npz(tmp_path / "t.npz", {"a\0b": np.zeros(1)})
