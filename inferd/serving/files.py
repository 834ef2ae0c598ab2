"""Files of secrets that may be replaced while the server runs: read whole, with a limit, and known by what the system says of them.

Replaced by renaming, in place, or by a link that points elsewhere, as Kubernetes does with secrets: all show in `changed`.
"""

from __future__ import annotations

import os

from inferd.errors import ConfigError

__all__ = ["Watched"]


class Watched:
    """One file. path: as it stands in the settings."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen = self._state()

    def changed(self) -> bool:
        """Whether it is another file, or has other content, than when this was asked last. A file that is gone has not changed."""
        state = self._state()
        if state is None or state == self._seen:
            return False
        self._seen = state
        return True

    def read(self, limit: int, setting: str) -> bytes:
        """Raises ConfigError where it cannot be read, or has more bytes than `limit`."""
        try:
            with open(self.path, "rb") as file:
                content = file.read(limit + 1)
        except OSError as error:
            raise ConfigError(f"{setting}: expected a file that can be read, got '{self.path}': {error.strerror}") from None
        if len(content) > limit:
            raise ConfigError(f"{setting}: expected at most {limit} bytes, '{self.path}' has more")
        return content

    def _state(self) -> tuple[int, ...] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
