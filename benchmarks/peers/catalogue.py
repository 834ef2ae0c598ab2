"""The peers as their folders state them: benchmarks/peers/NAME/peer.toml. Never in here: processes, installing, measuring.

title      the name in the tables
protocol   how it is asked: grpc (Open Inference Protocol), http (plain bytes), none (no server: a loop in the process itself),
           static (a yardstick of the transport: no model, a fixed answer)
settings   what was chosen for it, in words: the tables state it
command    how it is started; see `Peer.words`
package    the Python package whose version is shown; without one `version` says it, or the program itself
program    a program that must be there, for peers that no registry for Python has
python     the Python versions that it runs on
pip        further arguments of its installation
own        runs from this tree, with the Python that measures
rank       place in the tables
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROTOCOLS = ("grpc", "http", "none", "static")


class Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One folder's peer.toml."""

    name: str
    title: str
    protocol: str
    settings: str
    command: list[str]
    package: str = ""
    version: str = ""
    program: str = ""
    python: str = ""
    pip: list[str] = []
    own: bool = False
    rank: int = 50

    @property
    def folder(self) -> Path:
        return HERE / self.name

    @property
    def requirements(self) -> Path | None:
        """What is installed for it, or None where nothing is."""
        path = self.folder / "requirements.txt"
        return path if path.exists() else None

    @property
    def competes(self) -> bool:
        """Whether it serves models, so that its figures count for the best of a row."""
        return self.protocol in ("grpc", "http")

    def serves(self, model: str) -> bool:
        """Yardsticks have no model: they stand beside the one that has next to none."""
        return self.protocol != "static" or model == "identity"

    def words(self, **values: object) -> list[str]:
        """The command. In it {python}, {here}, {models}, {model}, {folder}, {port}, {threads} are filled in."""
        return [word.format(here=self.folder, **values) for word in self.command]


def read(name: str) -> Peer:
    path = HERE / name / "peer.toml"
    fields: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    try:
        peer = msgspec.convert({"name": name, **fields}, Peer)
    except msgspec.ValidationError as error:
        raise ValueError(f"benchmarks/peers/{name}/peer.toml: {error}") from None
    if peer.protocol not in PROTOCOLS:
        raise ValueError(f"benchmarks/peers/{name}/peer.toml: protocol is one of {', '.join(PROTOCOLS)}, not {peer.protocol}")
    return peer


def every() -> list[Peer]:
    """All peers, in the order of the tables."""
    peers = [read(path.parent.name) for path in HERE.glob("*/peer.toml")]
    return sorted(peers, key=lambda peer: (peer.rank, peer.name))
