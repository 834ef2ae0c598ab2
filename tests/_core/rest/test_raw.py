"""Requests by REST whose tensors are there already. A body of raw bytes is tried in inference/test_rest_path.py."""

from __future__ import annotations

import numpy as np
import pytest
from native_access import head_of

from inferd._core.rest.raw import request_of_tensors


def test_a_request_of_tensors() -> None:
    ones = np.ones(2, np.float32)
    head = head_of("POST", "/v2/models/m/infer")
    request = request_of_tensors([("x", "FP32", (2, 1), ones), ("z", "UINT8", (0,), b"")], head, b"9")
    assert request.id == "9"
    assert request.sent() == [("x", "FP32", (2, 1), ones.tobytes()), ("z", "UINT8", (0,), b"")]
    values = [b"ab", b"", memoryview(b"c" * (2 << 20))]
    [(*_, content)] = request_of_tensors([("t", "BYTES", (3,), values)], head).sent()
    assert content == b"\2\0\0\0ab" + bytes(4) + b"\0\0\x20\0" + b"c" * (2 << 20)
    with pytest.raises(ValueError, match="at most 8 dimensions, got 9"):
        request_of_tensors([("x", "FP32", (1,) * 9, ones)], head)
