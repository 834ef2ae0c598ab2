"""Names of clients, as `tls_allow` and certificates have them: a type, a colon and a value, such as dns:batch.example (RFC 9525).

Each name has one spelling here, so that equal texts are equal names. Never in here: certificates, who may ask.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

TYPES = ("dns", "uri", "ip", "email", "cn")  # the subject alternative names that count, and the common name
HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+|(?i:urn):\S+")
EMAIL = re.compile(r"[^@\s:/]+@[^@\s:/]+")
EXPECTED = "expected names such as dns:batch.example, uri:spiffe://example/web, ip:10.0.0.1, email:a@b.example or cn:Some Name"


def typed(kind: str, value: str) -> str:
    """The one spelling of a name of that type. Case does not matter in DNS names, and an IP address may have any form."""
    return f"{kind}:{value.lower() if kind == 'dns' else value}"


@lru_cache(maxsize=1 << 14)  # a list may have names by the thousand, and is checked at each look at the settings
def parse_name(text: str) -> str:
    """A name as an operator writes it. Without a type it is the subject alternative name that it looks like, never a common name.
    ValueError with a message that says what was expected."""
    word, colon, rest = text.partition(":")
    kind, value = (word.lower(), rest) if colon and word.lower() in TYPES else (_kind_of(text), text)
    if kind == "ip" and (address := _address(value)):
        return typed(kind, address)
    if (kind == "dns" and HOST.fullmatch(value)) or (kind in ("uri", "email", "cn") and value.strip() and "\0" not in value):
        return typed(kind, value)
    cure = f"; cn:{text} is a common name" if not kind and not colon else ""
    raise ValueError(f"{EXPECTED}, got '{text}'{cure}")


def _kind_of(text: str) -> str:
    """Empty: it looks like no type."""
    if _address(text):
        return "ip"
    for kind, pattern in (("uri", URI), ("email", EMAIL), ("dns", HOST)):
        if pattern.fullmatch(text):
            return kind
    return ""


def _address(text: str) -> str:
    """An IP address in its one spelling; empty: it is none."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return ""
