"""Loading and unloading models by Triton's RPCs, and moving labels (inferd.v1.ModelControl).

Each call waits until its order is carried out (engine/models/orders.py). A waiting order is dropped when its client goes away. Never in
here: how a model is loaded, which models exist (inspection/).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format, text_format

from inferd.engine.files.overlay import MAX_FILES, Overlay
from inferd.engine.files.places import MAX_NAME_NBYTES, is_name, shown, survey
from inferd.engine.models.labels import versions_of
from inferd.errors import ConfigError, FailedPrecondition, InvalidArgument, ResourceExhausted, StartError, Unavailable, Unimplemented
from inferd.part import Method
from inferd.protocol import POOL, inference, options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from inferd.engine.files.places import Place
    from inferd.engine.models.lifecycle import Lifecycle

INFERENCE = "inference.GRPCInferenceService"
SERVICE = "inferd.v1.ModelControl"
MAX_LOAD_NBYTES = 64 << 20  # of one RepositoryModelLoad, which may carry a model's files
MAX_PARAMETERS = MAX_FILES + 2  # of one load: files, config and version
MAX_CONFIG_CHARS = 1 << 20
MAX_CONFIG_VALUES = 1 << 14  # of a config, keys included: Python reads each on the event loop
MAX_SHOWN_CHARS = 64  # of a client's text in an error
FILE = "file:"
_TYPES = {"bool_param": "true or false", "int64_param": "a number", "string_param": "a string", "bytes_param": "bytes"}


class ModelControl:
    """The RPCs that change which models are served. lifecycle: None: models stay as they are. explicit: clients may load and unload."""

    def __init__(self, lifecycle: Lifecycle | None = None, *, explicit: bool = False) -> None:
        self._lifecycle = lifecycle
        self.explicit = explicit

    def methods(self) -> dict[str, Method]:
        """Rows of the service table, by full method name."""
        change = partial(Method, "unary", changes=True)
        load, loaded = inference.RepositoryModelLoadRequest, inference.RepositoryModelLoadResponse
        unload, unloaded = inference.RepositoryModelUnloadRequest, inference.RepositoryModelUnloadResponse
        return {
            f"/{INFERENCE}/RepositoryModelLoad": change(self.load, load, loaded, max_request_nbytes=MAX_LOAD_NBYTES),
            f"/{INFERENCE}/RepositoryModelUnload": change(self.unload, unload, unloaded),
            f"/{SERVICE}/SetLabel": change(self.set_label, options.SetLabelRequest, options.SetLabelResponse),
            f"/{SERVICE}/RemoveLabel": change(self.remove_label, options.RemoveLabelRequest, options.RemoveLabelResponse),
            f"/{SERVICE}/Rollback": change(self.roll_back, options.RollbackRequest, options.RollbackResponse),
        }

    async def load(self, request: inference.RepositoryModelLoadRequest) -> inference.RepositoryModelLoadResponse:
        lifecycle = self._ordered(request.repository_name, "RepositoryModelLoadRequest")
        try:
            version, sent = _load_parameters(request.model_name, request.parameters)
        except InvalidArgument as error:
            raise InvalidArgument(f"failed to load {shown(request.model_name)}: {error}") from None
        request.ClearField("parameters")  # `sent` has them
        await _carried_out(lifecycle.load(request.model_name, version, sent, 0 if sent is None else sent.nbytes))
        return inference.RepositoryModelLoadResponse()

    async def there(self) -> set[str]:
        """The models of the repository, loaded or not, if clients may load them; else none."""
        if self._lifecycle is None or not self.explicit:
            return set()
        try:
            found, failed = await asyncio.to_thread(survey, self._lifecycle.files.roots)
        except (ConfigError, StartError):
            return set()  # the index still has the models that serve
        return {*found, *failed}

    async def unload(self, request: inference.RepositoryModelUnloadRequest) -> inference.RepositoryModelUnloadResponse:
        lifecycle = self._ordered(request.repository_name, "RepositoryModelUnloadRequest")
        version: int | None = None
        for key, parameter in request.parameters.items():
            if key == "version":
                version = _version(parameter)
            elif key != "unload_dependents":
                raise InvalidArgument(f"parameters: expected unload_dependents or version, got {key[:MAX_SHOWN_CHARS]!r}")
            elif parameter.WhichOneof("parameter_choice") != "bool_param":
                raise InvalidArgument(f"parameters: unload_dependents: expected true or false, got {_type_of(parameter)}")
        await _carried_out(lifecycle.unload(request.model_name, version))
        return inference.RepositoryModelUnloadResponse()

    async def set_label(self, request: options.SetLabelRequest) -> options.SetLabelResponse:
        if request.version < 1:
            raise InvalidArgument(f"version: expected a number from 1, got {request.version}")
        await _carried_out(self._changing().label(request.model_name, request.label, request.version))
        return options.SetLabelResponse()

    async def remove_label(self, request: options.RemoveLabelRequest) -> options.RemoveLabelResponse:
        await _carried_out(self._changing().label(request.model_name, request.label, 0))
        return options.RemoveLabelResponse()

    async def roll_back(self, request: options.RollbackRequest) -> options.RollbackResponse:
        lifecycle = self._changing()
        await _carried_out(lifecycle.roll_back(request.model_name, request.label))
        now = versions_of(lifecycle.repository.labels, request.model_name)
        return options.RollbackResponse(version=now.get(request.label, 0))

    def check_allowed(self) -> Lifecycle:
        """Raises Unavailable, Triton's code, if clients may not load and unload."""
        if self._lifecycle is None or not self.explicit:
            raise Unavailable(
                "explicit model load / unload is not allowed if polling is enabled, or without model control: start the server with "
                "--model-control explicit",
                reason="model_control",
            )
        return self._lifecycle

    def _ordered(self, repository_name: str, message: str) -> Lifecycle:
        lifecycle = self.check_allowed()
        if repository_name:
            raise Unimplemented(f"{message}.repository_name: naming a repository is not supported; leave it empty")
        return lifecycle

    def _changing(self) -> Lifecycle:
        if self._lifecycle is None:
            raise FailedPrecondition("labels do not move with --model-control none: start the server with poll or explicit")
        return self._lifecycle


async def _carried_out(order: Future[None]) -> None:
    try:
        await asyncio.wrap_future(order)
    finally:
        del order  # its error holds this frame: the files that a client sent would stay until garbage is collected


@dataclass(frozen=True)
class Sent:
    """The files of a client's load. Equal ones share an order (see Orders)."""

    name: str
    config: str
    files: tuple[tuple[str, bytes], ...]

    @property
    def nbytes(self) -> int:
        return len(self.config) + sum(len(content) for _, content in self.files)

    def __call__(self, found: Place | None) -> Overlay:
        if self.files:
            return Overlay.of_files(self.name, self.config, dict(self.files))
        if found is None:
            raise FailedPrecondition(f"failed to load {shown(self.name)}, failed to poll from model repository: it has no such model")
        return Overlay.of_config(found, self.config)


def _load_parameters(name: str, parameters: Mapping[str, inference.ModelRepositoryParameter]) -> tuple[int | None, Sent | None]:
    """The version and the files of a load."""
    version: int | None = None
    config: str | None = None
    files: dict[str, bytes] = {}
    if len(parameters) > MAX_PARAMETERS:
        raise InvalidArgument(
            f"parameters: expected at most {MAX_PARAMETERS}, {MAX_FILES} files with config and version, got {len(parameters)}; "
            "send fewer files"
        )
    for key, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if key == "version":
            version = _version(parameter)
        elif key == "config":
            if kind != "string_param":
                raise InvalidArgument(f"parameters: config: expected a string, a ModelConfig as JSON, got {_type_of(parameter)}")
            config = parameter.string_param
        elif key.startswith(FILE):
            if kind != "bytes_param":
                raise InvalidArgument(f"parameters: {key[:MAX_SHOWN_CHARS]}: expected bytes, got {_type_of(parameter)}")
            files[key.removeprefix(FILE)] = parameter.bytes_param
        else:
            raise InvalidArgument(f"parameters: expected config, file:VERSION/NAME or version, got {key[:MAX_SHOWN_CHARS]!r}")
    if files and config is None:
        raise InvalidArgument("parameters: files were sent without a config: send the model's configuration, too; '{}' is one")
    if config is None:
        return version, None
    if not is_name(name):
        raise InvalidArgument(
            f"model_name: expected a name that can be a folder's, of at most {MAX_NAME_NBYTES} bytes that can be printed, "
            f"got {name[:MAX_SHOWN_CHARS]!r}"
        )
    return version, Sent(name, _config_text(config), tuple(sorted(files.items())))


def _config_text(config: str) -> str:
    """Converts a configuration in JSON, which Triton's clients send, to the text of a config.pbtxt."""
    if len(config) > MAX_CONFIG_CHARS:
        raise ResourceExhausted(f"parameters: config: expected at most {MAX_CONFIG_CHARS} characters, got {len(config)}")
    if config.lstrip()[:1] != "{":
        raise InvalidArgument(f"parameters: config: expected a ModelConfig as JSON, an object, got {config[:MAX_SHOWN_CHARS]!r}")
    message = inference.ModelConfig()
    try:
        if _values_in(json.loads(config)) > MAX_CONFIG_VALUES:
            raise ResourceExhausted(
                f"parameters: config: expected at most {MAX_CONFIG_VALUES} names and values, got more; put long lists into files"
            )
        json_format.Parse(config, message, descriptor_pool=POOL)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"parameters: config: expected a ModelConfig as JSON: {str(error)[:300]}") from None
    return text_format.MessageToString(message, descriptor_pool=POOL)


def _values_in(document: Any) -> int:
    """Counts the names and values of a JSON document, up to MAX_CONFIG_VALUES."""
    count, waiting = 0, [document]
    while waiting and count <= MAX_CONFIG_VALUES:
        value = waiting.pop()
        count += 1
        if isinstance(value, dict):
            count += len(value)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return count


def _type_of(parameter: inference.ModelRepositoryParameter) -> str:
    return _TYPES.get(str(parameter.WhichOneof("parameter_choice")), "nothing")


def _version(parameter: inference.ModelRepositoryParameter) -> int:
    kind = parameter.WhichOneof("parameter_choice")
    number = parameter.int64_param if kind == "int64_param" else 0
    if kind == "string_param" and parameter.string_param.isascii() and parameter.string_param.isdigit():
        number = int(parameter.string_param[:20])
    if not 1 <= number < 1 << 63:
        raise InvalidArgument("parameters: version: expected a number from 1, or a string of one")
    return number
