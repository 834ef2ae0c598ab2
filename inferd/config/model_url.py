"""URLs that stand where a model's path may stand: which there are, what one may hold, and how one is shown without its secrets.

Never in here: what lies behind a URL (engine/remote).
"""

from __future__ import annotations

import difflib
import re
from urllib.parse import SplitResult, urlsplit

SCHEMES = ("s3", "gs", "az", "http", "https", "oci")
_BEGINS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# In any text, another program's error for one: the user and password of a URL, and what follows its path, which may be a signature.
# A scheme has a limit, so that a long text costs a time that grows with its length, and not with the square of it.
_SECRETS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,31}://)(?:[^/?#\s\"'<>]*@)?(?P<rest>[^?#\s\"'<>]*)(?P<query>[?#][^\s\"'<>)]*)?")


def is_url(text: str) -> bool:
    return _BEGINS.match(text) is not None


def split_url(text: str) -> SplitResult:
    """ValueError where it cannot be split; its text shows nothing of the URL."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - it is read only when it is asked for
    except ValueError:
        raise ValueError("expected a URL like s3://bucket/folder, got one whose host or port cannot be read") from None
    return parts


def without_secrets(text: str) -> str:
    """The text, with neither user, password, query nor fragment in any URL that stands in it."""
    return _SECRETS.sub(lambda found: found["scheme"] + found["rest"] + ("?..." if found["query"] else ""), text)


def check_url(text: str) -> None:
    """ValueError that says what is wrong, without what might be a secret."""
    parts = split_url(text)
    scheme = parts.scheme.lower()
    if scheme not in SCHEMES:
        close = difflib.get_close_matches(scheme, SCHEMES, n=1)
        hint = f"; did you mean {close[0]}://?" if close else ""
        raise ValueError(f"expected a path, or a URL of {', '.join(f'{known}://' for known in SCHEMES)}, got {scheme}://...{hint}")
    shown = without_secrets(text)
    if not parts.hostname:
        what = "container" if scheme == "az" else "bucket" if scheme in ("s3", "gs") else "host"
        raise ValueError(f"expected a {what} behind {scheme}://, got '{shown}'")
    if scheme in ("http", "https"):
        return
    if "@" in parts.netloc:
        raise ValueError(
            f"expected no user or password in a URL of {scheme}://, got one in '{shown}': credentials come from the environment"
        )
    if parts.query or parts.fragment:
        raise ValueError(f"expected nothing behind the path of a URL of {scheme}://, got '{shown}'")
    if scheme == "oci" and not parts.path.strip("/"):
        raise ValueError(f"expected oci://registry/repository:tag, got '{shown}'")
