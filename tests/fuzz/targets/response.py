"""ModelInferResponse as the load generator judges it: a response, or none, as a plain reading of what google.protobuf gives finds it.

Input: 1 byte for whether the generator knows what the model has, and the response's bytes.
"""

from __future__ import annotations

from native_access import fault_of

from tests._core.load.test_response import DATATYPES, MODELS, OUTPUTS, is_response, samples

MODULES = ("load.generator",)
DICTIONARY = tuple(word.encode() for word in DATATYPES) + MODELS + OUTPUTS


def check(data: bytes) -> None:
    if not data:
        return
    content, names = data[1:], (MODELS, OUTPUTS) if data[0] & 1 else ((), ())
    fault = fault_of(content, *names)
    assert (fault is None) is is_response(content, *names), fault


def seeds() -> list[bytes]:
    return [head + content for head in (b"\0", b"\1") for content in samples()]
