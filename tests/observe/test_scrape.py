"""The server for scrapes, with apps that can be held up: what a slow, silent or malicious client can do to it."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from inferd.errors import StartError
from inferd.observe import scrape
from inferd.observe.scrape import ScrapeServer, SharedPages

LIMIT_S = 20


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello"]


class Gate:
    """A WSGI app that says when it was entered and responses when it is let through."""

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


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.0\r\n\r\n", b"GET /\x01 HTTP/one\r\n\r\n", b"GET / HTTP/1.0\r\n" + b"x" * (1 << 16) + b"\r\n\r\n"]
)
def test_nobody_is_told_what_serves_him(sent: bytes) -> None:
    with scrape_server(hello) as server, closing(connect(server, sent)) as client:
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert b"\r\nServer: inferd\r\n" in head + b"\r\n" or not head.startswith(b"HTTP/")  # as HTTP/0.9 answers
    assert not re.search(b"python|wsgi|<", head + body, re.IGNORECASE)


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
        clients = [stack.enter_context(closing(connect(server, sent))) for _ in range(6)]
        asking = stack.enter_context(closing(connect(server, b"GET / HTTP/1.0\r\n\r\n")))
        assert gate.entered.acquire(timeout=LIMIT_S)
        clients += [stack.enter_context(closing(connect(server, sent))) for _ in range(6)]
        for client in clients[:-1]:
            assert read_all(client) == b""
        gate.passed.release(2)  # for the last client, too: where one ends in mid-header, that is a request
        assert read_all(asking).endswith(b"through")


def test_who_gave_way_counts_until_its_thread_ends() -> None:
    """Its page is made all the same, however many come meanwhile."""
    gate = Gate()
    with scrape_server(gate, max_connections=2, turn_s=0.0) as server, ExitStack() as stack:
        asking = []
        for _ in range(4):
            asking.append(stack.enter_context(closing(connect(server, b"GET / HTTP/1.0\r\n\r\n"))))
            assert gate.entered.acquire(timeout=LIMIT_S)
        with closing(connect(server, b"GET / HTTP/1.0\r\n\r\n")) as fifth:
            assert read_all(fifth).startswith(b"HTTP/1.0 503")
        for _ in asking:
            gate.passed.release()


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


def test_who_finds_no_place_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is told so: a response takes less than that."""
    monkeypatch.setattr(scrape, "PLACE_S", LIMIT_S)
    monkeypatch.setattr(scrape, "SILENT_S", LIMIT_S)  # and nobody gives way
    gate = Gate()
    with scrape_server(gate, max_connections=1, turn_s=LIMIT_S) as server, ExitStack() as stack:
        first = stack.enter_context(closing(connect(server, b"GET / HTTP/1.0\r\n\r\n")))
        assert gate.entered.acquire(timeout=LIMIT_S)
        others = [stack.enter_context(closing(connect(server, b"GET / HTTP/1.0\r\n\r\n"))) for _ in range(3)]
        for _ in range(4):
            gate.passed.release()
        for client in (first, *others):
            assert read_all(client).endswith(b"through")


# ---- pages that are shared


class Pages:
    """An app that numbers its pages, and what shares them, by a clock that moves when somebody sleeps. The first time that somebody does,
    and the first time that a page is made, what is in `when_asleep` and `when_made` is called."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.made = 0
        self.when_asleep: list[Callable[[], None]] = []
        self.when_made: list[Callable[[], None]] = []
        self.answers: list[bytes] = []  # of those who asked meanwhile
        self.threads: list[threading.Thread] = []
        self.shared = SharedPages(self.make, clock=lambda: self.now, sleep=self.sleep)

    def make(self, environ: Any, start_response: Any) -> list[bytes]:
        self.made += 1
        answer = b"page %d" % self.made
        if self.when_made:
            self.when_made.pop()()
        if environ.get("PATH_INFO") == "/broken":
            raise ValueError("broken")
        start_response("200 OK", [("Asked", environ.get("QUERY_STRING", ""))])
        return [answer, b" of it"]

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.now += seconds
        if self.when_asleep:
            self.when_asleep.pop()()

    def ask(self, environ: dict[str, str]) -> bytes:
        said: list[Any] = []
        body = b"".join(self.shared(environ, lambda *answer: said.extend(answer)))  # type: ignore[arg-type, return-value]
        assert said == ["200 OK", [("Asked", environ.get("QUERY_STRING", ""))]]
        return body

    def spend(self) -> None:
        """All that may be made at once."""
        for _ in range(scrape.PAGES_AT_ONCE):
            self.ask({})
        assert self.slept == []

    def ask_meanwhile(self, count: int, **environ: str) -> None:
        """On threads of their own. Until all of them wait, or make a page."""
        looked_at = threading.Semaphore(0)
        begun = [threading.Thread(target=self._ask, args=(Asking(looked_at, environ),)) for _ in range(count)]
        for thread in begun:
            thread.start()
            assert looked_at.acquire(timeout=LIMIT_S)
        with self.shared._lock:  # under which they look
            self.threads += begun

    def _ask(self, environ: dict[str, str]) -> None:
        try:
            self.answers.append(self.ask(environ))
        except ValueError as error:
            self.answers.append(str(error).encode())

    def join(self) -> list[bytes]:
        for thread in self.threads:
            thread.join(LIMIT_S)
        return sorted(self.answers)


class Asking(dict[str, str]):
    """What a client asks for; says when it is looked at."""

    def __init__(self, looked_at: threading.Semaphore, environ: dict[str, str]) -> None:
        super().__init__(environ)
        self.looked_at = looked_at

    def get(self, name: str, default: Any = None) -> Any:
        if name == scrape.ASKED[-1]:
            self.looked_at.release()
        return super().get(name, default)


def test_pages_are_made_a_few_a_second() -> None:
    pages = Pages()
    pages.spend()
    for _ in range(20):
        pages.ask({})
    assert pages.slept == [scrape.PAGE_S] * 20
    pages.now += 60
    pages.slept.clear()
    pages.spend()
    assert pages.ask({}) == b"page 31 of it", "each one of its own, who asks one after the other"
    assert pages.slept == [scrape.PAGE_S]


def test_who_asks_meanwhile_gets_the_next_page() -> None:
    """All of them one, and none that was begun before they asked."""
    pages = Pages()
    pages.spend()
    pages.when_asleep = [lambda: pages.ask_meanwhile(3)]
    pages.when_made = [lambda: pages.ask_meanwhile(1)]
    assert pages.ask({}) == b"page 6 of it"
    assert pages.join() == [b"page 6 of it"] * 3 + [b"page 7 of it"]
    assert pages.slept == [scrape.PAGE_S] * 2


@pytest.mark.parametrize("name", scrape.ASKED)
def test_who_asks_for_something_else_gets_it(name: str) -> None:
    pages = Pages()
    pages.spend()
    pages.when_asleep = [lambda: pages.ask_meanwhile(2, **{name: "another"})]
    assert pages.ask({}) == b"page 6 of it"
    assert pages.join() == [b"page 7 of it"] * 2


def test_a_page_that_fails_fails_for_all_who_asked_for_it() -> None:
    pages = Pages()
    pages.spend()
    pages.when_asleep = [lambda: pages.ask_meanwhile(2, PATH_INFO="/broken")]
    with pytest.raises(ValueError, match="broken"):
        pages.ask({"PATH_INFO": "/broken"})
    assert pages.join() == [b"broken"] * 2
    assert pages.ask({}) == b"page 7 of it"


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


def test_half_a_request_that_is_broken_off_is_none() -> None:
    """Python's http.server takes a header that ends with the connection for a whole one."""
    gate = Gate()
    with scrape_server(gate, timeout_s=0.1) as server, closing(connect(server, b"GET / HTTP/1.0\r\nslow: ")) as client:
        assert read_all(client) == b""
    assert not gate.entered.acquire(timeout=0), "the server has waited for its threads"
