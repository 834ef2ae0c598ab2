"""Encryption of connections and credentials of clients: TLS, client certificates, bearer tokens. Sends nothing."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeAlias

import grpc

from inferd_client import targets
from inferd_client.urls import is_url

__all__ = ["AUTHORIZATION", "TLS", "Pem", "bearer", "exposed", "is_plaintext", "refuse_plaintext"]

Pem: TypeAlias = str | PathLike[str] | bytes

AUTHORIZATION = "authorization"

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----")
_LOCKED_KEY = re.compile(rb"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED", re.MULTILINE)
_LOOKS_LIKE_PEM = re.compile(r"-----BEGIN|\n")
_TOKEN = re.compile(r"[\x21-\x7e]+")

_ENCRYPTED = ("SSLChannelCredentials", "ALTSChannelCredentials")
_COMPOSED = "CompositeChannelCredentials"
# gRPC's arguments that have it ask no proxy, whatever the environment says: by name, and by address.
NO_PROXY: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0), ("grpc.address_http_proxy_enabled_addresses", "")]


@dataclass(frozen=True)
class TLS:
    """A connection that is encrypted, to a server that proves its name. Each file is a path, or its PEM as bytes.

    ca:           who must have signed the server's certificate; None: the authorities that gRPC ships, for https:// the system's.
    certificate:  the client's own, for servers that ask for one (mTLS): itself first, then those between it and the authority.
    key:          its private key, without a passphrase.
    server_name:  the name that the server's certificate must hold where that is not the address's: behind a tunnel, on a Unix socket.

    Files are read when the client is made: one that is to show a renewed certificate is made anew.
    """

    ca: Pem | None = None
    certificate: Pem | None = field(default=None, repr=False)
    key: Pem | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            missing, given = ("key", "certificate") if self.key is None else ("certificate", "key")
            raise ValueError(f"tls: {given} needs {missing}, too")
        for name, pem in (("ca", self.ca), ("certificate", self.certificate), ("key", self.key)):
            if pem is not None and not isinstance(pem, bytes) and _LOOKS_LIKE_PEM.search(fspath(pem)):
                # Not repeated, nor opened, for the error would repeat it: it may be a key.
                raise ValueError(f"tls: {name}: expected a path, or the PEM as bytes, got the PEM as text: encode() it")

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC. Raises OSError where a file cannot be read, ValueError where it holds something else."""
        ca, certificate, key = self._pems()
        return grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=certificate)

    def context(self) -> ssl.SSLContext:
        """For HTTP, where ca=None is the system's authorities. Raises as `credentials` does."""
        ca, certificate, key = self._pems()
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # TLS 1.2 at least; the certificate and its name are checked
        made.set_alpn_protocols(["http/1.1"])
        made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # as with gRPC, a named certificate is trusted even if it is no root
        try:
            if ca is None:
                made.load_default_certs()
            else:
                made.load_verify_locations(cadata=ca.decode("ascii", "ignore"))
            if certificate is not None and key is not None:
                with NamedTemporaryFile(suffix=".pem") as file:  # ssl takes files alone; nobody else may read this one
                    file.write(b"\n".join((certificate, key)))
                    file.flush()
                    made.load_cert_chain(file.name)
        except ssl.SSLError as error:
            raise ValueError(f"tls: the certificates, or the certificate and the key together, cannot be used: {error.reason}") from None
        return made

    def _pems(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        ca = None if self.ca is None else _read(self.ca)
        certificate, key = _read_secret("certificate", self.certificate), _read_secret("key", self.key)
        for name, content in (("ca", ca), ("certificate", certificate)):
            if content is not None and _CERTIFICATE not in content:
                raise ValueError(f"tls: {name}: expected a certificate in PEM (-----BEGIN CERTIFICATE-----)")
        if key is not None and _LOCKED_KEY.search(key):
            raise ValueError("tls: key: it is locked with a passphrase, which clients do not take; write it without one: openssl pkey")
        if key is not None and not _KEY.search(key):
            raise ValueError("tls: key: expected a private key in PEM (-----BEGIN PRIVATE KEY-----)")
        return ca, certificate, key

    def options(self) -> tuple[tuple[str, str], ...]:
        """Channel arguments."""
        return () if self.server_name is None else (("grpc.ssl_target_name_override", self.server_name),)


def _read(pem: Pem) -> bytes:
    return pem if isinstance(pem, bytes) else Path(pem).read_bytes()


def _read_secret(name: str, pem: Pem | None) -> bytes | None:
    """The same of a client's own; its error repeats a path only where something is there: else it may be the key, in either place."""
    try:
        return None if pem is None else _read(pem)
    except OSError as error:
        if error.filename is None or os.path.exists(error.filename):
            raise
        raise OSError(error.errno, error.strerror, f"tls: {name} (what was given is not repeated, for it may be the key)") from None


def bearer(token: object) -> tuple[str, str]:
    """The token as a call's metadata. Raises TypeError, and ValueError for what no header can hold; neither repeats it."""
    if not isinstance(token, str):
        raise TypeError(f"token: expected a str, or a function that returns one, got {type(token).__name__}")
    if not _TOKEN.fullmatch(token):
        raise ValueError("token: expected printable ASCII without spaces or line ends; of a file's text take .strip()")
    return AUTHORIZATION, f"Bearer {token}"


def is_plaintext(credentials: grpc.ChannelCredentials | None) -> bool:
    """Whether others may read what is sent: with all credentials except those of TLS and ALTS, alone or composed with those of calls.

    Those are known by the names of their inner classes, for no public part of grpcio tells them apart. All others count as plain text, such
    as those of xDS, which may fall back on it."""
    held: Any = getattr(credentials, "_credentials", None)
    while type(held).__name__ == _COMPOSED:
        held = held._channel_credentials
    return type(held).__name__ not in _ENCRYPTED


def exposed(addresses: Sequence[str], options: Sequence[tuple[str, Any]] = ()) -> str | None:
    """The first of them where a token that is sent as it is would leave this machine. options: gRPC's, some of which ask for proxies."""
    if any(value for name, value in options if name in dict(NO_PROXY)):
        return addresses[0]
    return next((address for address in addresses if not targets.is_local(address)), None)


def refuse_plaintext(what: str, address: str) -> None:
    """Raises ValueError for a secret, named by the argument that holds it, that would go to that address as it is."""
    told = f"{what}: without TLS whoever is on the way to {address!r} can read it"
    if is_url(address):
        raise ValueError(f"{told}; write https://, or token_in_plaintext=True in a network that you trust")
    raise ValueError(
        f"{told}; pass tls=TLS(), or token_in_plaintext=True in a network that you trust; of credentials, those of grpc's ssl and ALTS "
        "encrypt for sure"
    )
