"""Reads a certificate: its names and its validity. `cryptography` takes 50 ms to import, so that only servers which speak TLS import this
file.

Never in here: whether a certificate is trusted (OpenSSL's part), whose names are allowed (access.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from inferd.names import typed
from inferd.serving.security.access import MAX_CERTIFICATE_BYTES, NOT_ASCII, NUL, UNREADABLE, Identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

KINDS: dict[type[x509.GeneralName], str] = {
    x509.DNSName: "dns",
    x509.UniformResourceIdentifier: "uri",
    x509.IPAddress: "ip",
    x509.RFC822Name: "email",
}  # kinds of subject alternative names; others are ignored


def identity_of(der: bytes) -> Identity:
    """The names in a client's certificate. One with more than MAX_CERTIFICATE_BYTES is not decoded: even that size holds up the event loop
    for 2 ms."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        return Identity.unread(len(der))
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject = certificate.subject.rfc4514_string()
        names = list(_names(certificate))
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):  # mostly, a name that is not UTF-8
        return Identity("", (), UNREADABLE)
    fault = ""
    if any("\0" in value for _, value in names):
        fault = NUL
    elif not all(value.isascii() for kind, value in names if kind == "dns"):
        fault = NOT_ASCII
    return Identity(subject, tuple(dict.fromkeys(typed(kind, value) for kind, value in names)), fault)


def validity(der: bytes) -> tuple[datetime, datetime]:
    """The first and the last moment of a certificate. Raises ValueError for other bytes."""
    certificate = x509.load_der_x509_certificate(der)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _names(certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    """Types and values of the names, with the first common name only."""
    for common in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[:1]:
        yield "cn", str(common.value)
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for name in alternative:
        if kind := KINDS.get(type(name)):
            yield kind, str(name.value)
