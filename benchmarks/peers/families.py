"""The families of peers: those that are measured in one run, and share a page, a picture and a history. Never in here: measuring.

peers  model servers by the protocol that suits each best: gRPC where it has it
rest   HTTP servers, all over HTTP/1.1, with the requests that clients of REST send
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from . import models

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "benchmarks"
HISTORIES = ROOT / "benchmarks" / "history"


class Family(NamedTuple):
    """Where its results are, and what a whole run of it measures."""

    name: str
    stem: str  # of the files
    models: tuple[str, ...]
    in_flight: str
    rounds: int
    open_loop: bool

    @property
    def history(self) -> Path:
        return HISTORIES / f"{self.stem}.jsonl"

    @property
    def page(self) -> Path:
        return PAGES / f"{self.stem}.md"

    @property
    def plot(self) -> Path:
        return PAGES / f"{self.stem}.svg"


PEERS = Family("peers", "peers", tuple(models.RECIPES), "1,8,64", 3, open_loop=True)
REST = Family("rest", "rest_peers", ("identity", "mlp", "squeezenet"), "64", 5, open_loop=False)
FAMILIES = {family.name: family for family in (PEERS, REST)}
