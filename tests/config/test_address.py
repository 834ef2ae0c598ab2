"""Addresses are read, written back, or rejected with the form that was expected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.config import Address, parse_address, parse_listen, parse_target
from tests.config.rejections import outcome


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:8001", Address("localhost", 8001)),
        ("[::1]:0", Address("::1", 0)),
        ("unix:/run/inferd.sock", Address("", 0, "/run/inferd.sock")),
        ("unix:///run/inferd.sock", Address("", 0, "/run/inferd.sock")),
        ("unix:here.sock", Address("", 0, "here.sock")),
        ("unix:@inferd", Address("", 0, "@inferd")),
        ("unix-abstract:inferd", Address("", 0, "@inferd")),
        ("unix:./@inferd", Address("", 0, "./@inferd")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(("text", "meant"), [("localhost", "localhost:8001"), ("[::1]", "[::1]:8001"), ("localhost:9", "localhost:9")])
def test_this_machine_needs_no_port(text: str, meant: str) -> None:
    assert str(parse_target(text)) == meant


def test_names_of_unix_sockets() -> None:
    path, name = Address("", 0, "/run/x"), Address("", 0, "@x")
    assert (path.is_abstract, path.socket_name, path.for_grpc) == (False, "/run/x", "unix:/run/x")
    assert (name.is_abstract, name.socket_name, name.for_grpc) == (True, "\0x", "unix-abstract:x")
    assert Address("::1", 1).for_grpc == "[::1]:1"


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("http://localhost:8001", "'localhost:8001'"),
        ("grpc://[::1]:8001/", "'[::1]:8001'"),
        ("dns:///models.example:80", "'models.example:80'"),
        ("https://localhost:8001/v2/models", "'localhost:8001' (flags say whether TLS is spoken)"),
        ("http://localhost", "'localhost:PORT'"),
        ("http://", "'HOST:PORT'"),
    ],
)
def test_of_a_url_it_is_said_what_to_write_instead(text: str, instead: str) -> None:
    message = outcome(lambda: parse_address(text), ValueError)
    assert message == f"expected host:port or unix:/path, got the URL '{text}': write {instead}"


@pytest.mark.parametrize(
    ("text", "tls", "meant"),
    [
        ("localhost:1", False, Address("localhost", 1)),
        ("localhost:1", True, Address("localhost", 1, tls=True)),
        ("plaintext:localhost:1", True, Address("localhost", 1)),
        ("unix:/a", True, Address("", 0, "/a")),
        ("http:localhost:1", True, Address("localhost", 1, tls=True, http=True)),
        ("http://localhost:1", False, Address("localhost", 1, http=True)),
        ("http:plaintext:localhost:1", True, Address("localhost", 1, http=True)),
        ("http:unix:@a", True, Address("", 0, "@a", http=True)),
    ],
)
def test_addresses_of_a_server(text: str, tls: bool, meant: Address) -> None:
    assert parse_listen(text, tls=tls) == meant


@pytest.mark.parametrize("text", ["plaintext:localhost:1", "http:plaintext:localhost:1", "http:", "http:localhost"])
def test_what_is_no_address_of_a_server(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_listen(text, tls=False)


@given(st.text(max_size=30) | st.from_regex(r"(\[[:0-9a-f]*\]|[a-z.]*):[0-9]*", fullmatch=True))
def test_any_address_is_read_or_rejected(text: str) -> None:
    message = outcome(lambda: parse_address(text), ValueError)
    assert message is None or "expected" in message
    if message is None:
        address = parse_address(text)
        assert address.path or 0 <= address.port <= 65535
        assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "localhost", ":8001", "localhost:", "localhost:65536", "localhost:-1", "::1:80", "unix:", "unix:a\0b", "unix:@"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_address(text)
