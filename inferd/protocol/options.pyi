"""ModelOptions, inferd's own part of a ModelConfig, and the messages of ModelControl, Feedback, Monitor and Rollouts. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: E501, N802

from collections.abc import Iterable, Mapping
from typing import Final, Literal, final

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer, ScalarMap
from google.protobuf.message import Message

from inferd.protocol._enum import Enum

class Method(Enum): ...
BILINEAR: Method
NEAREST: Method
BICUBIC: Method
AREA: Method

@final
class Preprocess(Message):
    name: str
    input: str
    steps: Final[RepeatedCompositeFieldContainer[Step]]
    datatype: str
    def __init__(self, *, name: str = ..., input: str = ..., steps: Iterable[Step] | None = ..., datatype: str = ...) -> None: ...

@final
class Step(Message):
    decode_image: Final[DecodeImage]
    resize: Final[Resize]
    letterbox: Final[Letterbox]
    center_crop: Final[CenterCrop]
    pad: Final[Pad]
    reverse_channels: Final[ReverseChannels]
    scale: Final[Scale]
    normalize: Final[Normalize]
    cast: Final[Cast]
    transpose: Final[Transpose]
    decode_audio: Final[DecodeAudio]
    samples: Final[Samples]
    resample: Final[Resample]
    fit_length: Final[FitLength]
    log_mel: Final[LogMel]
    mfcc: Final[Mfcc]
    tokenize: Final[Tokenize]
    columns: Final[Columns]
    def __init__(
        self, *, decode_image: DecodeImage | None = ..., resize: Resize | None = ..., letterbox: Letterbox | None = ...,
        center_crop: CenterCrop | None = ..., pad: Pad | None = ..., reverse_channels: ReverseChannels | None = ...,
        scale: Scale | None = ..., normalize: Normalize | None = ..., cast: Cast | None = ..., transpose: Transpose | None = ...,
        decode_audio: DecodeAudio | None = ..., samples: Samples | None = ..., resample: Resample | None = ...,
        fit_length: FitLength | None = ..., log_mel: LogMel | None = ..., mfcc: Mfcc | None = ..., tokenize: Tokenize | None = ...,
        columns: Columns | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["step", "decode_image", "resize", "letterbox", "center_crop", "pad", "reverse_channels", "scale", "normalize", "cast", "transpose", "decode_audio", "samples", "resample", "fit_length", "log_mel", "mfcc", "tokenize", "columns"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["step"]) -> Literal["decode_image", "resize", "letterbox", "center_crop", "pad", "reverse_channels", "scale", "normalize", "cast", "transpose", "decode_audio", "samples", "resample", "fit_length", "log_mel", "mfcc", "tokenize", "columns"] | None: ...

@final
class DecodeImage(Message):
    class Color(Enum): ...
    RGB: DecodeImage.Color
    BGR: DecodeImage.Color
    GRAY: DecodeImage.Color

    color: DecodeImage.Color
    max_pixels: int
    scaled: bool
    ignore_orientation: bool
    background: Final[RepeatedScalarFieldContainer[int]]
    def __init__(
        self, *, color: DecodeImage.Color = ..., max_pixels: int = ..., scaled: bool = ..., ignore_orientation: bool = ...,
        background: Iterable[int] | None = ...
    ) -> None: ...

@final
class Resize(Message):
    height: int
    width: int
    shortest: int
    longest: int
    method: Method
    antialias: bool
    exact: bool
    def __init__(
        self, *, height: int = ..., width: int = ..., shortest: int = ..., longest: int = ..., method: Method = ...,
        antialias: bool = ..., exact: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["antialias"]) -> bool: ...

@final
class Letterbox(Message):
    height: int
    width: int
    fill: int
    method: Method
    antialias: bool
    exact: bool
    def __init__(self, *, height: int = ..., width: int = ..., fill: int = ..., method: Method = ..., antialias: bool = ..., exact: bool = ...) -> None: ...
    def HasField(self, field_name: Literal["fill", "antialias"]) -> bool: ...

@final
class CenterCrop(Message):
    class Rounding(Enum): ...
    HALF_TO_EVEN: CenterCrop.Rounding
    DOWN: CenterCrop.Rounding

    height: int
    width: int
    rounding: CenterCrop.Rounding
    def __init__(self, *, height: int = ..., width: int = ..., rounding: CenterCrop.Rounding = ...) -> None: ...

@final
class Pad(Message):
    height: int
    width: int
    fill: int
    def __init__(self, *, height: int = ..., width: int = ..., fill: int = ...) -> None: ...

@final
class ReverseChannels(Message): ...

@final
class Scale(Message):
    factor: float
    offset: float
    def __init__(self, *, factor: float = ..., offset: float = ...) -> None: ...
    def HasField(self, field_name: Literal["factor"]) -> bool: ...

@final
class Normalize(Message):
    mean: Final[RepeatedScalarFieldContainer[float]]
    std: Final[RepeatedScalarFieldContainer[float]]
    def __init__(self, *, mean: Iterable[float] | None = ..., std: Iterable[float] | None = ...) -> None: ...

@final
class Cast(Message):
    datatype: str
    def __init__(self, *, datatype: str = ...) -> None: ...

@final
class Transpose(Message): ...

@final
class DecodeAudio(Message):
    sample_rate: int
    max_seconds: float
    def __init__(self, *, sample_rate: int = ..., max_seconds: float = ...) -> None: ...

@final
class Samples(Message):
    datatype: str
    sample_rate: int
    def __init__(self, *, datatype: str = ..., sample_rate: int = ...) -> None: ...

@final
class Resample(Message):
    sample_rate: int
    def __init__(self, *, sample_rate: int = ...) -> None: ...

@final
class FitLength(Message):
    samples: int
    def __init__(self, *, samples: int = ...) -> None: ...

@final
class LogMel(Message):
    class Scaling(Enum): ...
    WHISPER: LogMel.Scaling
    LN: LogMel.Scaling
    DB: LogMel.Scaling

    fft: int
    hop: int
    mels: int
    low_hz: float
    high_hz: float
    scaling: LogMel.Scaling
    frames_first: bool
    centered: bool
    last_frame: bool
    def __init__(
        self, *, fft: int = ..., hop: int = ..., mels: int = ..., low_hz: float = ..., high_hz: float = ...,
        scaling: LogMel.Scaling = ..., frames_first: bool = ..., centered: bool = ..., last_frame: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["centered"]) -> bool: ...

@final
class Mfcc(Message):
    coefficients: int
    mel: Final[LogMel]
    def __init__(self, *, coefficients: int = ..., mel: LogMel | None = ...) -> None: ...
    def HasField(self, field_name: Literal["mel"]) -> bool: ...

@final
class Tokenize(Message):
    file: str
    max_tokens: int
    truncate: bool
    buckets: Final[RepeatedScalarFieldContainer[int]]
    input_ids: str
    attention_mask: str
    token_type_ids: str
    def __init__(
        self, *, file: str = ..., max_tokens: int = ..., truncate: bool = ..., buckets: Iterable[int] | None = ...,
        input_ids: str = ..., attention_mask: str = ..., token_type_ids: str = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["truncate"]) -> bool: ...

@final
class Columns(Message):
    class Format(Enum): ...
    JSON: Columns.Format
    CSV: Columns.Format
    ARROW: Columns.Format
    TENSORS: Columns.Format

    format: Columns.Format
    columns: Final[RepeatedCompositeFieldContainer[Column]]
    refuse_unknown: bool
    def __init__(self, *, format: Columns.Format = ..., columns: Iterable[Column] | None = ..., refuse_unknown: bool = ...) -> None: ...

@final
class Column(Message):
    name: str
    datatype: str
    missing: str
    vocabulary: Final[Vocabulary]
    date_time: Final[DateTime]
    hash: Final[Hash]
    allow_infinity: bool
    allowed: Final[RepeatedScalarFieldContainer[str]]
    allow_absent: bool
    def __init__(
        self, *, name: str = ..., datatype: str = ..., missing: str = ..., vocabulary: Vocabulary | None = ...,
        date_time: DateTime | None = ..., hash: Hash | None = ..., allow_infinity: bool = ..., allowed: Iterable[str] | None = ...,
        allow_absent: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["encoding", "missing", "vocabulary", "date_time", "hash"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["encoding"]) -> Literal["vocabulary", "date_time", "hash"] | None: ...

@final
class Vocabulary(Message):
    values: Final[RepeatedScalarFieldContainer[str]]
    unseen: int
    def __init__(self, *, values: Iterable[str] | None = ..., unseen: int = ...) -> None: ...
    def HasField(self, field_name: Literal["unseen"]) -> bool: ...

@final
class DateTime(Message):
    class Part(Enum): ...
    YEAR: DateTime.Part
    MONTH: DateTime.Part
    DAY: DateTime.Part
    HOUR: DateTime.Part
    MINUTE: DateTime.Part
    SECOND: DateTime.Part
    WEEKDAY: DateTime.Part
    DAY_OF_YEAR: DateTime.Part
    EPOCH_SECONDS: DateTime.Part

    parts: Final[RepeatedScalarFieldContainer[DateTime.Part]]
    def __init__(self, *, parts: Iterable[DateTime.Part] | None = ...) -> None: ...

@final
class Hash(Message):
    buckets: int
    def __init__(self, *, buckets: int = ...) -> None: ...

@final
class Postprocess(Message):
    output: str
    name: str
    steps: Final[RepeatedCompositeFieldContainer[OutputStep]]
    classes: Final[RepeatedScalarFieldContainer[str]]
    def __init__(self, *, output: str = ..., name: str = ..., steps: Iterable[OutputStep] | None = ..., classes: Iterable[str] | None = ...) -> None: ...

@final
class OutputStep(Message):
    softmax: Final[Softmax]
    sigmoid: Final[Sigmoid]
    top_k: Final[TopK]
    argmax: Final[Argmax]
    mean_pool: Final[MeanPool]
    l2_normalize: Final[L2Normalize]
    detect_boxes: Final[DetectBoxes]
    cast: Final[Cast]
    drop: Final[Drop]
    def __init__(
        self, *, softmax: Softmax | None = ..., sigmoid: Sigmoid | None = ..., top_k: TopK | None = ..., argmax: Argmax | None = ...,
        mean_pool: MeanPool | None = ..., l2_normalize: L2Normalize | None = ..., detect_boxes: DetectBoxes | None = ...,
        cast: Cast | None = ..., drop: Drop | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["step", "softmax", "sigmoid", "top_k", "argmax", "mean_pool", "l2_normalize", "detect_boxes", "cast", "drop"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["step"]) -> Literal["softmax", "sigmoid", "top_k", "argmax", "mean_pool", "l2_normalize", "detect_boxes", "cast", "drop"] | None: ...

@final
class Softmax(Message):
    axis: int
    def __init__(self, *, axis: int = ...) -> None: ...
    def HasField(self, field_name: Literal["axis"]) -> bool: ...

@final
class Sigmoid(Message): ...

@final
class TopK(Message):
    k: int
    labels: str
    axis: int
    def __init__(self, *, k: int = ..., labels: str = ..., axis: int = ...) -> None: ...
    def HasField(self, field_name: Literal["axis"]) -> bool: ...

@final
class Argmax(Message):
    labels: str
    axis: int
    def __init__(self, *, labels: str = ..., axis: int = ...) -> None: ...
    def HasField(self, field_name: Literal["axis"]) -> bool: ...

@final
class MeanPool(Message):
    mask: str
    def __init__(self, *, mask: str = ...) -> None: ...

@final
class L2Normalize(Message):
    axis: int
    def __init__(self, *, axis: int = ...) -> None: ...
    def HasField(self, field_name: Literal["axis"]) -> bool: ...

@final
class Drop(Message): ...

@final
class DetectBoxes(Message):
    class Layout(Enum): ...
    CENTER_CLASSES: DetectBoxes.Layout
    CENTER_OBJECTNESS_CLASSES: DetectBoxes.Layout
    CORNERS_SCORE_CLASS: DetectBoxes.Layout

    layout: DetectBoxes.Layout
    score_threshold: float
    overlap_threshold: float
    max_boxes: int
    labels: str
    def __init__(
        self, *, layout: DetectBoxes.Layout = ..., score_threshold: float = ..., overlap_threshold: float = ..., max_boxes: int = ...,
        labels: str = ...
    ) -> None: ...

@final
class Padding(Message):
    input: str
    axis: int
    value: float
    buckets: Final[RepeatedScalarFieldContainer[int]]
    mask: str
    cut: Final[RepeatedCompositeFieldContainer[CutOutput]]
    tolerance: float
    left: bool
    largest: float
    def __init__(
        self, *, input: str = ..., axis: int = ..., value: float = ..., buckets: Iterable[int] | None = ..., mask: str = ...,
        cut: Iterable[CutOutput] | None = ..., tolerance: float = ..., left: bool = ..., largest: float = ...
    ) -> None: ...

@final
class CutOutput(Message):
    output: str
    axis: int
    def __init__(self, *, output: str = ..., axis: int = ...) -> None: ...

@final
class ModelOptions(Message):
    class Choice(Enum): ...
    AUTO: ModelOptions.Choice
    ON: ModelOptions.Choice
    OFF: ModelOptions.Choice

    inline: ModelOptions.Choice
    inline_limit_us: int
    inline_busy_percent: int
    intra_op_threads: int
    inter_op_threads: int
    spinning: bool
    max_queue_requests: int
    max_queue_bytes: int
    max_queue_wait_us: int
    max_run_s: int
    preprocess: Final[RepeatedCompositeFieldContainer[Preprocess]]
    postprocess: Final[RepeatedCompositeFieldContainer[Postprocess]]
    preprocess_threads: int
    padding: Final[RepeatedCompositeFieldContainer[Padding]]
    batching: ModelOptions.Choice
    batching_reason: str
    unsafe_operators: bool
    max_run_bytes: int
    max_axis: Final[ScalarMap[str, int]]
    def __init__(
        self, *, inline: ModelOptions.Choice = ..., inline_limit_us: int = ..., inline_busy_percent: int = ...,
        intra_op_threads: int = ..., inter_op_threads: int = ..., spinning: bool = ..., max_queue_requests: int = ...,
        max_queue_bytes: int = ..., max_queue_wait_us: int = ..., max_run_s: int = ..., preprocess: Iterable[Preprocess] | None = ...,
        postprocess: Iterable[Postprocess] | None = ..., preprocess_threads: int = ..., padding: Iterable[Padding] | None = ...,
        batching: ModelOptions.Choice = ..., batching_reason: str = ..., unsafe_operators: bool = ..., max_run_bytes: int = ...,
        max_axis: Mapping[str, int] | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["spinning", "max_run_s"]) -> bool: ...

@final
class SetLabelRequest(Message):
    model_name: str
    label: str
    version: int
    def __init__(self, *, model_name: str = ..., label: str = ..., version: int = ...) -> None: ...

@final
class SetLabelResponse(Message): ...

@final
class RemoveLabelRequest(Message):
    model_name: str
    label: str
    def __init__(self, *, model_name: str = ..., label: str = ...) -> None: ...

@final
class RemoveLabelResponse(Message): ...

@final
class RollbackRequest(Message):
    model_name: str
    label: str
    def __init__(self, *, model_name: str = ..., label: str = ...) -> None: ...

@final
class RollbackResponse(Message):
    version: int
    def __init__(self, *, version: int = ...) -> None: ...

@final
class ReportLabelsRequest(Message):
    model_name: str
    labels: Final[RepeatedCompositeFieldContainer[RequestLabel]]
    def __init__(self, *, model_name: str = ..., labels: Iterable[RequestLabel] | None = ...) -> None: ...

@final
class RequestLabel(Message):
    request_id: str
    row: int
    text: str
    number: float
    def __init__(self, *, request_id: str = ..., row: int = ..., text: str = ..., number: float = ...) -> None: ...
    def HasField(self, field_name: Literal["label", "text", "number"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["label"]) -> Literal["text", "number"] | None: ...

@final
class ReportLabelsResponse(Message):
    joined: int
    repeated: int
    contradictory: int
    misfit: int
    late: int
    waiting: int
    unknown: int
    def __init__(
        self, *, joined: int = ..., repeated: int = ..., contradictory: int = ..., misfit: int = ..., late: int = ...,
        waiting: int = ..., unknown: int = ...
    ) -> None: ...

@final
class PerformanceRequest(Message):
    model_name: str
    model_version: int
    since_unix_ns: int
    until_unix_ns: int
    slice: str
    buckets: int
    def __init__(
        self, *, model_name: str = ..., model_version: int = ..., since_unix_ns: int = ..., until_unix_ns: int = ...,
        slice: str = ..., buckets: int = ...
    ) -> None: ...

@final
class PerformanceResponse(Message):
    groups: Final[RepeatedCompositeFieldContainer[PerformanceGroup]]
    labels: Final[ScalarMap[str, int]]
    rows_left_out: int
    groups_left_out: int
    def __init__(
        self, *, groups: Iterable[PerformanceGroup] | None = ..., labels: Mapping[str, int] | None = ..., rows_left_out: int = ...,
        groups_left_out: int = ...
    ) -> None: ...

@final
class PerformanceGroup(Message):
    model_version: int
    slice_value: str
    from_unix_ns: int
    until_unix_ns: int
    predicted_rows: int
    labelled_rows: int
    figures: Final[RepeatedCompositeFieldContainer[PerformanceFigure]]
    figures_left_out: int
    def __init__(
        self, *, model_version: int = ..., slice_value: str = ..., from_unix_ns: int = ..., until_unix_ns: int = ...,
        predicted_rows: int = ..., labelled_rows: int = ..., figures: Iterable[PerformanceFigure] | None = ...,
        figures_left_out: int = ...
    ) -> None: ...

@final
class PerformanceFigure(Message):
    name: str
    of: str
    value: float
    low: float
    high: float
    rows: int
    def __init__(self, *, name: str = ..., of: str = ..., value: float = ..., low: float = ..., high: float = ..., rows: int = ...) -> None: ...

@final
class DriftRequest(Message):
    model_name: str
    model_version: int
    def __init__(self, *, model_name: str = ..., model_version: int = ...) -> None: ...

@final
class DriftResponse(Message):
    reports: Final[RepeatedCompositeFieldContainer[DriftReport]]
    def __init__(self, *, reports: Iterable[DriftReport] | None = ...) -> None: ...

@final
class DriftReport(Message):
    class State(Enum): ...
    COUNTING: DriftReport.State
    QUIET: DriftReport.State
    FOUND: DriftReport.State

    model_version: int
    state: DriftReport.State
    verdict: str
    reference_rows: int
    reference_unix_ns: int
    rows: int
    window_rows: int
    windows: Final[RepeatedCompositeFieldContainer[DriftWindow]]
    features: Final[RepeatedCompositeFieldContainer[DriftFeature]]
    def __init__(
        self, *, model_version: int = ..., state: DriftReport.State = ..., verdict: str = ..., reference_rows: int = ...,
        reference_unix_ns: int = ..., rows: int = ..., window_rows: int = ..., windows: Iterable[DriftWindow] | None = ...,
        features: Iterable[DriftFeature] | None = ...
    ) -> None: ...

@final
class DriftWindow(Message):
    from_unix_ns: int
    until_unix_ns: int
    rows: int
    def __init__(self, *, from_unix_ns: int = ..., until_unix_ns: int = ..., rows: int = ...) -> None: ...

@final
class DriftFeature(Message):
    name: str
    is_output: bool
    effects: Final[RepeatedScalarFieldContainer[float]]
    findings: Final[RepeatedCompositeFieldContainer[DriftFinding]]
    bins: Final[RepeatedScalarFieldContainer[str]]
    reference_shares: Final[RepeatedScalarFieldContainer[float]]
    shares: Final[RepeatedScalarFieldContainer[float]]
    def __init__(
        self, *, name: str = ..., is_output: bool = ..., effects: Iterable[float] | None = ...,
        findings: Iterable[DriftFinding] | None = ..., bins: Iterable[str] | None = ...,
        reference_shares: Iterable[float] | None = ..., shares: Iterable[float] | None = ...
    ) -> None: ...

@final
class DriftFinding(Message):
    kind: str
    share: float
    since_unix_ns: int
    explanation: str
    request_id: str
    def __init__(self, *, kind: str = ..., share: float = ..., since_unix_ns: int = ..., explanation: str = ..., request_id: str = ...) -> None: ...

class RolloutKind(Enum): ...
ROLLOUT_KIND_UNSPECIFIED: RolloutKind
SHADOW: RolloutKind
CANARY: RolloutKind

class RolloutState(Enum): ...
ROLLOUT_STATE_UNSPECIFIED: RolloutState
RUNNING: RolloutState
HOLD: RolloutState
PROMOTED: RolloutState
ROLLED_BACK: RolloutState
STOPPED: RolloutState

@final
class StartRolloutRequest(Message):
    model_name: str
    kind: RolloutKind
    candidate_version: int
    sample: float
    steps: Final[RepeatedScalarFieldContainer[float]]
    guards: Final[ScalarMap[str, float]]
    dwell_s: float
    patience_s: float
    promote_unjudged: bool
    def __init__(
        self, *, model_name: str = ..., kind: RolloutKind = ..., candidate_version: int = ..., sample: float = ...,
        steps: Iterable[float] | None = ..., guards: Mapping[str, float] | None = ..., dwell_s: float = ..., patience_s: float = ...,
        promote_unjudged: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["dwell_s", "patience_s"]) -> bool: ...

@final
class RolloutRequest(Message):
    model_name: str
    reason: str
    def __init__(self, *, model_name: str = ..., reason: str = ...) -> None: ...

@final
class RolloutStatusRequest(Message):
    model_name: str
    def __init__(self, *, model_name: str = ...) -> None: ...

@final
class RolloutStatusResponse(Message):
    rollouts: Final[RepeatedCompositeFieldContainer[RolloutStatus]]
    def __init__(self, *, rollouts: Iterable[RolloutStatus] | None = ...) -> None: ...

@final
class RolloutStatus(Message):
    id: str
    model_name: str
    kind: RolloutKind
    state: RolloutState
    stable_version: int
    candidate_version: int
    sample: float
    steps: Final[RepeatedScalarFieldContainer[float]]
    step: int
    share: float
    guards: Final[ScalarMap[str, float]]
    counts: Final[ScalarMap[str, int]]
    evidence: Final[RepeatedCompositeFieldContainer[RolloutEvidence]]
    reason: str
    started_unix_ns: int
    changed_unix_ns: int
    promote_unjudged: bool
    def __init__(
        self, *, id: str = ..., model_name: str = ..., kind: RolloutKind = ..., state: RolloutState = ..., stable_version: int = ...,
        candidate_version: int = ..., sample: float = ..., steps: Iterable[float] | None = ..., step: int = ..., share: float = ...,
        guards: Mapping[str, float] | None = ..., counts: Mapping[str, int] | None = ...,
        evidence: Iterable[RolloutEvidence] | None = ..., reason: str = ..., started_unix_ns: int = ..., changed_unix_ns: int = ...,
        promote_unjudged: bool = ...
    ) -> None: ...

@final
class RolloutEvidence(Message):
    guard: str
    count: int
    estimate: float
    lower: float
    upper: float
    limit: float
    verdict: str
    explanation: str
    def __init__(
        self, *, guard: str = ..., count: int = ..., estimate: float = ..., lower: float = ..., upper: float = ...,
        limit: float = ..., verdict: str = ..., explanation: str = ...
    ) -> None: ...

@final
class ReportOutcomesRequest(Message):
    model_name: str
    outcomes: Final[RepeatedCompositeFieldContainer[Outcome]]
    def __init__(self, *, model_name: str = ..., outcomes: Iterable[Outcome] | None = ...) -> None: ...

@final
class Outcome(Message):
    request_id: str
    good: bool
    def __init__(self, *, request_id: str = ..., good: bool = ...) -> None: ...

@final
class ReportOutcomesResponse(Message):
    joined: int
    unknown: int
    def __init__(self, *, joined: int = ..., unknown: int = ...) -> None: ...
