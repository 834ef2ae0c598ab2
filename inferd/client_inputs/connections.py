"""A connection made by hand, by TLS or in plaintext, and why there is none: a gRPC library says little of that.

Never in here: flags, gRPC, requests.
"""

from __future__ import annotations

import importlib.util
import os
import re
import select
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Self

from inferd.errors import ConfigError, InferdError

if TYPE_CHECKING:
    from inferd.client_inputs.reach import Reach
    from inferd.config import Address

WAIT_S = 5.0  # for a connection with its handshake,
GREETED_S = 1.0  # and for what the server says by itself then
READ_NBYTES = 1 << 16
HTTP2, HTTP1 = "h2", "http/1.1"  # as ALPN has them
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # a client's first words: the preface and empty SETTINGS
HEAD_NBYTES = 9  # of a frame,
SETTINGS = 4  # whose fourth byte is its type
ROOTS = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"  # gRPC's own variable
AROUND = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")  # what ssl has to say: where in OpenSSL, and where in Python
WRONG_NAME = (62, 64)  # OpenSSL's codes: the certificate is another host's, or another IP address's


class Spoken(NamedTuple):
    """The protocols of a connection."""

    version: str  # of TLS
    cipher: str

    def __str__(self) -> str:
        return f"{self.version} {self.cipher}"


def connected(address: Address, timeout_s: float) -> socket.socket:
    """A connection; OSError when there is none in time."""
    if not address.path:
        return socket.create_connection((address.host, address.port), timeout_s)
    made = socket.socket(socket.AF_UNIX)
    try:
        made.settimeout(timeout_s)
        made.connect(address.socket_name)
    except OSError:
        made.close()
        raise
    return made


def protocol_of(address: Address) -> str:
    """The protocol to offer there by ALPN."""
    return HTTP1 if address.http else HTTP2


def name_of(address: Address, reach: Reach) -> str:
    """The name that the server's certificate must have."""
    return reach.server_name or address.host or "localhost"  # of a Unix socket as gRPC has it


def context_of(reach: Reach, protocol: str = HTTP2) -> ssl.SSLContext:
    """A context for ssl with gRPC's rules. protocol: the one to offer by ALPN. ConfigError for a file that ssl cannot use; the SDK has
    rejected some before."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # TLS 1.2 at least; the certificate and its name are checked
    made.set_alpn_protocols([protocol])
    made.options |= ssl.OP_NO_RENEGOTIATION
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a certificate that the user names is trusted, even if it is no root
    try:
        if trusted := reach.ca or _roots():
            made.load_verify_locations(trusted)
        else:
            made.load_default_certs()
    except OSError as error:
        raise ConfigError(f"{trusted}: no certificates can be read in it: {said(error)}") from None
    if reach.certificate is None or reach.key is None:
        return made
    try:
        made.load_cert_chain(reach.certificate, reach.key, password=_reject_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"--tls-key {reach.key}: it is another key than that of --tls-cert {reach.certificate}") from None
        raise ConfigError(f"--tls-cert {reach.certificate} with --tls-key {reach.key}: they cannot be used: {said(error)}") from None
    except OSError as error:
        raise ConfigError(f"--tls-cert {reach.certificate} with --tls-key {reach.key}: cannot be read: {said(error)}") from None
    return made


def _roots() -> str:
    """The public authorities that gRPC trusts, so that both ends of a measurement trust the same; empty: the system's."""
    if path := os.environ.get(ROOTS):
        return path
    found = importlib.util.find_spec("grpc")
    for place in (found and found.submodule_search_locations) or ():
        shipped = Path(place, "_cython", "_credentials", "roots.pem")
        if shipped.is_file():
            return str(shipped)
    return ""


def _reject_password() -> NoReturn:
    raise ConfigError("--tls-key: it is locked with a passphrase, which nobody is there to type; write it without one: openssl pkey")


class Handshake:
    """TLS on a connected socket that does not block: its handshake, then `session` between two buffers, which others may drive. protocol:
    what is to be spoken by it; HTTP/1.1 is what a server speaks that says nothing by ALPN."""

    def __init__(self, made: socket.socket, context: ssl.SSLContext, name: str, protocol: str = HTTP2) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.session = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)
        self._socket, self._protocol = made, protocol
        self._unsent = b""

    @property
    def spoken(self) -> Spoken:
        cipher = self.session.cipher()
        return Spoken(self.session.version() or "", cipher[0] if cipher else "")

    def advance(self) -> bool:
        """As far as it goes without waiting; True: it is made. OSError, which ssl's errors are, too: it will not be."""
        while True:
            made = self._step()
            if not self._send() or (not made and not self._receive()):
                return False
            if made:
                if self._protocol == HTTP2 and self.session.selected_alpn_protocol() != HTTP2:
                    raise OSError("the server does not speak HTTP/2 there (ALPN h2)")
                return True

    def finish(self, timeout_s: float) -> Self:
        """Waits for it; OSError when it is not made in time."""
        until_s = time.monotonic() + timeout_s
        while not self.advance():
            self.wait(until_s)
        return self

    def greet(self, timeout_s: float) -> None:
        """Sends the client's first bytes and waits for the server's. By TLS 1.3 a server rejects the client's certificate only then.
        OSError: the server closed the connection. A server that stays silent is no error."""
        until_s = time.monotonic() + timeout_s
        self.session.write(GREETING)
        while True:
            self._send()
            with suppress(ssl.SSLWantReadError):
                if not self.session.read(HEAD_NBYTES):
                    raise ConnectionResetError("the server closed the connection")
                return
            if not self._receive():
                try:
                    self.wait(until_s)
                except TimeoutError:
                    return

    def wait(self, until_s: float) -> None:
        """For the other side. TimeoutError: it has not moved by then."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT if self._unsent else select.POLLIN)
        if not poll.poll(max(until_s - time.monotonic(), 0.0) * 1e3):
            raise TimeoutError("the server does not respond")

    def _step(self) -> bool:
        try:
            self.session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            with suppress(OSError):
                self._send()  # the server is told why
            raise
        return True

    def _send(self) -> bool:
        """All that there is; False: the kernel takes no more for now."""
        self._unsent += self.outgoing.read()
        while self._unsent:
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except BlockingIOError:
                return False
        return True

    def _receive(self) -> bool:
        """Takes the bytes that have come. Returns False if there are none."""
        try:
            content = self._socket.recv(READ_NBYTES)
        except BlockingIOError:
            return False
        if not content:
            raise ConnectionResetError("the server closed the connection")
        self.incoming.write(content)
        return True


def said(error: OSError) -> str:
    """The error's own text, from the layer that knows most about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.rstrip(".")
    if isinstance(error, ssl.SSLError) and (reason := getattr(error, "reason", None)):  # ssl's own errors have one, or None
        return str(reason).replace("_", " ").lower()
    return AROUND.sub("", error.strerror or str(error))


def spoken(address: Address, reach: Reach, context: ssl.SSLContext) -> Spoken:
    """The protocols of a TLS connection to that address. Raises InferdError, which says why there is none and what to do. HTTP/1.1 has no
    greeting."""
    try:
        made = connected(address, WAIT_S)
    except OSError as error:
        raise InferdError(f"{address}: no {'HTTP' if address.http else 'gRPC'} server responds there: {said(error)}") from None
    with made:
        made.setblocking(False)
        try:
            handshake = Handshake(made, context, name_of(address, reach), protocol_of(address))
        except ValueError:
            raise ConfigError(f"--tls-server-name {name_of(address, reach)}: expected the name of a host, or an IP address") from None
        try:
            handshake.finish(WAIT_S)
        except OSError as error:
            made.close()  # it may be one that takes another only then
            raise InferdError(f"{address}: {failed(address, reach, error)}") from None
        try:
            if not address.http:
                handshake.greet(GREETED_S)
        except OSError as error:
            raise InferdError(f"{address}: it ended the connection after the TLS handshake ({said(error)}){_cure(reach)}") from None
        return handshake.spoken


def explanation(address: Address, reach: Reach) -> str:
    """Why a gRPC library has no connection there, with the cure; empty: nothing is known of it."""
    if not reach.by_tls:
        return "it speaks TLS: give --tls-ca FILE of its authority, or --tls where that is a public one" if _speaks_tls(address) else ""
    try:
        spoken(address, reach, context_of(reach))
    except InferdError as error:
        return str(error).removeprefix(f"{address}: ")
    return ""


def unanswered(error: object) -> str:
    """The SDK's words for a server that is not there. Its hint at TLS is left out: `explanation` has looked."""
    return f"no gRPC server responds there: {str(error).partition('; if the server speaks TLS')[0]}"


def failed(address: Address, reach: Reach, error: OSError) -> str:
    """Why there was no handshake, with the cure."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in WRONG_NAME:
            return f"its certificate is for another name ({said(error)}): give --tls-server-name NAME, the one that it is for"
        return f"its certificate is not trusted ({said(error)}): give --tls-ca FILE of the authority that has signed it"
    if getattr(error, "reason", None) == "WRONG_VERSION_NUMBER" or _speaks_plaintext(address):
        cure = "give http:// in place of https://" if address.http else "leave --tls, --tls-ca and the like out"
        return f"it speaks no TLS, but plaintext: {cure}"
    if isinstance(error, TimeoutError):
        return f"no TLS handshake within {WAIT_S:g} s"
    if isinstance(error, ConnectionError | ssl.SSLError):  # by TLS 1.2 that is how a server rejects a certificate
        return f"the TLS handshake failed ({said(error)}){_cure(reach)}"
    return said(error)


def _cure(reach: Reach) -> str:
    if reach.certificate is None:
        return ": if it asks for a client certificate (mTLS), give --tls-cert and --tls-key"
    return ": it may not take the client certificate of --tls-cert"


def _speaks_plaintext(address: Address) -> bool:
    """Whether it sends SETTINGS to a client that greets it in plaintext, as every HTTP/2 server does."""
    head = b""
    with suppress(OSError), connected(address, GREETED_S) as made:
        made.sendall(GREETING)
        while len(head) < HEAD_NBYTES and (piece := made.recv(HEAD_NBYTES - len(head))):
            head += piece
    return len(head) == HEAD_NBYTES and head[3] == SETTINGS and not any(head[5:])


def _speaks_tls(address: Address) -> bool:
    """Whether a handshake is made there, or rejected in words of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said to it, or believed
    context.set_alpn_protocols([HTTP2])
    try:
        with connected(address, GREETED_S) as made:
            made.setblocking(False)
            Handshake(made, context, address.host or "localhost").finish(GREETED_S)
        return True
    except ssl.SSLError as error:
        return "ALERT" in str(error.reason)
    except OSError:
        return False
