"""What a certificate says: whom it names, and how long it is valid. The one door to `cryptography`, which takes 50 ms to import and is
imported where a server speaks TLS.

Never in here: whether a certificate is trusted (OpenSSL's part), whose names are allowed (access.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from inferd.names import typed
from inferd.serving.access import MAX_CERTIFICATE_BYTES, NOT_ASCII, NUL, UNREADABLE, Identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

__all__ = ["identity_of", "validity"]

KINDS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "dns",
    x509.UniformResourceIdentifier: "uri",
    x509.IPAddress: "ip",
    x509.RFC822Name: "email",
}  # of subject alternative names; the others name nobody


def identity_of(der: bytes) -> Identity:
    """Whom a client's certificate names. One of more than MAX_CERTIFICATE_BYTES is not decoded: the event loop asks, and decodes the
    names of the largest in 2 ms."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        return Identity.unread(len(der))
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject = certificate.subject.rfc4514_string()
        names = list(_names(certificate))
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):  # a name that is no UTF-8, above all
        return Identity("", (), UNREADABLE)
    fault = ""
    if any("\0" in value for _, value in names):
        fault = NUL
    elif not all(value.isascii() for kind, value in names if kind == "dns"):
        fault = NOT_ASCII
    return Identity(subject, tuple(dict.fromkeys(typed(kind, value) for kind, value in names)), fault)


def validity(der: bytes) -> tuple[datetime, datetime]:
    """The first moment of a certificate, and the last. ValueError: it is none."""
    certificate = x509.load_der_x509_certificate(der)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _names(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    """Types and values; of several common names the first."""
    for common in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[:1]:
        yield "cn", str(common.value)
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for name in alternative:
        if kind := KINDS.get(type(name)):
            yield kind, str(name.value)
