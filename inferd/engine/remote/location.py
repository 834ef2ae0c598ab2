"""Parses a model's URL. Never in here: the network, files."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple
from urllib.parse import unquote

from inferd.config import check_url, split_url, without_secrets
from inferd.errors import ConfigError

ARCHIVES = (".tar.gz", ".tgz", ".tar")


class Location(NamedTuple):
    """A parsed URL. leaf: the name of its file or folder on this machine, which becomes the model's name."""

    url: str
    scheme: str
    host: str  # or the bucket, the container
    path: str  # without slashes at its ends
    leaf: str

    @classmethod
    def of(cls, url: str) -> Location:
        """Parses a URL. Raises ConfigError."""
        try:
            check_url(url)
        except ValueError as error:
            raise ConfigError(f"models: {error}") from None
        parts = split_url(url)
        scheme, path = parts.scheme.lower(), parts.path.strip("/")
        leaf = unquote(path.rpartition("/")[2]) if scheme.startswith("http") else path.rpartition("/")[2]
        if scheme == "oci":
            leaf = re.split("[:@]", leaf, maxsplit=1)[0]
        elif scheme.startswith("http"):
            leaf = next((leaf.removesuffix(suffix) for suffix in ARCHIVES if leaf.endswith(suffix)), leaf)
        leaf = leaf or (parts.hostname or "")
        if leaf in (".", "..") or "/" in leaf or not leaf.isprintable():
            raise ConfigError(f"models: '{without_secrets(url)}': expected the name of a file or folder at its end")
        return cls(url, scheme, parts.netloc.rpartition("@")[2], path, leaf)

    @property
    def shown(self) -> str:
        """The URL for logs and errors, without secrets."""
        return without_secrets(self.url)

    @property
    def key(self) -> str:
        """A folder name that no other URL has."""
        where = f"{self.scheme}://{self.host}/{self.path}"
        if self.scheme in ("http", "https"):
            parts = split_url(self.url)
            where = f"{self.scheme}://{self.host}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        return f"{re.sub('[^A-Za-z0-9._-]', '-', self.leaf)[:60]}-{hashlib.sha256(where.encode()).hexdigest()[:16]}"
