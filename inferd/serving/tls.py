"""TLS of the server's ports: a certificate, its key and the authorities of clients, from files that are read again when they change.

A port keeps the context that it was opened with; each handshake is handed the newest one, so that a new certificate needs no new port
and no open connection notices. Never in here: who may ask (access.py), transports.
"""

from __future__ import annotations

import logging
import ssl
from typing import TYPE_CHECKING, NamedTuple

from inferd.errors import ConfigError
from inferd.serving.files import Watched

if TYPE_CHECKING:
    from inferd.config import Settings

__all__ = ["ALPN", "HANDSHAKE_S", "Certificates", "Tls"]

log = logging.getLogger(__name__)

ALPN = "h2"  # what a client must offer
HANDSHAKE_S = 10.0  # a client that has not finished its handshake by then is cut off
MAX_FILE_BYTES = 4 << 20
# Of TLS 1.2, which RFC 9113 lets HTTP/2 have only with forward secrecy and AEAD; TLS 1.3 has no others.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Certificates(NamedTuple):
    """PEM, as it stands in the files. client_ca: empty: clients need no certificate."""

    chain: bytes
    key: bytes
    client_ca: bytes


class Tls:
    """What the ports of one server speak. Raises ConfigError where the files are no certificate and its key."""

    def __init__(self, settings: Settings) -> None:
        named = {"tls_cert": settings.tls_cert, "tls_key": settings.tls_key, "tls_client_ca": settings.tls_client_ca}
        self._files = {setting: Watched(path) for setting, path in named.items() if path}
        self.certificates = self._read()
        self.context = self._newest = self._made(self.certificates)  # context: of the ports
        self.context.sni_callback = self._hand_newest
        self.reloads = 0

    def reload(self) -> bool:
        """Takes the files as they are now, if they changed. What does not fit together changes nothing, and is logged: a certificate
        and its key are rarely replaced at one time. True: new handshakes have new certificates."""
        changed = [file.changed() for file in self._files.values()]
        if not any(changed):
            return False
        try:
            certificates = self._read()
            if certificates == self.certificates:
                return False
            self._newest = self._made(certificates)
        except ConfigError as error:
            log.error("%s; connections go on with the certificate that was read before", error)
            return False
        self.certificates = certificates
        self.reloads += 1
        log.info("the certificate was read again: new connections have it")
        return True

    def _hand_newest(self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        handshake.context = self._newest

    def _read(self) -> Certificates:
        found = {setting: file.read(MAX_FILE_BYTES, setting) for setting, file in self._files.items()}
        return Certificates(found["tls_cert"], found["tls_key"], found.get("tls_client_ca", b""))

    def _made(self, certificates: Certificates) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols([ALPN])
        chain, key = self._files["tls_cert"].path, self._files["tls_key"].path
        try:
            context.load_cert_chain(chain, key, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigError(
                f"tls_cert, tls_key: expected a certificate with its chain and the key that belongs to it, PEM, not encrypted, got "
                f"'{chain}' and '{key}': {_plain(error)}"
            ) from None
        if certificates.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.options |= ssl.OP_NO_TICKET  # a client shows its certificate each time: what was trusted once may not be any more
            context.num_tickets = 0
            try:
                context.load_verify_locations(cadata=certificates.client_ca.decode("ascii"))
            except (ssl.SSLError, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"tls_client_ca: expected certificates of authorities, PEM, got '{self._files['tls_client_ca'].path}': {_plain(error)}"
                ) from None
        return context


def _no_password() -> str:
    raise ValueError("the key is encrypted: write it without a password, in a file that only the server can read")


def _plain(error: Exception) -> str:
    reason = getattr(error, "reason", None)  # OpenSSL's own word
    return str(reason or error).replace("_", " ").lower() if reason else str(error)
