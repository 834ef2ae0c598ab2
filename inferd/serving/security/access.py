"""Decides which clients may call: by bearer tokens from a file, and by the names in a client's certificate.

Each check concerns one call, or one connection, and rejects it by an error. Never in here: sockets, handshakes (tls.py), how a transport
finds a header.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from inferd.errors import ConfigError, PermissionDenied, RequestError, Unauthenticated
from inferd.log import event
from inferd.names import parse_name
from inferd.watched_files import Watched

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from inferd.config import Address, Settings

log = logging.getLogger(__name__)

OPEN = ("/grpc.health.v1.Health/", "/v2/health/")  # a probe has no token
PAGES = ("", "/docs")  # a browser that opens one of these has none either: they show nothing of this server, and ask for a token
MAX_TOKEN_FILE_BYTES = 1 << 20
UNENDED_S = 1.5  # a file without a last line end must stay the same for so long: a little less than between two reads
LEAST_TOKEN_BYTES, MAX_TOKEN_BYTES = 16, 4096
REJECTED_LOG_S = 1.0  # between two lines about rejected clients, which could fill the log
CONTROL = b"control"  # the word before a token that may change models and rollouts
TOKEN = re.compile(rb"[!-~]+")  # what a header can carry, without spaces
MAX_CERTIFICATE_BYTES = 16384  # of DER: the event loop would take long to decode one with many names
MAX_TOLD_CHARS = 256  # of a certificate's subject, and of its names, in the log
NUL = "one of its names holds a NUL"  # a fault
UNREADABLE = "its names cannot be read"  # a fault: mostly, they are not UTF-8
NOT_ASCII = "one of its DNS names is not ASCII"  # a fault: Unicode's rules of case could make it equal to another's name
SEVERAL = b", "  # between the values of a header that came more than once; no token holds a space


class Rejections:
    """Logs clients that are rejected for their TLS, certificate or token: at most one line in REJECTED_LOG_S, with the number of those
    without a line."""

    def __init__(self) -> None:
        self._said_s = float("-inf")
        self._unsaid = 0  # clients since the last line

    def tell(self, now_s: float, what: str) -> None:
        if now_s - self._said_s < REJECTED_LOG_S:
            self._unsaid += 1
            return
        more = f"; {self._unsaid} more were rejected before it" if self._unsaid else ""
        log.info("rejected: %s%s", what, more, extra=event("client_rejected", more=self._unsaid))
        self._said_s, self._unsaid = now_s, 0


class Identity(NamedTuple):
    """The names in a client's certificate. names: typed, as `inferd.names` spells them: the first common name, and all DNS, URI, IP and
    e-mail names. fault: why the names are not valid, so that the client is rejected."""

    subject: str
    names: tuple[str, ...]
    fault: str = ""

    @classmethod
    def unread(cls, nbytes: int) -> Identity:
        """The identity of a certificate with more than MAX_CERTIFICATE_BYTES, which is not decoded."""
        return cls("", (), f"it has {nbytes} bytes, expected at most {MAX_CERTIFICATE_BYTES}")

    def __str__(self) -> str:
        fault = f"; {self.fault}" if self.fault else ""
        return f"{_cut(self.subject) or 'no subject'} ({_cut(', '.join(self.names)) or 'no name'}{fault})"


class Tokens(NamedTuple):
    """Digests of the tokens of a file. control: the only ones that may change models and rollouts; empty: each may."""

    known: frozenset[bytes]
    control: frozenset[bytes]


class Access:
    """The rules of one server. Raises ConfigError for wrong settings."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = frozenset[str]()
        self.allow(settings.tls_allow)
        self._file = Watched({"token_file": settings.token_file}, MAX_TOKEN_FILE_BYTES) if settings.token_file is not None else None
        self._tokens = self._file.read(_tokens) if self._file is not None else Tokens(frozenset(), frozenset())
        self._rejections, self._wrong_tokens = Rejections(), Rejections()
        self._unended = (b"", 0.0)  # the digest of a file without a last line end, and since when

    @property
    def asks_for_tokens(self) -> bool:
        return self._file is not None

    @property
    def token_file_failures(self) -> int:
        """How often the token file was found gone, empty or wrong."""
        return self._file.failures if self._file is not None else 0

    def allow(self, names: tuple[str, ...]) -> bool:
        """Sets the names of certificates that may call; none: each certificate that the authorities trust. True: they changed."""
        before, self._allowed = self._allowed, frozenset(map(parse_name, names))
        return self._allowed != before

    def reload(self, now_s: float, *, asked: bool) -> bool:
        """Reads the token file again if it changed, or in any case when `asked`. A file that cannot be read is logged, and changes
        nothing. True: the tokens changed."""
        if self._file is None:
            return False
        tokens = self._file.read_again(partial(self._tokens_again, now_s), asked, "the tokens that were read before stay")
        if tokens is None or tokens == self._tokens:
            return False
        if self._tokens.control and not tokens.control:
            log.warning("no token has `control` before it any more: each of them may change models and rollouts from now on")
        self._tokens = tokens
        log.info("%d tokens were read again", len(tokens.known), extra=event("tokens_reloaded", tokens=len(tokens.known)))
        return True

    def _tokens_again(self, now_s: float, found: Mapping[str, bytes]) -> Tokens:
        """The tokens of a changed file. A file without a last line end must first stay the same for UNENDED_S. While it is written, the
        beginning of a token would count as one."""
        content = found["token_file"]
        digest = _digest(content) if content and not content.endswith(b"\n") else b""
        if digest != self._unended[0]:
            self._unended = (digest, now_s)
        if digest and now_s - self._unended[1] < UNENDED_S:
            raise ConfigError("token_file: the last line has no end and may be half written: it is taken if it is the same in two seconds")
        return _tokens(found)

    def check_identity(self, identity: Identity | None) -> RequestError | None:
        """Why this client may not call; None: it may."""
        if identity is not None and identity.fault:
            return PermissionDenied(f"this client's certificate names nobody: {identity.fault}; show another one", reason="identity")
        if not self._allowed:
            return None
        if identity is not None and not self._allowed.isdisjoint(identity.names):
            return None
        return PermissionDenied("this client's certificate has none of the names that may ask here (tls_allow)", reason="identity")

    def tell(self, now_s: float, identity: Identity, rejection: RequestError | None, peer: object) -> None:
        """Logs a client that has connected. The number of lines about rejected ones is limited."""
        if rejection is None:
            log.info("connected: client %s from %s", identity, peer, extra=event("client_connected"))
        else:
            self._rejections.tell(now_s, f"client {identity} from {peer}")

    def tell_token(self, now_s: float, rejection: RequestError, peer: object) -> None:
        """Logs a call without a valid token. The number of lines is limited."""
        self._wrong_tokens.tell(now_s, f"a call from {peer}: {rejection}")

    def check_token(self, method: str, authorization: bytes | None) -> bool:
        """Raises Unauthenticated if the call's `authorization` header has no valid token. True: it has one; False: it needs none. method:
        of gRPC, or the path of REST. Several headers are joined by SEVERAL, as HTTP does."""
        if self._file is None or method.startswith(OPEN) or method.removesuffix("/") in PAGES:
            return False
        if authorization is None:
            raise Unauthenticated("expected the header 'authorization: Bearer TOKEN', got none; send a token", reason="token")
        if SEVERAL in authorization:
            raise Unauthenticated("expected one 'authorization' header, got several; send one token", reason="token")
        if _sent(authorization) not in self._tokens.known:
            raise Unauthenticated("the header 'authorization' brings no token that is known here; send a valid one", reason="token")
        return True

    def check_change(self, authorization: bytes | None) -> None:
        """Called after check_token for a call that changes models or rollouts. Raises PermissionDenied if only other tokens may do that."""
        if self._tokens.control and (authorization is None or _sent(authorization) not in self._tokens.control):
            raise PermissionDenied(
                "this token may use models, but not change them or their rollouts: send one that has `control` before it in token_file",
                reason="control",
            )


def _tokens(found: Mapping[str, bytes]) -> Tokens:
    """Parses the lines TOKEN and `control TOKEN`. A set of digests is looked up in constant time. The time reveals nothing of a token, as
    an attacker cannot choose the beginning of a digest."""
    lines = [line.strip() for line in found["token_file"].split(b"\n")]
    lines = [line for line in lines if line and not line.startswith(b"#")]
    words = [line.split(None, 1) for line in lines]
    control = {number for number, each in enumerate(words) if len(each) == 2 and each[0] == CONTROL}
    tokens = [words[number][1] if number in control else line for number, line in enumerate(lines)]
    for number, token in enumerate(tokens, 1):
        if not LEAST_TOKEN_BYTES <= len(token) <= MAX_TOKEN_BYTES:
            got = str(len(token))
        elif not TOKEN.fullmatch(token):
            got = "one with others"
        else:
            continue
        raise ConfigError(
            f"token_file: token {number}: expected {LEAST_TOKEN_BYTES} to {MAX_TOKEN_BYTES} characters of printable ASCII without spaces, "
            f"one token a line, got {got}; make one with: openssl rand -hex 32"
        )
    if not tokens:
        raise ConfigError("token_file: expected one token a line, got none; make one with: openssl rand -hex 32")
    return Tokens(frozenset(map(_digest, tokens)), frozenset(_digest(tokens[number]) for number in control))


def _sent(authorization: bytes) -> bytes:
    """The digest of the token in the header; empty if it is no bearer token."""
    scheme, _, token = authorization.partition(b" ")
    return _digest(token.strip()) if scheme.lower() == b"bearer" else b""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TOLD_CHARS else f"{text[:MAX_TOLD_CHARS]}... of {len(text)} characters"


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach it."""
    if address.path or address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        return False


def is_local(addresses: Iterable[Address]) -> bool:
    """Whether only browsers of this machine reach these addresses. They reach no Unix socket."""
    ports = [address for address in addresses if not address.path]
    return bool(ports) and all(map(is_loopback, ports))


def warn_of_open(addresses: Iterable[Address], settings: Settings, metrics: Address | None) -> None:
    """Warns at the start of a server that is open to everybody, sends secrets in plaintext beside TLS, or shows metrics to everybody.
    addresses, metrics: where it listens."""
    found = ", ".join(str(address) for address in addresses if not (address.tls or is_loopback(address)))
    if found and settings.token_file is None:
        log.warning(
            "%s is open to other machines without TLS and without a token: give --tls-cert and --tls-key, or --token-file, or listen on "
            "127.0.0.1 behind a proxy",
            found,
        )
    elif found and settings.tls_cert is not None:
        log.warning(
            "%s is open to other machines without TLS, beside addresses with TLS: tokens can be read on the way; leave it out, or "
            "give an address of this machine, such as plaintext:127.0.0.1:9001",
            found,
        )
    if metrics is not None and not is_loopback(metrics):
        log.warning(
            "metrics: %s is open to other machines without TLS and tokens: give --metrics-host 127.0.0.1, or an address that only "
            "Prometheus reaches, or --metrics-port off",
            metrics,
        )
