"""Whom a certificate names, wherever it says so and however it is written, and how long it is valid."""

from __future__ import annotations

import datetime
import ipaddress
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from inferd.serving.security.access import MAX_CERTIFICATE_BYTES, NOT_ASCII, NUL, UNREADABLE, Identity
from inferd.serving.security.certificate import identity_of, validity

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime.datetime(2026, 1, 1)
MOMENTS = st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(9999, 12, 31)).map(lambda moment: moment.replace(microsecond=0))


def common(*names: str, kind: _ASN1Type = _ASN1Type.UTF8String) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name, _type=kind, _validate=False) for name in names])


def der(subject: x509.Name, *names: x509.GeneralName, encoded: bytes = b"", lasts: tuple[datetime.datetime, ...] = (NOW, NOW)) -> bytes:
    """encoded: in place of others, alternative names that no library writes."""
    made = x509.CertificateBuilder(common("issuer"), subject, KEY.public_key(), 1 << 100, *lasts)
    if encoded:
        made = made.add_extension(x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, encoded), critical=False)
    elif names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return made.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("kind", [_ASN1Type.UTF8String, _ASN1Type.BMPString, _ASN1Type.UniversalString])
def test_every_kind_of_name_has_its_type(kind: _ASN1Type) -> None:
    found = identity_of(
        der(
            common("Batch", "other", kind=kind),
            x509.DirectoryName(common("directory")),
            x509.DNSName("Web.Example"),
            x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
            x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
            x509.UniformResourceIdentifier("spiffe://Example/Web"),
            x509.RFC822Name("who@b.example"),
            x509.DNSName("web.example"),
        )
    )
    names = ("cn:Batch", "dns:web.example", "ip:2001:db8::1", "uri:spiffe://Example/Web", "email:who@b.example")
    assert found == Identity("CN=other,CN=Batch", names)
    assert str(found) == f"CN=other,CN=Batch ({', '.join(names)})"
    assert str(identity_of(der(x509.Name([])))) == "no subject (no name)"


def test_names_that_are_nobodys() -> None:
    bad = "batch.example\0.evil"
    for place in (x509.DNSName(bad), x509.UniformResourceIdentifier(bad), x509.RFC822Name._init_without_validation(bad)):
        assert identity_of(der(common("x"), x509.DNSName("x"), place)).fault == NUL
    assert identity_of(der(common(bad))).fault == NUL
    assert identity_of(der(common("x"), x509.DNSName._init_without_validation("\u212aiosk"))).fault == NOT_ASCII
    for tag in (0x81, 0x82, 0x86):
        assert identity_of(der(common("x"), encoded=bytes([0x30, 3, tag, 1, 0xFF]))) == Identity("", (), UNREADABLE)


def test_a_certificate_that_is_too_large_is_not_decoded() -> None:
    count = MAX_CERTIFICATE_BYTES // 10
    large = der(common("x"), *(x509.DNSName(f"{number:08}") for number in range(count)))
    assert identity_of(large).fault == f"it has {len(large)} bytes, expected at most {MAX_CERTIFICATE_BYTES}"
    assert identity_of(bytes(MAX_CERTIFICATE_BYTES)).fault == UNREADABLE


WHOLE = der(common("batch", kind=_ASN1Type.BMPString), x509.DNSName("batch.example"), x509.RFC822Name("a@b.example"))


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=4)), max_size=8), st.integers(0, len(WHOLE)))
def test_whatever_comes_is_read_to_its_end(changes: list[tuple[int, bytes]], end: int) -> None:
    content = bytearray(WHOLE)
    for at, other in changes:
        content[at : at + len(other)] = other
    found = identity_of(bytes(content[:end]))
    assert found.fault in ("", NUL, NOT_ASCII, UNREADABLE)


@given(st.tuples(MOMENTS, MOMENTS).map(sorted))
@example([datetime.datetime(1950, 1, 1), datetime.datetime(2049, 12, 31, 23, 59, 59)])  # two digits of the year, and four
@example([datetime.datetime(2050, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59)])
def test_how_long_a_certificate_is_valid(moments: list[datetime.datetime]) -> None:
    whole = der(common("x"), lasts=tuple(moments))
    assert validity(whole) == tuple(moment.replace(tzinfo=datetime.UTC) for moment in moments)
    with pytest.raises(ValueError, match="asn1"):
        validity(whole[:-1])


def test_a_server_without_tls_does_not_import_cryptography() -> None:
    modules = "inferd.serving.transports.native, inferd.serving.transports.grpcio, inferd.serving.server, inferd.serving.security.tls"
    code = f"import sys, {modules}; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
