"""Names with a NUL in them, wherever a certificate may have one and however it is written, and what is none of them; its first moment, and
its last."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from inferd.serving.der import has_nul, validity

LONG = "x" * 300  # its length takes two bytes more
NUL = "batch.example\0.evil"
KEY = ec.generate_private_key(ec.SECP256R1())
MOMENTS = st.datetimes(datetime.datetime(1950, 1, 1), datetime.datetime(9999, 12, 31)).map(lambda moment: moment.replace(microsecond=0))


def common(name: str, kind: _ASN1Type = _ASN1Type.UTF8String) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name, _type=kind, _validate=False)])


def der(subject: x509.Name, *names: x509.GeneralName, critical: bool = False) -> bytes:
    """With a serial number of many zeros, which the name of its issuer's key repeats."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime(2026, 1, 1)
    key_id = x509.AuthorityKeyIdentifier(b"\0" * 20, [x509.DirectoryName(common("issuer"))], 1 << 100)
    made = x509.CertificateBuilder(common("issuer"), subject, key.public_key(), 1 << 100, now, now).add_extension(key_id, critical=False)
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=critical)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("kind", [_ASN1Type.UTF8String, _ASN1Type.BMPString, _ASN1Type.UniversalString])
def test_common_names(kind: _ASN1Type) -> None:
    assert not has_nul(der(common("batch.example", kind)))
    assert has_nul(der(common(NUL, kind)))
    assert has_nul(der(x509.Name([*common("batch.example", kind), *common(NUL, kind)])))


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize("kind", [x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name])
def test_alternative_names(kind: Any, critical: bool) -> None:
    first, address = x509.DNSName(LONG), x509.IPAddress(ipaddress.ip_address("0.0.0.0"))
    directory = x509.DirectoryName(common("directory"))
    assert not has_nul(der(common("x"), first, address, directory, kind("batch.example"), critical=critical))
    assert has_nul(der(common("x"), first, address, directory, kind(NUL), critical=critical))


def test_what_is_no_certificate_is_not_trusted() -> None:
    whole = der(common("batch"), x509.DNSName("batch.example"))
    assert [has_nul(whole[:end]) for end in range(len(whole))].count(True) > len("batch.example")
    endless = b"\x06\x03\x55\x1d\x11\x04\x0b\x30\x80\x82\x05" + b"a\0b.c" + b"\0\0"
    for none in (endless, b"\x06\x03\x55\x04\x03", b"\x06\x03\x55\x1d\x11\x04", b"\x06\x03\x55\x1d\x11\x04\x02\x30\x82"):
        assert has_nul(none)


@pytest.mark.parametrize(("count", "trusted"), [(8192, True), (8193, False)])
def test_more_names_than_a_certificate_has_room_for_are_not_trusted(count: int, trusted: bool) -> None:
    """Else names within names would be looked at again and again."""
    names = b"\x82\x00" * count
    sequence = b"\x30\x82" + len(names).to_bytes(2) + names
    assert has_nul(b"\x06\x03\x55\x1d\x11\x04\x82" + len(sequence).to_bytes(2) + sequence) != trusted


WHOLE = der(common("batch", _ASN1Type.BMPString), x509.DNSName("batch.example"), x509.RFC822Name("a@b.example"), critical=True)


@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.binary(min_size=1, max_size=4)), max_size=8), st.integers(0, len(WHOLE)))
def test_whatever_comes_is_read_to_its_end(changes: list[tuple[int, bytes]], end: int) -> None:
    content = bytearray(WHOLE)
    for at, other in changes:
        content[at : at + len(other)] = other
    assert has_nul(bytes(content[:end])) in (True, False)


@given(st.tuples(MOMENTS, MOMENTS).map(sorted))
@example([datetime.datetime(1950, 1, 1), datetime.datetime(2049, 12, 31, 23, 59, 59)])  # two digits of the year, and four
@example([datetime.datetime(2050, 1, 1), datetime.datetime(9999, 12, 31, 23, 59, 59)])
def test_how_long_a_certificate_is_valid(moments: list[datetime.datetime]) -> None:
    first, last = [moment.replace(tzinfo=datetime.UTC) for moment in moments]
    made = x509.CertificateBuilder(common("issuer"), common("x"), KEY.public_key(), 1 << 100, first, last).sign(KEY, hashes.SHA256())
    whole = made.public_bytes(serialization.Encoding.DER)
    assert validity(whole) == (first, last)
    for end in range(0, len(whole), 7):
        with pytest.raises((ValueError, IndexError)):
            validity(whole[:end])
