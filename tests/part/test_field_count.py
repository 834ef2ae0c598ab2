"""Counts of a message's fields, beside what protobuf itself finds in it."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from inferd.part.field_count import count_fields
from inferd.protocol import inference

REQUEST = inference.RepositoryModelLoadRequest


def counted(content: bytes, most: int = 1000) -> int:
    return count_fields(REQUEST.DESCRIPTOR, content, most)


def plain(message: Any) -> int:
    """By the parsed message: an entry of a map has a key and a value."""
    return sum(4 for _ in message.parameters) + bool(message.model_name) + bool(message.repository_name)


@given(st.text(max_size=9), st.dictionaries(st.text(max_size=9), st.binary(max_size=300), max_size=20))
def test_the_count_is_that_of_the_parsed_message(name: str, files: dict[str, bytes]) -> None:
    parameters = {key: inference.ModelRepositoryParameter(bytes_param=value) for key, value in files.items()}
    message = REQUEST(model_name=name, parameters=parameters)
    assert counted(message.SerializeToString()) == plain(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_counted_and_none_ends_otherwise(content: bytes) -> None:
    assert counted(content) <= len(content)
    try:
        REQUEST.FromString(content)
    except DecodeError:
        return
    assert counted(content) > 0 or not content


def test_the_count_stops_beyond_the_limit() -> None:
    entry = b"\x1a\x00"
    assert [counted(entry * count, 5) for count in (5, 6, 1_000_000)] == [5, 6, 6]
    assert counted(b"\x1a\x84\x80\x80\x00" + b"\x0a\x00" * 2, 5) == 3, "a length of several bytes"
    nested = b"\x1a\x80\x80\x40" + b"\x0a\x00" * (1 << 19)
    assert counted(nested, 5) == 6, "fields of a message within it count"


def test_fields_of_every_wire_type_are_passed_over() -> None:
    others = b"\x20\xff\x01\x29" + bytes(8) + b"\x35" + bytes(4) + b"\x3a\x02ab"
    assert counted(others) == 4
    assert counted(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff") >= 1, "a varint without end"
