"""The page at /docs: one file, which reads /openapi.json. Never in here: markup, models.

The page is the same on every server, and holds nothing of this one. If the server needs tokens, the page's own requests have one.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path

FILE = Path(__file__).with_name("page.html")


@cache
def page() -> bytes:
    return FILE.read_bytes()


def _hash_of(element: bytes) -> str:
    """The hash of the page's one such element, as a Content-Security-Policy names it."""
    (content,) = re.findall(rb"<%b>(.*?)</%b>" % (element, element), page(), re.DOTALL)
    return f"'sha256-{b64encode(sha256(content).digest()).decode()}'"


# The browser runs only this style and script, and calls only this server, whatever a model's name holds.
POLICY = (
    f"default-src 'none'; script-src {_hash_of(b'script')}; style-src {_hash_of(b'style')}; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
)
