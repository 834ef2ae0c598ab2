"""The messages that the client speaks: inference, health, feedback, drift, rollouts and error details. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: E501, N802

from collections.abc import Iterable, Mapping
from typing import Final, Literal, final

from google.protobuf.internal.containers import MessageMap, RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer, ScalarMap
from google.protobuf.message import Message

from inferd_client._enum import Enum

class Method(Enum):
    """How pixels between pixels are found."""
BILINEAR: Method
NEAREST: Method
BICUBIC: Method
AREA: Method

@final
class Preprocess(Message):
    """One input that clients send, and what is made of it. Its datatype and shape are what the first step takes."""
    name: str
    """The name that clients send it under. Default: that of the graph's input; of tokenize "text", of columns "record"."""
    input: str
    """The graph's input that the result goes into. Default: the only one of the graph's that no other entry feeds. Steps that feed
    several (tokenize, columns) name them themselves.
    """
    steps: Final[RepeatedCompositeFieldContainer[Step]]
    """In this order; at least one."""
    datatype: str
    """Of a list of scale, normalize and cast alone: it takes numbers of this datatype and of the shape of the graph's input,
    whatever that is. Left out: pixels where the graph takes two or three axes beside the batch axis, else FP32.
    """
    def __init__(self, *, name: str = ..., input: str = ..., steps: Iterable[Step] | None = ..., datatype: str = ...) -> None: ...

@final
class Step(Message):
    decode_image: Final[DecodeImage]
    """Images: one a row. decode_image takes BYTES; any other as the first step takes UINT8 pixels [height, width, 3]."""
    resize: Final[Resize]
    letterbox: Final[Letterbox]
    center_crop: Final[CenterCrop]
    pad: Final[Pad]
    reverse_channels: Final[ReverseChannels]
    scale: Final[Scale]
    """Numbers, of images, of samples and spectra, and of anything else where they are alone: see Preprocess.datatype."""
    normalize: Final[Normalize]
    cast: Final[Cast]
    transpose: Final[Transpose]
    """HWC to CHW, last of an image's."""
    decode_audio: Final[DecodeAudio]
    """Audio: one clip a row. decode_audio takes BYTES; samples takes numbers."""
    samples: Final[Samples]
    resample: Final[Resample]
    fit_length: Final[FitLength]
    log_mel: Final[LogMel]
    mfcc: Final[Mfcc]
    tokenize: Final[Tokenize]
    """Text: one BYTES element a row; the only step of its list."""
    columns: Final[Columns]
    """Tables: one record a row; the only step of its list."""
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
    """BYTES (a JPEG, PNG, WebP or BMP file) -> UINT8 [height, width, channels]. Of 16 bits a channel the upper 8 are taken.
    Animated files, BMP files of run lengths, files of other formats, and files that are damaged or cut short, as far as their
    format tells, are refused.
    """

    class Color(Enum): ...
    RGB: DecodeImage.Color
    BGR: DecodeImage.Color
    GRAY: DecodeImage.Color

    color: DecodeImage.Color
    max_pixels: int
    """The most pixels that a file may announce; larger ones are refused before they are decoded. And the most that all rows of a
    request may become together where the steps fix no height and width. Default: 50,000,000; and, of the pixels that are decoded
    (few of a JPEG that is decoded scaled), 256 for each that the first resize makes, or 25,000,000 where that is more.
    """
    scaled: bool
    """A JPEG much larger than what the next step makes of it is decoded at 1/2, 1/4 or 1/8 of its size, and left at least 1.75
    times (at 1/8: 3 times) as large as needed: faster, and not quite the same pixels. The next step is a resize or a letterbox,
    BILINEAR or BICUBIC, with antialias.
    """
    ignore_orientation: bool
    """Leaves the picture as it lies in the file, whatever its orientation in EXIF (of a PNG, also in a raw profile) or XMP says."""
    background: Final[RepeatedScalarFieldContainer[int]]
    """The color that transparent pixels are blended with: red, green, blue. Default: transparency is dropped."""
    def __init__(
        self, *, color: DecodeImage.Color = ..., max_pixels: int = ..., scaled: bool = ..., ignore_orientation: bool = ...,
        background: Iterable[int] | None = ...
    ) -> None: ...

@final
class Resize(Message):
    """To height and width, or so that the shortest (or longest) side has a length, aspect kept: give one of the three. The other
    side is cut off to whole pixels, as torchvision does (that of `longest` is rounded).
    """
    height: int
    width: int
    shortest: int
    longest: int
    method: Method
    antialias: bool
    """When it shrinks, each pixel looks at all that it covers, as Pillow and torchvision do (default), or only at its neighbours,
    as OpenCV does.
    """
    exact: bool
    """Rounds exactly as Pillow (13) does: slower, and the same to the bit. AREA is Pillow's BOX then."""
    def __init__(
        self, *, height: int = ..., width: int = ..., shortest: int = ..., longest: int = ..., method: Method = ...,
        antialias: bool = ..., exact: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["antialias"]) -> bool: ...

@final
class Letterbox(Message):
    """Resizes to fit into height and width, aspect kept, and fills the rest, in equal parts on both sides."""
    height: int
    width: int
    fill: int
    """The value of every channel of the filling. Default 114."""
    method: Method
    antialias: bool
    exact: bool
    def __init__(self, *, height: int = ..., width: int = ..., fill: int = ..., method: Method = ..., antialias: bool = ..., exact: bool = ...) -> None: ...
    def HasField(self, field_name: Literal["fill", "antialias"]) -> bool: ...

@final
class CenterCrop(Message):
    """The middle height x width. A smaller image is rejected: resize it first."""

    class Rounding(Enum): ...
    HALF_TO_EVEN: CenterCrop.Rounding
    DOWN: CenterCrop.Rounding

    height: int
    width: int
    rounding: CenterCrop.Rounding
    """Where the picture is an odd number of pixels larger: how half of that is rounded, which is what is cut off above and on the
    left.
    """
    def __init__(self, *, height: int = ..., width: int = ..., rounding: CenterCrop.Rounding = ...) -> None: ...

@final
class Pad(Message):
    """Filled on the right and below up to height and width. A larger image is refused."""
    height: int
    width: int
    fill: int
    """The value of every channel of the filling. Default 0."""
    def __init__(self, *, height: int = ..., width: int = ..., fill: int = ...) -> None: ...

@final
class ReverseChannels(Message):
    """RGB <-> BGR."""

@final
class Scale(Message):
    """x * factor + offset, as FP32, or as FP64 of FP64 and of integers of 32 and 64 bits where the graph takes that. Default factor
    1/255: 0 to 255 becomes 0 to 1.
    """
    factor: float
    offset: float
    def __init__(self, *, factor: float = ..., offset: float = ...) -> None: ...
    def HasField(self, field_name: Literal["factor"]) -> bool: ...

@final
class Normalize(Message):
    """(x - mean) / std, as scale computes; one number for all channels, or one each. Of numbers that are no image or sound,
    channels are the last axis.
    """
    mean: Final[RepeatedScalarFieldContainer[float]]
    std: Final[RepeatedScalarFieldContainer[float]]
    def __init__(self, *, mean: Iterable[float] | None = ..., std: Iterable[float] | None = ...) -> None: ...

@final
class Cast(Message):
    """To another datatype; numbers that do not fit are limited to its range (an infinity stays one where there are any), fractions
    are cut off. To BOOL: true of all but 0.
    """
    datatype: str
    """The protocol's word: FP16, FP32, FP64, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, BOOL."""
    def __init__(self, *, datatype: str = ...) -> None: ...

@final
class Transpose(Message):
    """[height, width, channels] -> [channels, height, width]."""

@final
class DecodeAudio(Message):
    """BYTES (a WAV, FLAC, OGG or MP3 file) -> FP32 [samples], one channel, from -1 to 1; floats are taken as they are."""
    sample_rate: int
    """Samples a second of the result; other files are resampled. Required."""
    max_seconds: float
    """Longer clips are refused before they are decoded. Default 300."""
    def __init__(self, *, sample_rate: int = ..., max_seconds: float = ...) -> None: ...

@final
class Samples(Message):
    """FP32 or INT16 samples [any number] -> FP32 [samples], one channel, from -1 to 1; FP32 is taken as it is."""
    datatype: str
    """FP32 (default) or INT16, which is divided by 32768."""
    sample_rate: int
    """Samples a second of what clients send. Required."""
    def __init__(self, *, datatype: str = ..., sample_rate: int = ...) -> None: ...

@final
class Resample(Message):
    sample_rate: int
    def __init__(self, *, sample_rate: int = ...) -> None: ...

@final
class FitLength(Message):
    """Cut, or filled with zeros, to so many samples."""
    samples: int
    def __init__(self, *, samples: int = ...) -> None: ...

@final
class LogMel(Message):
    """FP32 [samples] -> FP32 [mels, frames]. Defaults are Whisper's at 16 kHz."""

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
    """Frames first: [frames, mels]."""
    centered: bool
    """Reflected at both ends so that frame t is centred on sample t * hop (default): samples / hop frames, as Whisper has them; or
    only whole windows.
    """
    last_frame: bool
    """Of centered frames one more, 1 + samples / hop, as librosa and torchaudio have them."""
    def __init__(
        self, *, fft: int = ..., hop: int = ..., mels: int = ..., low_hz: float = ..., high_hz: float = ...,
        scaling: LogMel.Scaling = ..., frames_first: bool = ..., centered: bool = ..., last_frame: bool = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["centered"]) -> bool: ...

@final
class Mfcc(Message):
    """FP32 [samples] -> FP32 [coefficients, frames]: the DCT-II (orthonormal) of the log-mel in decibels."""
    coefficients: int
    mel: Final[LogMel]
    def __init__(self, *, coefficients: int = ..., mel: LogMel | None = ...) -> None: ...
    def HasField(self, field_name: Literal["mel"]) -> bool: ...

@final
class Tokenize(Message):
    """BYTES (UTF-8) -> INT64 [tokens], and whatever else the graph takes: attention mask, token types. Requests of different
    lengths share a batch: shorter ones are padded, on the side that the file says. A text without a token of its own, such as an
    empty one, is refused.
    """
    file: str
    """Hugging Face's tokenizer.json, in the model's or the version's folder. Default "tokenizer.json"."""
    max_tokens: int
    """Default: what the file says, else 512."""
    truncate: bool
    """Texts that have more tokens are cut (default), or refused."""
    buckets: Final[RepeatedScalarFieldContainer[int]]
    """Texts are padded to the least of these that is long enough, and only those of one bucket share a batch. Default: see Padding."""
    input_ids: str
    """The graph's inputs. Default: input_ids, attention_mask and token_type_ids, as far as the graph has them."""
    attention_mask: str
    token_type_ids: str
    def __init__(
        self, *, file: str = ..., max_tokens: int = ..., truncate: bool = ..., buckets: Iterable[int] | None = ...,
        input_ids: str = ..., attention_mask: str = ..., token_type_ids: str = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["truncate"]) -> bool: ...

@final
class Columns(Message):
    """Records -> the graph's inputs: each column into the input of its name, or all, in this order, into `input` as one FP32
    matrix.
    """

    class Format(Enum): ...
    JSON: Columns.Format
    CSV: Columns.Format
    ARROW: Columns.Format
    TENSORS: Columns.Format

    format: Columns.Format
    columns: Final[RepeatedCompositeFieldContainer[Column]]
    refuse_unknown: bool
    """A JSON field, or an Arrow column, that is no column here is ignored (default) or refused."""
    def __init__(self, *, format: Columns.Format = ..., columns: Iterable[Column] | None = ..., refuse_unknown: bool = ...) -> None: ...

@final
class Column(Message):
    name: str
    datatype: str
    """FP32 (default), FP64, INT64, BOOL or BYTES (text): what clients send."""
    missing: str
    """What stands in for a value that is null or NaN, written as text. Default: such a record is refused."""
    vocabulary: Final[Vocabulary]
    """Text -> its place in this list."""
    date_time: Final[DateTime]
    """A date and time (ISO 8601, or seconds since the epoch) -> one number for each part, in UTC. They go where the column goes, or
    each into an input of its own, such as `ordered.hour`.
    """
    hash: Final[Hash]
    """Text -> a bucket from 0 to buckets - 1, by 32-bit MurmurHash3 as scikit-learn's FeatureHasher has it."""
    allow_infinity: bool
    """Whether infinities are let through; default: refused. A finite number that FP64 cannot hold is none, and always refused."""
    allowed: Final[RepeatedScalarFieldContainer[str]]
    """The only values that are let through, written as text, for a graph that fails at any other. Default: all."""
    allow_absent: bool
    """Whether JSON and Arrow records may leave the column out, for which `missing` stands in, too; default: such a record is
    refused.
    """
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
    """The number for a value that is not in the list. Default: such a record is refused."""
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
    """One output of the graph, and what is made of it for clients. Outputs that no entry names are given as they are."""
    output: str
    """The graph's output."""
    name: str
    """The name that clients see. Default: `output`."""
    steps: Final[RepeatedCompositeFieldContainer[OutputStep]]
    classes: Final[RepeatedScalarFieldContainer[str]]
    """The names of the graph's classes, in the order of its output's last axis. Clients read them in the configuration; no value
    changes.
    """
    def __init__(self, *, output: str = ..., name: str = ..., steps: Iterable[OutputStep] | None = ..., classes: Iterable[str] | None = ...) -> None: ...

@final
class OutputStep(Message):
    softmax: Final[Softmax]
    """Softmax, TopK, Argmax and L2Normalize work along one axis of a row, see `axis`."""
    sigmoid: Final[Sigmoid]
    top_k: Final[TopK]
    """`name` FP32 [k], `name`_index INT64 [k] and, with labels, `name`_label BYTES [k]. Last of its list."""
    argmax: Final[Argmax]
    """INT64 [1], or with labels BYTES [1]."""
    mean_pool: Final[MeanPool]
    """[tokens, size] -> [size], over the tokens that the mask says are there."""
    l2_normalize: Final[L2Normalize]
    detect_boxes: Final[DetectBoxes]
    cast: Final[Cast]
    drop: Final[Drop]
    """Not given to clients at all. The only step of its list."""
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
    """Which axis of a row's shape (without the rows) holds the classes: of [classes, height, width] 0, or -3. It must be there
    where several axes have other sizes than 1. TopK, Argmax and L2Normalize have the same.
    """
    def __init__(self, *, axis: int = ...) -> None: ...
    def HasField(self, field_name: Literal["axis"]) -> bool: ...

@final
class Sigmoid(Message): ...

@final
class TopK(Message):
    k: int
    labels: str
    """A text file in the model's folder, a label a line."""
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
    """The graph's input that is the mask. Default "attention_mask"."""
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
    """Boxes, scores and classes -> the best of each object (non-maximum suppression within each class): `name` FP32 [max_boxes, 4]
    as x1, y1, x2, y2; `name`_score FP32 [max_boxes]; `name`_class INT64 [max_boxes]; `name`_count INT32 [1], how many of them
    are filled, and with labels `name`_label BYTES [max_boxes]. The rest is 0. Last of its list.
    """

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
    """Requests whose inputs differ in one axis share a batch: the shorter ones are filled up. The responses are checked to be those
    of single requests when the model is loaded. A batch is as dear as if all its rows were as long as the longest, so only like
    lengths share one: see buckets. Rows of which max_batch_size have more than 256 MiB share a batch only with rows of their
    very length.
    """
    input: str
    """The graph's input, and its axis, the batch axis not counted. One that has a size in the graph, or in dims, is filled up to
    that.
    """
    axis: int
    value: float
    buckets: Final[RepeatedScalarFieldContainer[int]]
    """The axis is padded to the least of these that is long enough, and only requests of one bucket share a batch. Rising, at most
    32. Without buckets, and above the last, requests share a batch none of which is half as long again as another (8 to 11, 12
    to 15, 16 to 23 and so on), padded to the longest of them; where six or more rows of one priority wait that are closer (16 to
    19, 20 to 23), those alone.
    """
    mask: str
    """The graph's input that says what is real: 1 there, 0 where it was filled up. Made by the server; clients do not send it."""
    cut: Final[RepeatedCompositeFieldContainer[CutOutput]]
    """Outputs that have the same axis, and are cut to the request's own length, to their last part with `left`: name and axis, the
    batch axis not counted.
    """
    tolerance: float
    """The most that a padded response may differ from a single one, absolutely or relative to the value. Default 1e-3."""
    left: bool
    """Fills up in front of what is real, and not behind it, as models want that look at the last token."""
    largest: float
    """The largest fraction, whatever its sign, that requests hold: the check at load tries none that is larger. 0: any."""
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
    """Where a batch runs. AUTO (default): decided at warm-up from the measured run, checked at every run; a model that grows slower
    leaves the event loop. ON: always on the event loop: no thread hop, half the cost of a tiny model; a slow model holds up
    every other request. OFF: always on executor threads.
    """
    inline_limit_us: int
    """AUTO: the longest run of one batch, in microseconds, that may stay on the event loop. Default 100."""
    inline_busy_percent: int
    """AUTO: the largest share of the event loop's time, in percent (1 to 100), that this model's runs may take before it leaves the
    loop. Default 50.
    """
    intra_op_threads: int
    """Threads inside one operator of one run. Default: the planner's choice from cores, affinity and cgroup quota."""
    inter_op_threads: int
    """Threads across operators of one run; more than 1 also turns on ONNX Runtime's parallel execution. Default 1."""
    spinning: bool
    """Whether ONNX Runtime's threads spin while they wait for work: shorter runs, but an idle server burns cores. Default: the
    server's setting, which is off.
    """
    max_queue_requests: int
    """The most requests that wait for this model; one more is refused with RESOURCE_EXHAUSTED. Default: the server's setting."""
    max_queue_bytes: int
    """The most input bytes that wait for this model; a request beyond it is refused with RESOURCE_EXHAUSTED. Default: the server's
    setting.
    """
    max_queue_wait_us: int
    """The longest that a request is likely to wait, in microseconds, by the runs so far and what waits already; one that would wait
    longer is refused with RESOURCE_EXHAUSTED. Default: the server's setting.
    """
    max_run_s: int
    """The longest that a run of one batch may take, in seconds, on an executor thread. The server ends a longer run, and its
    requests get ABORTED. 0: no limit. Default: the server's setting.
    """
    preprocess: Final[RepeatedCompositeFieldContainer[Preprocess]]
    """What clients send and the graph does not take as it is. Default: clients send the graph's inputs."""
    postprocess: Final[RepeatedCompositeFieldContainer[Postprocess]]
    """What becomes of the graph's outputs. Default: clients get them as they are."""
    preprocess_threads: int
    """Threads that prepare inputs, at most: there is one at first, and another whenever all are at work. Default: one a usable
    core.
    """
    padding: Final[RepeatedCompositeFieldContainer[Padding]]
    """Axes in which the requests of a batch may differ. tokenize pads its own inputs without an entry here."""
    batching: ModelOptions.Choice
    """Whether requests share a run; the rows of one request always do. AUTO (default): yes where dynamic_batching asks for it; no
    where the file lists inputs and outputs without dynamic_batching; else where trial runs at load show that rows do not
    influence each other. ON: wherever the model has a batch axis, whatever the trial runs show. OFF: never. Default: the
    server's setting.
    """
    batching_reason: str
    """Why requests share a run, or do not. The server writes it into what the ModelConfig RPC gives; it replaces what a file says."""
    unsafe_operators: bool
    """Serves a graph with operators of onnxruntime-extensions, of which some end the whole process, or hold a thread for ever, on
    what a client may send. For models that only trusted clients ask. Default: such a graph is refused.
    """
    max_run_bytes: int
    """Memory that all runs of this model take at once, in bytes, beside its weights; a run that needs more is rejected with
    RESOURCE_EXHAUSTED. Default: the server's setting.
    """
    max_axis: Final[ScalarMap[str, int]]
    """The largest size of axes whose size the graph leaves free; a larger one is rejected with INVALID_ARGUMENT. Keys: the axis'
    name in the graph, an input's name for all its free axes, or * for all. The least of those that apply counts. The batch axis
    is max_batch_size's. Default: what the memory allows, by an estimate of the run's bytes that is learned at load
    (max_run_bytes).
    """
    def __init__(
        self, *, inline: ModelOptions.Choice = ..., inline_limit_us: int = ..., inline_busy_percent: int = ...,
        intra_op_threads: int = ..., inter_op_threads: int = ..., spinning: bool = ..., max_queue_requests: int = ...,
        max_queue_bytes: int = ..., max_queue_wait_us: int = ..., max_run_s: int = ..., preprocess: Iterable[Preprocess] | None = ...,
        postprocess: Iterable[Postprocess] | None = ..., preprocess_threads: int = ..., padding: Iterable[Padding] | None = ...,
        batching: ModelOptions.Choice = ..., batching_reason: str = ..., unsafe_operators: bool = ..., max_run_bytes: int = ...,
        max_axis: Mapping[str, int] | None = ...
    ) -> None: ...
    def HasField(self, field_name: Literal["spinning", "max_run_s"]) -> bool: ...

class DataType(Enum):
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

    class Kind(Enum):
        """KIND_AUTO: GPU where the model and the machine have one, else CPU."""
    KIND_AUTO: ModelInstanceGroup.Kind
    KIND_GPU: ModelInstanceGroup.Kind
    KIND_CPU: ModelInstanceGroup.Kind
    KIND_MODEL: ModelInstanceGroup.Kind

    @final
    class SecondaryDevice(Message):
        """A further device that the model needs."""

        class SecondaryDeviceKind(Enum): ...
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

    class Format(Enum):
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

    class Kind(Enum):
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

    class Kind(Enum): ...
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

    class ModelPriority(Enum):
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

    class TimeoutAction(Enum):
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

        class Kind(Enum): ...
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
    inferd: Final[ModelOptions]
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
        response_cache: ModelResponseCache | None = ..., model_metrics: ModelMetrics | None = ..., inferd: ModelOptions | None = ...
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
    """A positive integer in decimal; empty: any version will do."""
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
class RepositoryModelLoadResponse(Message): ...

@final
class RepositoryModelUnloadRequest(Message):
    repository_name: str
    model_name: str
    parameters: Final[MessageMap[str, ModelRepositoryParameter]]
    """unload_dependents (bool): also models that only this one's ensemble uses."""
    def __init__(self, *, repository_name: str = ..., model_name: str = ..., parameters: Mapping[str, ModelRepositoryParameter] | None = ...) -> None: ...

@final
class RepositoryModelUnloadResponse(Message): ...

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
class SystemSharedMemoryRegisterResponse(Message): ...

@final
class SystemSharedMemoryUnregisterRequest(Message):
    name: str
    """Empty: all regions."""
    def __init__(self, *, name: str = ...) -> None: ...

@final
class SystemSharedMemoryUnregisterResponse(Message): ...

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
class CudaSharedMemoryRegisterResponse(Message): ...

@final
class CudaSharedMemoryUnregisterRequest(Message):
    name: str
    """Empty: all regions."""
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

@final
class ReportLabelsRequest(Message):
    model_name: str
    labels: Final[RepeatedCompositeFieldContainer[RequestLabel]]
    """1,000 at most."""
    def __init__(self, *, model_name: str = ..., labels: Iterable[RequestLabel] | None = ...) -> None: ...

@final
class RequestLabel(Message):
    request_id: str
    row: int
    """Of the request, from 0."""
    text: str
    number: float
    def __init__(self, *, request_id: str = ..., row: int = ..., text: str = ..., number: float = ...) -> None: ...
    def HasField(self, field_name: Literal["label", "text", "number"]) -> bool: ...
    def WhichOneof(self, oneof_group: Literal["label"]) -> Literal["text", "number"] | None: ...

@final
class ReportLabelsResponse(Message):
    """How many labels had which fate (docs/feedback.md)."""
    joined: int
    repeated: int
    """The row has this label already."""
    contradictory: int
    """The row has another label, which stays."""
    misfit: int
    """The request has no such row, or its prediction is a number and the label is none."""
    late: int
    """The prediction was deleted, for it was old."""
    waiting: int
    """There is no prediction with this id yet. It joins one that comes within ten minutes, and is unknown after that."""
    unknown: int
    """So many labels wait that this one was dropped."""
    def __init__(
        self, *, joined: int = ..., repeated: int = ..., contradictory: int = ..., misfit: int = ..., late: int = ...,
        waiting: int = ..., unknown: int = ...
    ) -> None: ...

@final
class PerformanceRequest(Message):
    model_name: str
    model_version: int
    """0: each version with a group of its own."""
    since_unix_ns: int
    """Predictions from here until there, in ns since the Unix epoch. 0: no limit."""
    until_unix_ns: int
    slice: str
    """An input of the setting `feedback_slices`: each of its values has a group of its own. Empty: all rows are one group."""
    buckets: int
    """So many spans of equal length, each with a group of its own; 100 at most. 0: one."""
    def __init__(
        self, *, model_name: str = ..., model_version: int = ..., since_unix_ns: int = ..., until_unix_ns: int = ...,
        slice: str = ..., buckets: int = ...
    ) -> None: ...

@final
class PerformanceResponse(Message):
    groups: Final[RepeatedCompositeFieldContainer[PerformanceGroup]]
    """By version, value of the slice and time."""
    labels: Final[ScalarMap[str, int]]
    """Labels since the store began, by fate."""
    rows_left_out: int
    """Older rows that were left out, for there are too many."""
    groups_left_out: int
    """Groups that were left out: those with the fewest rows."""
    def __init__(
        self, *, groups: Iterable[PerformanceGroup] | None = ..., labels: Mapping[str, int] | None = ..., rows_left_out: int = ...,
        groups_left_out: int = ...
    ) -> None: ...

@final
class PerformanceGroup(Message):
    model_version: int
    slice_value: str
    from_unix_ns: int
    """Of its predictions, in ns since the Unix epoch."""
    until_unix_ns: int
    predicted_rows: int
    """Rows with a prediction, and those of them with a label."""
    labelled_rows: int
    figures: Final[RepeatedCompositeFieldContainer[PerformanceFigure]]
    figures_left_out: int
    """Figures of rare classes that were left out."""
    def __init__(
        self, *, model_version: int = ..., slice_value: str = ..., from_unix_ns: int = ..., until_unix_ns: int = ...,
        predicted_rows: int = ..., labelled_rows: int = ..., figures: Iterable[PerformanceFigure] | None = ...,
        figures_left_out: int = ...
    ) -> None: ...

@final
class PerformanceFigure(Message):
    """One figure with its interval at 95 % (docs/statistics.md)."""
    name: str
    of: str
    """The class; empty: all of them."""
    value: float
    low: float
    high: float
    rows: int
    def __init__(self, *, name: str = ..., of: str = ..., value: float = ..., low: float = ..., high: float = ..., rows: int = ...) -> None: ...

@final
class DriftRequest(Message):
    model_name: str
    model_version: int
    """0: each version that has a profile."""
    def __init__(self, *, model_name: str = ..., model_version: int = ...) -> None: ...

@final
class DriftResponse(Message):
    reports: Final[RepeatedCompositeFieldContainer[DriftReport]]
    def __init__(self, *, reports: Iterable[DriftReport] | None = ...) -> None: ...

@final
class DriftReport(Message):
    """One version."""

    class State(Enum): ...
    COUNTING: DriftReport.State
    QUIET: DriftReport.State
    FOUND: DriftReport.State

    model_version: int
    state: DriftReport.State
    verdict: str
    """The verdict in one sentence."""
    reference_rows: int
    reference_unix_ns: int
    """When the profile was learned, in ns since the Unix epoch."""
    rows: int
    """Rows of the window that goes on, and those that end it."""
    window_rows: int
    windows: Final[RepeatedCompositeFieldContainer[DriftWindow]]
    """The newest windows, the oldest first."""
    features: Final[RepeatedCompositeFieldContainer[DriftFeature]]
    """Those with findings first, then by effect."""
    def __init__(
        self, *, model_version: int = ..., state: DriftReport.State = ..., verdict: str = ..., reference_rows: int = ...,
        reference_unix_ns: int = ..., rows: int = ..., window_rows: int = ..., windows: Iterable[DriftWindow] | None = ...,
        features: Iterable[DriftFeature] | None = ...
    ) -> None: ...

@final
class DriftWindow(Message):
    from_unix_ns: int
    """In ns since the Unix epoch."""
    until_unix_ns: int
    rows: int
    def __init__(self, *, from_unix_ns: int = ..., until_unix_ns: int = ..., rows: int = ...) -> None: ...

@final
class DriftFeature(Message):
    name: str
    """Such as `age`, `x[3]` or `class of probabilities`."""
    is_output: bool
    effects: Final[RepeatedScalarFieldContainer[float]]
    """In each of the windows (docs/statistics.md): 0 is the reference, 1 the farthest."""
    findings: Final[RepeatedCompositeFieldContainer[DriftFinding]]
    bins: Final[RepeatedScalarFieldContainer[str]]
    """Shares of rows in the reference and in the newest window, by bin. Long lists of categories are cut."""
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
    """One of drift, missing, out of range, new values, constant, stuck, units, repeated rows, outliers."""
    share: float
    """Of the newest window's rows that are so; the effect, where the kind is drift or units."""
    since_unix_ns: int
    """The start of the first window that had it, in ns since the Unix epoch."""
    explanation: str
    """For people: what happened, such as "times 1000"."""
    request_id: str
    """An example; empty: not known."""
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
    """0: the newest version of the repository that is not the stable one."""
    sample: float
    """For a shadow, and for a canary that compares responses: the share of the stable version's requests that the candidate runs,
    too; more than 0, at most 1. 0: 1.
    """
    steps: Final[RepeatedScalarFieldContainer[float]]
    """For a canary: the share of requests that the candidate gets in each step, rising, at most 1. None: the defaults."""
    guards: Final[ScalarMap[str, float]]
    """The limit of each guard by its name (docs/rollouts.md). One that is missing has its default."""
    dwell_s: float
    """For a canary: the least time at a step, and how long a step may wait for evidence until the canary is in HOLD. In seconds,
    from 0 to 366 days. Unset: 60 s, and an hour.
    """
    patience_s: float
    promote_unjudged: bool
    """For a canary: go past the first step, to the promotion, although no guard judges predictions (flips, mean, outcome).
    Responses are compared only where a guard asks for it then. Otherwise a canary without such a guard stays at its first step,
    and says so.
    """
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
    """Why, for the audit log."""
    def __init__(self, *, model_name: str = ..., reason: str = ...) -> None: ...

@final
class RolloutStatusRequest(Message):
    model_name: str
    """Empty: all models."""
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
    """The step that a canary is at, from 0, and the share of requests that the candidate runs now."""
    share: float
    guards: Final[ScalarMap[str, float]]
    counts: Final[ScalarMap[str, int]]
    """Requests, by what became of them (docs/rollouts.md)."""
    evidence: Final[RepeatedCompositeFieldContainer[RolloutEvidence]]
    reason: str
    """The last decision, and why; before a canary's next step, what that waits for."""
    started_unix_ns: int
    """Since the Unix epoch, in ns."""
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
    """What is known of one guard: may be looked at at any time."""
    guard: str
    count: int
    """Observations."""
    estimate: float
    lower: float
    """The confidence band."""
    upper: float
    limit: float
    verdict: str
    """ok: the band is on the good side of the limit. open: the limit is inside of it. bad: it is on the wrong side."""
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
    """Outcomes of requests that are known, and of those that are not."""
    unknown: int
    def __init__(self, *, joined: int = ..., unknown: int = ...) -> None: ...

@final
class HealthCheckRequest(Message):
    service: str
    """Empty (the server), the full name of a gRPC service, or the name of a model."""
    def __init__(self, *, service: str = ...) -> None: ...

@final
class HealthCheckResponse(Message):
    class ServingStatus(Enum):
        """UNKNOWN is never sent by inferd; SERVICE_UNKNOWN only by Watch."""
    UNKNOWN: HealthCheckResponse.ServingStatus
    SERVING: HealthCheckResponse.ServingStatus
    NOT_SERVING: HealthCheckResponse.ServingStatus
    SERVICE_UNKNOWN: HealthCheckResponse.ServingStatus

    status: HealthCheckResponse.ServingStatus
    def __init__(self, *, status: HealthCheckResponse.ServingStatus = ...) -> None: ...

@final
class Any(Message):
    type_url: str
    value: bytes
    def __init__(self, *, type_url: str = ..., value: bytes = ...) -> None: ...

@final
class Status(Message):
    code: int
    """The gRPC status code; the same as in the trailer grpc-status."""
    message: str
    """For people; the same as in the trailer grpc-message."""
    details: Final[RepeatedCompositeFieldContainer[Any]]
    """RetryInfo, BadRequest, ..."""
    def __init__(self, *, code: int = ..., message: str = ..., details: Iterable[Any] | None = ...) -> None: ...

@final
class Duration(Message):
    seconds: int
    nanos: int
    def __init__(self, *, seconds: int = ..., nanos: int = ...) -> None: ...

@final
class RetryInfo(Message):
    """When to come back: sent with RESOURCE_EXHAUSTED."""
    retry_delay: Final[Duration]
    def __init__(self, *, retry_delay: Duration | None = ...) -> None: ...
    def HasField(self, field_name: Literal["retry_delay"]) -> bool: ...

@final
class BadRequest(Message):
    """Which fields of a request are wrong: sent with INVALID_ARGUMENT."""

    @final
    class FieldViolation(Message):
        field: str
        """Path of the field in the request, such as "inputs[0].shape"."""
        description: str
        """What was expected, what came, and how to mend it."""
        def __init__(self, *, field: str = ..., description: str = ...) -> None: ...

    field_violations: Final[RepeatedCompositeFieldContainer[BadRequest.FieldViolation]]
    def __init__(self, *, field_violations: Iterable[BadRequest.FieldViolation] | None = ...) -> None: ...
