"""Connections made by hand: what is spoken there, and what is said where there is none."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from inferd.client_inputs import connections
from inferd.client_inputs.connections import ROOTS, Spoken, context_of, explanation, said, spoken
from inferd.client_inputs.reach import PLAINTEXT, Reach
from inferd.config import Address
from inferd.errors import ConfigError, InferdError
from tests.certificates import Files
from tests.http2_peer import EMPTY_SETTINGS
from tests.wire import LIMIT_S


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.made(tmp_path_factory.mktemp("files"))


def mine(files: Files, **more: str) -> Reach:
    return Reach(ca=str(files.ca), **more)  # type: ignore[arg-type]


def of_server(files: Files, *, http2: bool = True) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert, files.key)
    if http2:
        context.set_alpn_protocols(["h2"])
    return context


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[Address]:
    """A server that does that on each connection, one after the other, and closes it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def run() -> None:
            while True:
                with server.accept()[0] as peer:
                    if over.is_set():
                        return
                    peer.settimeout(LIMIT_S)
                    with suppress(OSError):
                        serve(peer)

        thread = threading.Thread(target=run)
        thread.start()
        address = Address(*server.getsockname())
        try:
            yield address
        finally:
            over.set()
            connections.connected(address, LIMIT_S).close()
            thread.join(LIMIT_S)


def by_tls(context: ssl.SSLContext, *, greets: bool = True) -> Callable[[socket.socket], None]:
    def serve(peer: socket.socket) -> None:
        with context.wrap_socket(peer, server_side=True) as session:
            if greets:
                session.sendall(EMPTY_SETTINGS)
            while session.recv(100):
                pass

    return serve


def in_plaintext(peer: socket.socket) -> None:
    peer.sendall(EMPTY_SETTINGS)
    while peer.recv(100):
        pass


def in_plaintext_to_its_like(peer: socket.socket) -> None:
    """Others are sent away without a word."""
    if peer.recv(3, socket.MSG_WAITALL) == b"PRI":
        in_plaintext(peer)


def asked(address: Address, reach: Reach) -> Spoken:
    return spoken(address, reach, context_of(reach))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_is_spoken(files: Files, version: ssl.TLSVersion) -> None:
    context = of_server(files)
    context.maximum_version = version
    with listening(by_tls(context)) as address:
        found = asked(address, mine(files))
    assert found.version == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[version]
    assert str(found) == f"{found.version} {found.cipher}"
    assert "AES" in found.cipher or "CHACHA" in found.cipher


def test_a_server_that_says_nothing_by_itself_is_one(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "GREETED_S", 0.05)
    with listening(by_tls(of_server(files), greets=False)) as address:
        assert asked(address, mine(files)).version


def test_whom_the_certificate_is_for(files: Files) -> None:
    with listening(by_tls(of_server(files))) as address:
        assert asked(address, mine(files, server_name="localhost")).version
        with pytest.raises(InferdError, match=r"another name .*give --tls-server-name NAME"):
            asked(address, mine(files, server_name="elsewhere.test"))
        with pytest.raises(ConfigError, match="expected the name of a host"):
            asked(address, mine(files, server_name=".test"))


def test_an_authority_that_is_not_known(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = Files.made(tmp_path)
    with listening(by_tls(of_server(files))) as address:
        for reach in (mine(stranger), Reach(tls=True)):
            with pytest.raises(InferdError, match=r"is not trusted \(.*give --tls-ca FILE"):
                asked(address, reach)
        monkeypatch.setenv(ROOTS, str(files.ca))
        assert asked(address, Reach(tls=True)).version, "whom gRPC trusts, too"


def test_a_certificate_that_is_named_is_trusted_itself(files: Files) -> None:
    with listening(by_tls(of_server(files))) as address:
        assert asked(address, Reach(ca=str(files.cert))).version


def test_plaintext_where_tls_was_expected_and_the_other_way_round(files: Files) -> None:
    for serve in (in_plaintext, in_plaintext_to_its_like):
        with listening(serve) as address:
            assert "speaks no TLS, but plaintext: leave --tls" in explanation(address, mine(files))
            assert explanation(address, PLAINTEXT) == ""
    with listening(by_tls(of_server(files))) as address:
        assert "speaks TLS: give --tls-ca FILE" in explanation(address, PLAINTEXT)
        assert explanation(address, mine(files)) == ""
    with listening(by_tls(of_server(files, http2=False))) as address:
        assert "ALPN h2" in explanation(address, mine(files))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_is_missing_or_not_taken(files: Files, tmp_path: Path, version: ssl.TLSVersion) -> None:
    context = of_server(files)
    context.maximum_version, context.verify_mode = version, ssl.CERT_REQUIRED
    context.load_verify_locations(files.ca)
    stranger = Files.made(tmp_path)
    with listening(by_tls(context)) as address:
        assert asked(address, mine(files, certificate=str(files.cert), key=str(files.key))).version
        with pytest.raises(InferdError, match="give --tls-cert and --tls-key"):
            asked(address, mine(files))
        with pytest.raises(InferdError, match="may not take the client certificate of --tls-cert"):
            asked(address, mine(files, certificate=str(stranger.cert), key=str(stranger.key)))


def test_a_server_that_is_silent_or_gone(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "WAIT_S", 0.05)
    monkeypatch.setattr(connections, "GREETED_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:  # whose backlog takes connections
        address = Address(*server.getsockname())
        assert "no TLS handshake within" in explanation(address, mine(files))
        assert explanation(address, PLAINTEXT) == ""
    with pytest.raises(InferdError, match="no gRPC server responds there: Connection refused"):
        asked(address, mine(files))


def test_files_that_are_none(files: Files, tmp_path: Path) -> None:
    other = Files.made(tmp_path / "other")
    (tmp_path / "text").write_text("no certificate")
    locked = tmp_path / "locked.pem"
    locked.write_bytes(trustme.CA().issue_cert("a.test").private_key_pem.bytes().replace(b"EC PRIVATE", b"ENCRYPTED PRIVATE"))
    for reach, says in (
        (Reach(ca=str(tmp_path / "nosuch")), "nosuch: no certificates can be read in it: No such file"),
        (Reach(ca=str(tmp_path / "text")), "text: no certificates can be read in it"),
        (Reach(certificate=str(files.cert), key=str(other.key)), "it is another key than that of --tls-cert"),
        (Reach(certificate=str(tmp_path / "text"), key=str(files.key)), "they cannot be used"),
        (Reach(certificate=str(tmp_path / "nosuch"), key=str(files.key)), "cannot be read: No such file"),
        (Reach(certificate=str(files.cert), key=str(locked)), "they cannot be used|passphrase"),
    ):
        with pytest.raises(ConfigError, match=says):
            context_of(reach)


def test_words_of_ssl_without_its_places() -> None:
    assert said(ssl.SSLError(1, "[SSL] record layer failure (_ssl.c:2580)")) == "record layer failure"
    assert said(OSError(2, "No such file or directory")) == "No such file or directory"
