"""TLS, client certificates, tokens and Unix sockets, on real connections, with both clients."""

from __future__ import annotations

import asyncio
import base64
import re
import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING

import grpc
import grpc.experimental
import numpy as np
import pytest
from inferd_client import TLS, AsyncClient, InferenceError, security

from tests.certificates import CLIENT_NAME, SERVER_NAME, Certificates
from tests.echo_server import EchoServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from tests.clients.python.conftest import Kind
    from tests.echo_server import Awaited

X = {"x": np.ones(3)}


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


@pytest.fixture
def tls_server(tmp_path: Path, certificates: Certificates, request: pytest.FixtureRequest) -> Iterator[EchoServer]:
    """With TLS; it asks for a client certificate where a test says so."""
    asks = bool(getattr(request, "param", False))
    pair = [(certificates.server_key, certificates.server)]
    server = EchoServer(tmp_path, grpc.ssl_server_credentials(pair, certificates.ca if asks else None, asks))
    yield server
    server.cancelled.set()
    server.stop()


asks_for_certificates = pytest.mark.parametrize("tls_server", [True], indirect=True)


async def test_a_server_that_is_vouched_for(tls_server: EchoServer, connect: Callable[..., Awaited], certificates: Certificates) -> None:
    client = connect(tls_server.target, tls=TLS(ca=certificates.ca), timeout=30)
    assert (await client.infer("echo", X))["x"].sum() == 3
    assert tls_server.peer["transport_security_type"] == [b"ssl"]


async def test_what_nobody_vouches_for_is_not_talked_to(tls_server: EchoServer, connect: Callable[..., Awaited]) -> None:
    for tls in (TLS(ca=Certificates().ca), TLS()):
        with pytest.raises(InferenceError) as raised:
            await connect(tls_server.target, tls=tls, timeout=30).infer("echo", X)
        assert raised.value.code is grpc.StatusCode.UNAVAILABLE
        assert raised.value.message.endswith("; its certificate is not trusted: pass tls=TLS(ca=...), the authority that has signed it")
    assert tls_server.infer_calls == 0


async def test_plain_text_to_a_tls_port(tls_server: EchoServer, connect: Callable[..., Awaited]) -> None:
    with pytest.raises(InferenceError) as raised:
        await connect(tls_server.target, timeout=30).infer("echo", X)
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE
    assert raised.value.message.endswith("; if the server speaks TLS, pass tls=TLS(ca=...)")


async def test_the_name_of_the_certificate(tls_server: EchoServer, connect: Callable[..., Awaited], certificates: Certificates) -> None:
    wrong = connect(tls_server.target, tls=TLS(ca=certificates.ca, server_name="other.test"), timeout=30)
    with pytest.raises(InferenceError, match=r"its certificate is for another name: pass tls=TLS\(server_name=\.\.\.\)"):
        await wrong.infer("echo", X)
    right = connect(tls_server.target, tls=TLS(ca=certificates.ca, server_name=SERVER_NAME), timeout=30)
    assert await right.infer("echo", X)


@asks_for_certificates
async def test_a_client_shows_its_certificate(tls_server: EchoServer, connect: Callable[..., Awaited], certificates: Certificates) -> None:
    tls = TLS(ca=certificates.ca, certificate=certificates.client, key=certificates.client_key)
    assert await connect(tls_server.target, tls=tls, timeout=30).infer("echo", X)
    assert tls_server.peer["x509_subject_alternative_name"] == [CLIENT_NAME.encode()]


@asks_for_certificates
async def test_a_client_without_one_or_with_a_strangers(
    tls_server: EchoServer, connect: Callable[..., Awaited], certificates: Certificates
) -> None:
    for pair in ((None, None), (certificates.stranger, certificates.stranger_key)):
        tls = TLS(ca=certificates.ca, certificate=pair[0], key=pair[1])
        with pytest.raises(InferenceError) as raised:
            await connect(tls_server.target, tls=tls, timeout=30).infer("echo", X)
        assert raised.value.code is grpc.StatusCode.UNAVAILABLE


@asks_for_certificates
async def test_certificates_of_files(
    tls_server: EchoServer, connect: Callable[..., Awaited], certificates: Certificates, tmp_path: Path
) -> None:
    for name in ("ca", "client", "client_key"):
        (tmp_path / f"{name}.pem").write_bytes(getattr(certificates, name))
    tls = TLS(ca=str(tmp_path / "ca.pem"), certificate=tmp_path / "client.pem", key=tmp_path / "client_key.pem")
    assert await connect(tls_server.target, tls=tls, timeout=30).infer("echo", X)


async def test_grpcs_own_credentials(tls_server: EchoServer, connect: Callable[..., Awaited], certificates: Certificates) -> None:
    client = connect(tls_server.target, credentials=grpc.ssl_channel_credentials(certificates.ca), timeout=30)
    assert await client.infer("echo", X)


LOCKED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
OLD_LOCKED = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda pem: TLS(certificate=pem.client), "tls: certificate needs key, too"),
        (lambda pem: TLS(key=pem.client_key), "tls: key needs certificate, too"),
        (lambda pem: TLS(ca=b"der"), "tls: ca: expected a certificate in PEM"),
        (lambda pem: TLS(ca=pem.client_key), "tls: ca: expected a certificate in PEM"),
        (lambda pem: TLS(certificate=pem.client_key, key=pem.client), "tls: certificate: expected a certificate in PEM"),
        (lambda pem: TLS(certificate=pem.client, key=pem.client), "tls: key: expected a private key in PEM"),
        (
            lambda pem: TLS(certificate=pem.client, key=pem.client_key.decode()),
            "^tls: key: expected a path, or the PEM as bytes, got the PEM as text: encode\\(\\) it$",
        ),
        (lambda pem: TLS(certificate=pem.client, key=LOCKED), "tls: key: it is locked with a passphrase"),
        (lambda pem: TLS(certificate=pem.client, key=OLD_LOCKED), "tls: key: it is locked with a passphrase"),
        (lambda pem: TLS(ca=pem.ca.decode()), "tls: ca: expected a path, or the PEM as bytes, got the PEM as text"),
        (lambda pem: TLS(certificate="-----BEGIN", key=b""), "tls: certificate: expected a path, or the PEM as bytes"),
    ],
)
def test_what_makes_no_tls(kind: Kind, certificates: Certificates, make: Callable[[Certificates], TLS], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind("localhost:1", tls=make(certificates))


@pytest.mark.parametrize("target", ["localhost:1", "https://localhost:1"])
def test_tls_of_another_type(kind: Kind, target: str) -> None:
    with pytest.raises(
        TypeError, match=r"^tls: expected TLS\(\.\.\.\), got bool; pass tls=TLS\(\) for a public authority, or tls=TLS\(ca="
    ):
        kind(target, tls=True)  # type: ignore[arg-type]


def test_a_file_that_is_not_there(kind: Kind, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.pem"):
        kind("localhost:1", tls=TLS(ca=tmp_path / "nothing.pem"))


def test_a_key_in_the_place_of_its_path_is_not_repeated(kind: Kind, certificates: Certificates, tmp_path: Path) -> None:
    """Base64 has no lines, and is a path like any other: a short one names no file, a long one cannot."""
    (tmp_path / "client.pem").write_bytes(certificates.client)
    for length in (40, 4000):
        key = base64.b64encode(certificates.client_key * 20).decode()[:length]
        for name, tls in (("key", TLS(certificate=tmp_path / "client.pem", key=key)), ("certificate", TLS(certificate=key, key=key))):
            with pytest.raises(OSError, match=rf"tls: {name} \(what was given is not repeated, for it may be the key\)") as raised:
                kind("localhost:1", tls=tls)
            assert key[:20] not in "".join(traceback.format_exception(raised.value))


def test_a_key_file_that_cannot_be_read_is_named(kind: Kind, certificates: Certificates, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match=re.escape(str(tmp_path))):
        kind("localhost:1", tls=TLS(certificate=certificates.client, key=tmp_path))


def test_tls_in_two_ways(kind: Kind) -> None:
    with pytest.raises(ValueError, match="tls: credentials are given, too; one of the two says how to connect"):
        kind("localhost:1", tls=TLS(), credentials=grpc.ssl_channel_credentials())


def test_keys_are_not_shown(certificates: Certificates) -> None:
    assert "PRIVATE" not in repr(TLS(certificate=b"PRIVATE", key=b"PRIVATE"))
    key = certificates.client_key.decode()
    for text in (key, PurePath(key), key.split("-----")[2]):  # the last one without the lines around it
        with pytest.raises(ValueError) as raised:
            TLS(certificate="client.pem", key=text)
        assert str(raised.value) == "tls: key: expected a path, or the PEM as bytes, got the PEM as text: encode() it"


# Tokens


async def test_a_token_goes_with_every_call(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    client = connect(server.target, token="t-1", metadata={"x-tenant": "a"}, timeout=30)
    await client.infer("echo", X, metadata={"extra": "1"})
    assert server.metadata.items() >= {"authorization": "Bearer t-1", "x-tenant": "a", "extra": "1"}.items()


async def test_a_token_that_changes_is_asked_for_each_call(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    tokens = iter(["t-1", "t-2"])
    client = connect(server.unix_target, token=lambda: next(tokens), timeout=30)
    for token in ("t-1", "t-2"):
        await client.infer("echo", X)
        assert server.metadata["authorization"] == f"Bearer {token}"


async def test_a_token_may_be_awaited(server: EchoServer) -> None:
    async def token() -> str:
        return "t-3"

    async with AsyncClient(server.target, token=token, timeout=30) as client:
        await client.infer("echo", X)
    assert server.metadata["authorization"] == "Bearer t-3"


async def test_a_token_that_does_not_come_in_time(server: EchoServer) -> None:
    cancelled = asyncio.Event()

    async def token() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return "t"

    async with AsyncClient(server.target, token=token, timeout=30) as client:
        for call in (client.infer("echo", X, timeout=0.01), client.server_live(timeout=0.01)):
            with pytest.raises(InferenceError, match="DEADLINE_EXCEEDED: the token did not come in time"):
                await asyncio.wait_for(call, 30)
            assert cancelled.is_set()
    assert server.infer_calls == 0


async def test_a_token_whose_own_time_is_over(server: EchoServer) -> None:
    async def token() -> str:
        raise TimeoutError("the token's server")

    async with AsyncClient(server.target, token=token, timeout=30) as client:
        with pytest.raises(TimeoutError, match="the token's server"):
            await client.infer("echo", X)


async def test_a_calls_own_authorization_goes_instead(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    client = connect(server.target, token="t-1", timeout=30)
    await client.infer("echo", X, metadata={"Authorization": "Basic x"})
    assert server.metadata["authorization"] == "Basic x"


async def test_a_token_over_tls(tls_server: EchoServer, connect: Callable[..., Awaited], certificates: Certificates) -> None:
    client = connect(tls_server.target, tls=TLS(ca=certificates.ca), token="t-1", timeout=30)
    await client.infer("echo", X)
    assert tls_server.metadata["authorization"] == "Bearer t-1"


@pytest.mark.parametrize("target", ["10.0.0.1:8001", ["localhost:8001", "inferd:8001"]])
def test_no_token_leaves_the_machine_in_plain_text(kind: Kind, target: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"token: without TLS whoever is on the way to '(10.0.0.1|inferd):8001' can read it; pass tls=TLS"):
        kind(target, token="t")
    kind(target, token="t", token_in_plaintext=True)
    kind(target, token="t", tls=TLS())


@pytest.mark.parametrize(
    "by_proxy", [[("grpc.enable_http_proxy", 1)], [("grpc.a", 1), ("grpc.address_http_proxy_enabled_addresses", "127.0.0.1/32")]]
)
def test_no_token_goes_to_a_proxy_in_plain_text(kind: Kind, by_proxy: list[tuple[str, Any]]) -> None:
    """Whose localhost is another."""
    with pytest.raises(ValueError, match="token: without TLS whoever is on the way to 'localhost:8001' can read it"):
        kind("localhost:8001", token="t", options=by_proxy)
    kind("localhost:8001", token="t", options=by_proxy, token_in_plaintext=True)
    kind("localhost:8001", token="t", options=by_proxy, tls=TLS())
    kind("localhost:8001", token="t", options=[("grpc.enable_http_proxy", 0)])


INSECURE = grpc.experimental.insecure_channel_credentials()
OF_CALLS = grpc.access_token_call_credentials("t")
OPEN = {
    "insecure": INSECURE,
    "insecure with those of calls": grpc.composite_channel_credentials(INSECURE, OF_CALLS),
    "xds that falls back on insecure": grpc.xds_channel_credentials(INSECURE),
    "xds": grpc.xds_channel_credentials(),
    "local": grpc.local_channel_credentials(),
    "local by Unix sockets": grpc.local_channel_credentials(grpc.LocalConnectionType.UDS),
    "of a kind that grpc has not": grpc.ChannelCredentials(object()),
}
ENCRYPTED = {
    "ssl": grpc.ssl_channel_credentials(),
    "ssl with those of calls, twice": grpc.composite_channel_credentials(
        grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), OF_CALLS), OF_CALLS
    ),
    "alts": grpc.alts_channel_credentials(),
}
SECRETS = [{"token": "t"}, {"metadata": {"authorization": "Bearer t"}}]


@pytest.mark.parametrize("arguments", SECRETS)
@pytest.mark.parametrize("name", OPEN)
def test_credentials_that_may_encrypt_nothing_are_plain_text(kind: Kind, name: str, arguments: dict[str, Any]) -> None:
    refusal = r"without TLS whoever is on the way to '10.0.0.1:8001' can read it; .*; of credentials, those of grpc's ssl and ALTS encrypt"
    with pytest.raises(ValueError, match=refusal):
        kind("10.0.0.1:8001", credentials=OPEN[name], **arguments)
    assert security.is_plaintext(OPEN[name])
    if name.startswith("insecure"):  # the others make no channel on every machine
        kind("10.0.0.1:8001", credentials=OPEN[name], token_in_plaintext=True, **arguments)
        kind("localhost:8001", credentials=OPEN[name], **arguments)


@pytest.mark.parametrize("arguments", SECRETS)
@pytest.mark.parametrize("name", ENCRYPTED)
def test_credentials_that_encrypt_may_have_a_token(name: str, arguments: dict[str, Any]) -> None:
    AsyncClient("10.0.0.1:8001", credentials=ENCRYPTED[name], **arguments)  # which makes no channel yet: ALTS is of one cloud


@pytest.mark.parametrize("metadata", [{"authorization": "Bearer t"}, [("x", "1"), ("Authorization", "Basic x")]])
async def test_no_authorization_leaves_the_machine_in_plain_text(kind: Kind, connect: Callable[..., Awaited], metadata: Any) -> None:
    refusal = r"metadata: authorization: without TLS whoever is on the way to '10.0.0.1:8001' can read it; pass tls=TLS"
    with pytest.raises(ValueError, match=refusal):
        kind("10.0.0.1:8001", metadata=metadata)
    client = connect("10.0.0.1:8001", metadata={"x-tenant": "a"}, timeout=30)
    with pytest.raises(ValueError, match=refusal):
        await client.server_live(metadata=metadata)
    with pytest.raises(ValueError, match=refusal):
        await client.infer("echo", X, metadata=metadata)
    kind("10.0.0.1:8001", metadata=metadata, token_in_plaintext=True)
    kind("10.0.0.1:8001", metadata=metadata, tls=TLS())


NO_HEADER = "token: expected printable ASCII without spaces or line ends; of a file's text take .strip()"


@pytest.mark.parametrize(
    ("token", "error", "expected"),
    [
        *((token, ValueError, NO_HEADER) for token in ("", "a b", "a\n", "ü", "a\r\nx: y")),
        (b"secret", TypeError, "token: expected a str, or a function that returns one, got bytes"),
        (5, TypeError, "token: expected a str, or a function that returns one, got int"),
    ],
)
async def test_what_is_no_token(
    server: EchoServer, connect: Callable[..., Awaited], token: Any, error: type[Exception], expected: str
) -> None:
    with pytest.raises(error) as raised:
        connect(server.target, token=token)
    assert str(raised.value) == expected
    with pytest.raises(error) as raised:
        await connect(server.target, token=lambda: token).server_live()
    assert str(raised.value) == expected


async def test_what_asking_for_a_token_raises_is_the_callers(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    def token() -> str:
        raise PermissionError("the token's file")

    with pytest.raises(PermissionError, match="the token's file"):
        await connect(server.target, token=token).infer("echo", X)
