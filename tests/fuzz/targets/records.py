"""JSON records: count_pairs gives as many as Python's json finds; the hash of any bytes is scikit-learn's."""

from __future__ import annotations

import json

from sklearn.utils import murmurhash3_32

from inferd._core.codec.records import count_pairs, murmur3

MODULES = ("codec.records",)
DICTIONARY = (b'{"', b'":', b'\\"', b"\\u0000", b"null", b"[", b"]", b"}", b",")


def check(data: bytes) -> None:
    assert murmur3(data) == murmurhash3_32(data, seed=0)
    count = count_pairs(data)
    assert count >= 0
    try:
        pairs = json.loads(data.decode(), object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        return
    if isinstance(pairs, Pairs):
        assert count == len(pairs)


class Pairs(list[tuple[str, object]]):
    """A JSON object as it stands there, a key that is there twice included."""


def seeds() -> list[bytes]:
    return [b"{}", b'{"a": 1, "a": {"b": [1, {"c": "}:\\""}]}}', b'[{"a": 1}]', b'{"\\\\": "\\"", "x": null}', b'"text"']
