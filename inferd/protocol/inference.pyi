"""The messages and enums of package inference. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: E501, N802

from collections.abc import Iterable, Mapping
from typing import Final, Literal, final

from google.protobuf.internal.containers import MessageMap, RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer, ScalarMap
from google.protobuf.message import Message

from inferd.protocol import options as _options
from inferd.protocol._enum import Enum

class DataType(Enum): ...
TYPE_INVALID: DataType
TYPE_BOOL: DataType
TYPE_UINT8: DataType
TYPE_UINT16: DataType
TYPE_UINT32: DataType
TYPE_UINT64: DataType
TYPE_INT8: DataType
TYPE_INT16: DataType
TYPE_INT32: DataType
TYPE_INT64: DataType
TYPE_FP16: DataType
TYPE_FP32: DataType
TYPE_FP64: DataType
TYPE_STRING: DataType
TYPE_BF16: DataType

@final
class ModelRateLimiter(Message):
    @final
    class Resource(Message):
        name: str
        count: int
        def __init__(self, *, name: str = ..., count: int = ...) -> None: ...

    resources: Final[RepeatedCompositeFieldContainer[ModelRateLimiter.Resource]]
    priority: int
    def __init__(self, *, resources: Iterable[ModelRateLimiter.Resource] | None = ..., priority: int = ...) -> None: ...

@final
class ModelInstanceGroup(Message):
    class Kind(Enum): ...
    KIND_AUTO: ModelInstanceGroup.Kind
    KIND_GPU: ModelInstanceGroup.Kind
    KIND_CPU: ModelInstanceGroup.Kind
    KIND_MODEL: ModelInstanceGroup.Kind

    @final
    class SecondaryDevice(Message):
        class SecondaryDeviceKind(Enum): ...
        KIND_NVDLA: ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind

        kind: ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind
        device_id: int
        def __init__(self, *, kind: ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind = ..., device_id: int = ...) -> None: ...

    name: str
    kind: ModelInstanceGroup.Kind
    count: int
    rate_limiter: Final[ModelRateLimiter]
    gpus: Final[RepeatedScalarFieldContainer[int]]
    secondary_devices: Final[RepeatedCompositeFieldContainer[ModelInstanceGroup.SecondaryDevice]]
    profile: Final[RepeatedScalarFieldContainer[str]]
    passive: bool
    host_policy: str
    def __init__(
        self, *, name: str = ..., kind: ModelInstanceGroup.Kind = ..., count: int = ..., rate_limiter: ModelRateLimiter | None = ...,
        gpus: Iterable[int] | None = ..., secondary_devices: Iterable[ModelInstanceGroup.SecondaryDevice] | None = ...,
        profile: Iterable[str] | None = ..., passive: bool = ..., host_policy: str = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["rate_limiter"]) -> bool: ...

@final
class ModelTensorReshape(Message):
    shape: Final[RepeatedScalarFieldContainer[int]]
    def __init__(self, *, shape: Iterable[int] | None = ...) -> None: ...

@final
class ModelInput(Message):
    class Format(Enum): ...
    FORMAT_NONE: ModelInput.Format
    FORMAT_NHWC: ModelInput.Format
    FORMAT_NCHW: ModelInput.Format

    name: str
    data_type: DataType
    format: ModelInput.Format
    dims: Final[RepeatedScalarFieldContainer[int]]
    reshape: Final[ModelTensorReshape]
    is_shape_tensor: bool
    allow_ragged_batch: bool
    optional: bool
    is_non_linear_format_io: bool
    def __init__(
        self, *, name: str = ..., data_type: DataType = ..., format: ModelInput.Format = ..., dims: Iterable[int] | None = ...,
        reshape: ModelTensorReshape | None = ..., is_shape_tensor: bool = ..., allow_ragged_batch: bool = ..., optional: bool = ...,
        is_non_linear_format_io: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["reshape"]) -> bool: ...

@final
class ModelOutput(Message):
    name: str
    data_type: DataType
    dims: Final[RepeatedScalarFieldContainer[int]]
    reshape: Final[ModelTensorReshape]
    label_filename: str
    is_shape_tensor: bool
    is_non_linear_format_io: bool
    def __init__(
        self, *, name: str = ..., data_type: DataType = ..., dims: Iterable[int] | None = ...,
        reshape: ModelTensorReshape | None = ..., label_filename: str = ..., is_shape_tensor: bool = ...,
        is_non_linear_format_io: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["reshape"]) -> bool: ...

@final
class BatchInput(Message):
    class Kind(Enum): ...
    BATCH_ELEMENT_COUNT: BatchInput.Kind
    BATCH_ACCUMULATED_ELEMENT_COUNT: BatchInput.Kind
    BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO: BatchInput.Kind
    BATCH_MAX_ELEMENT_COUNT_AS_SHAPE: BatchInput.Kind
    BATCH_ITEM_SHAPE: BatchInput.Kind
    BATCH_ITEM_SHAPE_FLATTEN: BatchInput.Kind

    kind: BatchInput.Kind
    target_name: Final[RepeatedScalarFieldContainer[str]]
    data_type: DataType
    source_input: Final[RepeatedScalarFieldContainer[str]]
    def __init__(
        self, *, kind: BatchInput.Kind = ..., target_name: Iterable[str] | None = ..., data_type: DataType = ...,
        source_input: Iterable[str] | None = ...
    ) -> None: ...

@final
class BatchOutput(Message):
    class Kind(Enum): ...
    BATCH_SCATTER_WITH_INPUT_SHAPE: BatchOutput.Kind

    target_name: Final[RepeatedScalarFieldContainer[str]]
    kind: BatchOutput.Kind
    source_input: Final[RepeatedScalarFieldContainer[str]]
    def __init__(self, *, target_name: Iterable[str] | None = ..., kind: BatchOutput.Kind = ..., source_input: Iterable[str] | None = ...) -> None: ...

@final
class ModelVersionPolicy(Message):
    @final
    class Latest(Message):
        num_versions: int
        def __init__(self, *, num_versions: int = ...) -> None: ...

    @final
    class All(Message): ...

    @final
    class Specific(Message):
        versions: Final[RepeatedScalarFieldContainer[int]]
        def __init__(self, *, versions: Iterable[int] | None = ...) -> None: ...

    latest: Final[ModelVersionPolicy.Latest]
    all: Final[ModelVersionPolicy.All]
    specific: Final[ModelVersionPolicy.Specific]
    def __init__(
        self, *, latest: ModelVersionPolicy.Latest | None = ..., all: ModelVersionPolicy.All | None = ...,
        specific: ModelVersionPolicy.Specific | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["policy_choice", "latest", "all", "specific"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["policy_choice"]) -> Literal["latest", "all", "specific"] | None: ...

@final
class ModelOptimizationPolicy(Message):
    class ModelPriority(Enum): ...
    PRIORITY_DEFAULT: ModelOptimizationPolicy.ModelPriority
    PRIORITY_MAX: ModelOptimizationPolicy.ModelPriority
    PRIORITY_MIN: ModelOptimizationPolicy.ModelPriority

    @final
    class Graph(Message):
        level: int
        def __init__(self, *, level: int = ...) -> None: ...

    @final
    class Cuda(Message):
        @final
        class GraphSpec(Message):
            @final
            class Shape(Message):
                dim: Final[RepeatedScalarFieldContainer[int]]
                def __init__(self, *, dim: Iterable[int] | None = ...) -> None: ...

            @final
            class LowerBound(Message):
                batch_size: int
                input: Final[MessageMap[str, ModelOptimizationPolicy.Cuda.GraphSpec.Shape]]
                def __init__(self, *, batch_size: int = ..., input: Mapping[str, ModelOptimizationPolicy.Cuda.GraphSpec.Shape] | None = ...) -> None: ...

            batch_size: int
            input: Final[MessageMap[str, ModelOptimizationPolicy.Cuda.GraphSpec.Shape]]
            graph_lower_bound: Final[ModelOptimizationPolicy.Cuda.GraphSpec.LowerBound]
            def __init__(
                self, *, batch_size: int = ..., input: Mapping[str, ModelOptimizationPolicy.Cuda.GraphSpec.Shape] | None = ...,
                graph_lower_bound: ModelOptimizationPolicy.Cuda.GraphSpec.LowerBound | None = ...
            ) -> None: ...
            def HasField(self, field_name: Literal["graph_lower_bound"]) -> bool: ...

        graphs: bool
        busy_wait_events: bool
        graph_spec: Final[RepeatedCompositeFieldContainer[ModelOptimizationPolicy.Cuda.GraphSpec]]
        output_copy_stream: bool
        def __init__(
            self, *, graphs: bool = ..., busy_wait_events: bool = ...,
            graph_spec: Iterable[ModelOptimizationPolicy.Cuda.GraphSpec] | None = ..., output_copy_stream: bool = ...
        ) -> None: ...

    @final
    class ExecutionAccelerators(Message):
        @final
        class Accelerator(Message):
            name: str
            parameters: Final[ScalarMap[str, str]]
            def __init__(self, *, name: str = ..., parameters: Mapping[str, str] | None = ...) -> None: ...

        gpu_execution_accelerator: Final[RepeatedCompositeFieldContainer[ModelOptimizationPolicy.ExecutionAccelerators.Accelerator]]
        cpu_execution_accelerator: Final[RepeatedCompositeFieldContainer[ModelOptimizationPolicy.ExecutionAccelerators.Accelerator]]
        def __init__(
            self, *, gpu_execution_accelerator: Iterable[ModelOptimizationPolicy.ExecutionAccelerators.Accelerator] | None = ...,
            cpu_execution_accelerator: Iterable[ModelOptimizationPolicy.ExecutionAccelerators.Accelerator] | None = ...
        ) -> None: ...

    @final
    class PinnedMemoryBuffer(Message):
        enable: bool
        def __init__(self, *, enable: bool = ...) -> None: ...

    graph: Final[ModelOptimizationPolicy.Graph]
    priority: ModelOptimizationPolicy.ModelPriority
    cuda: Final[ModelOptimizationPolicy.Cuda]
    execution_accelerators: Final[ModelOptimizationPolicy.ExecutionAccelerators]
    input_pinned_memory: Final[ModelOptimizationPolicy.PinnedMemoryBuffer]
    output_pinned_memory: Final[ModelOptimizationPolicy.PinnedMemoryBuffer]
    gather_kernel_buffer_threshold: int
    eager_batching: bool
    def __init__(
        self, *, graph: ModelOptimizationPolicy.Graph | None = ..., priority: ModelOptimizationPolicy.ModelPriority = ...,
        cuda: ModelOptimizationPolicy.Cuda | None = ...,
        execution_accelerators: ModelOptimizationPolicy.ExecutionAccelerators | None = ...,
        input_pinned_memory: ModelOptimizationPolicy.PinnedMemoryBuffer | None = ...,
        output_pinned_memory: ModelOptimizationPolicy.PinnedMemoryBuffer | None = ..., gather_kernel_buffer_threshold: int = ...,
        eager_batching: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["graph", "cuda", "execution_accelerators", "input_pinned_memory", "output_pinned_memory"]) -> bool: ...

@final
class ModelQueuePolicy(Message):
    class TimeoutAction(Enum): ...
    REJECT: ModelQueuePolicy.TimeoutAction
    DELAY: ModelQueuePolicy.TimeoutAction

    timeout_action: ModelQueuePolicy.TimeoutAction
    default_timeout_microseconds: int
    allow_timeout_override: bool
    max_queue_size: int
    def __init__(
        self, *, timeout_action: ModelQueuePolicy.TimeoutAction = ..., default_timeout_microseconds: int = ...,
        allow_timeout_override: bool = ..., max_queue_size: int = ...
    ) -> None: ...

@final
class ModelDynamicBatching(Message):
    preferred_batch_size: Final[RepeatedScalarFieldContainer[int]]
    max_queue_delay_microseconds: int
    preserve_ordering: bool
    priority_levels: int
    default_priority_level: int
    default_queue_policy: Final[ModelQueuePolicy]
    priority_queue_policy: Final[MessageMap[int, ModelQueuePolicy]]
    def __init__(
        self, *, preferred_batch_size: Iterable[int] | None = ..., max_queue_delay_microseconds: int = ...,
        preserve_ordering: bool = ..., priority_levels: int = ..., default_priority_level: int = ...,
        default_queue_policy: ModelQueuePolicy | None = ..., priority_queue_policy: Mapping[int, ModelQueuePolicy] | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["default_queue_policy"]) -> bool: ...

@final
class ModelSequenceBatching(Message):
    @final
    class Control(Message):
        class Kind(Enum): ...
        CONTROL_SEQUENCE_START: ModelSequenceBatching.Control.Kind
        CONTROL_SEQUENCE_READY: ModelSequenceBatching.Control.Kind
        CONTROL_SEQUENCE_END: ModelSequenceBatching.Control.Kind
        CONTROL_SEQUENCE_CORRID: ModelSequenceBatching.Control.Kind

        kind: ModelSequenceBatching.Control.Kind
        int32_false_true: Final[RepeatedScalarFieldContainer[int]]
        fp32_false_true: Final[RepeatedScalarFieldContainer[float]]
        bool_false_true: Final[RepeatedScalarFieldContainer[bool]]
        data_type: DataType
        def __init__(
            self, *, kind: ModelSequenceBatching.Control.Kind = ..., int32_false_true: Iterable[int] | None = ...,
            fp32_false_true: Iterable[float] | None = ..., bool_false_true: Iterable[bool] | None = ..., data_type: DataType = ...
        ) -> None: ...

    @final
    class ControlInput(Message):
        name: str
        control: Final[RepeatedCompositeFieldContainer[ModelSequenceBatching.Control]]
        def __init__(self, *, name: str = ..., control: Iterable[ModelSequenceBatching.Control] | None = ...) -> None: ...

    @final
    class InitialState(Message):
        data_type: DataType
        dims: Final[RepeatedScalarFieldContainer[int]]
        zero_data: bool
        data_file: str
        name: str
        def __init__(
            self, *, data_type: DataType = ..., dims: Iterable[int] | None = ..., zero_data: bool = ..., data_file: str = ...,
            name: str = ...
        ) -> None: ...
        def HasField(self, field_name: Literal["state_data", "zero_data", "data_file"]) -> bool: ...
        def WhichOneof(self, oneof_group: Literal["state_data"]) -> Literal["zero_data", "data_file"] | None: ...

    @final
    class State(Message):
        input_name: str
        output_name: str
        data_type: DataType
        dims: Final[RepeatedScalarFieldContainer[int]]
        initial_state: Final[RepeatedCompositeFieldContainer[ModelSequenceBatching.InitialState]]
        use_same_buffer_for_input_output: bool
        use_growable_memory: bool
        def __init__(
            self, *, input_name: str = ..., output_name: str = ..., data_type: DataType = ..., dims: Iterable[int] | None = ...,
            initial_state: Iterable[ModelSequenceBatching.InitialState] | None = ..., use_same_buffer_for_input_output: bool = ...,
            use_growable_memory: bool = ...
        ) -> None: ...

    @final
    class StrategyDirect(Message):
        max_queue_delay_microseconds: int
        minimum_slot_utilization: float
        def __init__(self, *, max_queue_delay_microseconds: int = ..., minimum_slot_utilization: float = ...) -> None: ...

    @final
    class StrategyOldest(Message):
        max_candidate_sequences: int
        preferred_batch_size: Final[RepeatedScalarFieldContainer[int]]
        max_queue_delay_microseconds: int
        preserve_ordering: bool
        def __init__(
            self, *, max_candidate_sequences: int = ..., preferred_batch_size: Iterable[int] | None = ...,
            max_queue_delay_microseconds: int = ..., preserve_ordering: bool = ...
        ) -> None: ...

    direct: Final[ModelSequenceBatching.StrategyDirect]
    oldest: Final[ModelSequenceBatching.StrategyOldest]
    max_sequence_idle_microseconds: int
    control_input: Final[RepeatedCompositeFieldContainer[ModelSequenceBatching.ControlInput]]
    state: Final[RepeatedCompositeFieldContainer[ModelSequenceBatching.State]]
    iterative_sequence: bool
    def __init__(
        self, *, direct: ModelSequenceBatching.StrategyDirect | None = ..., oldest: ModelSequenceBatching.StrategyOldest | None = ...,
        max_sequence_idle_microseconds: int = ..., control_input: Iterable[ModelSequenceBatching.ControlInput] | None = ...,
        state: Iterable[ModelSequenceBatching.State] | None = ..., iterative_sequence: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["strategy_choice", "direct", "oldest"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["strategy_choice"]) -> Literal["direct", "oldest"] | None: ...

@final
class ModelEnsembling(Message):
    @final
    class Step(Message):
        model_name: str
        model_version: int
        input_map: Final[ScalarMap[str, str]]
        output_map: Final[ScalarMap[str, str]]
        model_namespace: str
        def __init__(
            self, *, model_name: str = ..., model_version: int = ..., input_map: Mapping[str, str] | None = ...,
            output_map: Mapping[str, str] | None = ..., model_namespace: str = ...
        ) -> None: ...

    step: Final[RepeatedCompositeFieldContainer[ModelEnsembling.Step]]
    max_inflight_requests: int
    def __init__(self, *, step: Iterable[ModelEnsembling.Step] | None = ..., max_inflight_requests: int = ...) -> None: ...

@final
class ModelParameter(Message):
    string_value: str
    def __init__(self, *, string_value: str = ...) -> None: ...

@final
class ModelWarmup(Message):
    @final
    class Input(Message):
        data_type: DataType
        dims: Final[RepeatedScalarFieldContainer[int]]
        zero_data: bool
        random_data: bool
        input_data_file: str
        def __init__(
            self, *, data_type: DataType = ..., dims: Iterable[int] | None = ..., zero_data: bool = ..., random_data: bool = ...,
            input_data_file: str = ...
        ) -> None: ...
        def HasField(self, field_name: Literal["input_data_type", "zero_data", "random_data", "input_data_file"]) -> bool: ...
        def WhichOneof(self, oneof_group: Literal["input_data_type"]) -> Literal["zero_data", "random_data", "input_data_file"] | None: ...

    name: str
    batch_size: int
    inputs: Final[MessageMap[str, ModelWarmup.Input]]
    count: int
    def __init__(self, *, name: str = ..., batch_size: int = ..., inputs: Mapping[str, ModelWarmup.Input] | None = ..., count: int = ...) -> None: ...

@final
class ModelOperations(Message):
    op_library_filename: Final[RepeatedScalarFieldContainer[str]]
    def __init__(self, *, op_library_filename: Iterable[str] | None = ...) -> None: ...

@final
class ModelTransactionPolicy(Message):
    decoupled: bool
    def __init__(self, *, decoupled: bool = ...) -> None: ...

@final
class ModelRepositoryAgents(Message):
    @final
    class Agent(Message):
        name: str
        parameters: Final[ScalarMap[str, str]]
        def __init__(self, *, name: str = ..., parameters: Mapping[str, str] | None = ...) -> None: ...

    agents: Final[RepeatedCompositeFieldContainer[ModelRepositoryAgents.Agent]]
    def __init__(self, *, agents: Iterable[ModelRepositoryAgents.Agent] | None = ...) -> None: ...

@final
class ModelResponseCache(Message):
    enable: bool
    def __init__(self, *, enable: bool = ...) -> None: ...

@final
class ModelMetrics(Message):
    @final
    class MetricControl(Message):
        @final
        class MetricIdentifier(Message):
            family: str
            def __init__(self, *, family: str = ...) -> None: ...

        @final
        class HistogramOptions(Message):
            buckets: Final[RepeatedScalarFieldContainer[float]]
            def __init__(self, *, buckets: Iterable[float] | None = ...) -> None: ...

        metric_identifier: Final[ModelMetrics.MetricControl.MetricIdentifier]
        histogram_options: Final[ModelMetrics.MetricControl.HistogramOptions]
        def __init__(
            self, *, metric_identifier: ModelMetrics.MetricControl.MetricIdentifier | None = ...,
            histogram_options: ModelMetrics.MetricControl.HistogramOptions | None = ...
        ) -> None: ...
        def HasField(self, field_name: Literal["metric_options", "metric_identifier", "histogram_options"]) -> bool: ...
        def WhichOneof(self, oneof_group: Literal["metric_options"]) -> Literal["histogram_options"] | None: ...

    metric_control: Final[RepeatedCompositeFieldContainer[ModelMetrics.MetricControl]]
    def __init__(self, *, metric_control: Iterable[ModelMetrics.MetricControl] | None = ...) -> None: ...

@final
class ModelConfig(Message):
    name: str
    platform: str
    backend: str
    runtime: str
    version_policy: Final[ModelVersionPolicy]
    max_batch_size: int
    input: Final[RepeatedCompositeFieldContainer[ModelInput]]
    output: Final[RepeatedCompositeFieldContainer[ModelOutput]]
    batch_input: Final[RepeatedCompositeFieldContainer[BatchInput]]
    batch_output: Final[RepeatedCompositeFieldContainer[BatchOutput]]
    optimization: Final[ModelOptimizationPolicy]
    dynamic_batching: Final[ModelDynamicBatching]
    sequence_batching: Final[ModelSequenceBatching]
    ensemble_scheduling: Final[ModelEnsembling]
    instance_group: Final[RepeatedCompositeFieldContainer[ModelInstanceGroup]]
    default_model_filename: str
    cc_model_filenames: Final[ScalarMap[str, str]]
    metric_tags: Final[ScalarMap[str, str]]
    parameters: Final[MessageMap[str, ModelParameter]]
    model_warmup: Final[RepeatedCompositeFieldContainer[ModelWarmup]]
    model_operations: Final[ModelOperations]
    model_transaction_policy: Final[ModelTransactionPolicy]
    model_repository_agents: Final[ModelRepositoryAgents]
    response_cache: Final[ModelResponseCache]
    model_metrics: Final[ModelMetrics]
    inferd: Final[_options.ModelOptions]
    def __init__(
        self, *, name: str = ..., platform: str = ..., backend: str = ..., runtime: str = ...,
        version_policy: ModelVersionPolicy | None = ..., max_batch_size: int = ..., input: Iterable[ModelInput] | None = ...,
        output: Iterable[ModelOutput] | None = ..., batch_input: Iterable[BatchInput] | None = ...,
        batch_output: Iterable[BatchOutput] | None = ..., optimization: ModelOptimizationPolicy | None = ...,
        dynamic_batching: ModelDynamicBatching | None = ..., sequence_batching: ModelSequenceBatching | None = ...,
        ensemble_scheduling: ModelEnsembling | None = ..., instance_group: Iterable[ModelInstanceGroup] | None = ...,
        default_model_filename: str = ..., cc_model_filenames: Mapping[str, str] | None = ...,
        metric_tags: Mapping[str, str] | None = ..., parameters: Mapping[str, ModelParameter] | None = ...,
        model_warmup: Iterable[ModelWarmup] | None = ..., model_operations: ModelOperations | None = ...,
        model_transaction_policy: ModelTransactionPolicy | None = ..., model_repository_agents: ModelRepositoryAgents | None = ...,
        response_cache: ModelResponseCache | None = ..., model_metrics: ModelMetrics | None = ...,
        inferd: _options.ModelOptions | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["scheduling_choice", "version_policy", "optimization", "dynamic_batching", "sequence_batching", "ensemble_scheduling", "model_operations", "model_transaction_policy", "model_repository_agents", "response_cache", "model_metrics", "inferd"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["scheduling_choice"]) -> Literal["dynamic_batching", "sequence_batching", "ensemble_scheduling"] | None: ...

@final
class ServerLiveRequest(Message): ...

@final
class ServerLiveResponse(Message):
    live: bool
    def __init__(self, *, live: bool = ...) -> None: ...

@final
class ServerReadyRequest(Message): ...

@final
class ServerReadyResponse(Message):
    ready: bool
    def __init__(self, *, ready: bool = ...) -> None: ...

@final
class ModelReadyRequest(Message):
    name: str
    version: str
    def __init__(self, *, name: str = ..., version: str = ...) -> None: ...

@final
class ModelReadyResponse(Message):
    ready: bool
    def __init__(self, *, ready: bool = ...) -> None: ...

@final
class ServerMetadataRequest(Message): ...

@final
class ServerMetadataResponse(Message):
    name: str
    version: str
    extensions: Final[RepeatedScalarFieldContainer[str]]
    def __init__(self, *, name: str = ..., version: str = ..., extensions: Iterable[str] | None = ...) -> None: ...

@final
class ModelMetadataRequest(Message):
    name: str
    version: str
    properties: bool
    def __init__(self, *, name: str = ..., version: str = ..., properties: bool = ...) -> None: ...

@final
class ModelMetadataResponse(Message):
    @final
    class TensorMetadata(Message):
        name: str
        datatype: str
        shape: Final[RepeatedScalarFieldContainer[int]]
        def __init__(self, *, name: str = ..., datatype: str = ..., shape: Iterable[int] | None = ...) -> None: ...

    name: str
    versions: Final[RepeatedScalarFieldContainer[str]]
    platform: str
    inputs: Final[RepeatedCompositeFieldContainer[ModelMetadataResponse.TensorMetadata]]
    outputs: Final[RepeatedCompositeFieldContainer[ModelMetadataResponse.TensorMetadata]]
    properties: Final[ScalarMap[str, str]]
    def __init__(
        self, *, name: str = ..., versions: Iterable[str] | None = ..., platform: str = ...,
        inputs: Iterable[ModelMetadataResponse.TensorMetadata] | None = ...,
        outputs: Iterable[ModelMetadataResponse.TensorMetadata] | None = ..., properties: Mapping[str, str] | None = ...
    ) -> None: ...

@final
class InferParameter(Message):
    bool_param: bool
    int64_param: int
    string_param: str
    double_param: float
    uint64_param: int
    def __init__(
        self, *, bool_param: bool = ..., int64_param: int = ..., string_param: str = ..., double_param: float = ...,
        uint64_param: int = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["parameter_choice", "bool_param", "int64_param", "string_param", "double_param", "uint64_param"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["parameter_choice"]) -> Literal["bool_param", "int64_param", "string_param", "double_param", "uint64_param"] | None: ...

@final
class InferTensorContents(Message):
    bool_contents: Final[RepeatedScalarFieldContainer[bool]]
    int_contents: Final[RepeatedScalarFieldContainer[int]]
    int64_contents: Final[RepeatedScalarFieldContainer[int]]
    uint_contents: Final[RepeatedScalarFieldContainer[int]]
    uint64_contents: Final[RepeatedScalarFieldContainer[int]]
    fp32_contents: Final[RepeatedScalarFieldContainer[float]]
    fp64_contents: Final[RepeatedScalarFieldContainer[float]]
    bytes_contents: Final[RepeatedScalarFieldContainer[bytes]]
    def __init__(
        self, *, bool_contents: Iterable[bool] | None = ..., int_contents: Iterable[int] | None = ...,
        int64_contents: Iterable[int] | None = ..., uint_contents: Iterable[int] | None = ...,
        uint64_contents: Iterable[int] | None = ..., fp32_contents: Iterable[float] | None = ...,
        fp64_contents: Iterable[float] | None = ..., bytes_contents: Iterable[bytes] | None = ...
    ) -> None: ...

@final
class ModelInferRequest(Message):
    @final
    class InferInputTensor(Message):
        name: str
        datatype: str
        shape: Final[RepeatedScalarFieldContainer[int]]
        parameters: Final[MessageMap[str, InferParameter]]
        contents: Final[InferTensorContents]
        def __init__(
            self, *, name: str = ..., datatype: str = ..., shape: Iterable[int] | None = ...,
            parameters: Mapping[str, InferParameter] | None = ..., contents: InferTensorContents | None = ...
        ) -> None: ...
        def HasField(self, field_name: Literal["contents"]) -> bool: ...

    @final
    class InferRequestedOutputTensor(Message):
        name: str
        parameters: Final[MessageMap[str, InferParameter]]
        def __init__(self, *, name: str = ..., parameters: Mapping[str, InferParameter] | None = ...) -> None: ...

    model_name: str
    model_version: str
    id: str
    parameters: Final[MessageMap[str, InferParameter]]
    inputs: Final[RepeatedCompositeFieldContainer[ModelInferRequest.InferInputTensor]]
    outputs: Final[RepeatedCompositeFieldContainer[ModelInferRequest.InferRequestedOutputTensor]]
    raw_input_contents: Final[RepeatedScalarFieldContainer[bytes]]
    def __init__(
        self, *, model_name: str = ..., model_version: str = ..., id: str = ...,
        parameters: Mapping[str, InferParameter] | None = ..., inputs: Iterable[ModelInferRequest.InferInputTensor] | None = ...,
        outputs: Iterable[ModelInferRequest.InferRequestedOutputTensor] | None = ...,
        raw_input_contents: Iterable[bytes] | None = ...
    ) -> None: ...

@final
class ModelInferResponse(Message):
    @final
    class InferOutputTensor(Message):
        name: str
        datatype: str
        shape: Final[RepeatedScalarFieldContainer[int]]
        parameters: Final[MessageMap[str, InferParameter]]
        contents: Final[InferTensorContents]
        def __init__(
            self, *, name: str = ..., datatype: str = ..., shape: Iterable[int] | None = ...,
            parameters: Mapping[str, InferParameter] | None = ..., contents: InferTensorContents | None = ...
        ) -> None: ...
        def HasField(self, field_name: Literal["contents"]) -> bool: ...

    model_name: str
    model_version: str
    id: str
    parameters: Final[MessageMap[str, InferParameter]]
    outputs: Final[RepeatedCompositeFieldContainer[ModelInferResponse.InferOutputTensor]]
    raw_output_contents: Final[RepeatedScalarFieldContainer[bytes]]
    def __init__(
        self, *, model_name: str = ..., model_version: str = ..., id: str = ...,
        parameters: Mapping[str, InferParameter] | None = ..., outputs: Iterable[ModelInferResponse.InferOutputTensor] | None = ...,
        raw_output_contents: Iterable[bytes] | None = ...
    ) -> None: ...

@final
class ModelStreamInferResponse(Message):
    error_message: str
    infer_response: Final[ModelInferResponse]
    def __init__(self, *, error_message: str = ..., infer_response: ModelInferResponse | None = ...) -> None: ...
    def HasField(self, field_name: Literal["infer_response"]) -> bool: ...

@final
class ModelConfigRequest(Message):
    name: str
    version: str
    def __init__(self, *, name: str = ..., version: str = ...) -> None: ...

@final
class ModelConfigResponse(Message):
    config: Final[ModelConfig]
    def __init__(self, *, config: ModelConfig | None = ...) -> None: ...
    def HasField(self, field_name: Literal["config"]) -> bool: ...

@final
class ModelStatisticsRequest(Message):
    name: str
    version: str
    def __init__(self, *, name: str = ..., version: str = ...) -> None: ...

@final
class StatisticDuration(Message):
    count: int
    ns: int
    def __init__(self, *, count: int = ..., ns: int = ...) -> None: ...

@final
class InferStatistics(Message):
    success: Final[StatisticDuration]
    fail: Final[StatisticDuration]
    queue: Final[StatisticDuration]
    compute_input: Final[StatisticDuration]
    compute_infer: Final[StatisticDuration]
    compute_output: Final[StatisticDuration]
    cache_hit: Final[StatisticDuration]
    cache_miss: Final[StatisticDuration]
    def __init__(
        self, *, success: StatisticDuration | None = ..., fail: StatisticDuration | None = ..., queue: StatisticDuration | None = ...,
        compute_input: StatisticDuration | None = ..., compute_infer: StatisticDuration | None = ...,
        compute_output: StatisticDuration | None = ..., cache_hit: StatisticDuration | None = ...,
        cache_miss: StatisticDuration | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"]) -> bool: ...

@final
class InferResponseStatistics(Message):
    compute_infer: Final[StatisticDuration]
    compute_output: Final[StatisticDuration]
    success: Final[StatisticDuration]
    fail: Final[StatisticDuration]
    empty_response: Final[StatisticDuration]
    cancel: Final[StatisticDuration]
    def __init__(
        self, *, compute_infer: StatisticDuration | None = ..., compute_output: StatisticDuration | None = ...,
        success: StatisticDuration | None = ..., fail: StatisticDuration | None = ..., empty_response: StatisticDuration | None = ...,
        cancel: StatisticDuration | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["compute_infer", "compute_output", "success", "fail", "empty_response", "cancel"]) -> bool: ...

@final
class InferBatchStatistics(Message):
    batch_size: int
    compute_input: Final[StatisticDuration]
    compute_infer: Final[StatisticDuration]
    compute_output: Final[StatisticDuration]
    def __init__(
        self, *, batch_size: int = ..., compute_input: StatisticDuration | None = ..., compute_infer: StatisticDuration | None = ...,
        compute_output: StatisticDuration | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["compute_input", "compute_infer", "compute_output"]) -> bool: ...

@final
class MemoryUsage(Message):
    type: str
    id: int
    byte_size: int
    def __init__(self, *, type: str = ..., id: int = ..., byte_size: int = ...) -> None: ...

@final
class ModelStatistics(Message):
    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: Final[InferStatistics]
    batch_stats: Final[RepeatedCompositeFieldContainer[InferBatchStatistics]]
    memory_usage: Final[RepeatedCompositeFieldContainer[MemoryUsage]]
    response_stats: Final[MessageMap[str, InferResponseStatistics]]
    def __init__(
        self, *, name: str = ..., version: str = ..., last_inference: int = ..., inference_count: int = ...,
        execution_count: int = ..., inference_stats: InferStatistics | None = ...,
        batch_stats: Iterable[InferBatchStatistics] | None = ..., memory_usage: Iterable[MemoryUsage] | None = ...,
        response_stats: Mapping[str, InferResponseStatistics] | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["inference_stats"]) -> bool: ...

@final
class ModelStatisticsResponse(Message):
    model_stats: Final[RepeatedCompositeFieldContainer[ModelStatistics]]
    def __init__(self, *, model_stats: Iterable[ModelStatistics] | None = ...) -> None: ...

@final
class ModelRepositoryParameter(Message):
    bool_param: bool
    int64_param: int
    string_param: str
    bytes_param: bytes
    def __init__(self, *, bool_param: bool = ..., int64_param: int = ..., string_param: str = ..., bytes_param: bytes = ...) -> None: ...
    def HasField(self, field_name: Literal["parameter_choice", "bool_param", "int64_param", "string_param", "bytes_param"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["parameter_choice"]) -> Literal["bool_param", "int64_param", "string_param", "bytes_param"] | None: ...

@final
class RepositoryIndexRequest(Message):
    repository_name: str
    ready: bool
    def __init__(self, *, repository_name: str = ..., ready: bool = ...) -> None: ...

@final
class RepositoryIndexResponse(Message):
    @final
    class ModelIndex(Message):
        name: str
        version: str
        state: str
        reason: str
        def __init__(self, *, name: str = ..., version: str = ..., state: str = ..., reason: str = ...) -> None: ...

    models: Final[RepeatedCompositeFieldContainer[RepositoryIndexResponse.ModelIndex]]
    def __init__(self, *, models: Iterable[RepositoryIndexResponse.ModelIndex] | None = ...) -> None: ...

@final
class RepositoryModelLoadRequest(Message):
    repository_name: str
    model_name: str
    parameters: Final[MessageMap[str, ModelRepositoryParameter]]
    def __init__(self, *, repository_name: str = ..., model_name: str = ..., parameters: Mapping[str, ModelRepositoryParameter] | None = ...) -> None: ...

@final
class RepositoryModelLoadResponse(Message): ...

@final
class RepositoryModelUnloadRequest(Message):
    repository_name: str
    model_name: str
    parameters: Final[MessageMap[str, ModelRepositoryParameter]]
    def __init__(self, *, repository_name: str = ..., model_name: str = ..., parameters: Mapping[str, ModelRepositoryParameter] | None = ...) -> None: ...

@final
class RepositoryModelUnloadResponse(Message): ...

@final
class SystemSharedMemoryStatusRequest(Message):
    name: str
    def __init__(self, *, name: str = ...) -> None: ...

@final
class SystemSharedMemoryStatusResponse(Message):
    @final
    class RegionStatus(Message):
        name: str
        key: str
        offset: int
        byte_size: int
        def __init__(self, *, name: str = ..., key: str = ..., offset: int = ..., byte_size: int = ...) -> None: ...

    regions: Final[MessageMap[str, SystemSharedMemoryStatusResponse.RegionStatus]]
    def __init__(self, *, regions: Mapping[str, SystemSharedMemoryStatusResponse.RegionStatus] | None = ...) -> None: ...

@final
class SystemSharedMemoryRegisterRequest(Message):
    name: str
    key: str
    offset: int
    byte_size: int
    def __init__(self, *, name: str = ..., key: str = ..., offset: int = ..., byte_size: int = ...) -> None: ...

@final
class SystemSharedMemoryRegisterResponse(Message): ...

@final
class SystemSharedMemoryUnregisterRequest(Message):
    name: str
    def __init__(self, *, name: str = ...) -> None: ...

@final
class SystemSharedMemoryUnregisterResponse(Message): ...

@final
class CudaSharedMemoryStatusRequest(Message):
    name: str
    def __init__(self, *, name: str = ...) -> None: ...

@final
class CudaSharedMemoryStatusResponse(Message):
    @final
    class RegionStatus(Message):
        name: str
        device_id: int
        byte_size: int
        def __init__(self, *, name: str = ..., device_id: int = ..., byte_size: int = ...) -> None: ...

    regions: Final[MessageMap[str, CudaSharedMemoryStatusResponse.RegionStatus]]
    def __init__(self, *, regions: Mapping[str, CudaSharedMemoryStatusResponse.RegionStatus] | None = ...) -> None: ...

@final
class CudaSharedMemoryRegisterRequest(Message):
    name: str
    raw_handle: bytes
    device_id: int
    byte_size: int
    def __init__(self, *, name: str = ..., raw_handle: bytes = ..., device_id: int = ..., byte_size: int = ...) -> None: ...

@final
class CudaSharedMemoryRegisterResponse(Message): ...

@final
class CudaSharedMemoryUnregisterRequest(Message):
    name: str
    def __init__(self, *, name: str = ...) -> None: ...

@final
class CudaSharedMemoryUnregisterResponse(Message): ...

@final
class TraceSettingRequest(Message):
    @final
    class SettingValue(Message):
        value: Final[RepeatedScalarFieldContainer[str]]
        def __init__(self, *, value: Iterable[str] | None = ...) -> None: ...

    settings: Final[MessageMap[str, TraceSettingRequest.SettingValue]]
    model_name: str
    def __init__(self, *, settings: Mapping[str, TraceSettingRequest.SettingValue] | None = ..., model_name: str = ...) -> None: ...

@final
class TraceSettingResponse(Message):
    @final
    class SettingValue(Message):
        value: Final[RepeatedScalarFieldContainer[str]]
        def __init__(self, *, value: Iterable[str] | None = ...) -> None: ...

    settings: Final[MessageMap[str, TraceSettingResponse.SettingValue]]
    def __init__(self, *, settings: Mapping[str, TraceSettingResponse.SettingValue] | None = ...) -> None: ...

@final
class LogSettingsRequest(Message):
    @final
    class SettingValue(Message):
        bool_param: bool
        uint32_param: int
        string_param: str
        def __init__(self, *, bool_param: bool = ..., uint32_param: int = ..., string_param: str = ...) -> None: ...
        def HasField(self, field_name: Literal["parameter_choice", "bool_param", "uint32_param", "string_param"]) -> bool: ...
        def WhichOneof(self, oneof_group: Literal["parameter_choice"]) -> Literal["bool_param", "uint32_param", "string_param"] | None: ...

    settings: Final[MessageMap[str, LogSettingsRequest.SettingValue]]
    def __init__(self, *, settings: Mapping[str, LogSettingsRequest.SettingValue] | None = ...) -> None: ...

@final
class LogSettingsResponse(Message):
    @final
    class SettingValue(Message):
        bool_param: bool
        uint32_param: int
        string_param: str
        def __init__(self, *, bool_param: bool = ..., uint32_param: int = ..., string_param: str = ...) -> None: ...
        def HasField(self, field_name: Literal["parameter_choice", "bool_param", "uint32_param", "string_param"]) -> bool: ...
        def WhichOneof(self, oneof_group: Literal["parameter_choice"]) -> Literal["bool_param", "uint32_param", "string_param"] | None: ...

    settings: Final[MessageMap[str, LogSettingsResponse.SettingValue]]
    def __init__(self, *, settings: Mapping[str, LogSettingsResponse.SettingValue] | None = ...) -> None: ...
