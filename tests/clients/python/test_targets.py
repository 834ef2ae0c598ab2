"""Addresses: what gRPC would misread is refused, and which of them stay on this machine."""

from __future__ import annotations

import pytest
from inferd_client import targets


def test_one_or_several() -> None:
    assert targets.checked("localhost:8001") == ("localhost:8001",)
    assert targets.checked(["a:1", "unix:/run/x.sock", "dns:///a:2"]) == ("a:1", "unix:/run/x.sock", "dns:///a:2")


def test_an_abstract_name_in_either_spelling() -> None:
    assert targets.checked(["unix:@inferd", "unix-abstract:other"]) == ("unix-abstract:inferd", "unix-abstract:other")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([], "target: expected an address, or several, got none"),
        ("", "target: expected host:port or unix:path, got ''"),
        (["a:1", "b:1", "a:1"], "target: 'a:1' is named twice"),
        (["unix:@x", "unix-abstract:x"], "target: 'unix-abstract:x' is named twice"),
        ("grpc://h:1/", "got the URL 'grpc://h:1/': write 'h:1'$"),
        (["a:1", "grpcs://h:1"], r"write 'h:1'; for TLS pass tls=TLS\(\)$"),
        ("/run/inferd.sock", "got the path '/run/inferd.sock': write 'unix:/run/inferd.sock'$"),
    ],
)
def test_what_is_no_address(target: str | list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        targets.checked(target)


@pytest.mark.parametrize(
    "target",
    [
        "unix:/run/x.sock",
        "unix:x.sock",
        "unix-abstract:x",
        "localhost:8001",
        "LOCALHOST",
        "127.0.0.1:8001",
        "127.9.9.9",
        "[::1]:8001",
        "::1",
        "dns:localhost:1",
        "dns:///localhost:1",
        "ipv4:127.0.0.1:1,127.0.0.2:1",
        "ipv6:[::1]:1",
        "unix:///run/x.sock",
    ],
)
def test_what_stays_on_this_machine(target: str) -> None:
    assert targets.is_local(target)


@pytest.mark.parametrize(
    "target",
    [
        "10.0.0.1:8001",
        "inferd:8001",
        "localhost.example.com:1",
        "127.0.0.1.example.com:1",
        "0.0.0.0:1",
        "[::]:1",
        "[fe80::1]:1",
        "dns:///inferd:1",
        "dns://127.0.0.1/inferd:1",
        "ipv4:127.0.0.1:1,10.0.0.1:1",
        "xds:///localhost",
        "unix.example.com:1",
        "localhost:1/../evil",
        "localhost/evil:1",
        "localhost@evil.com:1",
        "localhost%00.evil.com:1",
        "localhost:1\n",
        "loca\u017fhost.evil:1",
        "loca\u017fhost:1",
        "localhost:1,10.0.0.1:1",
        "127.0.0.1:1,10.0.0.1:1",
        "127.0.0.1.:1",
        "127.1:1",
        "::1:8001:x",
        "[::1]evil:1",
        "[::1%25eth0]:1",
        "evil.com/localhost:1",
        "dns:evil.com/localhost:1",
        "dns:///evil.com/localhost:1",
        "dns://evil.com/localhost:1",
        "dns://8.8.8.8/localhost:1",
        "dns:127.0.0.1:1,evil.com:1",
        "dns:/localhost:1",
        "ipv4:8.8.8.8/127.0.0.1:1",
        "ipv4:localhost:1",
        "ipv4:127.0.0.1:1,",
        "passthrough:///localhost:1",
        "unix:",
        "unix://evil.com/x.sock",
        "unix-abstract:",
        "",
    ],
)
def test_what_leaves_it_or_may(target: str) -> None:
    assert not targets.is_local(target)
