"""OLD and NEW of a comparison: a model file, a model's folder, one version of a repository, or a model on a server.

    model.onnx                 models/digits (its newest version)        models/digits/3
    localhost:8001             localhost:8001/digits                     http://host:8000/digits:3

Both are asked through one interface (`client_inputs.targets`). Never in here: which requests, what their responses mean.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from inferd._core.batching.tap import UNTAPPED
from inferd.client_inputs.reach import PLAINTEXT, Reach
from inferd.client_inputs.targets import Local, open_target
from inferd.config import is_http
from inferd.engine.files.content import files_of
from inferd.engine.files.places import MAX_VERSION, version_place
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.client_inputs.targets import Description, Target
    from inferd.engine.files.places import Place
    from inferd.tensors import Array

THREADS = 1  # of either model, which else chooses by its own timings at load: two loads of one model could differ by that alone
HINT = "expected a model file, REPO/MODEL/VERSION, or a server as HOST:PORT/MODEL:VERSION"


class Where(NamedTuple):
    """OLD or NEW as the command line names it. model None: the only one. version empty: the newest."""

    target: str
    model: str | None = None
    version: str = ""
    is_local: bool = False


def parse_source(text: str) -> Where:
    """Raises ConfigError where a path is meant that does not exist."""
    if is_http(text):
        scheme, _, rest = text.partition("://")
        host, _, name = rest.partition("/")
        return on_server(f"{scheme}://{host}", name)
    path = Path(text)
    if path.exists():
        return Where(text, None, path.name if is_version_folder(path) else "", is_local=True)
    if text.startswith("unix:"):
        socket, _, name = text.partition(".sock/")
        return on_server(f"{socket}.sock" if name else text, name)
    host, _, name = text.partition("/")
    if text.endswith((".onnx", "/")) or text.startswith((".", "/")) or ":" not in host:
        raise ConfigError(f"{text}: {_not_there(path)}{HINT}")
    return on_server(host, name)


def on_server(target: str, name: str) -> Where:
    model, _, version = name.strip("/").partition(":")
    if version and not is_version(version):
        raise ConfigError(f"{target}/{name}: expected MODEL:VERSION with a number as version, got {version!r}")
    return Where(target, model or None, version)


def is_version_folder(path: Path) -> bool:
    """False of a model that has a number as its name: versions lie in it."""
    return is_version(path.name) and path.is_dir() and not any(is_version(entry.name) and entry.is_dir() for entry in path.iterdir())


def is_version(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) <= MAX_VERSION and text[0] != "0"


def _not_there(path: Path) -> str:
    if path.parent.is_dir() and is_version(path.name):
        there = sorted((entry.name for entry in path.parent.iterdir() if is_version(entry.name)), key=int)
        return f"there is no version {path.name} in {path.parent}; there is {', '.join(there) or 'none'}: "
    return "there is no such file or folder: "


class Source(AbstractContextManager["Source"]):
    """OLD or NEW, opened. Raises ConfigError and InferdError with words for people."""

    def __init__(
        self, text: str, timeout_s: float, metadata: Sequence[tuple[str, str]] = (), reach: Reach = PLAINTEXT, model: str | None = None
    ) -> None:
        self.text = text
        self.again = partial(Source, text, timeout_s, metadata, reach, model)
        self.where = parse_source(text)
        self._stack = ExitStack()
        with ExitStack() as stack:
            if self.where.is_local:
                self._target: Target = Local(place_of(self.where), self.where.model, timeout_s, intra_op_threads=THREADS, instances=1)
            else:
                self._target = open_target(self.where.target, self.where.model, timeout_s, metadata, reach, UNTAPPED)
            stack.enter_context(self._target)
            self.model = self.where.model or model or self._target.only_model()
            self.description: Description = self._target.describe(self.model, self.where.version)
            self._stack = stack.pop_all()

    @property
    def is_local(self) -> bool:
        return self.where.is_local

    @property
    def name(self) -> str:
        """As a report has it."""
        version = self.description.version
        return f"{self.text} (version {version})" if version and version not in Path(self.text).parts[-1:] else self.text

    @property
    def nbytes(self) -> int:
        """Bytes of a local model's files."""
        path = Path(self.text)
        if self.where.version:
            return sum(file.stat().st_size for file in files_of(version_place(path), int(self.where.version)).values())
        entries = [path] if path.is_file() else [file for entry in path.iterdir() for file in (entry, *entry.rglob("*"))]
        return sum(entry.stat().st_size for entry in entries if entry.is_file())

    @property
    def datatypes(self) -> dict[str, str]:
        return {spec.name: spec.datatype for spec in self.description.outputs}

    @property
    def is_batched(self) -> bool:
        """Whether the first axis of every input is rows."""
        inputs = self.description.inputs
        return bool(inputs) and all(spec.shape and spec.shape[0] < 0 for spec in inputs)

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._target.infer(self.description, inputs, ()).outputs

    def __exit__(self, *raised: object) -> None:
        self._stack.close()


def place_of(where: Where) -> Path | Place:
    """Where a local model lies: one of its versions alone, whatever the version policy says, or all of the file or folder."""
    return version_place(Path(where.target)) if where.version else Path(where.target)


def check_inputs(old: Source, new: Source) -> None:
    """ConfigError where the two take different inputs: no request fits both."""
    before, after = ({spec.name: spec for spec in side.description.inputs} for side in (old, new))
    for name in [*before, *(name for name in after if name not in before)]:
        one, other = before.get(name), after.get(name)
        if one is None or other is None or one.datatype != other.datatype or not alike(one.shape, other.shape):
            said = [f"{side.text} {f'takes {spec}' if spec else 'has no such input'}" for side, spec in ((old, one), (new, other))]
            raise ConfigError(f"the input '{name}' differs: {said[0]}, {said[1]}: no request fits both, so the two cannot be compared")


def alike(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether one array can have both shapes; negative sizes are any."""
    return len(one) == len(other) and all(a == b or a < 0 or b < 0 for a, b in zip(one, other, strict=True))
