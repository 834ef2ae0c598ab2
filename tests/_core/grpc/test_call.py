"""gRPC's own rules: percent encoding, status details, the call's one response."""

from __future__ import annotations

import base64
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd._core.grpc.call import NO_DEADLINE, Call, percent_encode, routing_key, status_details, status_proto
from inferd._core.grpc.message import Message
from inferd.errors import InvalidArgument, ResourceExhausted


@given(st.binary(max_size=40))
def test_a_routing_key_is_fnv_1a(text: bytes) -> None:
    number = 0xCBF29CE484222325
    for byte in text:
        number = (number ^ byte) * 0x100000001B3 % 2**64
    assert routing_key(text) == (number if text else 0)


@given(st.text(max_size=300) | st.text(" a", max_size=5))
def test_percent_encoding_is_undone_by_clients(text: str) -> None:
    encoded = percent_encode(text)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert unquote(encoded.decode("ascii")) == text.strip(" ").encode("utf-8", "replace").decode()
    assert encoded.strip() == encoded, "as the values of headers must be"


@pytest.mark.parametrize("character", ["a", "%", "\n", "é", "€", "\U0001f600", "\ud800"])
def test_long_messages_are_cut_at_a_whole_character(character: str) -> None:
    """What is sent of them counts: a character can stand for 12 bytes. Nobody reads them, and many are there."""
    encoded = percent_encode("b" + character * 100_000)
    assert 2048 - 12 < len(encoded) <= 2048
    assert set(unquote(encoded.decode("ascii"))[1:]) == {character if character != "\ud800" else "?"}
    error = ResourceExhausted("b" + character * 100_000, retry_after_ns=1)
    assert len(status_details(error)) < 2900


def test_plain_errors_have_no_details() -> None:
    assert status_details(InvalidArgument("no")) == b""
    assert status_details(ResourceExhausted("full")) == b""


def test_what_was_encoded_last_is_not_told_to_others() -> None:
    first, second = ResourceExhausted("full", retry_after_ns=10**9), ResourceExhausted("full", retry_after_ns=2 * 10**9)
    told = [status_proto(error) for error in (first, second)]
    for _ in range(2):
        assert [base64.b64decode(status_details(error) + b"==") for error in (first, second, first)] == [*told, told[0]]
        assert [percent_encode(text) for text in ("a%", "b", "a%")] == [b"a%25", b"b", b"a%25"]
    assert status_details(InvalidArgument("full")) == b""


@given(st.integers(1, 10**15), st.text(max_size=50))
def test_retry_info(retry_after_ns: int, text: str) -> None:
    from inferd.protocol import rpc

    error = ResourceExhausted(text, retry_after_ns=retry_after_ns)
    status = rpc.Status.FromString(status_proto(error))
    assert (status.code, status.message) == (8, text)
    (detail,) = status.details
    assert detail.type_url == "type.googleapis.com/google.rpc.RetryInfo"
    delay = rpc.RetryInfo.FromString(detail.value).retry_delay
    assert delay.seconds * 10**9 + delay.nanos == retry_after_ns
    encoded = status_details(error)
    assert base64.b64decode(encoded + b"=" * (-len(encoded) % 4)) == status_proto(error)


class Waiting:
    """Stands for a request that waits for a call."""

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


def test_a_call_ends_once() -> None:
    call = Call("/a/B", Message(b"x"))
    assert (call.method, bytes(call.message), call.deadline_ns, call.settled) == ("/a/B", b"x", NO_DEADLINE, False)
    call.work = waiting = Waiting()
    assert call.finish()
    assert not call.finish()
    call.cancel()
    assert waiting.cancelled == 0
    assert call.work is None


def test_cancelling_reaches_the_request_once() -> None:
    call = Call("/a/B", Message(b""))
    call.work = waiting = Waiting()
    call.cancel()
    call.cancel()
    assert waiting.cancelled == 1
    assert call.settled
    assert not call.finish()
