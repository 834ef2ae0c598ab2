"""Handshakes by hand: what they must offer, who is resumed, what is left of connections; and certificates replaced under load."""

from __future__ import annotations

import gc
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import pytest

from inferd._core.net.stream_socket import StreamSocket
from inferd.config import Settings
from inferd.serving.security.tls import Tls, _validity, plain
from inferd.serving.security.tls import _without_certificate as without_certificate
from inferd.serving.transports import native
from tests import models
from tests.certificates import Files
from tests.http2_peer import DATA, EMPTY_SETTINGS, GOAWAY, PREFACE, frame_types, framed, open_streams
from tests.server_fixtures import LIMIT_S, TRANSPORTS, ServerFixture, until
from tests.wire import INFER, infer_request

LIVE = "/inference.GRPCInferenceService/ServerLive"
ROTATIONS = 3
WIDTH = 1 << 16  # 256 KiB a message: many records of TLS
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.made(tmp_path_factory.mktemp("tls") / "server")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(tmp_path_factory.mktemp("models"), {"wide": models.identity(dims=(WIDTH,))}, {"wide": "max_batch_size: 2"})


def context_of(files: Files, protocols: Sequence[str] = ("h2",), version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A client's. Without protocols it offers none."""
    context = ssl.create_default_context(cadata=files.authority.cert_pem.bytes().decode())
    context.maximum_version = version or ssl.TLSVersion.MAXIMUM_SUPPORTED
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


@contextmanager
def shaken(
    address: str, context: ssl.SSLContext, session: ssl.SSLSession | None = None, name: str | None = "localhost"
) -> Iterator[ssl.SSLSocket]:
    """A connection whose handshake is made."""
    host, port = address.rsplit(":", 1)
    with (
        socket.create_connection((host, int(port)), LIMIT_S) as plain,
        context.wrap_socket(plain, server_hostname=name, session=session) as made,
    ):
        yield made


def greeted(made: ssl.SSLSocket) -> bytes:
    """What the server says first to who speaks HTTP/2; empty: it has closed the connection."""
    try:
        made.sendall(PREFACE + EMPTY_SETTINGS)
        return made.recv(9)
    except (ssl.SSLError, ConnectionError):
        return b""


def connections(served: ServerFixture) -> float:
    count: float = served.server.edge._grpc.counters()["connections"]
    return count


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("protocols", [(), ("http/1.1",), ("http/1.1", "h2")])
def test_a_client_must_offer_http_2(files: Files, model: Path, transport: str, protocols: Sequence[str]) -> None:
    with ServerFixture(model, transport=transport, **files.settings()) as served:
        try:
            with shaken(served.address, context_of(files, protocols)) as made:
                answered = greeted(made) != b""
        except (ssl.SSLError, ConnectionError):  # in the handshake
            answered = False
        assert answered == ("h2" in protocols)
        if transport == "native":
            assert served.server.edge._grpc.counters()["handshakes_failed_total"] == (0 if answered else 1)
            until(lambda: connections(served) == 0)


def alert_to(address: str, context: ssl.SSLContext) -> str:
    """OpenSSL's name for what the server says to a client that it rejects; empty: it closes in the words of TLS."""
    try:
        with shaken(address, context) as made:
            made.suppress_ragged_eofs = False
            assert made.recv(9) == b""
    except ssl.SSLError as error:
        return str(error.reason)
    return ""


@pytest.mark.parametrize("version", VERSIONS)
def test_who_is_rejected_is_told_why(files: Files, model: Path, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """A bare reset would be all that its user sees."""
    strangers = Files.made(tmp_path / "strangers")
    unknown, old = with_certificate(context_of(files, version=version), strangers, tmp_path), context_of(files)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with ServerFixture(model, **files.settings(tls_client_ca=str(files.ca))) as served:
        without = "TLSV13_ALERT_CERTIFICATE_REQUIRED" if version == ssl.TLSVersion.TLSv1_3 else "SSLV3_ALERT_HANDSHAKE_FAILURE"
        assert alert_to(served.address, context_of(files, version=version)) == without
        assert alert_to(served.address, unknown) == "TLSV1_ALERT_UNKNOWN_CA"
        assert alert_to(served.address, old) == "TLSV1_ALERT_PROTOCOL_VERSION"
        until(lambda: served.server.edge._grpc.counters()["handshakes_failed_total"] == 3)
        assert alert_to(served.address, with_certificate(context_of(files, [], version), files, tmp_path)) == "", "no HTTP/2"
        until(lambda: served.server.edge._grpc.open_connections == 0)


@pytest.mark.parametrize("mutual", [False, True])
def test_ciphers_without_authentication_or_forward_secrecy_are_not_spoken(files: Files, model: Path, mutual: bool, tmp_path: Path) -> None:
    old = with_certificate(context_of(files, version=ssl.TLSVersion.TLSv1_2), files, tmp_path)
    old.set_ciphers("ECDHE+AES:ECDHE+SHA:RSA:!AESGCM:!AESCCM:!CHACHA20:@SECLEVEL=0")
    assert any("ECDSA" in cipher["name"] for cipher in old.get_ciphers()), "which the certificate is for"
    with ServerFixture(model, **files.settings(**({"tls_client_ca": str(files.ca)} if mutual else {}))) as served:
        with pytest.raises(ssl.SSLError, match=r"(?i)handshake.failure"), shaken(served.address, old):
            pass
        with shaken(served.address, with_certificate(context_of(files, version=ssl.TLSVersion.TLSv1_2), files, tmp_path)) as made:
            assert greeted(made)


@pytest.mark.parametrize("mutual", [False, True])
def test_renegotiation_and_compression_are_off(files: Files, mutual: bool) -> None:
    """In the context that a connection begins with, whose options it keeps. OpenSSL 3 renegotiates for no client by itself, 1.1.1 does."""
    made = Tls(Settings(**files.settings(**({"tls_client_ca": str(files.ca)} if mutual else {}))))
    context = without_certificate(mutual=True) if mutual else made._newest
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & 1 << 33, "SSL_OP_NO_RX_CERTIFICATE_COMPRESSION"


@pytest.mark.parametrize("lasts", [timedelta(days=90), timedelta(hours=24)])
@pytest.mark.parametrize("before", [b"", "# für Läufer\n".encode()])
def test_a_certificate_that_clients_reject_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lasts: timedelta, before: bytes
) -> None:
    files, first = Files.made(tmp_path), datetime(2030, 5, 1, 12, tzinfo=UTC)
    leaf = files.authority.issue_cert("localhost", not_before=first, not_after=first + lasts)
    files.cert.write_bytes(before + leaf.cert_chain_pems[0].bytes() + files.ca.read_bytes())
    leaf.private_key_pem.write_to_path(files.key)

    def said(now: datetime) -> list[str]:
        caplog.clear()
        tls._tell_validity(now)
        return [record.message.partition("pem' ")[2] for record in caplog.records if record.levelname == "WARNING"]

    tls, soon, last = Tls(Settings(**files.settings())), min(timedelta(days=7), lasts / 6), first + lasts
    assert "is valid from 2030-05-01 12:00 UTC on: clients reject it until then" in caplog.text
    assert said(first - timedelta(seconds=1)) == []
    assert said(first) == said(last - soon) == []
    [warning] = said(last - soon + timedelta(seconds=1))
    assert warning.startswith(f"is valid until {last:%Y-%m-%d %H:%M} UTC: replace it")
    assert said(last) == []
    [error] = said(last + timedelta(seconds=1))
    assert error.startswith(f"was valid until {last:%Y-%m-%d %H:%M} UTC: clients reject it")
    assert said(last + timedelta(days=1)) == []
    files.renew()
    caplog.clear()
    assert tls.reload(asked=False)
    assert said(datetime.now(UTC)) == []
    assert "valid" not in caplog.text


def test_a_certificate_that_clients_reject_takes_no_place_of_one_that_they_take(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files, now = Files.made(tmp_path), datetime.now(UTC).replace(microsecond=0)
    tls, day = Tls(Settings(**files.settings())), timedelta(days=1)
    good = tls.certificates

    def put(first: datetime, last: datetime) -> None:
        leaf = files.authority.issue_cert("localhost", not_before=first, not_after=last)
        leaf.cert_chain_pems[0].write_to_path(files.cert)
        leaf.private_key_pem.write_to_path(files.key)

    for first, last, says in (
        (now - 2 * day, now - day, f"which was valid until {now - day:%Y-%m-%d %H:%M} UTC: clients reject it; replace it"),
        (now + day, now + 2 * day, f"which is valid from {now + day:%Y-%m-%d %H:%M} UTC on: clients reject it until then"),
    ):
        put(first, last)
        caplog.clear()
        assert not any(tls.reload(asked=False) for _ in range(3))
        assert tls.certificates == good
        assert caplog.text.count("tls_cert: expected a certificate that clients take, got ") == 1, "said once, however often it is tried"
        assert says in caplog.text
        assert caplog.text.count("connections go on with the certificate that was read before") == 1
    tls._validity = (now - 2 * day, now - day)
    assert tls.reload(asked=False), "when the one that is there is no better"
    assert tls.certificates != good
    put(now - day, now + day)
    assert tls.reload(asked=False)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_last_moment_of_the_certificate_is_a_metric(model: Path, tmp_path: Path, transport: str) -> None:
    name, own = "inferd_tls_certificate_expires_timestamp_seconds", Files.made(tmp_path / "own")
    with ServerFixture(model, transport=transport, **own.settings()) as served:
        for last in (datetime(2031, 1, 1, tzinfo=UTC), datetime(2032, 1, 1, tzinfo=UTC)):
            leaf = own.authority.issue_cert("localhost", not_after=last)
            leaf.cert_chain_pems[0].write_to_path(own.cert)
            leaf.private_key_pem.write_to_path(own.key)
            served.on_loop(served.server.reload)
            assert served.measured(name)[()] == last.timestamp()
    with ServerFixture(model, transport=transport) as served:
        assert served.measured(name) == {}


def test_what_cannot_be_read_of_a_certificate_is_no_error() -> None:
    for chain in (b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"-----BEGIN CERTIFICATE-----\n!\n"):
        first, last = _validity(chain)
        assert first < datetime(1, 1, 2, tzinfo=UTC) < datetime(9999, 12, 31, tzinfo=UTC) < last


def test_pythons_own_words_are_left_out() -> None:
    for said, plainly in (
        (ssl.SSLError(1, "[SSL] record layer failure (_ssl.c:1006)"), "record layer failure"),
        (ssl.SSLError(1, "[SSL: NO_SHARED_CIPHER] no shared cipher (_ssl.c:1006)"), "no shared cipher"),
        (ssl.SSLError("more than 64 records before the handshake was made"), "more than 64 records before the handshake was made"),
    ):
        assert plain(said) == plainly


def test_tls_without_uvloop(files: Files, model: Path) -> None:
    value = np.arange(WIDTH, dtype=np.float32).reshape(1, WIDTH)
    request = infer_request("wide", {"x": value}).SerializeToString()
    with ServerFixture(model, uvloop=False, **files.settings()) as served, files.channel(served.address) as channel:
        for _ in range(3):
            assert value.tobytes() in channel.unary_unary(INFER)(request, timeout=LIMIT_S)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_resumed(model: Path, tmp_path: Path, version: ssl.TLSVersion) -> None:
    files = Files.made(tmp_path / "server")
    context = context_of(files, version=version)
    with ServerFixture(model, **files.settings()) as served:
        assert reused(served, context, 3) == [False, True, True]
        files.renew()
        served.on_loop(served.server.reload)
        assert reused(served, context, 2) == [False, True], "with the new certificate, too"


@pytest.mark.parametrize("version", VERSIONS)
def test_nobody_who_shows_a_certificate_is_resumed(files: Files, model: Path, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """Else an authority that is not trusted any more would be, for hours."""
    context = with_certificate(context_of(files, version=version), files, tmp_path)
    with ServerFixture(model, **files.settings(tls_client_ca=str(files.ca))) as served:
        assert reused(served, context, 3) == [False, False, False]
        context.check_hostname = False
        assert reused(served, context, 2, name=None) == [False, False], "nor who does not say whom he looks for"


def with_certificate(context: ssl.SSLContext, files: Files, folder: Path) -> ssl.SSLContext:
    """A client that shows one of the authority."""
    files.authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    context.load_cert_chain(folder / "client.pem")
    return context


def reused(served: ServerFixture, context: ssl.SSLContext, count: int, name: str | None = "localhost") -> list[bool]:
    """Of so many connections, each beside those before, whether it goes on with the session of the last one."""
    session, found = None, []
    with ExitStack() as opened:
        for _ in range(count):
            made = opened.enter_context(shaken(served.address, context, session, name))
            assert greeted(made)
            found.append(bool(made.session_reused))
            session = made.session
    return found


def test_a_client_that_does_not_close_is_answered_and_lingers(files: Files, model: Path) -> None:
    with ServerFixture(model, **files.settings()) as served, shaken(served.address, context_of(files)) as made:
        made.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert made.recv(64).startswith(b"HTTP/1.1 505 ")
        until(lambda: len(served.server.edge._grpc.server.lingering) == 1)
        assert not served.server.edge._grpc.connections


class Halfway:
    """A client that has connected and said hello, or a part of it."""

    def __init__(self, address: str, context: ssl.SSLContext, nbytes: int | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), LIMIT_S)
        self.socket.sendall(self._outgoing.read()[:nbytes])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def finish(self, content: bytes) -> None:
        """The handshake, with this right behind its last word."""
        self._read(self._tls.do_handshake)
        self._tls.write(content)
        self.socket.sendall(self._outgoing.read())

    def read_all(self) -> bytes:
        return b"".join(iter(lambda: self._read(lambda: self._tls.read(1 << 16)), b""))

    def _read(self, what: Callable[[], Any]) -> Any:
        while True:
            try:
                return what()
            except ssl.SSLWantReadError:
                self._incoming.write(self.socket.recv(1 << 16))


def handshakes(served: ServerFixture) -> float:
    count: float = served.server.edge._grpc.counters()["handshakes"]
    return count


def test_a_drain_lets_handshakes_end(files: Files, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes right behind is answered, and GOAWAY said."""
    monkeypatch.setattr(native, "DRAIN_STALL_NS", 3600 * 10**9)
    empty = framed(b"")
    call = open_streams(1, 1, LIVE) + len(empty).to_bytes(3) + b"\0\1\0\0\0\1" + empty
    with (
        ServerFixture(model, drain_timeout_s=3600, handshake_timeout_s=600, **files.settings()) as served,
        Halfway(served.address, context_of(files)) as all_of_it,
        Halfway(served.address, context_of(files), nbytes=50) as part_of_it,
    ):
        until(lambda: handshakes(served) == 2)
        stopping = threading.Thread(target=served.on_loop, args=(served.server.stop,))
        stopping.start()
        until(lambda: served.server.edge._grpc.server.stopping)  # type: ignore[attr-defined]
        assert handshakes(served) == 2
        part_of_it.socket.close()
        all_of_it.finish(PREFACE + EMPTY_SETTINGS + call)
        kinds = list(frame_types(all_of_it.read_all()))
        assert kinds.count(GOAWAY) == 2
        assert DATA in kinds
        stopping.join(LIMIT_S)
        assert not stopping.is_alive()


@pytest.mark.parametrize(("stall_ns", "drain_timeout_s"), [(1, 3600), (3600 * 10**9, 0)], ids=["silent", "too late"])
def test_a_drain_does_not_wait_long_for_handshakes(
    files: Files, model: Path, monkeypatch: pytest.MonkeyPatch, stall_ns: int, drain_timeout_s: int
) -> None:
    monkeypatch.setattr(native, "DRAIN_STALL_NS", stall_ns)
    with (
        ServerFixture(model, drain_timeout_s=drain_timeout_s, handshake_timeout_s=600, **files.settings()) as served,
        Halfway(served.address, context_of(files)) as all_of_it,
        Halfway(served.address, context_of(files), nbytes=50) as part_of_it,
    ):
        assert all_of_it.socket.recv(1), "the server's answer"
        until(lambda: handshakes(served) == 2)
        served.on_loop(served.server.stop)
        for client in (all_of_it.socket, part_of_it.socket):
            with suppress(ConnectionResetError):
                while client.recv(1 << 16):
                    pass


@pytest.mark.parametrize("mutual", [False, True])
def test_waves_of_connections_leave_nothing(files: Files, model: Path, tmp_path: Path, mutual: bool) -> None:
    """Not even for the garbage collector: cycles of a connection and its TLS would wait for it, tens of kilobytes each."""
    context = with_certificate(context_of(files), files, tmp_path)
    with ServerFixture(model, **files.settings(**({"tls_client_ca": str(files.ca)} if mutual else {}))) as served:
        gc.disable()
        try:
            for _ in range(3):
                _wave(served, context, 20)
                until(lambda: connections(served) == 0)
                assert served.on_loop(lambda: sum(isinstance(thing, StreamSocket) for thing in gc.get_objects())) == 0
        finally:
            gc.enable()


def _wave(served: ServerFixture, context: ssl.SSLContext, count: int) -> None:
    """So many connections at once; all are left without a word."""
    host, port = served.address.rsplit(":", 1)
    made = [context.wrap_socket(socket.create_connection((host, int(port)), LIMIT_S), server_hostname="localhost") for _ in range(count)]
    assert all(map(greeted, made))
    assert connections(served) == count
    for one in made:
        one.close()


# ---- replaced under load


class Callers:
    """Threads that call all the time: one on a connection that lasts, one on a new connection each time."""

    def __init__(self, served: ServerFixture, files: Files) -> None:
        self.served, self.files = served, files
        self.lasting = self.fresh = 0  # calls that were answered
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._lasting), threading.Thread(target=self._fresh)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(LIMIT_S)

    def wait_for_more(self) -> None:
        """Until two more calls of each kind were answered: the second one began after now."""
        lasting, fresh = self.lasting + 2, self.fresh + 2
        until(lambda: bool(self.failures) or (self.lasting >= lasting and self.fresh >= fresh))

    def _lasting(self) -> None:
        with self.files.channel(self.served.address) as channel:
            while not self._stop.is_set():
                self.lasting += self._call(channel)

    def _fresh(self) -> None:
        while not self._stop.is_set():
            with self.files.channel(self.served.address) as channel:
                self.fresh += self._call(channel)

    def _call(self, channel: grpc.Channel) -> int:
        try:
            channel.unary_unary(LIVE)(b"", timeout=LIMIT_S)
        except grpc.RpcError as error:
            self.failures.append(str(error))
            return 0
        return 1


def shown(served: ServerFixture, files: Files) -> str:
    """The serial number of the certificate that a new handshake shows."""
    with shaken(served.address, context_of(files)) as made:
        certificate = made.getpeercert()
        assert certificate
        return str(certificate["serialNumber"])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_certificates_are_replaced_under_load(model: Path, tmp_path: Path, transport: str) -> None:
    files = Files.made(tmp_path / "server")
    with ServerFixture(model, transport=transport, **files.settings()) as served, Callers(served, files) as callers:
        seen = {shown(served, files)}
        for rotation in range(ROTATIONS):
            callers.wait_for_more()
            files.renew()
            served.on_loop(served.server.reload)
            seen.add(shown(served, files))
            assert len(seen) == rotation + 2, "each new certificate is shown"
            callers.wait_for_more()
    assert not callers.failures
