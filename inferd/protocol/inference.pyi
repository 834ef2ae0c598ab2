"""The messages and enums of package inference. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: E501, N802

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Self, final

from google.protobuf.internal.containers import MessageMap, RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer, ScalarMap
from google.protobuf.message import Message

from inferd.protocol import options as _options

class _Enum(int):
    @classmethod
    def Name(cls, number: int) -> str: ...
    @classmethod
    def Value(cls, name: str) -> Self: ...
    @classmethod
    def keys(cls) -> list[str]: ...
    @classmethod
    def values(cls) -> list[Self]: ...
    @classmethod
    def items(cls) -> list[tuple[str, Self]]: ...

class DataType(_Enum):
    """Element types. TYPE_STRING is BYTES on the wire."""
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
    """Which shared resources one run takes, and who goes first when they are scarce."""

    @final
    class Resource(Message):
        name: str
        count: int
        def __init__(self, *, name: str = ..., count: int = ...) -> None: ...

    resources: Final[RepeatedCompositeFieldContainer[ModelRateLimiter.Resource]]
    priority: int
    """Weight against other models: 2 gets half the runs of 1. 0 means 1."""
    def __init__(self, *, resources: Iterable[ModelRateLimiter.Resource] | None = ..., priority: int = ...) -> None: ...

@final
class ModelInstanceGroup(Message):
    """How many instances of the model run, and where."""

    class Kind(_Enum):
        """KIND_AUTO: GPU where the model and the machine have one, else CPU."""
    KIND_AUTO: ModelInstanceGroup.Kind
    KIND_GPU: ModelInstanceGroup.Kind
    KIND_CPU: ModelInstanceGroup.Kind
    KIND_MODEL: ModelInstanceGroup.Kind

    @final
    class SecondaryDevice(Message):
        """A further device that the model needs."""

        class SecondaryDeviceKind(_Enum): ...
        KIND_NVDLA: ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind

        kind: ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind
        device_id: int
        def __init__(self, *, kind: ModelInstanceGroup.SecondaryDevice.SecondaryDeviceKind = ..., device_id: int = ...) -> None: ...

    name: str
    kind: ModelInstanceGroup.Kind
    count: int
    """Instances on each of `gpus`, or in all on the CPU. 0: chosen from the machine."""
    rate_limiter: Final[ModelRateLimiter]
    gpus: Final[RepeatedScalarFieldContainer[int]]
    """CUDA device numbers. Empty: all."""
    secondary_devices: Final[RepeatedCompositeFieldContainer[ModelInstanceGroup.SecondaryDevice]]
    profile: Final[RepeatedScalarFieldContainer[str]]
    """Names or numbers of TensorRT optimization profiles."""
    passive: bool
    """Loaded, but given no requests by the scheduler."""
    host_policy: str
    """Name of a server setting that binds instances to cores and memory."""
    def __init__(
        self, *, name: str = ..., kind: ModelInstanceGroup.Kind = ..., count: int = ..., rate_limiter: ModelRateLimiter | None = ...,
        gpus: Iterable[int] | None = ..., secondary_devices: Iterable[ModelInstanceGroup.SecondaryDevice] | None = ...,
        profile: Iterable[str] | None = ..., passive: bool = ..., host_policy: str = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["rate_limiter"]) -> bool: ...

@final
class ModelTensorReshape(Message):
    """The shape that the model itself takes or gives when it differs from dims. Same number of elements; without the batch axis."""
    shape: Final[RepeatedScalarFieldContainer[int]]
    def __init__(self, *, shape: Iterable[int] | None = ...) -> None: ...

@final
class ModelInput(Message):
    """One input of the model."""

    class Format(_Enum):
        """What the axes of an image mean."""
    FORMAT_NONE: ModelInput.Format
    FORMAT_NHWC: ModelInput.Format
    FORMAT_NCHW: ModelInput.Format

    name: str
    data_type: DataType
    format: ModelInput.Format
    dims: Final[RepeatedScalarFieldContainer[int]]
    """Without the batch axis when max_batch_size is over 0. -1: any length."""
    reshape: Final[ModelTensorReshape]
    is_shape_tensor: bool
    """TensorRT shape tensor: its values are a shape, and it has no batch axis of its own."""
    allow_ragged_batch: bool
    """Rows of unequal length may share a batch, one after the other, without padding."""
    optional: bool
    """May be left out of a request."""
    is_non_linear_format_io: bool
    """The engine wants a vectorized memory layout."""
    def __init__(
        self, *, name: str = ..., data_type: DataType = ..., format: ModelInput.Format = ..., dims: Iterable[int] | None = ...,
        reshape: ModelTensorReshape | None = ..., is_shape_tensor: bool = ..., allow_ragged_batch: bool = ..., optional: bool = ...,
        is_non_linear_format_io: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["reshape"]) -> bool: ...

@final
class ModelOutput(Message):
    """One output of the model."""
    name: str
    data_type: DataType
    dims: Final[RepeatedScalarFieldContainer[int]]
    """Without the batch axis when max_batch_size is over 0. -1: any length."""
    reshape: Final[ModelTensorReshape]
    label_filename: str
    """A file beside the configuration, one label a line, for the classification parameter."""
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
    """An input made by the server that describes the batch to a model with ragged inputs."""

    class Kind(_Enum):
        """BATCH_ELEMENT_COUNT: elements of each request. ACCUMULATED: running sums of them, WITH_ZERO with a 0 in front.
        MAX_ELEMENT_COUNT_AS_SHAPE: the largest, as a shape. ITEM_SHAPE: each request's shape, FLATTEN as one list.
        """
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
    """The inputs that it describes."""
    def __init__(
        self, *, kind: BatchInput.Kind = ..., target_name: Iterable[str] | None = ..., data_type: DataType = ...,
        source_input: Iterable[str] | None = ...
    ) -> None: ...

@final
class BatchOutput(Message):
    """How an output of a ragged batch is cut up for its requests."""

    class Kind(_Enum): ...
    BATCH_SCATTER_WITH_INPUT_SHAPE: BatchOutput.Kind

    target_name: Final[RepeatedScalarFieldContainer[str]]
    kind: BatchOutput.Kind
    source_input: Final[RepeatedScalarFieldContainer[str]]
    def __init__(self, *, target_name: Iterable[str] | None = ..., kind: BatchOutput.Kind = ..., source_input: Iterable[str] | None = ...) -> None: ...

@final
class ModelVersionPolicy(Message):
    """Which of the numbered version folders are served. Not set: latest, 1."""

    @final
    class Latest(Message):
        """The highest version numbers."""
        num_versions: int
        """Default 1."""
        def __init__(self, *, num_versions: int = ...) -> None: ...

    @final
    class All(Message):
        """Every version folder."""
        def __init__(self) -> None: ...

    @final
    class Specific(Message):
        """These and no other."""
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
    """How the back end prepares and runs the model."""

    class ModelPriority(_Enum):
        """Relative to other models."""
    PRIORITY_DEFAULT: ModelOptimizationPolicy.ModelPriority
    PRIORITY_MAX: ModelOptimizationPolicy.ModelPriority
    PRIORITY_MIN: ModelOptimizationPolicy.ModelPriority

    @final
    class Graph(Message):
        """Graph rewriting by the back end."""
        level: int
        """-1: basic rewriting only. 1: basic and extended. 2: none. 0: all that the back end knows, the default."""
        def __init__(self, *, level: int = ...) -> None: ...

    @final
    class Cuda(Message):
        """CUDA-specific choices."""

        @final
        class GraphSpec(Message):
            """A batch size and input shapes to record a CUDA graph for."""

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
        """Record runs as CUDA graphs and replay them."""
        busy_wait_events: bool
        """Poll CUDA events: faster, costs a core."""
        graph_spec: Final[RepeatedCompositeFieldContainer[ModelOptimizationPolicy.Cuda.GraphSpec]]
        output_copy_stream: bool
        def __init__(
            self, *, graphs: bool = ..., busy_wait_events: bool = ...,
            graph_spec: Iterable[ModelOptimizationPolicy.Cuda.GraphSpec] | None = ..., output_copy_stream: bool = ...
        ) -> None: ...

    @final
    class ExecutionAccelerators(Message):
        """ONNX Runtime execution providers, in order of preference."""

        @final
        class Accelerator(Message):
            """One of them with its options."""
            name: str
            """For a GPU tensorrt or cuda, for the CPU openvino and others."""
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
        """Whether host buffers are page-locked, for faster copies to a device."""
        enable: bool
        def __init__(self, *, enable: bool = ...) -> None: ...

    graph: Final[ModelOptimizationPolicy.Graph]
    priority: ModelOptimizationPolicy.ModelPriority
    cuda: Final[ModelOptimizationPolicy.Cuda]
    execution_accelerators: Final[ModelOptimizationPolicy.ExecutionAccelerators]
    input_pinned_memory: Final[ModelOptimizationPolicy.PinnedMemoryBuffer]
    output_pinned_memory: Final[ModelOptimizationPolicy.PinnedMemoryBuffer]
    gather_kernel_buffer_threshold: int
    """From this many separate buffers on, inputs are gathered by a kernel. 0: never."""
    eager_batching: bool
    """Prepare the next batch while the current one runs."""
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
    """What a queue does with requests that wait too long or are too many."""

    class TimeoutAction(_Enum):
        """REJECT: an error. DELAY: after all requests that have not timed out."""
    REJECT: ModelQueuePolicy.TimeoutAction
    DELAY: ModelQueuePolicy.TimeoutAction

    timeout_action: ModelQueuePolicy.TimeoutAction
    default_timeout_microseconds: int
    """0: requests wait as long as their deadline allows."""
    allow_timeout_override: bool
    """Whether a request's timeout parameter may be shorter than the default."""
    max_queue_size: int
    """Requests; one more is refused. 0: the server's limit."""
    def __init__(
        self, *, timeout_action: ModelQueuePolicy.TimeoutAction = ..., default_timeout_microseconds: int = ...,
        allow_timeout_override: bool = ..., max_queue_size: int = ...
    ) -> None: ...

@final
class ModelDynamicBatching(Message):
    """Requests that arrive separately run together. Without a delay an idle instance takes at once what is there."""
    preferred_batch_size: Final[RepeatedScalarFieldContainer[int]]
    """Rows. A batch of such a size is not delayed."""
    max_queue_delay_microseconds: int
    """How long the oldest request may wait for more rows. Default 0."""
    preserve_ordering: bool
    """Responses leave in the order in which requests came."""
    priority_levels: int
    """1 is the highest, priority_levels the lowest. 0: no priorities."""
    default_priority_level: int
    """For requests that name none. Must be set when priority_levels is."""
    default_queue_policy: Final[ModelQueuePolicy]
    priority_queue_policy: Final[MessageMap[int, ModelQueuePolicy]]
    """By priority level; others have default_queue_policy."""
    def __init__(
        self, *, preferred_batch_size: Iterable[int] | None = ..., max_queue_delay_microseconds: int = ...,
        preserve_ordering: bool = ..., priority_levels: int = ..., default_priority_level: int = ...,
        default_queue_policy: ModelQueuePolicy | None = ..., priority_queue_policy: Mapping[int, ModelQueuePolicy] | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["default_queue_policy"]) -> bool: ...

@final
class ModelSequenceBatching(Message):
    """Requests of one sequence (same sequence_id) go to the same instance, in order: for stateful models."""

    @final
    class Control(Message):
        """What the server tells the model through a control input."""

        class Kind(_Enum): ...
        CONTROL_SEQUENCE_START: ModelSequenceBatching.Control.Kind
        CONTROL_SEQUENCE_READY: ModelSequenceBatching.Control.Kind
        CONTROL_SEQUENCE_END: ModelSequenceBatching.Control.Kind
        CONTROL_SEQUENCE_CORRID: ModelSequenceBatching.Control.Kind

        kind: ModelSequenceBatching.Control.Kind
        int32_false_true: Final[RepeatedScalarFieldContainer[int]]
        """The two values that stand for false and true."""
        fp32_false_true: Final[RepeatedScalarFieldContainer[float]]
        """As above."""
        bool_false_true: Final[RepeatedScalarFieldContainer[bool]]
        """As above."""
        data_type: DataType
        """Of the correlation id only."""
        def __init__(
            self, *, kind: ModelSequenceBatching.Control.Kind = ..., int32_false_true: Iterable[int] | None = ...,
            fp32_false_true: Iterable[float] | None = ..., bool_false_true: Iterable[bool] | None = ..., data_type: DataType = ...
        ) -> None: ...

    @final
    class ControlInput(Message):
        """An input that the server fills."""
        name: str
        control: Final[RepeatedCompositeFieldContainer[ModelSequenceBatching.Control]]
        def __init__(self, *, name: str = ..., control: Iterable[ModelSequenceBatching.Control] | None = ...) -> None: ...

    @final
    class InitialState(Message):
        """What a sequence's state holds before its first request."""
        data_type: DataType
        dims: Final[RepeatedScalarFieldContainer[int]]
        zero_data: bool
        data_file: str
        """In the model's folder initial_state/."""
        name: str
        def __init__(
            self, *, data_type: DataType = ..., dims: Iterable[int] | None = ..., zero_data: bool = ..., data_file: str = ...,
            name: str = ...
        ) -> None: ...
        def HasField(self, field_name: Literal["state_data", "zero_data", "data_file"]) -> bool: ...
        def WhichOneof(self, oneof_group: Literal["state_data"]) -> Literal["zero_data", "data_file"] | None: ...

    @final
    class State(Message):
        """An input and the output that feeds it."""
        input_name: str
        output_name: str
        data_type: DataType
        dims: Final[RepeatedScalarFieldContainer[int]]
        """Without the batch axis. -1: any length."""
        initial_state: Final[RepeatedCompositeFieldContainer[ModelSequenceBatching.InitialState]]
        use_same_buffer_for_input_output: bool
        """The model may write its output over its input."""
        use_growable_memory: bool
        """The state may grow with each request."""
        def __init__(
            self, *, input_name: str = ..., output_name: str = ..., data_type: DataType = ..., dims: Iterable[int] | None = ...,
            initial_state: Iterable[ModelSequenceBatching.InitialState] | None = ..., use_same_buffer_for_input_output: bool = ...,
            use_growable_memory: bool = ...
        ) -> None: ...

    @final
    class StrategyDirect(Message):
        """Each sequence has a fixed slot in the batch: for models that keep state by slot."""
        max_queue_delay_microseconds: int
        minimum_slot_utilization: float
        """Do not delay once this share (0 to 1) of the slots is filled."""
        def __init__(self, *, max_queue_delay_microseconds: int = ..., minimum_slot_utilization: float = ...) -> None: ...

    @final
    class StrategyOldest(Message):
        """Slots are filled from the oldest requests: for models whose state travels with the request."""
        max_candidate_sequences: int
        """Sequences that are active at once."""
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
    """A sequence without requests for so long is over. Default 1000000."""
    control_input: Final[RepeatedCompositeFieldContainer[ModelSequenceBatching.ControlInput]]
    state: Final[RepeatedCompositeFieldContainer[ModelSequenceBatching.State]]
    """Outputs that come back as inputs of the sequence's next request."""
    iterative_sequence: bool
    """The model asks to be run again on the same request."""
    def __init__(
        self, *, direct: ModelSequenceBatching.StrategyDirect | None = ..., oldest: ModelSequenceBatching.StrategyOldest | None = ...,
        max_sequence_idle_microseconds: int = ..., control_input: Iterable[ModelSequenceBatching.ControlInput] | None = ...,
        state: Iterable[ModelSequenceBatching.State] | None = ..., iterative_sequence: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["strategy_choice", "direct", "oldest"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["strategy_choice"]) -> Literal["direct", "oldest"] | None: ...

@final
class ModelEnsembling(Message):
    """A model made of other models."""

    @final
    class Step(Message):
        """One member model."""
        model_name: str
        model_version: int
        """-1: the newest."""
        input_map: Final[ScalarMap[str, str]]
        """The member's input name -> the name of a tensor of the ensemble."""
        output_map: Final[ScalarMap[str, str]]
        """The member's output name -> the name of a tensor of the ensemble."""
        model_namespace: str
        def __init__(
            self, *, model_name: str = ..., model_version: int = ..., input_map: Mapping[str, str] | None = ...,
            output_map: Mapping[str, str] | None = ..., model_namespace: str = ...
        ) -> None: ...

    step: Final[RepeatedCompositeFieldContainer[ModelEnsembling.Step]]
    max_inflight_requests: int
    """Per step. 0: no limit."""
    def __init__(self, *, step: Iterable[ModelEnsembling.Step] | None = ..., max_inflight_requests: int = ...) -> None: ...

@final
class ModelParameter(Message):
    """A value meant for the back end."""
    string_value: str
    def __init__(self, *, string_value: str = ...) -> None: ...

@final
class ModelWarmup(Message):
    """Requests that are run before the model is called ready."""

    @final
    class Input(Message):
        """What one warm-up input holds."""
        data_type: DataType
        dims: Final[RepeatedScalarFieldContainer[int]]
        """Without the batch axis; all axes fixed."""
        zero_data: bool
        random_data: bool
        input_data_file: str
        """In the model's folder warmup/."""
        def __init__(
            self, *, data_type: DataType = ..., dims: Iterable[int] | None = ..., zero_data: bool = ..., random_data: bool = ...,
            input_data_file: str = ...
        ) -> None: ...
        def HasField(self, field_name: Literal["input_data_type", "zero_data", "random_data", "input_data_file"]) -> bool: ...
        def WhichOneof(self, oneof_group: Literal["input_data_type"]) -> Literal["zero_data", "random_data", "input_data_file"] | None: ...

    name: str
    batch_size: int
    """Rows. 0: a model without batching."""
    inputs: Final[MessageMap[str, ModelWarmup.Input]]
    count: int
    """Times. 0 means 1."""
    def __init__(self, *, name: str = ..., batch_size: int = ..., inputs: Mapping[str, ModelWarmup.Input] | None = ..., count: int = ...) -> None: ...

@final
class ModelOperations(Message):
    """Libraries with custom operators, loaded before the model."""
    op_library_filename: Final[RepeatedScalarFieldContainer[str]]
    def __init__(self, *, op_library_filename: Iterable[str] | None = ...) -> None: ...

@final
class ModelTransactionPolicy(Message):
    """How many responses a request has."""
    decoupled: bool
    """Any number, on a stream."""
    def __init__(self, *, decoupled: bool = ...) -> None: ...

@final
class ModelRepositoryAgents(Message):
    """Steps between the repository and the loaded model, such as decryption or a checksum."""

    @final
    class Agent(Message):
        name: str
        parameters: Final[ScalarMap[str, str]]
        def __init__(self, *, name: str = ..., parameters: Mapping[str, str] | None = ...) -> None: ...

    agents: Final[RepeatedCompositeFieldContainer[ModelRepositoryAgents.Agent]]
    def __init__(self, *, agents: Iterable[ModelRepositoryAgents.Agent] | None = ...) -> None: ...

@final
class ModelResponseCache(Message):
    """Whether equal requests are served from a cache."""
    enable: bool
    def __init__(self, *, enable: bool = ...) -> None: ...

@final
class ModelMetrics(Message):
    """How metrics of this model are kept."""

    @final
    class MetricControl(Message):
        """Settings of one metric."""

        @final
        class MetricIdentifier(Message):
            family: str
            """The metric's name, such as nv_inference_first_response_histogram_ms."""
            def __init__(self, *, family: str = ...) -> None: ...

        @final
        class HistogramOptions(Message):
            buckets: Final[RepeatedScalarFieldContainer[float]]
            """Upper bounds, ascending."""
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
    """The configuration of one model, all its versions."""
    name: str
    """Its folder's name when left out."""
    platform: str
    """The older way to name the back end: onnxruntime_onnx."""
    backend: str
    """The back end that runs it: onnxruntime."""
    runtime: str
    """Which build of the back end to use."""
    version_policy: Final[ModelVersionPolicy]
    max_batch_size: int
    """The most rows in one run. 0: the model has no batch axis, and shapes are used whole."""
    input: Final[RepeatedCompositeFieldContainer[ModelInput]]
    output: Final[RepeatedCompositeFieldContainer[ModelOutput]]
    batch_input: Final[RepeatedCompositeFieldContainer[BatchInput]]
    batch_output: Final[RepeatedCompositeFieldContainer[BatchOutput]]
    optimization: Final[ModelOptimizationPolicy]
    dynamic_batching: Final[ModelDynamicBatching]
    sequence_batching: Final[ModelSequenceBatching]
    ensemble_scheduling: Final[ModelEnsembling]
    instance_group: Final[RepeatedCompositeFieldContainer[ModelInstanceGroup]]
    """Empty: chosen from the machine."""
    default_model_filename: str
    """In each version folder. Default model.onnx."""
    cc_model_filenames: Final[ScalarMap[str, str]]
    """CUDA compute capability, such as "7.5" -> the file to use there."""
    metric_tags: Final[ScalarMap[str, str]]
    """Labels added to this model's metrics."""
    parameters: Final[MessageMap[str, ModelParameter]]
    """Meant for the back end."""
    model_warmup: Final[RepeatedCompositeFieldContainer[ModelWarmup]]
    model_operations: Final[ModelOperations]
    model_transaction_policy: Final[ModelTransactionPolicy]
    model_repository_agents: Final[ModelRepositoryAgents]
    response_cache: Final[ModelResponseCache]
    model_metrics: Final[ModelMetrics]
    inferd: Final[_options.ModelOptions]
    """Not Triton's: what only inferd knows."""
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
class ServerLiveRequest(Message):
    def __init__(self) -> None: ...

@final
class ServerLiveResponse(Message):
    live: bool
    def __init__(self, *, live: bool = ...) -> None: ...

@final
class ServerReadyRequest(Message):
    def __init__(self) -> None: ...

@final
class ServerReadyResponse(Message):
    ready: bool
    def __init__(self, *, ready: bool = ...) -> None: ...

@final
class ModelReadyRequest(Message):
    name: str
    version: str
    """A positive integer in decimal; empty: any version will do."""
    def __init__(self, *, name: str = ..., version: str = ...) -> None: ...

@final
class ModelReadyResponse(Message):
    ready: bool
    def __init__(self, *, ready: bool = ...) -> None: ...

@final
class ServerMetadataRequest(Message):
    def __init__(self) -> None: ...

@final
class ServerMetadataResponse(Message):
    name: str
    version: str
    extensions: Final[RepeatedScalarFieldContainer[str]]
    """Names of the protocol extensions that work on this server, such as "statistics"."""
    def __init__(self, *, name: str = ..., version: str = ..., extensions: Iterable[str] | None = ...) -> None: ...

@final
class ModelMetadataRequest(Message):
    name: str
    version: str
    """Empty: the newest that is ready."""
    properties: bool
    """Whether the response is to have `properties`. MLServer's clients cannot read a response that has them: they expect messages
    there.
    """
    def __init__(self, *, name: str = ..., version: str = ..., properties: bool = ...) -> None: ...

@final
class ModelMetadataResponse(Message):
    """A model's signature."""

    @final
    class TensorMetadata(Message):
        """One input or output."""
        name: str
        datatype: str
        """BOOL, UINT8 to UINT64, INT8 to INT64, FP16, FP32, FP64, BF16 or BYTES."""
        shape: Final[RepeatedScalarFieldContainer[int]]
        """With the batch axis where there is one; -1 stands for an axis of any length."""
        def __init__(self, *, name: str = ..., datatype: str = ..., shape: Iterable[int] | None = ...) -> None: ...

    name: str
    versions: Final[RepeatedScalarFieldContainer[str]]
    """The versions that are ready, as decimal integers."""
    platform: str
    """What runs the model, such as "onnxruntime_onnx"."""
    inputs: Final[RepeatedCompositeFieldContainer[ModelMetadataResponse.TensorMetadata]]
    outputs: Final[RepeatedCompositeFieldContainer[ModelMetadataResponse.TensorMetadata]]
    properties: Final[ScalarMap[str, str]]
    """Where a response comes from: model_sha256, runtime, provider, config_sha256, and external_data_sha256 of a model whose
    weights lie in other files. Of the version that was asked for. KServe's protocol has this field, Triton's has not. And
    label.NAME, the version that a label names. Empty unless the request asks for them.
    """
    def __init__(
        self, *, name: str = ..., versions: Iterable[str] | None = ..., platform: str = ...,
        inputs: Iterable[ModelMetadataResponse.TensorMetadata] | None = ...,
        outputs: Iterable[ModelMetadataResponse.TensorMetadata] | None = ..., properties: Mapping[str, str] | None = ...
    ) -> None: ...

@final
class InferParameter(Message):
    """A value of a request, response or tensor parameter."""
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
    """A tensor's elements in row-major order, in the one field that suits its datatype. The slow form: raw contents travel without
    conversion. FP16 and BF16 have no field here.
    """
    bool_contents: Final[RepeatedScalarFieldContainer[bool]]
    """BOOL."""
    int_contents: Final[RepeatedScalarFieldContainer[int]]
    """INT8, INT16, INT32."""
    int64_contents: Final[RepeatedScalarFieldContainer[int]]
    """INT64."""
    uint_contents: Final[RepeatedScalarFieldContainer[int]]
    """UINT8, UINT16, UINT32."""
    uint64_contents: Final[RepeatedScalarFieldContainer[int]]
    """UINT64."""
    fp32_contents: Final[RepeatedScalarFieldContainer[float]]
    """FP32."""
    fp64_contents: Final[RepeatedScalarFieldContainer[float]]
    """FP64."""
    bytes_contents: Final[RepeatedScalarFieldContainer[bytes]]
    """BYTES."""
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
        """One input. Its elements are in `contents`, in raw_input_contents, or in shared memory."""
        name: str
        datatype: str
        """The model's datatype for this input; nothing is converted."""
        shape: Final[RepeatedScalarFieldContainer[int]]
        parameters: Final[MessageMap[str, InferParameter]]
        """Where shared memory is used: shared_memory_region, shared_memory_offset and shared_memory_byte_size."""
        contents: Final[InferTensorContents]
        """Left out when raw_input_contents is used, which then holds every input of the request."""
        def __init__(
            self, *, name: str = ..., datatype: str = ..., shape: Iterable[int] | None = ...,
            parameters: Mapping[str, InferParameter] | None = ..., contents: InferTensorContents | None = ...
        ) -> None: ...
        def HasField(self, field_name: Literal["contents"]) -> bool: ...

    @final
    class InferRequestedOutputTensor(Message):
        """One output that the caller wants."""
        name: str
        parameters: Final[MessageMap[str, InferParameter]]
        """classification (int64 k): the k best classes as BYTES "value:index[:label]" instead of the tensor. Shared memory parameters:
        where to put the output.
        """
        def __init__(self, *, name: str = ..., parameters: Mapping[str, InferParameter] | None = ...) -> None: ...

    model_name: str
    model_version: str
    """Empty: the newest that is ready."""
    id: str
    """Comes back in the response and in error messages."""
    parameters: Final[MessageMap[str, InferParameter]]
    """Reserved: sequence_id, sequence_start, sequence_end, priority (1 is the highest, 0 the model's default), timeout
    (microseconds in the queue), headers, and names that begin with "triton_".
    """
    inputs: Final[RepeatedCompositeFieldContainer[ModelInferRequest.InferInputTensor]]
    outputs: Final[RepeatedCompositeFieldContainer[ModelInferRequest.InferRequestedOutputTensor]]
    """Empty: all outputs."""
    raw_input_contents: Final[RepeatedScalarFieldContainer[bytes]]
    """The bytes of each input, in the order of `inputs` less those in shared memory. BYTES elements: a 4-byte little- endian
    length, then the data. BOOL: 1 byte each. All inputs travel raw or none does.
    """
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
        """One output."""
        name: str
        datatype: str
        shape: Final[RepeatedScalarFieldContainer[int]]
        parameters: Final[MessageMap[str, InferParameter]]
        contents: Final[InferTensorContents]
        """Not used by inferd, which responds raw."""
        def __init__(
            self, *, name: str = ..., datatype: str = ..., shape: Iterable[int] | None = ...,
            parameters: Mapping[str, InferParameter] | None = ..., contents: InferTensorContents | None = ...
        ) -> None: ...
        def HasField(self, field_name: Literal["contents"]) -> bool: ...

    model_name: str
    model_version: str
    """The version that ran."""
    id: str
    """The request's."""
    parameters: Final[MessageMap[str, InferParameter]]
    outputs: Final[RepeatedCompositeFieldContainer[ModelInferResponse.InferOutputTensor]]
    raw_output_contents: Final[RepeatedScalarFieldContainer[bytes]]
    """The bytes of each output, in the order of `outputs` less those in shared memory; same form as raw_input_contents."""
    def __init__(
        self, *, model_name: str = ..., model_version: str = ..., id: str = ...,
        parameters: Mapping[str, InferParameter] | None = ..., outputs: Iterable[ModelInferResponse.InferOutputTensor] | None = ...,
        raw_output_contents: Iterable[bytes] | None = ...
    ) -> None: ...

@final
class ModelStreamInferResponse(Message):
    error_message: str
    """Empty when the inference succeeded."""
    infer_response: Final[ModelInferResponse]
    """On an error only its id is set."""
    def __init__(self, *, error_message: str = ..., infer_response: ModelInferResponse | None = ...) -> None: ...
    def HasField(self, field_name: Literal["infer_response"]) -> bool: ...

@final
class ModelConfigRequest(Message):
    name: str
    version: str
    """Empty: the newest that is ready."""
    def __init__(self, *, name: str = ..., version: str = ...) -> None: ...

@final
class ModelConfigResponse(Message):
    config: Final[ModelConfig]
    def __init__(self, *, config: ModelConfig | None = ...) -> None: ...
    def HasField(self, field_name: Literal["config"]) -> bool: ...

@final
class ModelStatisticsRequest(Message):
    name: str
    """Empty: every model."""
    version: str
    """Empty: every version."""
    def __init__(self, *, name: str = ..., version: str = ...) -> None: ...

@final
class StatisticDuration(Message):
    """How often something happened and how long it took in all."""
    count: int
    ns: int
    """Sum over all of them, nanoseconds."""
    def __init__(self, *, count: int = ..., ns: int = ...) -> None: ...

@final
class InferStatistics(Message):
    """Counted once a request, whatever its rows."""
    success: Final[StatisticDuration]
    """From arrival to response."""
    fail: Final[StatisticDuration]
    """From arrival to error."""
    queue: Final[StatisticDuration]
    """Waiting for an instance."""
    compute_input: Final[StatisticDuration]
    """The preprocess stage: rows written into the batch."""
    compute_infer: Final[StatisticDuration]
    """The execute stage: the model's run."""
    compute_output: Final[StatisticDuration]
    """The encode stage: the response made from the outputs."""
    cache_hit: Final[StatisticDuration]
    """Served from the response cache: look-up and copy."""
    cache_miss: Final[StatisticDuration]
    """Not in the response cache: look-up and insertion."""
    def __init__(
        self, *, success: StatisticDuration | None = ..., fail: StatisticDuration | None = ..., queue: StatisticDuration | None = ...,
        compute_input: StatisticDuration | None = ..., compute_infer: StatisticDuration | None = ...,
        compute_output: StatisticDuration | None = ..., cache_hit: StatisticDuration | None = ...,
        cache_miss: StatisticDuration | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"]) -> bool: ...

@final
class InferResponseStatistics(Message):
    """For decoupled models, by position of the response within its request."""
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
    """Counted once a run, by number of rows."""
    batch_size: int
    """Rows in the run."""
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
    """CPU, CPU_PINNED or GPU."""
    id: int
    """Which device of that type."""
    byte_size: int
    def __init__(self, *, type: str = ..., id: int = ..., byte_size: int = ...) -> None: ...

@final
class ModelStatistics(Message):
    name: str
    version: str
    last_inference: int
    """When the last request arrived, milliseconds since 1970; 0: none yet."""
    inference_count: int
    """Rows inferred."""
    execution_count: int
    """Runs of the model: inference_count / execution_count is the mean batch size."""
    inference_stats: Final[InferStatistics]
    batch_stats: Final[RepeatedCompositeFieldContainer[InferBatchStatistics]]
    memory_usage: Final[RepeatedCompositeFieldContainer[MemoryUsage]]
    response_stats: Final[MessageMap[str, InferResponseStatistics]]
    """Key: the position of the response, from "0"."""
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
    """A value of a load or unload parameter."""
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
    """Empty: all repositories."""
    ready: bool
    """True: only versions that are ready."""
    def __init__(self, *, repository_name: str = ..., ready: bool = ...) -> None: ...

@final
class RepositoryIndexResponse(Message):
    @final
    class ModelIndex(Message):
        name: str
        version: str
        state: str
        """UNKNOWN, READY, UNAVAILABLE, LOADING or UNLOADING."""
        reason: str
        """Why it is in that state, where there is something to say."""
        def __init__(self, *, name: str = ..., version: str = ..., state: str = ..., reason: str = ...) -> None: ...

    models: Final[RepeatedCompositeFieldContainer[RepositoryIndexResponse.ModelIndex]]
    def __init__(self, *, models: Iterable[RepositoryIndexResponse.ModelIndex] | None = ...) -> None: ...

@final
class RepositoryModelLoadRequest(Message):
    repository_name: str
    model_name: str
    parameters: Final[MessageMap[str, ModelRepositoryParameter]]
    """config (a ModelConfig as JSON) and file:<version>/<name> (bytes) replace what the repository holds."""
    def __init__(self, *, repository_name: str = ..., model_name: str = ..., parameters: Mapping[str, ModelRepositoryParameter] | None = ...) -> None: ...

@final
class RepositoryModelLoadResponse(Message):
    def __init__(self) -> None: ...

@final
class RepositoryModelUnloadRequest(Message):
    repository_name: str
    model_name: str
    parameters: Final[MessageMap[str, ModelRepositoryParameter]]
    """unload_dependents (bool): also models that only this one's ensemble uses."""
    def __init__(self, *, repository_name: str = ..., model_name: str = ..., parameters: Mapping[str, ModelRepositoryParameter] | None = ...) -> None: ...

@final
class RepositoryModelUnloadResponse(Message):
    def __init__(self) -> None: ...

@final
class SystemSharedMemoryStatusRequest(Message):
    name: str
    """Empty: all regions."""
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
    """Name of the shared memory object, as given to shm_open."""
    offset: int
    """Where the region begins in the object, bytes."""
    byte_size: int
    def __init__(self, *, name: str = ..., key: str = ..., offset: int = ..., byte_size: int = ...) -> None: ...

@final
class SystemSharedMemoryRegisterResponse(Message):
    def __init__(self) -> None: ...

@final
class SystemSharedMemoryUnregisterRequest(Message):
    name: str
    """Empty: all regions."""
    def __init__(self, *, name: str = ...) -> None: ...

@final
class SystemSharedMemoryUnregisterResponse(Message):
    def __init__(self) -> None: ...

@final
class CudaSharedMemoryStatusRequest(Message):
    name: str
    """Empty: all regions."""
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
    """A cudaIpcMemHandle_t, as its owner got it."""
    device_id: int
    byte_size: int
    def __init__(self, *, name: str = ..., raw_handle: bytes = ..., device_id: int = ..., byte_size: int = ...) -> None: ...

@final
class CudaSharedMemoryRegisterResponse(Message):
    def __init__(self) -> None: ...

@final
class CudaSharedMemoryUnregisterRequest(Message):
    name: str
    """Empty: all regions."""
    def __init__(self, *, name: str = ...) -> None: ...

@final
class CudaSharedMemoryUnregisterResponse(Message):
    def __init__(self) -> None: ...

@final
class TraceSettingRequest(Message):
    @final
    class SettingValue(Message):
        value: Final[RepeatedScalarFieldContainer[str]]
        def __init__(self, *, value: Iterable[str] | None = ...) -> None: ...

    settings: Final[MessageMap[str, TraceSettingRequest.SettingValue]]
    """A setting without values goes back to the default."""
    model_name: str
    """Empty: the settings of all models."""
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
    """Only those named are changed."""
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
