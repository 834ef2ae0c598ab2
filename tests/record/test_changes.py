"""Tensors that a record must not have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd.errors import ConfigError
from inferd.record.changes import changes_of, hashed, read_key
from inferd.record.reader import Segments
from tests.record.records import columns, record, tapped
from tests.wire import pack_text


def test_a_tensor_is_left_out_and_another_is_hashed(tmp_path: Path) -> None:
    changes = changes_of(["y"], ["x"], b"k" * 64)
    file = record(tmp_path, columns(tapped(value=1), tapped(value=1), tapped(value=2), changes=changes), changed={"x": "hash", "y": "omit"})
    segments = Segments([file])
    first, second, third = segments.requests()
    assert segments.changed == {"x": "hash", "y": "omit"}
    assert first.outputs == {}
    assert (first.inputs["x"].shape, len(first.inputs["x"][0, 0])) == ((1, 4), 16)
    np.testing.assert_array_equal(first.inputs["x"], second.inputs["x"])
    assert first.inputs["x"][0, 0] != third.inputs["x"][0, 0]


def test_a_hash_is_of_an_element_and_a_key() -> None:
    texts = hashed(b"k" * 64, "BYTES", pack_text([b"anna", b"", b"anna"]))
    first, empty, last = texts[:20], texts[20:40], texts[40:]
    assert first == last
    assert first != empty
    assert hashed(b"l" * 64, "BYTES", pack_text([b"anna"])) != first
    assert len(hashed(b"k" * 64, "INT64", bytes(16))) == 2 * 20


def test_a_key_is_long_enough_and_readable(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with pytest.raises(ConfigError, match="record_key_file: cannot read"):
        read_key(str(file))
    file.write_text("short\n")
    with pytest.raises(ConfigError, match=r"expected 16 to 4096 bytes .* got 5; make one with `openssl rand -hex 32`"):
        read_key(str(file))
    file.write_text("0123456789abcdef\n")
    assert len(read_key(str(file))) == 64
