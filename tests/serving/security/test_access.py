"""Who may ask, on both transports: TLS, client certificates and the names in them, tokens; all of it replaced under open connections."""

from __future__ import annotations

import asyncio
import codecs
import datetime
import ipaddress
import logging
import os
import queue
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from inferd.config import Address, Settings, parse_address
from inferd.errors import ConfigError, PermissionDenied, Unauthenticated
from inferd.protocol import health, inference
from inferd.rollout.paths import RolloutPaths
from inferd.rollout.rpc import RolloutControl
from inferd.serving.parts import credentials
from inferd.serving.parts.credentials import Credentials
from inferd.serving.parts.model_control.part import ModelControlPart
from inferd.serving.parts.model_control.rpc import ModelControl
from inferd.serving.security import access
from inferd.serving.security.access import (
    LEAST_TOKEN_BYTES,
    MAX_CERTIFICATE_BYTES,
    MAX_TOKEN_BYTES,
    Access,
    Identity,
    is_local,
    is_loopback,
    warn_of_open,
)
from inferd.serving.security.tls import Tls
from inferd.serving.transports import grpcio
from inferd.watched_files import _state_of as state_of
from tests import models
from tests.certificates import OWN_CONNECTION, Files
from tests.http2_peer import connected
from tests.rest import Asker
from tests.server_fixtures import LIMIT_S, TRANSPORTS, Program, ServerFixture, until
from tests.wire import INFER, infer_request

TOKEN, OTHER_TOKEN = "a" * 32, "b" * 32
STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
CHECK = "/grpc.health.v1.Health/Check"
REFLECTION = tuple(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha"))
REQUEST = infer_request("identity", {"x": np.ones((1, 16), np.float32)}).SerializeToString()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files.made(tmp_path_factory.mktemp("tls") / "server")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(tmp_path_factory.mktemp("models"), {"identity": models.identity()})


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def channels() -> Iterator[list[grpc.Channel]]:
    made: list[grpc.Channel] = []
    yield made
    for channel in made:
        channel.close()


def call(channel: grpc.Channel, method: str = LIVE, request: bytes = b"", **more: Any) -> bytes:
    answer: bytes = channel.unary_unary(method)(request, timeout=LIMIT_S, **more)
    return answer


def code_of(ask: Callable[[], object]) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        ask()
    return str(caught.value.code().name)


def bearer(token: str) -> dict[str, Any]:
    return {"metadata": [("authorization", f"Bearer {token}")]}


def serial(address: str, files: Files) -> int:
    """Of the certificate that a new handshake shows."""
    context = ssl.create_default_context(cadata=files.authority.cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), LIMIT_S) as plain, context.wrap_socket(plain, server_hostname="localhost") as made:
        assert made.selected_alpn_protocol() == "h2"
        certificate: Any = made.getpeercert()
        return int(certificate["serialNumber"], 16)


# ---- TLS


def test_every_kind_of_call_goes_by_tls(files: Files, model: Path, transport: str, channels: list[grpc.Channel]) -> None:
    with ServerFixture(model, transport=transport, **files.settings()) as served:
        channels.append(channel := files.channel(served.address))
        answer = inference.ModelInferResponse.FromString(call(channel, INFER, REQUEST))
        assert answer.raw_output_contents[0] == np.ones((1, 16), np.float32).tobytes()
        assert inference.ServerLiveResponse.FromString(call(channel)).live
        watched = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=LIMIT_S)
        assert health.HealthCheckResponse.FromString(next(watched)).status == 1
        watched.cancel()
        large = infer_request("identity", {"x": np.ones((20_000, 16), np.float32)}).SerializeToString()
        assert code_of(lambda: call(channel, INFER, large)) == "INVALID_ARGUMENT", "more rows than a batch has, and all of them read"


def test_who_does_not_trust_the_authority_does_not_connect(
    files: Files, model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel]
) -> None:
    with ServerFixture(model, transport=transport, **files.settings()) as served:
        channels.append(stranger := Files.made(tmp_path / "other").channel(served.address))
        assert code_of(lambda: call(stranger)) == "UNAVAILABLE"
        channels.append(plain := grpc.insecure_channel(served.address, OWN_CONNECTION))
        assert code_of(lambda: call(plain)) == "UNAVAILABLE"
        channels.append(channel := files.channel(served.address))
        assert call(channel)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_protocols_are_not_spoken(files: Files, model: Path) -> None:
    with ServerFixture(model, **files.settings()) as served:
        host, port = served.address.rsplit(":", 1)
        context = ssl.create_default_context(cadata=files.authority.cert_pem.bytes().decode())
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection((host, int(port)), LIMIT_S) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(plain, server_hostname="localhost")


def test_plaintext_and_tls_side_by_side(files: Files, model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel]) -> None:
    listen = ("plaintext:127.0.0.1:0", "127.0.0.1:0", f"unix:{tmp_path}/s")
    with ServerFixture(model, transport=transport, listen=listen, **files.settings()) as served:
        plaintext, secure, local = served.addresses["listen"]
        channels += [grpc.insecure_channel(address, OWN_CONNECTION) for address in (plaintext, local)]
        channels.append(files.channel(secure))
        assert all(call(channel) for channel in channels)


def test_a_certificate_is_replaced_and_no_connection_notices(
    model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel]
) -> None:
    files = Files.made(tmp_path / "server")
    with ServerFixture(model, transport=transport, **files.settings()) as served:
        channels.append(channel := files.channel(served.address))
        call(channel)
        before = serial(served.address, files)
        files.renew()
        served.on_loop(served.server.reload)
        assert serial(served.address, files) != before
        assert call(channel), "the open connection goes on"
        files.key.write_text("no key")
        served.on_loop(served.server.reload)
        after = serial(served.address, files)
        files.renew()
        served.on_loop(served.server.reload)
        assert serial(served.address, files) != after
        assert call(channel)


# ---- client certificates


def test_clients_need_a_certificate_of_the_authority(
    files: Files, model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel]
) -> None:
    other = Files.made(tmp_path / "other")
    with ServerFixture(model, transport=transport, **files.settings(tls_client_ca=str(files.ca))) as served:
        good = files.channel(served.address, files.authority.issue_cert("client.example"))
        strange = files.channel(served.address, other.authority.issue_cert("client.example"))
        none = files.channel(served.address)
        channels += [good, strange, none]
        assert call(good)
        assert [code_of(lambda channel=channel: call(channel)) for channel in (strange, none)] == ["UNAVAILABLE"] * 2


def test_only_names_on_the_list_may_ask(files: Files, model: Path, transport: str, channels: list[grpc.Channel]) -> None:
    allowed = ("spiffe://example/batch", "cn:Some Person")
    with ServerFixture(model, transport=transport, **files.settings(tls_client_ca=str(files.ca), tls_allow=allowed)) as served:
        by_common_name = files.authority.issue_cert("x.example", common_name="Some Person")
        channels += [files.channel(served.address, leaf) for leaf in (by_common_name, files.authority.issue_cert("client.example"))]
        for method, request in ((INFER, REQUEST), (LIVE, b"")):
            assert call(channels[0], method, request)
            assert code_of(lambda method=method, request=request: call(channels[1], method, request)) == "PERMISSION_DENIED"


def test_a_name_is_taken_from_a_client_that_is_connected(
    files: Files, model: Path, transport: str, channels: list[grpc.Channel], caplog: pytest.LogCaptureFixture
) -> None:
    allowed = ("batch.example", "web.example")
    with (
        caplog.at_level(logging.INFO, "inferd"),
        ServerFixture(model, transport=transport, **files.settings(tls_client_ca=str(files.ca), tls_allow=allowed)) as served,
    ):

        def allow(*names: str) -> None:
            server = served.server
            server.settings = msgspec.structs.replace(server.settings, tls_allow=names)
            served.on_loop(server.reload)

        channels += [
            files.channel(served.address, leaf(files.authority, name, x509.DNSName(f"{name}.example"))) for name in ("batch", "web")
        ]
        assert all(call(channel) for channel in channels)
        allow("web.example")
        assert code_of(lambda: call(channels[0])) == "PERMISSION_DENIED", "on its open connection"
        assert call(channels[1])
        allow("web.example", "BATCH.example")
        assert all(call(channel) for channel in channels)
        allow()
        assert all(call(channel) for channel in channels), "none are all"
    assert said_of_clients(caplog) == [
        "connected: client (cn:batch, dns:batch.example) from",
        "connected: client (cn:web, dns:web.example) from",
        "rejected: client (cn:batch, dns:batch.example) from",
        *(["connected: client (cn:batch, dns:batch.example) from"] if transport == "native" else []),
    ]


def test_authorities_are_replaced(model: Path, tmp_path: Path, channels: list[grpc.Channel]) -> None:
    """Of a client whose authority is trusted no longer the next handshake is rejected; grpc's transport shares the mechanism."""
    files, other = Files.made(tmp_path / "server"), trustme.CA()
    with ServerFixture(model, **files.settings(tls_client_ca=str(files.ca))) as served:
        channels.append(before := files.channel(served.address, files.authority.issue_cert("client.example")))
        assert call(before)
        other.cert_pem.write_to_path(files.ca)
        served.on_loop(served.server.reload)
        channels.append(strange := files.channel(served.address, files.authority.issue_cert("client.example")))
        channels.append(good := files.channel(served.address, other.issue_cert("client.example")))
        assert code_of(lambda: call(strange)) == "UNAVAILABLE"
        assert call(good)


@pytest.mark.parametrize("place", ["common name", "DNS", "URI", "email"])
def test_a_name_counts_by_its_type(files: Files, model: Path, transport: str, channels: list[grpc.Channel], place: str) -> None:
    """A common name, or an e-mail, that is spelled as a DNS name is none (RFC 9525)."""
    shown = {
        "common name": ("batch.example", x509.DNSName("x.example")),
        "DNS": ("x", x509.DNSName("batch.example")),
        "URI": ("x", x509.UniformResourceIdentifier("batch.example")),
        "email": ("x", x509.RFC822Name._init_without_validation("batch.example")),
    }
    typed = {"common name": "cn:batch.example", "DNS": "dns:batch.example", "URI": "uri:batch.example", "email": "email:batch.example"}
    client = leaf(files.authority, *shown[place])
    settings = files.settings(tls_client_ca=str(files.ca))
    with ServerFixture(model, transport=transport, **settings, tls_allow=("batch.example",)) as served:
        channels.append(channel := files.channel(served.address, client))
        assert call(channel) if place == "DNS" else code_of(lambda: call(channel)) == "PERMISSION_DENIED"
        server = served.server
        server.settings = msgspec.structs.replace(server.settings, tls_allow=(typed[place],))
        served.on_loop(server.reload)
        assert call(channel)


def test_only_a_certificate_with_one_of_the_names_may_ask() -> None:
    rules = Access(Settings(tls_cert="c", tls_key="k", tls_client_ca="a", tls_allow=("batch.example", "cn:Web")))
    for names in (("cn:x", "dns:batch.example"), ("cn:Web",)):
        assert rules.check_identity(Identity("", names)) is None
    for nobody in (Identity("", ("cn:batch.example", "dns:web")), Identity("", ("cn:Web",), "a fault"), Identity("", ()), None):
        assert isinstance(rules.check_identity(nobody), PermissionDenied)
    assert Access(Settings()).check_identity(None) is None


def test_of_several_common_names_the_first_counts(files: Files, model: Path, transport: str, channels: list[grpc.Channel]) -> None:
    with ServerFixture(model, transport=transport, **files.settings(tls_client_ca=str(files.ca), tls_allow=("cn:batch",))) as served:
        for common, code in ((["batch", "other"], ""), (["other", "batch"], "PERMISSION_DENIED")):
            channels.append(channel := files.channel(served.address, leaf(files.authority, common, x509.DNSName("x.example"))))
            assert call(channel) if not code else code_of(lambda channel=channel: call(channel)) == code


@pytest.mark.parametrize("allow", [("batch.example",), ()])
@pytest.mark.parametrize("place", ["common name", "DNS", "URI", "email"])
def test_a_name_with_a_nul_in_it_is_nobodys(
    files: Files, model: Path, transport: str, channels: list[grpc.Channel], place: str, allow: tuple[str, ...]
) -> None:
    """Not of who has what stands before it, above all."""
    kinds = {"DNS": x509.DNSName, "URI": x509.UniformResourceIdentifier, "email": x509.RFC822Name}
    bad = "batch.example\0.evil"
    shown = leaf(files.authority, bad, x509.DNSName("x")) if place == "common name" else leaf(files.authority, "x", kinds[place](bad))
    with ServerFixture(model, transport=transport, **files.settings(tls_client_ca=str(files.ca), tls_allow=allow)) as served:
        channels.append(channel := files.channel(served.address, shown))
        with pytest.raises(grpc.RpcError) as caught:
            call(channel)
        assert caught.value.code().name == "PERMISSION_DENIED"
        assert caught.value.details() == "this client's certificate names nobody: one of its names holds a NUL; show another one"


@pytest.mark.parametrize("allow", [("kiosk.internal", "strasse.internal"), ()])
@pytest.mark.parametrize("name", ["\u212aiosk.internal", "kio\u017fk.internal", "stra\u00dfe.internal", "\u00e4"])
def test_a_dns_name_that_is_not_ascii_is_nobodys(
    files: Files, model: Path, transport: str, channels: list[grpc.Channel], name: str, allow: tuple[str, ...]
) -> None:
    """Least of all of whom Unicode takes for the same in another case."""
    shown = leaf(files.authority, "x", x509.DNSName._init_without_validation(name))
    with ServerFixture(model, transport=transport, **files.settings(tls_client_ca=str(files.ca), tls_allow=allow)) as served:
        channels.append(channel := files.channel(served.address, shown))
        with pytest.raises(grpc.RpcError) as caught:
            call(channel)
        assert caught.value.code().name == "PERMISSION_DENIED"
        assert caught.value.details() == "this client's certificate names nobody: one of its DNS names is not ASCII; show another one"


@pytest.mark.parametrize("allow", [("batch.example",), ()])
@pytest.mark.parametrize("kind", [0x82, 0x86, 0x81], ids=["DNS", "URI", "email"])
def test_a_name_that_is_no_utf_8_is_nobodys(
    files: Files,
    model: Path,
    transport: str,
    channels: list[grpc.Channel],
    kind: int,
    allow: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor a fault of the server's, whose loop asks for the names as the handshake ends. One of many such clients has a line."""
    monkeypatch.setattr(access, "REJECTED_LOG_S", 3600.0)
    bad = b"batch.example\xff"
    shown = leaf(files.authority, "batch.example", encoded=bytes([0x30, len(bad) + 2, kind, len(bad)]) + bad)
    with (
        caplog.at_level(logging.INFO),
        ServerFixture(model, transport=transport, **files.settings(tls_client_ca=str(files.ca), tls_allow=allow)) as served,
    ):
        for _ in range(2):
            channels.append(channel := files.channel(served.address, shown))
            with pytest.raises(grpc.RpcError) as caught:
                call(channel)
            assert caught.value.code().name == "PERMISSION_DENIED"
            assert caught.value.details() == "this client's certificate names nobody: its names cannot be read; show another one"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    [line] = said_of_clients(caplog)
    assert line == "rejected: client (no name; its names cannot be read) from"


def of_many_names(files: Files, nbytes: int) -> trustme.LeafCert:
    return leaf(files.authority, "batch", *(x509.DNSName(f"{number:08}") for number in range(nbytes // 10)))


@pytest.mark.parametrize("allow", [("cn:batch",), ()])
def test_a_certificate_that_is_too_large_is_not_looked_at(
    files: Files, model: Path, channels: list[grpc.Channel], caplog: pytest.LogCaptureFixture, allow: tuple[str, ...]
) -> None:
    with (
        caplog.at_level(logging.INFO, "inferd"),
        ServerFixture(model, **files.settings(tls_client_ca=str(files.ca), tls_allow=allow)) as served,
    ):
        channels += [files.channel(served.address, of_many_names(files, nbytes)) for nbytes in (MAX_CERTIFICATE_BYTES - 1000, 18_000)]
        assert call(channels[0])
        with pytest.raises(grpc.RpcError, match=r"names nobody: it has 1\d{4} bytes, expected at most 16384; show another one"):
            call(channels[1])
    good, bad = [record.getMessage() for record in caplog.records if " client " in record.getMessage()]
    assert re.search(r"\(cn:batch, dns:00000000, .*\.\.\. of \d+ characters\) from", good)
    assert len(good) < 700
    assert re.match(r"rejected: client no subject \(no name; it has 1\d{4} bytes, ", bad)


class Rpc:
    """What grpc tells of a client that shows a certificate."""

    def __init__(self, pem: bytes, peer: str = "") -> None:
        self._pem, self._peer = pem, peer

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"transport_security_type": [b"ssl"], "x509_common_name": [b"batch"], "x509_pem_cert": [self._pem]}

    def peer(self) -> str:
        return self._peer


def test_what_grpc_tells_of_a_certificate_that_is_too_large_or_not_shown(files: Files) -> None:
    """grpc itself makes no handshake with most that are."""
    rules = Access(Settings())
    for pem, says in (
        (of_many_names(files, MAX_CERTIFICATE_BYTES - 1000).cert_chain_pems[0].bytes(), None),
        (of_many_names(files, 30_000).cert_chain_pems[0].bytes(), "names nobody: it has 3.* bytes, expected at most 16384"),
        (b"", "names nobody"),
    ):
        rejection = rules.check_identity(grpcio._identity(Rpc(pem)))  # type: ignore[arg-type]
        assert re.search(says, str(rejection)) if says else rejection is None


def test_what_the_log_repeats_of_names_is_bounded() -> None:
    identity = Identity("s" * 10_000, tuple(f"name {number}" for number in range(1000)))
    assert len(str(identity)) < 700


def test_of_many_clients_that_may_not_ask_one_has_a_line(
    files: Files,
    model: Path,
    transport: str,
    channels: list[grpc.Channel],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access, "REJECTED_LOG_S", 3600.0)
    bad = leaf(files.authority, "bad", x509.DNSName("bad.example"))
    with (
        caplog.at_level(logging.INFO, "inferd"),
        ServerFixture(model, transport=transport, **files.settings(tls_client_ca=str(files.ca), tls_allow=("good",))) as served,
    ):
        for number in range(4):
            if number == 3:
                monkeypatch.setattr(access, "REJECTED_LOG_S", 0.0)
            channels.append(channel := files.channel(served.address, bad))
            assert code_of(lambda channel=channel: call(channel)) == "PERMISSION_DENIED"
    first, last = [record.getMessage() for record in caplog.records if " client " in record.getMessage()]
    assert "more were rejected" not in first
    assert last.endswith("; 2 more were rejected before it")


def leaf(authority: trustme.CA, common_names: str | list[str], *names: x509.GeneralName, encoded: bytes = b"") -> trustme.LeafCert:
    """Of names that trustme does not write. encoded: in place of others, names that no library writes."""
    alternative = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, encoded) if encoded else x509.SubjectAlternativeName(names)
    common = [common_names] if isinstance(common_names, str) else common_names
    signer = serialization.load_pem_private_key(authority.private_key_pem.bytes(), None)
    issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(1))
        .not_valid_after(now + datetime.timedelta(1))
        .add_extension(alternative, critical=False)
        .sign(signer, hashes.SHA256())  # type: ignore[arg-type]
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return trustme.LeafCert(private, made.public_bytes(serialization.Encoding.PEM), [])


def said_of_clients(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Without their ports, and how each library writes a subject."""
    lines = [record.getMessage() for record in caplog.records]
    return [re.sub(r"(client ).*(\(.*\) from) .*", r"\1\2", line) for line in lines if re.match("(connected|rejected): client ", line)]


def test_names_are_spelled_alike_and_the_log_names_each_client(
    files: Files, model: Path, transport: str, channels: list[grpc.Channel], caplog: pytest.LogCaptureFixture
) -> None:
    allowed = ("web.example", "2001:db8::1", "spiffe://example/a")
    directory = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "directory")]))
    good = {
        "host": leaf(files.authority, "host", directory, x509.DNSName("WEB.example")),
        "address": leaf(files.authority, "address", x509.IPAddress(ipaddress.ip_address("2001:db8::1"))),
        "uri": leaf(files.authority, "uri", x509.UniformResourceIdentifier("spiffe://example/a")),
    }
    bad = leaf(files.authority, "bad", x509.UniformResourceIdentifier("spiffe://example/A"), directory)
    with (
        caplog.at_level(logging.INFO, "inferd"),
        ServerFixture(model, transport=transport, **files.settings(tls_client_ca=str(files.ca), tls_allow=allowed)) as served,
    ):
        for each in good.values():
            channels.append(channel := files.channel(served.address, each))
            assert call(channel)
            assert call(channel)
        channels.append(rejected := files.channel(served.address, bad))
        assert [code_of(lambda: call(rejected)) for _ in range(2)] == ["PERMISSION_DENIED"] * 2
    assert said_of_clients(caplog) == [
        "connected: client (cn:host, dns:web.example) from",
        "connected: client (cn:address, ip:2001:db8::1) from",
        "connected: client (cn:uri, uri:spiffe://example/a) from",
        "rejected: client (cn:bad, uri:spiffe://example/A) from",
    ], "once a connection"


def test_grpc_clients_are_remembered_as_long_as_there_is_room(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(grpcio, "MAX_TOLD", 2)
    pem = trustme.CA().issue_cert("batch").cert_chain_pems[0].bytes()

    async def ask() -> None:
        transport = grpcio.GrpcioTransport({}, Settings(), lambda call, error: None)
        for peer in "abacabc":
            transport._check_access(LIVE, Rpc(pem, peer))  # type: ignore[arg-type]
        await transport.stop(0)

    with caplog.at_level(logging.INFO, "inferd"):
        asyncio.run(ask())
    assert [record.getMessage()[-1] for record in caplog.records if "batch" in record.getMessage()] == list("abcbc")


def test_a_handshake_that_fails_is_said(
    files: Files, model: Path, tmp_path: Path, channels: list[grpc.Channel], caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """A client without a certificate, or with one of a stranger's. Of many that fail at once one has a line."""
    settings = files.settings(tls_client_ca=str(files.ca))

    def fails(served: ServerFixture, client: trustme.LeafCert | None) -> None:
        channels.append(channel := files.channel(served.address, client))
        assert code_of(lambda: call(channel)) == "UNAVAILABLE"
        channel.close()

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if "handshake of" in record.getMessage()]

    strange = Files.made(tmp_path / "other").authority.issue_cert("client.example")
    with caplog.at_level(logging.INFO, "inferd"):
        monkeypatch.setattr(access, "REJECTED_LOG_S", 0.0)
        with ServerFixture(model, **settings) as served:
            fails(served, strange)
            until(lambda: any("failed: certificate verify failed: unable to get local issuer certificate" in line for line in lines()))
            fails(served, None)
            until(lambda: any(line.endswith("failed: peer did not return a certificate") for line in lines()))
            assert all(re.match(r"rejected: the TLS handshake of \('127.0.0.1', \d+\) failed: ", line) for line in lines())
        monkeypatch.setattr(access, "REJECTED_LOG_S", 3600.0)
        caplog.clear()
        with ServerFixture(model, **settings) as served:
            for _ in range(2):
                before = counters(served)["handshakes_failed_total"]
                fails(served, None)
                until(lambda before=before: counters(served)["handshakes_failed_total"] > before)
            assert len(lines()) == 1
            monkeypatch.setattr(access, "REJECTED_LOG_S", 0.0)
            fails(served, strange)
            until(lambda: len(lines()) > 1)
            assert re.search(r"; \d+ more were rejected before it$", lines()[1])


def test_of_many_clients_that_are_rejected_one_a_second_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    rejections = access.Rejections()
    with caplog.at_level(logging.INFO, "inferd"):
        for number in range(25):
            rejections.tell(100 + number / 10, f"client {number}")
        rejections.tell(200.0, "the last")
    assert [record.getMessage() for record in caplog.records] == [
        "rejected: client 0",
        "rejected: client 10; 9 more were rejected before it",
        "rejected: client 20; 9 more were rejected before it",
        "rejected: the last; 4 more were rejected before it",
    ]


def rsa_chain(length: int) -> tuple[trustme.CA, trustme.LeafCert]:
    """Of certificates as large as they are common, each signed by the next: the client's, and the authority that is to be trusted."""
    key = rsa.generate_private_key(65537, 4096)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    now = datetime.datetime.now(datetime.UTC)
    pems = [
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{number}")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{min(number + 1, length - 1)}")]))
        .public_key(key.public_key())
        .serial_number(number + 1)
        .not_valid_before(now - datetime.timedelta(1))
        .not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.BasicConstraints(ca=number > 0, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("client.example")]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        for number in range(length)
    ]
    return trustme.CA.from_pem(pems[-1], private), trustme.LeafCert(private, pems[0], pems[1:])


def test_a_chain_of_certificates_has_a_limit(
    files: Files, model: Path, tmp_path: Path, channels: list[grpc.Channel], caplog: pytest.LogCaptureFixture
) -> None:
    """Four as large as they are common are well below it. A stranger's would take the loop's time, whoever signed it."""
    authority, client = rsa_chain(4)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def channel(served: ServerFixture, count: int) -> grpc.Channel:
        chain = b"".join(pem.bytes() for pem in client.cert_chain_pems)
        credentials = grpc.ssl_channel_credentials(files.authority.cert_pem.bytes(), client.private_key_pem.bytes(), chain * count)
        channels.append(made := grpc.secure_channel(served.address.replace("127.0.0.1", "localhost"), credentials, OWN_CONNECTION))
        return made

    with (
        caplog.at_level(logging.INFO, "inferd"),
        ServerFixture(model, **files.settings(tls_client_ca=str(tmp_path / "ca.pem"), tls_allow=("client.example",))) as served,
    ):
        assert call(channel(served, 1))
        assert call(channel(served, 3))
        assert counters(served)["handshakes_failed_total"] == 0
        assert code_of(lambda: call(channel(served, 8))) == "UNAVAILABLE"
        assert counters(served)["handshakes_failed_total"] >= 1
    [line, *_] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("rejected: ")]
    assert line.endswith("failed: more than 24576 bytes before the handshake was made")


def test_clients_without_alpn_do_not_fill_the_log(
    files: Files, model: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They share the lines of handshakes that fail."""
    monkeypatch.setattr(access, "REJECTED_LOG_S", 3600.0)
    context = ssl.create_default_context(cadata=files.authority.cert_pem.bytes().decode())
    with caplog.at_level(logging.INFO, "inferd"), ServerFixture(model, **files.settings()) as served:
        host, port = served.address.rsplit(":", 1)
        for _ in range(5):
            with socket.create_connection((host, int(port)), LIMIT_S) as plain, suppress(OSError):
                context.wrap_socket(plain, server_hostname="localhost").close()
        with socket.create_connection((host, int(port)), LIMIT_S) as plain:
            plain.sendall(b"no hello at all, but as many bytes as one is looked at for")
            with suppress(ConnectionError):
                plain.recv(100)
        until(lambda: counters(served)["handshakes_failed_total"] == 6)
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("rejected: ")]
    assert line.endswith("did not offer h2 in its handshake (ALPN)")


def test_only_browsers_of_this_machine_reach_a_server() -> None:
    for addresses, local in (
        (("127.0.0.1:0", "localhost:0", "unix:/tmp/s"), True),
        (("[::1]:0",), True),
        (("127.0.0.1:0", "10.0.0.1:0"), False),
        (("unix:/tmp/s",), False),  # no browser reaches that
        ((), False),
    ):
        assert is_local(map(parse_address, addresses)) == local


# ---- tokens


def write_tokens(path: Path, *tokens: str) -> Path:
    path.write_text("# of the batch jobs\n" + "\n".join(tokens) + "\n\n")
    return path


CHANGES = (
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
    *(f"/inferd.v1.ModelControl/{name}" for name in ("SetLabel", "RemoveLabel", "Rollback")),
    *(f"/inferd.v1.Rollouts/{name}" for name in ("Start", "Stop", "Promote", "RollBack")),
)


def test_changes_are_kept_to_control_tokens(
    model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel], caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that has shown a good token does not get past this, nor does REST on the same server."""
    path = write_tokens(tmp_path / "tokens", TOKEN, f"control  {OTHER_TOKEN}")
    with ServerFixture(model, transport=transport, token_file=str(path), http_port=0) as served:
        channels.append(channel := grpc.insecure_channel(served.address, OWN_CONNECTION))
        for token in (TOKEN, OTHER_TOKEN):
            assert call(channel, INFER, REQUEST, **bearer(token)), "each may use models,"
            assert call(channel, "/inferd.v1.Rollouts/Status", **bearer(token)) == b"", "and look at rollouts"
            codes = {method: code_of(lambda method=method, token=token: call(channel, method, **bearer(token))) for method in CHANGES}
            assert [method for method, code in codes.items() if code == "PERMISSION_DENIED"] == list(CHANGES if token == TOKEN else ())
        with Asker(served.http) as asker:
            resources = [
                "/v2/repository/models/m/load",
                "/v2/repository/models/m/unload",
                "/v2/models/m/rollout",
                "/v2/models/m/rollout/stop/",
            ]
            for path_of in resources:
                denied = asker.post(path_of, b"{}", authorization=f"Bearer {TOKEN}")
                assert (denied.status, "`control`" in denied.json["error"]) == (403, True)
                assert asker.post(path_of, b"{}", authorization=f"Bearer {OTHER_TOKEN}").status != 403
            assert asker.get("/v2/models/m/rollout", authorization=f"Bearer {TOKEN}").status != 403
        write_tokens(path, TOKEN)
        served.on_loop(served.server.reload)
        assert code_of(lambda: call(channel, CHANGES[0], **bearer(TOKEN))) == "UNAVAILABLE", "without such a line each may"
        assert "each of them may change models and rollouts from now on" in caplog.text


def test_whatever_changes_models_or_rollouts_is_kept() -> None:
    """A method or path that is new here needs a place in one of these lists."""
    none: Any = None
    control = RolloutControl(none)
    methods = {**ModelControl().methods(), **control.methods()}
    assert {name for name, method in methods.items() if method.changes} == set(CHANGES)
    assert methods.keys() - set(CHANGES) == {"/inferd.v1.Rollouts/Status", "/inferd.v1.Rollouts/Report"}
    posted = [
        (each.path, each.verbs["POST"])
        for each in (*ModelControlPart(ModelControl()).resources(), *RolloutPaths(control).resources())
        if "POST" in each.verbs
    ]
    assert {path for path, verb in posted if not verb.changes} == {"v2/models/{model}/rollout/outcomes"}


def test_calls_need_a_token_but_probes_do_not(model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel]) -> None:
    with ServerFixture(model, transport=transport, token_file=str(write_tokens(tmp_path / "tokens", TOKEN, OTHER_TOKEN))) as served:
        channels.append(channel := grpc.insecure_channel(served.address, OWN_CONNECTION))
        assert call(channel, CHECK)
        assert call(channel, CHECK, **bearer("x" * 32)), "a wrong token is no harm where none is needed,"
        assert code_of(lambda: call(channel, **bearer("x" * 32))) == "UNAUTHENTICATED", "and opens nothing else"
        for method, request in ((INFER, REQUEST), (LIVE, b""), ("/no.such.Service/Method", b""), *((name, b"") for name in REFLECTION)):
            for wrong in ({}, bearer("x" * 32), bearer(TOKEN[:-1]), {"metadata": [("authorization", TOKEN)]}):
                assert code_of(lambda method=method, request=request, wrong=wrong: call(channel, method, request, **wrong)) == (
                    "UNAUTHENTICATED"
                )
        for token in (TOKEN, TOKEN, OTHER_TOKEN, TOKEN):
            assert call(channel, INFER, REQUEST, **bearer(token))
        assert code_of(lambda: call(channel, INFER, REQUEST, **bearer("c" * 32))) == "UNAUTHENTICATED"
        assert code_of(lambda: call(channel, "/no.such.Service/Method", **bearer(TOKEN))) == "UNIMPLEMENTED"


def test_tokens_are_replaced_under_an_open_connection(model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel]) -> None:
    path = write_tokens(tmp_path / "tokens", TOKEN)
    with ServerFixture(model, transport=transport, token_file=str(path)) as served:
        channels.append(channel := grpc.insecure_channel(served.address, OWN_CONNECTION))
        assert call(channel, INFER, REQUEST, **bearer(TOKEN))
        os.replace(write_tokens(tmp_path / "new", OTHER_TOKEN), path)
        served.on_loop(served.server.reload)
        assert code_of(lambda: call(channel, INFER, REQUEST, **bearer(TOKEN))) == "UNAUTHENTICATED"
        assert call(channel, INFER, REQUEST, **bearer(OTHER_TOKEN))
        path.write_text("short\n")
        served.on_loop(served.server.reload)
        assert call(channel, INFER, REQUEST, **bearer(OTHER_TOKEN)), "what cannot be read changes nothing"


def test_two_authorization_headers_are_rejected(model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel]) -> None:
    """Which of them counts would be the server's guess, and another proxy's another."""
    with ServerFixture(model, transport=transport, token_file=str(write_tokens(tmp_path / "tokens", TOKEN, OTHER_TOKEN))) as served:
        channels.append(channel := grpc.insecure_channel(served.address, OWN_CONNECTION))
        for known in (False, True):  # by the connection
            for one, other in ((TOKEN, TOKEN), (TOKEN, "x" * 32), ("x" * 32, TOKEN), (TOKEN, OTHER_TOKEN)):
                headers = [("authorization", f"Bearer {token}") for token in (one, other)]
                with pytest.raises(grpc.RpcError) as caught:
                    call(channel, INFER, REQUEST, metadata=headers)
                assert caught.value.code().name == "UNAUTHENTICATED"
                assert caught.value.details() == "expected one 'authorization' header, got several; send one token"
            assert call(channel, CHECK, metadata=headers), "probes have no token"
            assert known or call(channel, INFER, REQUEST, **bearer(TOKEN))


def test_a_wrong_token_leaves_a_line_with_the_address(
    model: Path,
    transport: str,
    tmp_path: Path,
    channels: list[grpc.Channel],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of many one has a line. No token does."""
    monkeypatch.setattr(access, "REJECTED_LOG_S", 3600.0)
    listen, wrong = (f"unix:{tmp_path}/s",), "w" * 32
    with (
        caplog.at_level(logging.INFO, "inferd"),
        ServerFixture(model, transport=transport, listen=listen, token_file=str(write_tokens(tmp_path / "tokens", TOKEN))) as served,
    ):
        channels += [grpc.insecure_channel(address, OWN_CONNECTION) for address in (served.address, *listen)]
        for _ in range(3):
            assert code_of(lambda: call(channels[0], **bearer(wrong))) == "UNAUTHENTICATED"
        monkeypatch.setattr(access, "REJECTED_LOG_S", 0.0)
        assert code_of(lambda: call(channels[1])) == "UNAUTHENTICATED"
        assert call(channels[0], **bearer(TOKEN))
        assert served.measured("inferd_server_refusals")["token",] == 4
    first, last = [record.getMessage() for record in caplog.records if record.getMessage().startswith("rejected: ")]
    assert re.search(r"^rejected: a call from .*127\.0\.0\.1.*: the header 'authorization' brings no token that is known here", first)
    assert re.search(r"^rejected: a call from (a Unix socket|unix:.*): expected the header .*; 2 more were rejected before it$", last)
    assert TOKEN not in caplog.text
    assert wrong not in caplog.text


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_a_token_file_that_is_deleted_or_emptied_is_said_and_counted(
    model: Path,
    tmp_path: Path,
    channels: list[grpc.Channel],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    monkeypatch.setattr(credentials, "LOOK_S", 3600.0)  # the test alone looks
    path = write_tokens(tmp_path / "tokens", TOKEN)

    def look(times: int = 1) -> float:
        for _ in range(times):
            served.on_loop(lambda: served.server.parts.of(Credentials)._take_files(asked=False))
        return served.measured("inferd_token_file_failures")[()]

    with ServerFixture(model, token_file=str(path)) as served:
        assert look(3) == 0
        if how == "deleted":
            path.unlink()
        else:
            path.write_text("")
        assert look(3) == 3
        [line] = [record.getMessage() for record in caplog.records if "token_file: " in record.getMessage()]
        assert ("No such file" if how == "deleted" else "expected one token a line, got none") in line
        assert line.endswith("; the tokens that were read before stay")
        channels.append(channel := grpc.insecure_channel(served.address, OWN_CONNECTION))
        assert call(channel, **bearer(TOKEN))
        write_tokens(path, OTHER_TOKEN)
        assert look(3) == 3
        assert call(channel, **bearer(OTHER_TOKEN))


def test_a_stream_outlives_the_token_that_opened_it(model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel]) -> None:
    """As docs/security.md says: what is rejected is new calls."""
    path, services = write_tokens(tmp_path / "tokens", TOKEN), b"\x3a\x00"  # list_services
    with ServerFixture(model, transport=transport, token_file=str(path)) as served:
        channels.append(channel := grpc.insecure_channel(served.address, OWN_CONNECTION))
        questions: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        stream = channel.stream_stream(REFLECTION[0])(iter(questions.get, None), timeout=LIMIT_S, **bearer(TOKEN))
        questions.put(services)
        told = next(stream)
        os.replace(write_tokens(tmp_path / "new", OTHER_TOKEN), path)
        served.on_loop(served.server.reload)
        opening = channel.stream_stream(REFLECTION[0])
        assert code_of(lambda: list(opening(iter([services]), timeout=LIMIT_S, **bearer(TOKEN)))) == "UNAUTHENTICATED"
        questions.put(services)
        assert next(stream) == told
        questions.put(None)
        assert list(stream) == []


def test_each_request_of_a_stream_of_inferences_needs_the_token(
    model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel]
) -> None:
    """A stream may go on for days: one whose token was taken away ends with the next request."""
    path = write_tokens(tmp_path / "tokens", TOKEN, OTHER_TOKEN)
    with ServerFixture(model, transport=transport, token_file=str(path)) as served:
        channels.append(channel := grpc.insecure_channel(served.address, OWN_CONNECTION))
        assert call(channel, INFER, REQUEST, **bearer(TOKEN))
        ask = channel.stream_stream(STREAM_INFER)
        requests: dict[str, queue.SimpleQueue[bytes | None]] = {token: queue.SimpleQueue() for token in (TOKEN, OTHER_TOKEN)}
        streams = {token: ask(iter(each.get, None), timeout=LIMIT_S, **bearer(token)) for token, each in requests.items()}
        for token, stream in streams.items():
            requests[token].put(REQUEST)
            assert next(stream)
        os.replace(write_tokens(tmp_path / "new", OTHER_TOKEN), path)
        served.on_loop(served.server.reload)
        for token, stream in streams.items():
            requests[token].put(REQUEST)
            assert token == TOKEN or next(stream)
            requests[token].put(None)
        assert code_of(lambda: list(streams[TOKEN])) == "UNAUTHENTICATED"
        assert list(streams[OTHER_TOKEN]) == []


def test_a_pipe_in_place_of_the_tokens_holds_up_nobody(
    model: Path, tmp_path: Path, channels: list[grpc.Channel], caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tokens(tmp_path / "tokens", TOKEN)
    with ServerFixture(model, token_file=str(path)) as served:
        channels.append(channel := grpc.insecure_channel(served.address, OWN_CONNECTION))
        path.unlink()
        os.mkfifo(path)
        served.on_loop(lambda: served.server.parts.of(Credentials)._take_files(asked=False))
        assert "token_file: expected a regular file, got" in caplog.text
        assert call(channel, INFER, REQUEST, **bearer(TOKEN))
        path.unlink()
        write_tokens(path, OTHER_TOKEN)
        served.on_loop(lambda: served.server.parts.of(Credentials)._take_files(asked=False))
        assert call(channel, INFER, REQUEST, **bearer(OTHER_TOKEN))


def test_who_asks_for_it_has_files_read_whatever_the_system_says_of_them(
    model: Path, tmp_path: Path, channels: list[grpc.Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tokens(tmp_path / "tokens", TOKEN)
    with ServerFixture(model, token_file=str(path)) as served:
        before = state_of(str(path))
        monkeypatch.setattr("inferd.watched_files._state_of", lambda _path: before)
        channels.append(channel := grpc.insecure_channel(served.address, OWN_CONNECTION))
        write_tokens(path, OTHER_TOKEN)
        served.on_loop(lambda: served.server.parts.of(Credentials)._take_files(asked=False))
        assert call(channel, INFER, REQUEST, **bearer(TOKEN))
        served.on_loop(served.server.reload)
        assert call(channel, INFER, REQUEST, **bearer(OTHER_TOKEN))


def test_a_certificate_is_taken_when_its_key_has_come(
    model: Path, tmp_path: Path, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = Files.made(tmp_path / "server")
    with ServerFixture(model, transport=transport, **files.settings()) as served:
        before, leaf = serial(served.address, files), files.authority.issue_cert("localhost", "127.0.0.1")
        leaf.cert_chain_pems[0].write_to_path(files.cert)
        for _ in range(3):
            served.on_loop(lambda: served.server.parts.of(Credentials)._take_files(asked=False))
        assert serial(served.address, files) == before
        assert caplog.text.count("key values mismatch") == 1, "said once, however often it is looked at"
        leaf.private_key_pem.write_to_path(files.key)
        served.on_loop(lambda: served.server.parts.of(Credentials)._take_files(asked=False))
        assert serial(served.address, files) != before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "expected one token a line, got none"),
        ("# only words\n", "expected one token a line, got none"),
        ("short\n", "token 1: expected 16 to 4096 characters of printable ASCII without spaces, one token a line, got 5; make one with"),
        (TOKEN + "\n" + "two words of some length\n", "token 2: expected 16 to 4096 characters of printable ASCII .*, got one with others"),
        ("ä" * 20, "token 1: expected 16 to .*, got one with others"),
        *((f"{TOKEN}{other}{OTHER_TOKEN}", "token 1: .*, got one with others") for other in "\0\r\t\x7f"),
        ("x" * (MAX_TOKEN_BYTES + 1), "token 1: expected 16 to 4096 .*, got 4097"),
        ("a" * (1 << 20) + "\n", "expected at most 1048576 bytes"),
    ],
)
def test_files_that_hold_no_tokens(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "tokens"
    path.write_text(content, newline="")
    with pytest.raises(ConfigError, match=says) as caught:
        Access(Settings(token_file=str(path)))
    assert TOKEN not in str(caught.value)
    path.write_text("a" * LEAST_TOKEN_BYTES + "\r\n" + "b" * MAX_TOKEN_BYTES, newline="")
    assert Access(Settings(token_file=str(path))).check_token(LIVE, b"Bearer " + b"b" * MAX_TOKEN_BYTES)


def test_tokens_by_themselves(tmp_path: Path) -> None:
    rules = Access(Settings(token_file=str(write_tokens(tmp_path / "tokens", TOKEN))))
    assert rules.check_token(LIVE, f"bearer  {TOKEN} ".encode()) is True
    assert rules.check_token(CHECK, b"Bearer wrong") is False
    for other in (*REFLECTION, "/grpc.health.v1.Healthy/Check", "/grpc.health.v1", "/grpc.channelz.v1.Channelz/GetServers"):
        with pytest.raises(Unauthenticated):
            rules.check_token(other, None)
    for wrong in (None, b"", b"Bearer", b"Bearer ", b"Basic " + TOKEN.encode(), TOKEN.encode(), b"\xff" * 40):
        with pytest.raises(Unauthenticated):
            rules.check_token(LIVE, wrong)
    assert Access(Settings()).check_token(LIVE, None) is False


def test_a_file_that_is_half_written_is_taken_when_it_stays_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """For as long as it is between two looks at it, however often somebody asks."""
    path = write_tokens(tmp_path / "tokens", TOKEN)
    rules = Access(Settings(token_file=str(path)))
    other = "b" * 40
    path.write_text("")
    assert not rules.reload(10.0, asked=True)
    assert "expected one token a line, got none" in caplog.text
    assert "half written" not in caplog.text
    half = f"{TOKEN}\n{other[:20]}"
    path.write_text(half)
    assert not any(rules.reload(10.0 + later_s, asked=asked) for later_s in (0, 0.05, 1.4) for asked in (True, False))
    with pytest.raises(Unauthenticated):
        rules.check_token(LIVE, f"Bearer {other[:20]}".encode())
    path.write_text(f"{half}c")
    assert not rules.reload(12.0, asked=False)
    path.write_text(half)
    assert not rules.reload(14.0, asked=False), "it was another one meanwhile,"
    write_tokens(path, TOKEN)
    assert not rules.reload(15.0, asked=True)
    path.write_text(half)
    assert not rules.reload(100.0, asked=True), "or one with an end"
    path.write_text(f"{TOKEN}\n{other}")
    assert not rules.reload(102.0, asked=True)
    assert rules.reload(103.5, asked=False), "a file without a last line end is as good, once it is whole"
    assert rules.check_token(LIVE, f"Bearer {other}".encode()) is True
    with pytest.raises(Unauthenticated):
        rules.check_token(LIVE, f"Bearer {other[:20]}".encode())


def test_the_next_look_at_files_takes_one_that_stays_so() -> None:
    assert access.UNENDED_S < credentials.LOOK_S


def test_a_token_is_looked_up_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has none must not hold the event loop for a time that grows with their number."""
    known = Access(Settings(token_file=str(write_tokens(tmp_path / "tokens", *(f"{number:032}" for number in range(20_000))))))
    asked: list[bytes] = []
    digest = access._digest
    monkeypatch.setattr(access, "_digest", lambda token: asked.append(token) or digest(token))

    class Compared(frozenset[bytes]):
        def __iter__(self) -> Iterator[bytes]:
            raise AssertionError("each of them is looked at")

    monkeypatch.setattr(known, "_tokens", access.Tokens(Compared(known._tokens.known), frozenset()))
    with pytest.raises(Unauthenticated):
        known.check_token(LIVE, b"Bearer " + b"9" * 32)
    assert known.check_token(LIVE, b"Bearer " + b"%032d" % 19_999) is True
    assert len(asked) == 2


# ---- settings and words


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tls_cert": "c.pem"}, r"tls_cert .*: expected tls_key, too, got none"),
        ({"tls_key": "k.pem"}, r"tls_key .*: expected tls_cert, too, got none"),
        ({"tls_client_ca": "a.pem"}, r"tls_client_ca .*: expected tls_cert, too, got none"),
        ({"tls_cert": "c", "tls_key": "k", "tls_allow": ("x",)}, r"tls_allow .*: expected tls_client_ca, too, got none"),
        ({"listen": ("plaintext:127.0.0.1:1",)}, r"listen .*: expected host:port, .*: without tls_cert all ports are plaintext"),
    ],
)
def test_settings_that_do_not_fit_together(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Settings(**settings)


def test_files_that_are_no_certificates(files: Files, tmp_path: Path) -> None:
    other, empty, garbage = Files.made(tmp_path / "other"), tmp_path / "empty", tmp_path / "garbage"
    empty.touch()
    garbage.write_text("no PEM\n")
    for cert, key, says in (
        (tmp_path / "none", files.key, "tls_cert: expected a file that can be read, got .*No such file"),
        (files.key, files.key, "^tls_cert: expected a certificate with its chain, PEM, got '.*key.pem': there is none in it$"),
        (empty, files.key, "^tls_cert: .*: there is none in it$"),
        (garbage, files.key, "^tls_cert: .*: there is none in it$"),
        (files.cert, empty, "^tls_key: expected the certificate's key, PEM, not encrypted, got '.*empty': there is none in it$"),
        (files.cert, garbage, "^tls_key: .*: there is none in it$"),
        (files.cert, other.key, "^tls_cert, tls_key: expected a certificate with its chain and the key that belongs to it, .* mismatch$"),
    ):
        with pytest.raises(ConfigError, match=says):
            Tls(Settings(tls_cert=str(cert), tls_key=str(key)))


def not_authorities(files: Files) -> list[bytes]:
    """What a file may hold that is being written, was written on a full disk, or is another one."""
    whole = files.ca.read_bytes()
    return [b"", b"\n", b"# none yet\n", b"\xff no certificate", files.key.read_bytes(), whole[: len(whole) // 2]]


@pytest.mark.parametrize("number", range(6))
def test_a_file_without_authorities_is_not_for_everybody(
    number: int, files: Files, model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither at the start nor in place of one that has some: those go on."""
    content, ca = not_authorities(files)[number], tmp_path / "ca.pem"
    settings = files.settings(tls_client_ca=str(ca))
    ca.write_bytes(content)
    with (
        pytest.raises(ConfigError, match=r"tls_client_ca: expected certificates of authorities, PEM, got '.*/ca.pem': "),
        ServerFixture(model, transport=transport, **settings),
    ):
        pass
    ca.write_bytes(files.ca.read_bytes())
    with ServerFixture(model, transport=transport, **settings) as served:
        ca.write_bytes(content)
        served.on_loop(served.server.reload)
        channels += [files.channel(served.address), files.channel(served.address, files.authority.issue_cert("client.example"))]
        assert code_of(lambda: call(channels[0])) == "UNAVAILABLE"
        assert call(channels[1])
    assert "tls_client_ca: expected certificates of authorities, PEM" in caplog.text


@pytest.mark.parametrize("comment", ["# Főtanúsítvány\n".encode(), b"# \xff\n", codecs.BOM_UTF8])
def test_comments_of_authorities_are_in_any_language(
    files: Files, model: Path, transport: str, tmp_path: Path, channels: list[grpc.Channel], comment: bytes
) -> None:
    """Of two authorities, where one that is passed over would show."""
    other, ca = trustme.CA(), tmp_path / "ca.pem"
    ca.write_bytes(comment + files.ca.read_bytes() + comment + other.cert_pem.bytes())
    with ServerFixture(model, transport=transport, **files.settings(tls_client_ca=str(ca))) as served:
        for authority in (files.authority, other):
            channels.append(channel := files.channel(served.address, authority.issue_cert("client.example")))
            assert call(channel)


def test_a_file_that_was_cut_off_is_never_taken_for_whole(files: Files, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever within the second of its certificates, behind its first hyphens: else clients of that authority would be rejected, or those
    who know the root alone would find no way to it."""
    root = trustme.CA()
    leaf = root.create_child_ca().issue_cert("localhost")
    chain, key, ca = tmp_path / "chain.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    chains, authorities = [pem.bytes() for pem in leaf.cert_chain_pems], [files.ca.read_bytes(), root.cert_pem.bytes()]
    leaf.private_key_pem.write_to_path(key)
    for path, pems in ((chain, chains), (ca, authorities)):
        chain.write_bytes(b"".join(chains))
        ca.write_bytes(b"".join(authorities))
        tls = Tls(Settings(tls_cert=str(chain), tls_key=str(key), tls_client_ca=str(ca)))
        taken = tls.certificates
        whole = b"".join(pems)
        for end in range(len(pems[0]) + len("-----"), len(whole) - 1):
            path.write_bytes(whole[:end])
            assert not tls.reload(asked=True), f"{end} of {len(whole)} bytes"
        assert tls.certificates == taken
        path.write_bytes(whole[:-1])
        assert tls.reload(asked=True), "an end without a line feed is one"
    for comment in (b"--\n--", b"# ok\n-", b"----", b"------", b"# -----BEGIN"):
        chain.write_bytes(b"".join(chains) + comment)
        Tls(Settings(tls_cert=str(chain), tls_key=str(key)))
    for setting in ("tls_cert", "tls_client_ca"):
        assert f"{setting}: expected whole PEM, got '{tmp_path}" in caplog.text
    chain.write_bytes(whole + b"-----BEG")
    with pytest.raises(ConfigError, match=r"tls_cert: expected whole PEM, got '.*', which is cut off where one more begins: write a file"):
        Tls(Settings(tls_cert=str(chain), tls_key=str(key)))


def test_keys_with_a_password_and_files_without_end(files: Files, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret"))
    (tmp_path / "key").write_bytes(key.private_bytes(*form))
    with pytest.raises(ConfigError, match="the key is encrypted: write it without a password"):
        Tls(Settings(tls_cert=str(files.cert), tls_key=str(tmp_path / "key")))
    (tmp_path / "large").write_bytes(bytes((4 << 20) + 1))
    for path, says in (
        (str(tmp_path / "large"), "at most 4194304 bytes, '.*/large' has more"),
        ("/dev/zero", "a regular file, got '/dev/zero', which is a device"),
    ):
        with pytest.raises(ConfigError, match=f"tls_cert: expected {says}"):
            Tls(Settings(tls_cert=path, tls_key=str(files.key)))


def test_a_handshake_that_is_not_made_is_ended(files: Files, model: Path, transport: str) -> None:
    with ServerFixture(model, transport=transport, **files.settings(), handshake_timeout_s=1) as served:
        host, port = served.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), LIMIT_S) as silent:
            assert silent.recv(1) == b"", "the server has closed it"
        if transport == "native":
            assert counters(served)["handshakes"] == 0
            assert counters(served)["handshakes_failed_total"] == 1


def test_grpc_writes_nothing_of_handshakes_that_fail(files: Files, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GRPC_VERBOSITY", raising=False)  # this process's
    flags = ("--tls-cert", files.cert, "--tls-key", files.key, "--tls-client-ca", files.ca)
    context = ssl.create_default_context(cadata=files.authority.cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    with Program(model, "--transport", "grpcio", "--log-format", "json", *flags) as program:
        host, port = program.address.rsplit(":", 1)
        for _ in range(3):
            with (
                socket.create_connection((host, int(port)), LIMIT_S) as plain,
                suppress(OSError),
                context.wrap_socket(plain, server_hostname="localhost") as made,
            ):
                assert made.recv(1) == b""
        assert program.stop() == 0
    assert [line for line in program.errors.splitlines() if not line.startswith("{")] == []


def counters(served: ServerFixture) -> dict[str, float]:
    found: dict[str, float] = served.on_loop(served.server.edge._grpc.counters)
    return found


def test_clients_without_a_handshake_count_as_connections(files: Files, model: Path, channels: list[grpc.Channel]) -> None:
    """Beyond max_connections a further one is closed before it costs a handshake; when one of them goes, there is room again."""
    with ServerFixture(model, **files.settings(max_connections=2)) as served:
        host, port = served.address.rsplit(":", 1)
        with socket.create_connection((host, int(port)), LIMIT_S):
            channels.append(channel := files.channel(served.address))
            assert call(channel), "one is silent, one asks"
            assert counters(served)["handshakes"] == 1
            with socket.create_connection((host, int(port)), LIMIT_S) as third:
                assert third.recv(1) == b""
            assert counters(served)["connections_refused_total"] == 1
            assert call(channel)
        until(lambda: counters(served)["handshakes"] == 0)
        channels.append(other := files.channel(served.address))
        assert call(other)
        assert counters(served)["connections"] == 2


def test_handshakes_under_way_end_with_the_server(files: Files, model: Path) -> None:
    with ServerFixture(model, **files.settings()) as served:
        host, port = served.address.rsplit(":", 1)
        silent = socket.create_connection((host, int(port)), LIMIT_S)
        until(lambda: counters(served)["handshakes"] == 1)
    with silent:
        assert silent.recv(1) == b""


def test_a_client_of_tls_is_answered_without_delay(files: Files, model: Path, channels: list[grpc.Channel]) -> None:
    """Nagle's algorithm is off, as in plaintext (test_native.py)."""
    with ServerFixture(model, **files.settings()) as served:
        channels.append(channel := files.channel(served.address))
        assert call(channel)
        [connection] = served.server.edge._grpc.connections
        assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_wrong_certificate_ends_the_start(files: Files, model: Path) -> None:
    with pytest.raises(ConfigError, match="tls_cert"), ServerFixture(model, tls_cert=str(files.key), tls_key=str(files.key)):
        pass


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_open_port_says_so_once(model: Path, host: str) -> None:
    with Program(model, "--host", host) as program:
        with connected(program.address.replace("0.0.0.0", "127.0.0.1")):
            pass
        assert program.stop() == 0
    assert program.errors.count("without TLS and without a token") == (host != "127.0.0.1")
    assert program.errors.count("without TLS and tokens") == (host != "127.0.0.1")
    assert program.errors.count(f"{program.address} is open to other machines") == (host != "127.0.0.1"), "at the port that it found"
    assert program.errors.count(f"metrics: {program.addresses['metrics']} is open to other machines") == (host != "127.0.0.1")


def test_plaintext_beside_tls_says_so_whatever_the_server_asks(caplog: pytest.LogCaptureFixture) -> None:
    """There a token can be read on the way, and nobody shows a certificate."""
    secrets = {"tls_cert": "c", "tls_key": "k", "tls_client_ca": "a", "token_file": "t"}
    secure, everybody, own = Address("0.0.0.0", 1, tls=True), Address("0.0.0.0", 2), Address("127.0.0.1", 3)
    for addresses, settings, says in (
        ((secure, everybody, own), secrets, "0.0.0.0:2 is open to other machines without TLS, beside addresses with TLS"),
        ((secure, own), secrets, ""),
        ((secure, everybody), {**secrets, "token_file": None}, "0.0.0.0:2 is open to other machines without TLS and without a"),
        ((everybody,), {"token_file": "t"}, ""),
    ):
        caplog.clear()
        warn_of_open(addresses, Settings(**settings), None)
        assert len(caplog.records) == bool(says)
        assert says in caplog.text


def test_metrics_that_others_can_read_say_so_whatever_the_port_asks(caplog: pytest.LogCaptureFixture) -> None:
    secrets = {"tls_cert": "c", "tls_key": "k", "token_file": "t"}
    for host, metrics_host, port, says in (
        ("0.0.0.0", None, 8002, "metrics: 0.0.0.0:8002 is open to other machines"),
        ("127.0.0.1", "::", 8002, "metrics: [::]:8002 is open to other machines"),
        ("0.0.0.0", "127.0.0.1", 8002, ""),
        ("0.0.0.0", None, -1, ""),
        ("127.0.0.1", None, 8002, ""),
    ):
        caplog.clear()
        settings = Settings(host=host, metrics_host=metrics_host, metrics_port=port, **secrets)
        warn_of_open([Address(host, 8001, tls=True)], settings, settings.metrics_address)
        assert caplog.text.count("without TLS and tokens") == len(caplog.records) == bool(says)
        assert says in caplog.text


def test_loopback() -> None:
    assert all(is_loopback(Address(host, 1)) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"))
    assert is_loopback(Address("", 0, "/run/s"))
    assert not any(is_loopback(Address(host, 1)) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"))
