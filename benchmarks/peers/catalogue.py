"""The peers as their folders state them: benchmarks/peers/NAME/peer.toml. Never in here: processes, installing, measuring.

title      the name in the tables
family     the run and the page that it belongs to: peers, or rest (families.py)
protocol   how it is asked: grpc (Open Inference Protocol), a form of HTTP/1.1 (http1.py), none (no server: a loop in the process
           itself), static (a yardstick of the transport: no model, a fixed answer)
settings   what was chosen for it, in words: the tables state it
command    how it is started; see `Peer.words`
package    the Python package whose version is shown; without one `version` says it, or the program itself
program    a program that must be there, for peers that no registry for Python has
python     the Python versions that it runs on
pip        further arguments of its installation
own        runs from this tree, with the Python that measures
env        more of the environment that it is started in
models     those that it is measured on, where not all: a variant that is the same as another on the rest
rank       place in the tables
variants   the same peer in other settings, where no one setting is the best for all loads: the fields that differ, by name
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from .families import FAMILIES

HERE = Path(__file__).resolve().parent
SERVING = ("grpc", "http", "json", "v2-json", "v2-binary")
PROTOCOLS = (*SERVING, "none", "static", "echo")


class Peer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One folder's peer.toml."""

    name: str
    title: str
    protocol: str
    settings: str
    command: list[str]
    family: str = "peers"
    package: str = ""
    version: str = ""
    program: str = ""
    python: str = ""
    pip: list[str] = []
    env: dict[str, str] = {}
    models: list[str] = []
    home: str = ""  # the folder's name; `name` itself but for variants
    own: bool = False
    rank: int = 50

    @property
    def folder(self) -> Path:
        return HERE / self.home

    @property
    def requirements(self) -> Path | None:
        """What is installed for it, or None where nothing is."""
        path = self.folder / "requirements.txt"
        return path if path.exists() else None

    @property
    def constraints(self) -> Path:
        """What that brought along when it was pinned: all versions."""
        return self.folder / "constraints.txt"

    @property
    def competes(self) -> bool:
        """Whether it serves models, so that its figures count for the best of a row."""
        return self.protocol in SERVING

    @property
    def http1(self) -> bool:
        """Whether it is asked over HTTP/1.1, and not over HTTP/2."""
        return self.family == "rest" or self.protocol == "http"

    def serves(self, model: str) -> bool:
        """Yardsticks have no model: they stand beside the one that has next to none."""
        return (self.protocol not in ("static", "echo") or model == "identity") and (not self.models or model in self.models)

    def words(self, **values: object) -> list[str]:
        """The command. In it {python}, {here}, {models}, {model}, {folder}, {port}, {threads} are filled in."""
        return [word.format(here=self.folder, **values) for word in self.command]


def read(folder: Path) -> list[Peer]:
    """The peer of a folder, and its variants."""
    fields: dict[str, Any] = tomllib.loads((folder / "peer.toml").read_text("utf-8"))
    variants: dict[str, dict[str, Any]] = fields.pop("variants", {})
    base = {**fields, "name": folder.name, "home": folder.name}
    return [made(base), *(made({**base, **own, "name": f"{folder.name}-{name}"}) for name, own in variants.items())]


def made(fields: dict[str, Any]) -> Peer:
    where = f"benchmarks/peers/{fields['home']}/peer.toml"
    try:
        peer = msgspec.convert(fields, Peer)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {error}") from None
    for field, value, known in (("protocol", peer.protocol, PROTOCOLS), ("family", peer.family, FAMILIES)):
        if value not in known:
            raise ValueError(f"{where}: {field} is one of {', '.join(known)}, not {value}")
    return peer


def every(family: str = "peers") -> list[Peer]:
    """All peers of a family, in the order of the tables."""
    peers = [peer for path in HERE.glob("*/peer.toml") for peer in read(path.parent) if peer.family == family]
    return sorted(peers, key=lambda peer: (peer.rank, peer.name))
