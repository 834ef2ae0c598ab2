"""The contract of a version: the results of the checks while it was loaded, and the file that keeps them.

Checks run the model, so results are kept under a hash of everything that they depend on. The file has one result a line, and grows at its
end. It is a cache: a broken line, or one of another form, is ignored.
Never in here: the checks themselves (probe.py, loading/warmup.py), which versions are served.
"""

from __future__ import annotations

import hashlib
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from inferd.engine.checks.probe import Proof, Rows
from inferd.engine.files.kept_file import append, read
from inferd.log import LIMITED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inferd.engine.configuration.config_sources import Defaults
    from inferd.engine.files.content import Content

log = logging.getLogger("inferd.engine")

FILE = "checks.jsonl"
RULES = 1  # raise it when the checks change, so that older results are not used
MAX_KEPT = 10_000
MAX_FILE_BYTES = 16 << 20
MAX_WHY = 500  # characters: it names outputs, and a client may have chosen long names


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Results of checks. batch_axis: axis 0 of every tensor is a batch. rows: whether rows are independent; None: not checked. why: half a
    sentence for `rows`, as in Proof. deterministic: the same input twice gives the same bytes; None: no made-up input runs.
    run_bytes: the most memory that runs took in checks and warm-up, beside weights; 0: unknown."""

    batch_axis: bool
    rows: Rows | None = None
    why: str = ""
    deterministic: bool | None = None
    run_bytes: int = 0

    @property
    def proof(self) -> Proof | None:
        """The result of trial runs of rows; None: there were none."""
        return None if self.rows is None else Proof(self.rows, self.why, self.deterministic)

    def properties(self) -> dict[str, str]:
        """For people, by name."""
        found = {
            "batch_axis": "yes" if self.batch_axis else "no",
            "rows": "unchecked" if self.rows is None else self.rows.value,
            "deterministic": {True: "yes", False: "no", None: "unknown"}[self.deterministic],
        }
        return found | ({"run_bytes": str(self.run_bytes)} if self.run_bytes else {})


def key_of(content: Content, defaults: Defaults, versions: Mapping[str, str]) -> str:
    """A hash of a version's files and all else that results depend on; '' where not all files can be read. versions: of the runtime."""
    if not content or not all(content.values()):
        return ""
    settings = defaults.max_batch_size, defaults.batching, defaults.providers
    return hashlib.sha256(repr((RULES, dict(versions), settings, sorted(content.items()))).encode()).hexdigest()


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    contract: Contract


class Contracts:
    """Contracts by key. path: the file that keeps them; None: only memory does. Only the loader's thread calls the methods."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._known: dict[str, Contract] = {}
        decoder = msgspec.json.Decoder(_Line)
        for text in self._lines():
            try:
                line = decoder.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            self._remember(line.key, line.contract)

    def find(self, key: str) -> Contract | None:
        return self._known.get(key)

    def keep(self, key: str, contract: Contract) -> None:
        """Adds a result, unless nothing could be proven: the machine may have been busy."""
        if not key or contract.rows is Rows.UNKNOWN:
            return
        self._remember(key, contract)
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            append(self._path, msgspec.json.encode(_Line(key, contract)) + b"\n", sync=False)
        except OSError as error:
            log.info("results of checks cannot be written to '%s': %s", self._path, error.strerror, extra=LIMITED)

    def _remember(self, key: str, contract: Contract) -> None:
        self._known.pop(key, None)
        if len(self._known) >= MAX_KEPT:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[key] = contract

    def _lines(self) -> list[bytes]:
        """The file's lines. Empties a file that has become too long."""
        if self._path is None:
            return []
        try:
            if self._path.stat().st_size > MAX_FILE_BYTES:
                os.truncate(self._path, 0)
            return read(self._path).splitlines()
        except OSError:  # there is no file, or it cannot be read
            return []
