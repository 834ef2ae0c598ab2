"""TLS of the server's ports: a certificate, its key and the authorities of clients, from files that are read again when they change.

Each connection uses the newest context, so that a new certificate needs no new port, and open connections do not notice. Never in here:
which clients may call (access.py), transports.
"""

from __future__ import annotations

import codecs
import logging
import re
import ssl
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from inferd.errors import ConfigError
from inferd.log import event
from inferd.watched_files import Watched

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.config import Settings

    Made = tuple["Certificates", ssl.SSLContext, ssl.SSLContext]  # of gRPC's ports, and of REST's

log = logging.getLogger(__name__)

MAX_FILE_BYTES = 4 << 20
SOON = timedelta(days=7)  # a warning comes so long before the end of a certificate
SOON_SHARE = 6  # but only in the last sixth of its time: some last for hours
CERTIFICATE = re.compile(rb"^-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----([^-]*)", re.MULTILINE)
HYPHENS, BEGIN = b"-----", b"-----BEGIN "  # the beginning of an object's first line in PEM
NOTHING = ("pem lib", "no start line", "Empty certificate data")  # beginnings of OpenSSL's and Python's errors for an empty file
NO_CERTIFICATE_COMPRESSION = 1 << 33  # SSL_OP_NO_RX_CERTIFICATE_COMPRESSION of OpenSSL 3.2; Python has no name for it
PYTHONS_OWN = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")  # Python's additions to an error of OpenSSL
# For TLS 1.2: RFC 9113 allows HTTP/2 only ciphers with forward secrecy and AEAD. TLS 1.3 has no others.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


class Certificates(NamedTuple):
    """The files' PEM. client_ca: None without a file of authorities: clients need no certificate. A file without a certificate is an
    error, and never None."""

    chain: bytes
    key: bytes
    client_ca: bytes | None


class Tls:
    """The TLS of one server's ports. Raises ConfigError if the files are not a certificate and its key."""

    def __init__(self, settings: Settings) -> None:
        named = {"tls_cert": settings.tls_cert, "tls_key": settings.tls_key, "tls_client_ca": settings.tls_client_ca}
        self._files = Watched({setting: path for setting, path in named.items() if path is not None}, MAX_FILE_BYTES)
        self.certificates, self._newest, self._newest_http = self._files.read(self._made)
        self._validity = _validity(self.certificates.chain)
        self._said = ""  # the last warning about the validity
        self._tell_validity(datetime.now(UTC))

    @property
    def expires_s(self) -> float:
        """The certificate's last moment, since the Unix epoch."""
        return self._validity[1].timestamp()

    @property
    def file_failures(self) -> int:
        """How often the files were found gone, or not to fit together."""
        return self._files.failures

    def reload(self, *, asked: bool) -> bool:
        """Reads the files again if they changed, or in any case when `asked`. Files that do not fit together are logged and ignored: a
        certificate and its key are rarely replaced at one time. So is a certificate that is not valid now, while the present one is. True:
        new handshakes have new certificates."""
        found = self._files.read_again(self._made_again, asked, "connections go on with the certificate that was read before")
        is_new = found is not None and found[0] != self.certificates
        if found is not None and is_new:
            self.certificates, self._newest, self._newest_http = found
            self._validity = _validity(self.certificates.chain)
            log.info("the certificate was read again: new connections have it", extra=event("certificate_reloaded"))
        self._tell_validity(datetime.now(UTC))
        return is_new

    def _tell_validity(self, now: datetime) -> None:
        """Logs, once each, that clients reject the certificate, or soon will."""
        first, last = self._validity
        words = _rejected(self._validity, now)
        if not words and now > last - min(SOON, (last - first) / SOON_SHARE):
            words = f"is valid until {last:%Y-%m-%d %H:%M} UTC: replace it and its key, which needs no restart"
        if words and words != self._said:
            log.warning("tls_cert: the certificate in '%s' %s", self._files.paths["tls_cert"], words)
        self._said = words

    def wrap(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *, http: bool = False) -> ssl.SSLObject:
        """The server's side of one connection. http: to a port of REST. Clients must show their certificate each time, as it may no longer
        be trusted. OpenSSL looks for a session to resume in the context with which a connection begins, so each connection then begins
        with a new context."""
        newest = self._newest_http if http else self._newest
        if self.certificates.client_ca is None:
            return newest.wrap_bio(incoming, outgoing, server_side=True)
        made = _without_certificate(mutual=True).wrap_bio(incoming, outgoing, server_side=True)
        made.context = newest
        return made

    def _made_again(self, found: Mapping[str, bytes]) -> Made:
        made, now = self._made(found), datetime.now(UTC)
        rejected = _rejected(_validity(made[0].chain), now)
        if rejected and not _rejected(self._validity, now):
            raise ConfigError(
                f"tls_cert: expected a certificate that clients take, got '{self._files.paths['tls_cert']}', which {rejected}"
            )
        return made

    def _made(self, found: Mapping[str, bytes]) -> Made:
        """Certificates and contexts from the contents of the files, by setting. Raises ConfigError."""
        for setting, content in found.items():
            if _is_cut(content):
                raise ConfigError(
                    f"{setting}: expected whole PEM, got '{self._files.paths[setting]}', which is cut off where one more begins: write a "
                    "file beside it, and rename that"
                )
        authorities = found.get("tls_client_ca")
        certificates = Certificates(found["tls_cert"], found["tls_key"], None if authorities is None else _ascii(authorities))
        return certificates, self._context(certificates, ["h2"]), self._context(certificates, ["h2", "http/1.1"])

    def _context(self, certificates: Certificates, protocols: Sequence[str]) -> ssl.SSLContext:
        context = _without_certificate(mutual=certificates.client_ca is not None)
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(list(protocols))
        chain, key = self._files.paths["tls_cert"], self._files.paths["tls_key"]
        try:
            context.load_cert_chain(chain, key, password=_no_password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise _unfit(certificates.chain, chain, key, error) from None
        if certificates.client_ca is not None:
            try:
                context.load_verify_locations(cadata=certificates.client_ca.decode("ascii"))
            except (ssl.SSLError, ValueError) as error:  # ValueError: there is nothing in it
                raise ConfigError(
                    f"tls_client_ca: expected certificates of authorities, PEM, got '{self._files.paths['tls_client_ca']}': {_why(error)}"
                ) from None
        return context


def plain(error: ssl.SSLError) -> str:
    """OpenSSL's error, mostly about a client's certificate, without the library and the place in Python's source."""
    reason = str(getattr(error, "reason", None) or PYTHONS_OWN.sub("", str(error.args[-1]))).replace("_", " ").lower()
    what = getattr(error, "verify_message", "")
    return f"{reason}: {what}" if what else reason


def _without_certificate(mutual: bool) -> ssl.SSLContext:
    """A context with the options that a connection keeps from its first context. mutual: clients need a certificate, and get no tickets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.options |= NO_CERTIFICATE_COMPRESSION  # a compressed chain could be several times as long as MAX_HANDSHAKE_NBYTES
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def _validity(chain: bytes) -> tuple[datetime, datetime]:
    """The first and the last moment of the server's certificate, which is the first in PEM. If it cannot be read: the whole of time."""
    from inferd.serving.security.certificate import validity

    try:
        return validity(b64decode(CERTIFICATE.findall(chain)[0]))
    except (ValueError, IndexError):
        return datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def _rejected(valid: tuple[datetime, datetime], now: datetime) -> str:
    """Why clients reject a certificate with this validity; '' if they do not."""
    first, last = valid
    if now < first:
        return f"is valid from {first:%Y-%m-%d %H:%M} UTC on: clients reject it until then"
    if now > last:
        return f"was valid until {last:%Y-%m-%d %H:%M} UTC: clients reject it; replace it and its key, which needs no restart"
    return ""


def _is_cut(pem: bytes) -> bool:
    """Whether the text ends within the first line of an object. OpenSSL would ignore that line, and use only the objects before it. Fewer
    hyphens are a comment."""
    last = pem.rpartition(b"\n")[2][: len(BEGIN)]
    return last.startswith(HYPHENS) and BEGIN.startswith(last)


def _no_password() -> str:
    raise ValueError("the key is encrypted: write it without a password, in a file that only the server can read")


def _ascii(pem: bytes) -> bytes:
    """The text in ASCII, which ssl demands, as comments may be in any language. A certificate with other characters becomes invalid."""
    return pem.replace(codecs.BOM_UTF8, b"").decode("ascii", "backslashreplace").encode("ascii")


def _unfit(pem: bytes, chain: str, key: str, error: Exception) -> ConfigError:
    """The error for the file that is wrong, which OpenSSL does not name. pem: the content of the file `chain`."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=_ascii(pem).decode())
    except (ssl.SSLError, ValueError) as no_certificate:
        return ConfigError(f"tls_cert: expected a certificate with its chain, PEM, got '{chain}': {_why(no_certificate)}")
    if getattr(error, "reason", None) is None:
        return ConfigError(f"tls_key: expected the certificate's key, PEM, not encrypted, got '{key}': {_why(error)}")
    return ConfigError(
        f"tls_cert, tls_key: expected a certificate with its chain and the key that belongs to it, PEM, not encrypted, got "
        f"'{chain}' and '{key}': {_why(error)}"
    )


def _why(error: Exception) -> str:
    words = plain(error) if isinstance(error, ssl.SSLError) else str(error)
    return "there is none in it" if words.startswith(NOTHING) else words
