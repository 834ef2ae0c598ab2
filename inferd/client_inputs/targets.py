"""Where `inferd infer` sends its request: a server, by the client package, or an engine in this process. One interface."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from inferd.client_inputs.connections import explanation, unanswered
from inferd.client_inputs.inputs import Spec
from inferd.client_inputs.reach import PLAINTEXT, Reach, explained
from inferd.config import is_http, parse_address, parse_target
from inferd.errors import ConfigError, InferdError, StartError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.engine.files.places import Place
    from inferd.tensors import Array


class Description(NamedTuple):
    """A model as its target describes it; `version` is empty for the newest. config: its ModelConfig; None where nobody tells it."""

    model: str
    version: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    config: Any = None
    own_name: str = ""  # as it names itself: behind a proxy that may be another one than it is asked by

    @property
    def most_rows(self) -> int:
        """Largest batch of one request; 0: not known, or the model has no batch axis."""
        return 0 if self.config is None else int(self.config.max_batch_size)

    def columns(self) -> list[Any]:
        """The columns that are inputs of their own, Column messages."""
        return [column for _, step in self._entries() if _in_tensors(step) for column in step.columns.columns]

    def readers(self) -> dict[str, Any]:
        """By the name of an input of whole files, texts or records: the step that reads it, a Step message."""
        names = {"tokenize": "text", "columns": "record"}
        found = {
            entry.name or names.get(step.WhichOneof("step"), entry.input): step for entry, step in self._entries() if not _in_tensors(step)
        }
        if "" in found:  # the entry has the name of the graph's input, the only one that is left
            known = {*found, *(column.name for column in self.columns())}
            left = [spec.name for spec in self.inputs if spec.datatype == "BYTES" and spec.name not in known]
            found |= dict.fromkeys(left, found.pop(""))
        return found

    def classes(self) -> dict[str, list[str]]:
        """By the name of an output that has a value for each class: their names, in order, where the configuration tells them."""
        written = [] if self.config is None else self.config.inferd.postprocess
        told = {entry.name or entry.output: list(getattr(entry, "classes", ())) for entry in written if not entry.steps}
        return {name: classes for name, classes in told.items() if classes}  # none by a client package that does not know of them

    def _entries(self) -> list[tuple[Any, Any]]:
        """The configuration's entries of inputs, each with its first step."""
        return [] if self.config is None else [(entry, entry.steps[0]) for entry in self.config.inferd.preprocess]


def _in_tensors(step: Any) -> bool:
    """Whether it takes its columns as inputs of their own."""
    return bool(step.columns.format == step.columns.TENSORS)


class Response(NamedTuple):
    """A response: the version that ran, and arrays by output name."""

    version: str
    outputs: dict[str, Array]


class Target(Protocol):
    """Something that runs inferences. Raises InferdError with a message for people."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *raised: object) -> None: ...
    def only_model(self) -> str: ...
    def describe(self, model: str, version: str) -> Description: ...
    def infer(self, description: Description, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Response: ...


def open_target(
    target: str, model: str | None, timeout_s: float, metadata: Sequence[tuple[str, str]], reach: Reach = PLAINTEXT, request_id: str = ""
) -> Target:
    """A server where `target` is a URL, or an address and no file of that name exists, else an engine over the file or folder."""
    if is_http(target):
        return Remote(target, timeout_s, metadata, reach, request_id)
    if Path(target).exists():
        if metadata:
            raise ConfigError(f"--metadata is for a server, and {target} runs in this process")
        if reach != PLAINTEXT:
            raise ConfigError(f"TLS and tokens are for a server, and {target} runs in this process")
        return Local(Path(target), model, timeout_s)
    if target.endswith((".onnx", "/")) or target.startswith((".", "/")):
        raise ConfigError(f"TARGET {target}: there is no such file or folder")
    try:
        address = parse_target(target)
    except ValueError as error:
        raise ConfigError(
            f"TARGET: {error}, or http://HOST:PORT for HTTP, or the path of an ONNX file or model repository that exists"
        ) from None
    return Remote(str(address), timeout_s, metadata, reach, request_id)


def require_client() -> Any:
    """The client package, or StartError that says how to get it."""
    try:
        import inferd_client
    except ImportError:
        raise StartError("the client package is not installed: pip install 'inferd[client]'") from None
    return inferd_client


def choose(names: Sequence[str], where: str) -> str:
    """The only name; a usage error that lists them where there are several."""
    if len(names) == 1:
        return names[0]
    if not names:
        raise ConfigError(f"{where} has no model that is ready")
    raise ConfigError(f"{where} has several models; name one: {', '.join(sorted(names))}")


def failure_over_http(url: str, error: Any) -> InferdError:
    """An InferenceError of the SDK, whose text may name the address, too."""
    return InferdError(f"{url}: {error.code.name}: {error.message.partition(f'{url}: ')[2] or error.message}")


class Remote(AbstractContextManager["Remote"]):
    """A server on the other end of gRPC or HTTP: inferd, Triton or another that speaks the Open Inference Protocol. request_id: of each
    inference; '': none."""

    def __init__(self, address: str, timeout_s: float, metadata: Sequence[tuple[str, str]], reach: Reach, request_id: str = "") -> None:
        self._library = require_client()
        with explained():
            self._client = self._library.Client(address, timeout=timeout_s, metadata=list(metadata), **reach.options(self._library))
        self._address, self._reach, self._request_id = address, reach, request_id or None

    def __exit__(self, *raised: object) -> None:
        self._client.close()

    def only_model(self) -> str:
        lacks = "it does not list its models (RepositoryIndex): name MODEL after the address"
        index = self._call(self._client.repository_index, lacks, ready=True)
        return choose(sorted({entry.name for entry in index}), self._address)

    def describe(self, model: str, version: str) -> Description:
        metadata = self._call(self._client.model_metadata, "", model, version)
        inputs, outputs = (
            tuple(Spec(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in side)
            for side in (metadata.inputs, metadata.outputs)
        )
        return Description(model, version, inputs, outputs, self._config(model, version), metadata.name)

    def _config(self, model: str, version: str) -> Any:
        """None of a server that does not have the RPC ModelConfig."""
        try:
            return self._client.model_config(model, version)
        except self._library.InferenceError:
            return None

    def infer(self, description: Description, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Response:
        words = {spec.name: spec.datatype for spec in description.inputs}
        options = {"outputs": list(outputs) or None, "version": description.version, "datatypes": words, "request_id": self._request_id}
        response = self._call(self._client.infer, "", description.model, inputs, **options)
        return Response(response.model_version, dict(response))

    def _call(self, method: Any, lacks: str, *arguments: Any, **options: Any) -> Any:
        """lacks: the sentence for a server that does not have the method; empty: its own words."""
        try:
            return method(*arguments, **options)
        except (self._library.InferenceError, ValueError) as error:  # rejected, or a response that is not what it says
            code = getattr(getattr(error, "code", None), "name", "")
            if lacks and (code == "UNIMPLEMENTED" or (code == "NOT_FOUND" and is_http(self._address))):
                raise ConfigError(f"{self._address}: {lacks}") from None
            if code and is_http(self._address):
                raise failure_over_http(self._address, error) from None
            why = explanation(parse_address(self._address), self._reach) if code == "UNAVAILABLE" else ""
            if not why and "failed to connect" in str(error):
                why = unanswered(error)
            raise InferdError(f"{self._address}: {why or error}") from None


class Local(AbstractContextManager["Local"]):
    """An engine in this process, over one file or folder, or a place. If `model` is named, it alone is loaded of a repository. options:
    Engine's."""

    def __init__(self, path: Path | Place, model: str | None, timeout_s: float, **options: Any) -> None:
        from inferd.engine.embedded import Engine

        own: list[Path] = []
        if isinstance(path, Path):
            own = [place for place in (path / (model or ""), path / f"{model}.onnx") if model and place.exists()]
        self._path = str(path if isinstance(path, Path) else path.folder)
        self.engine = Engine(own[0] if own else path, **options)
        self._timeout_s = timeout_s

    def __exit__(self, *raised: object) -> None:
        self.engine.close()

    def only_model(self) -> str:
        return choose(self.engine.models, self._path)

    def describe(self, model: str, version: str) -> Description:
        metadata = self.engine.metadata(model, version)
        inputs, outputs = (tuple(Spec(*tensor) for tensor in side) for side in (metadata.inputs, metadata.outputs))
        return Description(model, metadata.version, inputs, outputs, self.engine.config(model, version))

    def infer(self, description: Description, inputs: Mapping[str, Array], outputs: Sequence[str]) -> Response:
        response = self.engine.infer(
            description.model, inputs, outputs=list(outputs) or None, version=description.version, timeout=self._timeout_s
        )
        return Response(description.version, dict(response))
