"""Audio: clips become samples, and samples log-mel spectra or MFCCs, one clip a row. steps.proto says what each step takes and gives.

    decode_audio | samples    first: one channel of FP32, from -1 to 1
    resample, fit_length      of samples
    log_mel | mfcc            samples -> bands of frequencies by frames
    scale, normalize, cast    anywhere after the first; only these follow a cast to another datatype than FP32

Never in here: formats of files, codecs, resampling (audio_file.py), spectra (audio_spectrum.py), padding of batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferd.steps import numbers
from inferd.steps.audio_container import BadClip
from inferd.steps.audio_file import LEAST_RATE, MOST_RATE, AudioDecoder, Check, checked_samples, resampler
from inferd.steps.audio_spectrum import DEFAULT_MELS, Spectrum
from inferd.steps.audio_wav import Floats
from inferd.steps.numbers import Apply
from inferd.steps.pipeline import Array, Content, EntryPlace, RowPipeline, TensorType, Value, within, wrong_row

if TYPE_CHECKING:
    from inferd.protocol.options import DecodeAudio, Preprocess, Samples, Step

MAX_REQUEST_BYTES = 256 << 20  # of what the clips of one request become: 70 minutes at 16 kHz

DEFAULT_SECONDS = 300
DEFAULT_COEFFICIENTS = 20

MISSING = "it needs libraries that are not installed: pip install 'inferd[audio]'"

Source = Callable[[Any, Check], Floats]


class Flow(NamedTuple):
    """The result of one step, which the next one takes."""

    kind: TensorType
    rate: int  # samples a second
    bands: int | None = None  # the axis of mels or coefficients; None: these are samples
    window: tuple[int, int] = (1, 0)  # n frames, or samples, take n * window[0] + window[1] samples

    @property
    def samples(self) -> bool:
        """Whether a step that takes samples can follow."""
        return self.bands is None and self.kind.datatype == "FP32"


class AudioPipeline(RowPipeline):
    """One clip a row -> one array a row."""

    def __init__(self, wire: tuple[str, TensorType], source: Source, steps: Sequence[Apply], output: tuple[str, TensorType]) -> None:
        self.inputs = (wire,)
        self.outputs = (output,)
        self.content = Content.SOUND if wire[1].datatype == "BYTES" else Content.NUMBERS
        self._name = wire[0]
        self._source = source
        self._steps = tuple(steps)

    def prepare_one(self, values: Sequence[Value], check: Check) -> list[Array]:
        clips = values[0]
        first = self._row(clips[0], 0, check)
        if first.nbytes * len(clips) > MAX_REQUEST_BYTES:
            why = f"{len(clips)} clips like this one become {first.nbytes * len(clips):,} bytes, {MAX_REQUEST_BYTES:,} are allowed"
            raise wrong_row(self._name, 0, f"{why}: send fewer in a request, or shorter ones")
        if len(clips) == 1:
            return [np.ascontiguousarray(first[np.newaxis])]
        result = np.empty((len(clips), *first.shape), first.dtype)
        result[0] = first
        for row in range(1, len(clips)):
            array = self._row(clips[row], row, check)
            if array.shape != first.shape:
                why = f"expected a clip as long as that of row 0, of which {list(first.shape)} is made, got {list(array.shape)}"
                raise wrong_row(self._name, row, f"{why}: send clips of different lengths in a request each (or let the model fit_length)")
            result[row] = array
        return [result]

    def _row(self, clip: Any, row: int, check: Check) -> Array:
        check()
        try:
            array: Array = self._source(clip, check)
            with np.errstate(over="ignore", invalid="ignore"):  # what is too large is infinity, as in the graph
                for step in self._steps:
                    check()
                    array = step(array)
        except BadClip as rejected:
            raise wrong_row(self._name, row, str(rejected)) from None
        return array


# ---------------------------------------------------------------------------------------------------------------------
# Compiling


def compile_audio(entry: Preprocess, place: EntryPlace) -> AudioPipeline:
    """The steps of one entry that begins with decode_audio or samples. Raises ConfigError naming the step."""
    name, wanted = place.only_free(entry.input)
    first, *others = entry.steps
    with _step_named(place, 0, first):
        wire, source, flow = _first(first)
    steps: list[Apply] = []
    for index, step in enumerate(others, start=1):
        with _step_named(place, index, step):
            apply, flow = _next(step, flow)
        steps.append(apply)
    with _step_named(place, len(others), entry.steps[-1]):
        _check_fit(flow, name, wanted)
    if len(wanted.shape) > len(flow.kind.shape):
        steps.append(lambda array: array[np.newaxis])
    given = TensorType(flow.kind.datatype, _shape_for(wanted, flow))
    return AudioPipeline((entry.name or name, wire), source, steps, (name, given))


@contextmanager
def _step_named(place: EntryPlace, index: int, step: Step) -> Iterator[None]:
    """Turns an error of the block into that step's ConfigError."""
    word = step.WhichOneof("step") or "empty"
    try:
        yield
    except ValueError as error:
        raise place.wrong(index, word, str(error)) from None
    except ImportError:
        raise place.wrong(index, word, MISSING) from None


def _shape_for(wanted: TensorType, flow: Flow) -> tuple[int, ...]:
    """The shape of the result; a graph that takes pictures of one channel, [1, bands, frames], has that axis put in front."""
    shape = flow.kind.shape
    return (1, *shape) if len(wanted.shape) == len(shape) + 1 and wanted.shape[0] in (1, -1) else shape


def _check_fit(flow: Flow, name: str, wanted: TensorType) -> None:
    """Raises ValueError, with the cure, where the graph's input `name` cannot take what the last step gives."""
    shape = _shape_for(wanted, flow)
    cure = ""
    if flow.kind.datatype != wanted.datatype:
        cure = f"add cast to {wanted.datatype} as the last step"
    elif len(shape) != len(wanted.shape):
        cure = "log_mel and mfcc give two axes, everything before them one"
    else:
        for axis, (given, size) in enumerate(zip(shape, wanted.shape, strict=True), start=len(flow.kind.shape) - len(shape)):
            if size in (-1, given):
                continue
            if axis == flow.bands:
                cure = "ask for as many mels or coefficients, or look at frames_first"
                break
            if flow.window[1] == 0 and size == given + 1 and flow.bands is not None:
                cure = f"last_frame makes it {size}"
                break
            length = size * flow.window[0] + flow.window[1]
            cure = f"fit_length of {length} samples{'' if flow.bands is None else ' before that step'} makes it {size}"
    if cure:
        raise ValueError(f"expected {wanted}, which the graph's input {name!r} takes, got {flow.kind}: {cure}")


def _first(step: Step) -> tuple[TensorType, Source, Flow]:
    """The type that clients send, the function that reads one row of it, and the type of its result."""
    word = step.WhichOneof("step")
    if word == "samples":
        datatype, rate = step.samples.datatype or "FP32", _rate(step.samples)
        if datatype not in ("FP32", "INT16"):
            raise ValueError(f"expected FP32 or INT16 as datatype, got {datatype!r}")
        source: Source = _read_fp32 if datatype == "FP32" else _read_int16
        return TensorType(datatype, (-1,)), source, Flow(TensorType("FP32", (-1,)), rate)
    if word == "decode_audio":
        rate = _rate(step.decode_audio)
        seconds = step.decode_audio.max_seconds or DEFAULT_SECONDS
        if not 0 < seconds <= MAX_REQUEST_BYTES / (4 * rate):
            most = MAX_REQUEST_BYTES // (4 * rate)
            raise ValueError(f"expected max_seconds from 0 to {most} at a sample_rate of {rate}, got {seconds:g}")
        return TensorType("BYTES", (1,)), AudioDecoder(rate, seconds), Flow(TensorType("FP32", (-1,)), rate)
    raise ValueError("audio begins with decode_audio or samples")


def _next(step: Step, flow: Flow) -> tuple[Apply, Flow]:
    """A step's function, and the type of its result."""
    word, kind = step.WhichOneof("step"), flow.kind
    if word == "scale":
        return numbers.scale(step.scale), flow._replace(kind=TensorType("FP32", kind.shape))
    if word == "normalize":
        channels, axis = (1, 0) if flow.bands is None else (kind.shape[flow.bands], flow.bands)
        apply = numbers.normalize(step.normalize, channels, axis, len(kind.shape))
        return apply, flow._replace(kind=TensorType("FP32", kind.shape))
    if word == "cast":
        return numbers.cast(step.cast), flow._replace(kind=TensorType(step.cast.datatype, kind.shape))
    if word not in ("resample", "fit_length", "log_mel", "mfcc"):
        raise ValueError("no step of audio; these can follow: resample, fit_length, log_mel, mfcc, scale, normalize, cast")
    if not flow.samples:
        raise ValueError(f"expected FP32 samples, got {kind}{' of bands' if flow.bands is not None else ''}: put it further in front")
    if word == "resample":
        rate = _rate(step.resample)
        if rate == flow.rate:
            return lambda clip: clip, flow
        return _resampled(flow.rate, rate), Flow(TensorType("FP32", (-1,)), rate)
    if word == "fit_length":
        samples = within("samples", step.fit_length.samples, 1, MAX_REQUEST_BYTES // 4)
        return _fitter(samples), flow._replace(kind=TensorType("FP32", (samples,)))
    if word == "log_mel":
        return _bands(Spectrum(step.log_mel, flow.rate), flow)
    most = step.mfcc.mel.mels or DEFAULT_MELS
    coefficients = within("coefficients", step.mfcc.coefficients or DEFAULT_COEFFICIENTS, 1, most)
    return _bands(Spectrum(step.mfcc.mel, flow.rate, coefficients), flow)


def _rate(step: DecodeAudio | Samples | Any) -> int:
    return within("sample_rate", step.sample_rate, LEAST_RATE, MOST_RATE)


# ---------------------------------------------------------------------------------------------------------------------
# Samples


def _read_fp32(clip: Array, check: Check) -> Floats:
    return checked_samples(np.require(_some(clip), np.float32, ["C", "A"]))  # in a message, numbers may lie anywhere


def _read_int16(clip: Array, check: Check) -> Floats:
    return np.multiply(_some(clip), np.float32(1 / 32768), dtype=np.float32)


def _some(clip: Array) -> Array:
    """The same; none is BadClip."""
    if not len(clip):
        raise BadClip("expected samples, got none")
    return clip


def _resampled(rate: int, wanted: int) -> Apply:
    apply = resampler(rate, wanted)

    def bounded(clip: Array) -> Array:
        nbytes = 4 * (len(clip) * wanted // rate)
        if nbytes > MAX_REQUEST_BYTES:  # looked at before it is made: no later step bounds what this one takes
            why = f"its {len(clip):,} samples at {rate} Hz become {nbytes:,} bytes at {wanted} Hz, {MAX_REQUEST_BYTES:,} are allowed"
            raise BadClip(f"{why}: send a shorter clip")
        return apply(clip)

    return bounded


def _fitter(samples: int) -> Apply:
    def apply(clip: Array) -> Array:
        if len(clip) >= samples:
            return clip[:samples]
        fitted = np.zeros(samples, np.float32)
        fitted[: len(clip)] = clip
        return fitted

    return apply


def _bands(spectrum: Spectrum, flow: Flow) -> tuple[Apply, Flow]:
    """A spectrum's function for clips that are long enough, and the type of its result."""
    windows, (samples,) = spectrum.frames, flow.kind.shape
    frames = windows.count(samples) if samples >= 0 else -1
    if frames == 0:
        raise ValueError(f"expected at least {windows.shortest} samples, got {samples}: a longer fit_length, or a shorter fft")

    def bounded(clip: Array) -> Array:
        frames = windows.count(len(clip))
        if not frames:
            raise BadClip(f"expected at least {windows.shortest} samples, got {len(clip)}: send a longer clip")
        if 4 * frames * spectrum.mels > MAX_REQUEST_BYTES:
            raise BadClip(f"its {frames} frames of {spectrum.mels} mels are more than {MAX_REQUEST_BYTES:,} bytes: send a shorter clip")
        return spectrum(clip)

    shape = (frames, spectrum.bands) if spectrum.frames_first else (spectrum.bands, frames)
    axis = 1 if spectrum.frames_first else 0
    return bounded, Flow(TensorType("FP32", shape), flow.rate, axis, (windows.hop, windows.span - windows.hop))
