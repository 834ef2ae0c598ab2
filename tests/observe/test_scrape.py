"""The server for scrapes, with apps that can be held up: what a slow, silent or malicious client can do to it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from inferd.errors import StartError
from inferd.observe.scrape import ScrapeServer

LIMIT_S = 20


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


class Gate:
    """A WSGI app that says when it was entered and answers when it is let through."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.passed = threading.Semaphore(0)

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self.entered.release()
        assert self.passed.acquire(timeout=LIMIT_S)
        start_response("200 OK", [])
        return [b"through"]


@contextmanager
def scrape_server(app: Any, **limits: Any) -> Iterator[ScrapeServer]:
    server = ScrapeServer("127.0.0.1", 0, app, **limits)
    server.start()
    try:
        yield server
    finally:
        server.close()


def connect(server: ScrapeServer, sent: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", server.server_port), timeout=LIMIT_S)
    client.sendall(sent)
    return client


def read_all(client: socket.socket) -> bytes:
    """Until the server ends the connection, in whichever way."""
    parts = []
    try:
        while part := client.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def test_too_many_scrapes_at_once_are_told_so() -> None:
    gate = Gate()
    with scrape_server(gate, max_connections=2) as server:
        waiting = [connect(server, b"GET / HTTP/1.0\r\n\r\n") for _ in range(2)]
        for _ in waiting:
            assert gate.entered.acquire(timeout=LIMIT_S)
        with closing(connect(server, b"")) as third:
            assert read_all(third).startswith(b"HTTP/1.0 503")
        assert server.connections == 2
        for client in waiting:
            gate.passed.release()
            with closing(client):
                pass
    assert server.connections == 0


def endless(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [bytes(1 << 20)] * 64  # more than the sockets hold


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.0\r\nslow: ", b"GET / HTTP/1.0\r\n\r\n"])
def test_a_client_that_writes_or_reads_too_slowly_is_broken_off(sent: bytes) -> None:
    with scrape_server(endless, timeout_s=0.2) as server, closing(connect(server, sent)):
        wait_until(lambda: server.connections == 1)
        wait_until(lambda: server.connections == 0)


def test_who_has_had_a_turn_gives_way() -> None:
    """Clients that say nothing do not keep a scraper out."""
    with scrape_server(hello, max_connections=2, turn_s=0.0) as server:
        silent = [connect(server, b"GET") for _ in range(2)]
        wait_until(lambda: server.connections == 2)
        with closing(connect(server, b"GET / HTTP/1.0\r\n\r\n")) as client:
            assert b"200 OK" in read_all(client)
        assert read_all(silent[0]) == b"", "the oldest"
        wait_until(lambda: server.connections == 1)
        for client in silent:
            client.close()


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.0\r\nslow: "])
def test_who_has_not_asked_gives_way_at_once(sent: bytes) -> None:
    """However many come, and however short their turn was: a scrape comes through, and who has asked is not put out."""
    gate = Gate()
    with scrape_server(gate, max_connections=2, turn_s=LIMIT_S) as server, ExitStack() as stack:
        clients = [stack.enter_context(closing(connect(server, sent))) for _ in range(20)]
        asking = stack.enter_context(closing(connect(server, b"GET / HTTP/1.0\r\n\r\n")))
        assert gate.entered.acquire(timeout=LIMIT_S)
        clients += [stack.enter_context(closing(connect(server, sent))) for _ in range(20)]
        for client in clients[:-1]:
            assert read_all(client) == b""
        gate.passed.release()
        assert read_all(asking).endswith(b"through")


def test_close_breaks_off_what_is_open() -> None:
    server = ScrapeServer("127.0.0.1", 0, endless)
    server.start()
    with closing(connect(server, b"GET /")) as client:
        wait_until(lambda: server.connections == 1)
        server.close()
        read_all(client)
    assert server.connections == 0


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_nonsense_is_answered_and_forgotten() -> None:
    with scrape_server(hello) as server:
        for nonsense in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"A" * 70_000 + b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            with closing(socket.create_connection(("127.0.0.1", server.server_port), timeout=LIMIT_S)) as client:
                try:
                    client.sendall(nonsense)
                except (BrokenPipeError, ConnectionResetError):
                    continue
                read_all(client)
        with closing(connect(server, b"GET / HTTP/1.0\r\n\r\n")) as client:
            assert read_all(client).endswith(b"hello")


def test_an_app_that_fails_costs_one_answer() -> None:
    def broken(environ: Any, start_response: Any) -> list[bytes]:
        raise ValueError("secret")

    with scrape_server(broken) as server:
        for _ in range(3):
            with closing(connect(server, b"GET / HTTP/1.0\r\n\r\n")) as client:
                answer = read_all(client)
            assert answer.startswith(b"HTTP/1.0 500")
            assert b"secret" not in answer


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1"])
def test_an_address_that_is_not_ours_is_a_start_error(host: str) -> None:
    with pytest.raises(StartError, match=f"{host} port 0.*choose another metrics_host: an address that this machine has"):
        ScrapeServer(host, 0, hello)
