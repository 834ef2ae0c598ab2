"""ModelOptions, the part of a ModelConfig that is inferd's own, and the messages of ModelControl and Rollouts. Written by `make proto`: change proto/*.proto instead."""

# ruff: noqa: E501, N802

from collections.abc import Iterable, Mapping
from typing import Final, Literal, Self, final

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer, RepeatedScalarFieldContainer, ScalarMap
from google.protobuf.message import Message

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

class Method(_Enum):
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

    class Color(_Enum): ...
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

    class Rounding(_Enum): ...
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
    def __init__(self) -> None: ...

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
    def __init__(self) -> None: ...

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

    class Scaling(_Enum): ...
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

    class Format(_Enum): ...
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
    class Part(_Enum): ...
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
class Sigmoid(Message):
    def __init__(self) -> None: ...

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
class Drop(Message):
    def __init__(self) -> None: ...

@final
class DetectBoxes(Message):
    """Boxes, scores and classes -> the best of each object (non-maximum suppression within each class): `name` FP32 [max_boxes, 4]
    as x1, y1, x2, y2; `name`_score FP32 [max_boxes]; `name`_class INT64 [max_boxes]; `name`_count INT32 [1], how many of them
    are filled, and with labels `name`_label BYTES [max_boxes]. The rest is 0. Last of its list.
    """

    class Layout(_Enum): ...
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
    class Choice(_Enum): ...
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

@final
class SetLabelRequest(Message):
    model_name: str
    label: str
    """A letter, then up to 63 letters, digits, '_', '.' or '-'."""
    version: int
    """From 1."""
    def __init__(self, *, model_name: str = ..., label: str = ..., version: int = ...) -> None: ...

@final
class SetLabelResponse(Message):
    def __init__(self) -> None: ...

@final
class RemoveLabelRequest(Message):
    model_name: str
    label: str
    def __init__(self, *, model_name: str = ..., label: str = ...) -> None: ...

@final
class RemoveLabelResponse(Message):
    def __init__(self) -> None: ...

@final
class RollbackRequest(Message):
    model_name: str
    label: str
    def __init__(self, *, model_name: str = ..., label: str = ...) -> None: ...

@final
class RollbackResponse(Message):
    version: int
    """The version that the label names now."""
    def __init__(self, *, version: int = ...) -> None: ...

class RolloutKind(_Enum): ...
ROLLOUT_KIND_UNSPECIFIED: RolloutKind
SHADOW: RolloutKind
CANARY: RolloutKind

class RolloutState(_Enum): ...
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
