"""The contract of a version: what its checks have found while it was loaded, and the file that remembers it.

Checks take runs of the model, so the same bytes are not checked again: results are kept by a key over all that they depend on. The file has
one result a line, and new ones are added at its end. It is a cache: a line that is broken or of another form is one that is not there.
Never in here: the checks themselves (probe.py, warmup.py), which versions are served.
"""

from __future__ import annotations

import hashlib
import logging
import os
from typing import TYPE_CHECKING

import msgspec

from inferd.engine.backend import versions
from inferd.engine.kept_file import append, read
from inferd.engine.probe import Proof, Rows
from inferd.log import LIMITED

if TYPE_CHECKING:
    from pathlib import Path

    from inferd.engine.config_sources import Defaults
    from inferd.engine.content import Content

__all__ = ["FILE", "Contract", "Contracts", "key_of"]

log = logging.getLogger("inferd.engine")

FILE = "checks.jsonl"
RULES = 1  # another number where checks find something else than they did
MAX_KEPT = 10_000
MAX_FILE_BYTES = 16 << 20
MAX_WHY = 500  # characters: it names outputs, as long as a client likes


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was found. batch_axis: whether axis 0 of every tensor is a batch. rows: whether rows are independent; None: nobody asked. why:
    half a sentence for `rows`, as in Proof. deterministic: whether the same input twice gives the same bytes; None: no made input runs.
    run_bytes: the most memory that runs took in checks and warm-up, beside weights; 0: inferd cannot tell."""

    batch_axis: bool
    rows: Rows | None = None
    why: str = ""
    deterministic: bool | None = None
    run_bytes: int = 0

    @property
    def proof(self) -> Proof | None:
        """What trial runs of rows have shown."""
        return None if self.rows is None else Proof(self.rows, self.why, self.deterministic)

    def properties(self) -> dict[str, str]:
        """For people, by name."""
        found = {
            "batch_axis": "yes" if self.batch_axis else "no",
            "rows": "unchecked" if self.rows is None else self.rows.value,
            "deterministic": {True: "yes", False: "no", None: "unknown"}[self.deterministic],
        }
        return found | ({"run_bytes": str(self.run_bytes)} if self.run_bytes else {})


def key_of(content: Content, defaults: Defaults) -> str:
    """Over the bytes of a version's files, and whatever else decides what checks find; '' where not all files can be read."""
    if not content or not all(content.values()):
        return ""
    settings = defaults.max_batch_size, defaults.batching, defaults.providers
    return hashlib.sha256(repr((RULES, versions(), settings, sorted(content.items()))).encode()).hexdigest()


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    contract: Contract


class Contracts:
    """Contracts by key. path: where they are kept; None: in memory alone. The methods are the loader's thread's."""

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
        """Adds a result. One that says that nothing could be shown is not kept, as the machine may have been busy."""
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
        """Those of the file. One that has become too long begins anew."""
        if self._path is None:
            return []
        try:
            if self._path.stat().st_size > MAX_FILE_BYTES:
                os.truncate(self._path, 0)
            return read(self._path).splitlines()
        except OSError:  # there is none
            return []
