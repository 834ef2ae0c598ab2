"""Information about the server and its models: the cold RPCs of inference.GRPCInferenceService.

Each is an `async def` over protobuf messages that reads the repository. Some wait for a model on demand, or for the disk.
Never in here: inference itself (service.py), transports, and anything that changes a model.

Where the protocol does not fix a status, it is Triton's, so that its clients work unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inferd.engine.configuration.model_config import datatype_word
from inferd.engine.models.labels import shown_versions, versions_of
from inferd.errors import InvalidArgument, NotFound, Unavailable, Unimplemented
from inferd.part import Method
from inferd.protocol import inference

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from inferd.engine.model import Model
    from inferd.engine.models.repository import Repository

SERVICE = "inference.GRPCInferenceService"

# The protocol's words for its optional parts, only those that work completely: clients rely on them. perf_analyzer, for example,
# calls ModelStatistics when it reads "statistics" here.
EXTENSIONS = ("classification", "model_configuration", "binary_tensor_data", "parameters", "schedule_policy", "statistics", "logging")
CONTROL_EXTENSIONS = ("model_repository", "model_repository(unload_dependents)")  # where clients may load and unload

PLATFORM = "onnxruntime_onnx"


class Inspection:
    """The cold RPCs over a repository.

    `ready` says whether the server as a whole takes requests: not while it starts, and not while it drains.
    `version` is inferd's own. `explicit`: clients may load and unload models. `there`: the models that clients may load.
    `bring(name, version)`: waits until a model that is on demand is in memory; None: all are.
    """

    def __init__(
        self,
        repository: Repository,
        version: str,
        ready: Callable[[], bool],
        *,
        explicit: bool = False,
        there: Callable[[], Awaitable[Collection[str]]] | None = None,
        bring: Callable[[str, str], Awaitable[None]] | None = None,
    ) -> None:
        self._there, self._bring = there, bring
        self._repository = repository
        self._version = version
        self._ready = ready
        self._extensions = EXTENSIONS + CONTROL_EXTENSIONS if explicit else EXTENSIONS

    def methods(self) -> dict[str, Method]:
        """Rows of the service table, by full method name."""
        handlers: dict[str, Callable[..., Any]] = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ServerMetadata": self.server_metadata,
            "ModelReady": self.model_ready,
            "ModelMetadata": self.model_metadata,
            "ModelConfig": self.model_config,
            "ModelStatistics": self.model_statistics,
            "RepositoryIndex": self.repository_index,
        }
        return {
            f"/{SERVICE}/{name}": Method(
                "unary",
                handler,
                getattr(inference, f"{name}Request"),
                getattr(inference, f"{name}Response"),
                quick=name in ("ServerLive", "ServerReady", "ModelReady"),
            )
            for name, handler in handlers.items()
        }

    async def server_live(self, request: inference.ServerLiveRequest) -> inference.ServerLiveResponse:
        return inference.ServerLiveResponse(live=True)

    async def server_ready(self, request: inference.ServerReadyRequest) -> inference.ServerReadyResponse:
        return inference.ServerReadyResponse(ready=self._ready())

    async def server_metadata(self, request: inference.ServerMetadataRequest) -> inference.ServerMetadataResponse:
        return inference.ServerMetadataResponse(name="inferd", version=self._version, extensions=self._extensions)

    async def model_ready(self, request: inference.ModelReadyRequest) -> inference.ModelReadyResponse:
        """False, not an error, for a model or version that is unknown or has no place to run now."""
        if self._repository.is_on_demand(request.name, request.version):
            return inference.ModelReadyResponse(ready=self._ready())
        try:
            model = self._repository.lookup(request.name, request.version)
        except (NotFound, Unavailable):
            return inference.ModelReadyResponse(ready=False)
        return inference.ModelReadyResponse(ready=self._ready() and model.state == "READY")

    async def model_metadata(self, request: inference.ModelMetadataRequest) -> inference.ModelMetadataResponse:
        """Names, datatypes and shapes as a request carries them: with the batch axis, as -1, where the model has one."""
        model = await self._find(request.name, request.version)
        # As in Triton: all ready versions, or just the one in the request.
        versions = [model.version] if request.version else self._ready_versions(model.name) or [model.version]
        batch_axis = [-1] if model.config.max_batch_size > 0 else []
        return inference.ModelMetadataResponse(
            name=model.name,
            versions=[str(version) for version in versions],
            platform=model.config.platform or PLATFORM,
            inputs=[_tensor_metadata(tensor, batch_axis) for tensor in model.config.input],
            outputs=[_tensor_metadata(tensor, batch_axis) for tensor in model.config.output],
            properties=self._properties(model) if request.properties else {},
        )

    async def _find(self, name: str, version: str) -> Model:
        if self._bring is not None:
            await self._bring(name, version)
        return self._repository.lookup(name, version)

    def _properties(self, model: Model) -> dict[str, str]:
        found = {f"label.{label}": version for label, version in shown_versions(self._repository.labels, model.name).items()}
        origin = model.origin
        if origin.contract is not None:
            found |= {f"check.{name}": value for name, value in origin.contract.properties().items()}
        return found | (origin.provenance.properties() if origin.provenance is not None else {})

    async def model_config(self, request: inference.ModelConfigRequest) -> inference.ModelConfigResponse:
        """The model's configuration, completed from the graph."""
        return inference.ModelConfigResponse(config=(await self._find(request.name, request.version)).config)

    async def model_statistics(self, request: inference.ModelStatisticsRequest) -> inference.ModelStatisticsResponse:
        """Counts and durations since the model was loaded. No name: all models; no version: all versions."""
        models = [model for model in self._repository.models() if model.state in ("READY", "UNLOADING")]
        if request.name:
            models = [model for model in models if model.name == request.name]
        if request.version:
            number = versions_of(self._repository.labels, request.name).get(request.version) or _version_number(request.version)
            models = [model for model in models if model.version == number]
        if request.name and not models:
            version = f" version {request.version}" if request.version else ""
            raise InvalidArgument(
                f'model "{request.name}"{version} has no statistics: it is not loaded; the repository index lists what is there'
            )
        ordered = sorted(models, key=lambda model: (model.name, model.version))
        return inference.ModelStatisticsResponse(model_stats=[_model_statistics(model) for model in ordered])

    async def repository_index(self, request: inference.RepositoryIndexRequest) -> inference.RepositoryIndexResponse:
        """Every model version, loaded or not, with its state; with `ready`, only those that take requests now."""
        if request.repository_name:
            raise Unimplemented(
                "RepositoryIndexRequest.repository_name: naming a repository is not supported; leave it empty to list every model"
            )
        entries = [tuple(entry) for entry in self._repository.index() if entry[2] == "READY" or not request.ready]
        if self._there is not None and not request.ready:
            known = {name for name, *_ in entries}
            entries += [(name, "", "", "") for name in await self._there() if name not in known]  # as in Triton: nobody loaded them
            entries.sort(key=lambda entry: entry[0])
        return inference.RepositoryIndexResponse(
            models=[
                inference.RepositoryIndexResponse.ModelIndex(name=name, version=version, state=state, reason=reason)
                for name, version, state, reason in entries
            ]
        )

    def _ready_versions(self, name: str) -> list[int]:
        return sorted(model.version for model in self._repository.models() if model.name == name and model.state == "READY")


def _version_number(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise InvalidArgument(f'version: expected an integer such as "1", or "" for all versions; got "{word[:64]}"')
    return int(word[:20])


def _tensor_metadata(
    tensor: inference.ModelInput | inference.ModelOutput, batch_axis: list[int]
) -> inference.ModelMetadataResponse.TensorMetadata:
    return inference.ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=datatype_word(tensor.data_type), shape=[*batch_axis, *tensor.dims]
    )


def _model_statistics(model: Model) -> inference.ModelStatistics:
    statistics = model.statistics
    count = statistics.request.count
    return inference.ModelStatistics(
        name=model.name,
        version=str(model.version),
        last_inference=statistics.last_ns // 1_000_000,  # the protocol's unit here is ms since the epoch
        inference_count=statistics.rows,
        execution_count=statistics.runs,
        inference_stats=inference.InferStatistics(
            success=_duration(count, statistics.request.sum_ns),
            fail=_duration(sum(model.failures.values()), 0),  # how long a failed request took is not recorded
            queue=_duration(statistics.queue.count, statistics.queue.sum_ns),
            compute_input=_duration(statistics.preprocess.count, statistics.preprocess.sum_ns),
            compute_infer=_duration(statistics.execute.count, statistics.execute.sum_ns),
            compute_output=_duration(statistics.encode.count, statistics.encode.sum_ns),
        ),
        batch_stats=_batch_statistics(statistics.batch_sizes()),
    )


def _batch_statistics(batch_sizes: dict[int, tuple[int, int, int, int]]) -> Iterable[inference.InferBatchStatistics]:
    for rows, (runs, preprocess_ns, execute_ns, encode_ns) in sorted(batch_sizes.items()):
        yield inference.InferBatchStatistics(
            batch_size=rows,
            compute_input=_duration(runs, preprocess_ns),
            compute_infer=_duration(runs, execute_ns),
            compute_output=_duration(runs, encode_ns),
        )


def _duration(count: int, total_ns: int) -> inference.StatisticDuration:
    return inference.StatisticDuration(count=count, ns=total_ns)
