"""URLs: what is one, what is wrong with others, and which of them stay on this machine."""

from __future__ import annotations

import pytest
from inferd_client import targets, urls


@pytest.mark.parametrize(
    ("text", "meant", "is_local"),
    [
        ("http://localhost:8000", "http://localhost:8000", True),
        ("HTTP://127.0.0.1:8000/", "http://127.0.0.1:8000", True),
        ("http://[::1]:8000/v2/", "http://[::1]:8000", True),
        ("https://models.example/team/a", "https://models.example/team/a", False),
        ("https://models.example:8443", "https://models.example:8443", False),
        ("http://localhost.example", "http://localhost.example", False),
        ("http+unix:/run/inferd.sock", "http+unix:/run/inferd.sock", True),
        ("http+unix://%2Frun%2Finferd.sock", "http+unix:/run/inferd.sock", True),
        ("http+unix:///run/inferd.sock", "http+unix:/run/inferd.sock", True),
        ("http+unix:/run/a%2541", "http+unix:/run/a%2541", True),
        ("http+unix:@inferd", "http+unix:@inferd", True),
    ],
)
def test_a_url(text: str, meant: str, is_local: bool) -> None:
    assert targets.checked(text) == (meant,)
    assert str(urls.parse_url(meant)) == meant
    assert targets.is_local(meant) == is_local


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "http://:8000",
        "http://h:65536",
        "http://h:x",
        "http://h/a b",
        "http://h/?q=1",
        "http://h/#f",
        "http://[::1",
        "http://h\r\nx: y/",
        "http+unix:run.sock",
        "http+unix:@",
        "http+unix:/a\0b",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="target: expected http://HOST:PORT, https://HOST:PORT or http"):
        targets.checked(text)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="without a user and a password; pass token=") as raised:
        targets.checked("http://me:secret@h:1")
    assert "secret" not in str(raised.value)


def test_some_of_either_kind() -> None:
    with pytest.raises(ValueError, match="target: expected URLs, or addresses for gRPC, got some of either: http://a:1, b:1"):
        targets.checked(["http://a:1", "b:1"])
