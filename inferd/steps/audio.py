"""Audio: clips become samples, and samples log-mel spectra or MFCCs, one clip a row. steps.proto says what each step takes and gives.

    decode_audio | samples    first: one channel of FP32, from -1 to 1
    resample, fit_length      of samples
    log_mel | mfcc            samples -> bands of frequencies by frames (_core/mel)
    scale, normalize, cast    anywhere after the first; only these follow a cast to another datatype than FP32

Never in here: formats of files, codecs, resampling (audio_file.py), the FFT, padding of batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferd._core.mel import MelBank
from inferd.steps import numbers
from inferd.steps.audio_container import Refused
from inferd.steps.audio_file import LEAST_RATE, MOST_RATE, AudioDecoder, Check, Floats, checked_samples, resampler
from inferd.steps.numbers import Apply
from inferd.steps.pipeline import Array, Place, RowPipeline, TensorType, Value, wrong_row

if TYPE_CHECKING:
    from inferd.protocol.options import DecodeAudio, LogMel, Preprocess, Samples, Step

__all__ = ["compile_audio"]

MOST_HOP = 1 << 20
MOST_BANDS = 1_024
MAX_REQUEST_BYTES = 256 << 20  # of what the clips of one request become: 70 minutes at 16 kHz

MOST_PRODUCTS = 200_000  # multiplications that OpenBLAS does on one thread

DEFAULT_SECONDS = 300
DEFAULT_FFT, DEFAULT_HOP, DEFAULT_MELS, DEFAULT_COEFFICIENTS = 400, 160, 80, 20

MISSING = "it needs libraries that are not installed: pip install 'inferd[audio]'"

Source = Callable[[Any, Check], Floats]


class Flow(NamedTuple):
    """What one step hands to the next."""

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
        self.paddings: dict[str, Any] = {}
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
        except Refused as refused:
            raise wrong_row(self._name, row, str(refused)) from None
        return array


# ---------------------------------------------------------------------------------------------------------------------
# Compiling


def compile_audio(entry: Preprocess, place: Place) -> AudioPipeline:
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
def _step_named(place: Place, index: int, step: Step) -> Iterator[None]:
    """What is wrong within is the ConfigError of that step."""
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
    """What clients send, what reads one row of it, and what that gives."""
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
    """What a step does, and what it gives."""
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
        samples = _within("samples", step.fit_length.samples, 1, MAX_REQUEST_BYTES // 4)
        return _fitter(samples), flow._replace(kind=TensorType("FP32", (samples,)))
    return _spectrum(step.mfcc.mel if word == "mfcc" else step.log_mel, flow, _coefficients(step) if word == "mfcc" else 0)


def _rate(step: DecodeAudio | Samples | Any) -> int:
    return _within("sample_rate", step.sample_rate, LEAST_RATE, MOST_RATE)


def _within(field: str, number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise ValueError(f"expected {field} from {least} to {most}, got {number}")
    return number


# ---------------------------------------------------------------------------------------------------------------------
# Samples


def _read_fp32(clip: Array, check: Check) -> Floats:
    return checked_samples(np.require(_some(clip), np.float32, ["C", "A"]))  # in a message, numbers may lie anywhere


def _read_int16(clip: Array, check: Check) -> Floats:
    return np.multiply(_some(clip), np.float32(1 / 32768), dtype=np.float32)


def _some(clip: Array) -> Array:
    """The same; none is Refused."""
    if not len(clip):
        raise Refused("expected samples, got none")
    return clip


def _resampled(rate: int, wanted: int) -> Apply:
    apply = resampler(rate, wanted)

    def within(clip: Array) -> Array:
        nbytes = 4 * (len(clip) * wanted // rate)
        if nbytes > MAX_REQUEST_BYTES:  # looked at before it is made: no later step bounds what this one takes
            why = f"its {len(clip):,} samples at {rate} Hz become {nbytes:,} bytes at {wanted} Hz, {MAX_REQUEST_BYTES:,} are allowed"
            raise Refused(f"{why}: send a shorter clip")
        return apply(clip)

    return within


def _fitter(samples: int) -> Apply:
    def apply(clip: Array) -> Array:
        if len(clip) >= samples:
            return clip[:samples]
        fitted = np.zeros(samples, np.float32)
        fitted[: len(clip)] = clip
        return fitted

    return apply


# ---------------------------------------------------------------------------------------------------------------------
# Spectra


def _coefficients(step: Step) -> int:
    return _within("coefficients", step.mfcc.coefficients or DEFAULT_COEFFICIENTS, 1, step.mfcc.mel.mels or DEFAULT_MELS)


def _spectrum(step: LogMel, flow: Flow, coefficients: int) -> tuple[Apply, Flow]:
    """log_mel, or mfcc of so many coefficients."""
    fft, hop, mels = step.fft or DEFAULT_FFT, step.hop or DEFAULT_HOP, step.mels or DEFAULT_MELS
    if not MelBank.fits(fft):
        why = f"an even number up to {MelBank.MOST_FFT} whose only prime factors are 2, 3, 5 and 7"
        raise ValueError(f"expected as fft {why}, got {fft}: {_next_fft(fft)} is one")
    _within("hop", hop, 1, MOST_HOP)
    _within("mels", mels, 1, MOST_BANDS)
    low_hz, high_hz = step.low_hz, step.high_hz or flow.rate / 2
    if not 0 <= low_hz < high_hz <= flow.rate / 2:
        raise ValueError(f"expected 0 <= low_hz < high_hz <= {flow.rate / 2:g}, half the sample rate, got {low_hz:g} and {high_hz:g}")
    centered = step.centered if step.HasField("centered") else True
    if step.last_frame and not centered:
        raise ValueError("last_frame is for centered frames, and centered is false: remove it")
    span = fft if not centered else 0 if step.last_frame else hop
    bank = MelBank(_hann(fft), mel_weights(flow.rate, fft, mels, low_hz, high_hz))
    scale = _decibels if coefficients else _SCALINGS[step.scaling]
    dct = _dct(coefficients, mels) if coefficients else None
    apply = _Spectrum(bank, _Frames(fft, hop, span, centered), mels, step.frames_first, scale, dct)
    frames, bands = apply.frames.count(flow.kind.shape[0]) if flow.kind.shape[0] >= 0 else -1, coefficients or mels
    if frames == 0:
        why = f"expected at least {apply.frames.shortest} samples, got {flow.kind.shape[0]}"
        raise ValueError(f"{why}: a longer fit_length, or a shorter fft")
    shape = (frames, bands) if step.frames_first else (bands, frames)
    return apply, Flow(TensorType("FP32", shape), flow.rate, 1 if step.frames_first else 0, (hop, span - hop))


class _Frames(NamedTuple):
    """Which windows a clip has."""

    fft: int
    hop: int
    span: int  # samples that the first frame counts for: 1 + (samples - span) // hop frames
    centered: bool  # the clip is reflected at both ends; else whole windows only

    @property
    def first(self) -> int:
        """The sample that the first window begins at."""
        return -(self.fft // 2) if self.centered else 0

    @property
    def shortest(self) -> int:
        """Samples that give a frame."""
        return max(self.fft // 2 + 1 if self.centered else self.fft, self.span)

    def count(self, samples: int) -> int:
        return 1 + (samples - self.span) // self.hop if samples >= self.shortest else 0


class _Spectrum:
    """FP32 [samples] -> FP32 [bands, frames], or [frames, bands].

    Centered: frame t is centred on sample t * hop, and the clip is reflected at both ends. There are samples // hop frames, as Whisper
    has them, which leaves the last one out; with last_frame 1 + samples // hop. Else 1 + (samples - fft) // hop, whole windows only.
    """

    def __init__(
        self, bank: MelBank, frames: _Frames, mels: int, frames_first: bool, scale: Callable[[Floats], Floats], dct: Floats | None
    ) -> None:
        self.frames = frames
        self._bank, self._mels, self._frames_first = bank, mels, frames_first
        self._scale = scale
        self._dct = dct  # [coefficients, mels]

    def __call__(self, clip: Array) -> Array:
        frames = self.frames.count(len(clip))
        if not frames:
            raise Refused(f"expected at least {self.frames.shortest} samples, got {len(clip)}: send a longer clip")
        if 4 * frames * self._mels > MAX_REQUEST_BYTES:
            raise Refused(f"its {frames} frames of {self._mels} mels are more than {MAX_REQUEST_BYTES:,} bytes: send a shorter clip")
        bands = self._empty(self._mels, frames)
        self._bank.run(np.ascontiguousarray(clip), self.frames.first, self.frames.hop, bands)
        bands = self._scale(bands)
        if self._dct is not None:
            bands = self._product(self._dct, bands)
        return bands.T if self._frames_first else bands

    def _empty(self, bands: int, frames: int) -> Floats:
        """[bands, frames], which lie as they are given."""
        return np.empty((frames, bands), np.float32).T if self._frames_first else np.empty((bands, frames), np.float32)

    def _product(self, dct: Floats, bands: Floats) -> Floats:
        """In pieces so small that BLAS starts no threads of its own, which would wait for each other where all cores are busy."""
        coefficients = self._empty(len(dct), bands.shape[1])
        frames = max(1, MOST_PRODUCTS // dct.size)
        for first in range(0, bands.shape[1], frames):
            piece = slice(first, first + frames)
            np.matmul(dct, bands[:, piece], out=coefficients[:, piece])
        return coefficients


LEAST_POWER = 1e-10  # what WHISPER and DB take the logarithm of at least
LN_10 = float(np.log(10))


def _whisper(power: Floats) -> Floats:
    """log10, at least the largest value - 8, (x + 4) / 4; in place."""
    _floored_logarithm(power, 8 * LN_10)
    power *= np.float32(1 / (4 * LN_10))
    power += np.float32(1)
    return power


def _decibels(power: Floats) -> Floats:
    """10 log10, at least the largest value - 80; in place."""
    _floored_logarithm(power, 8 * LN_10)
    power *= np.float32(10 / LN_10)
    return power


def _floored_logarithm(power: Floats, below: float) -> None:
    """The natural logarithm, which numpy is several times faster at than at others, at least the largest value - below."""
    np.maximum(power, np.float32(LEAST_POWER), out=power)
    np.log(power, out=power)
    np.maximum(power, np.max(power) - np.float32(below), out=power)


def _natural(power: Floats) -> Floats:
    """ln(x + 1e-6); in place."""
    power += np.float32(1e-6)
    return np.log(power, out=power)


_SCALINGS: tuple[Callable[[Floats], Floats], ...] = (_whisper, _natural, _decibels)  # by LogMel.Scaling


def _next_fft(fft: int) -> int:
    return next((size for size in range(fft, MelBank.MOST_FFT) if MelBank.fits(size)), MelBank.MOST_FFT)


def _hann(fft: int) -> Floats:
    """The periodic Hann window, torch.hann_window's."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(fft) / fft)).astype(np.float32)


def _dct(coefficients: int, mels: int) -> Floats:
    """The DCT-II, orthonormal, as a matrix [coefficients, mels]."""
    row = np.arange(coefficients)[:, np.newaxis]
    matrix: Array = np.sqrt(2 / mels) * np.cos(np.pi * row * (2 * np.arange(mels) + 1) / (2 * mels))
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def mel_weights(rate: int, fft: int, mels: int, low_hz: float, high_hz: float) -> Floats:
    """Triangles of equal width on Slaney's mel scale and of equal area (his norm): FP32 [mels, fft // 2 + 1].

    The scale is linear up to 1000 Hz, 15 mel, and logarithmic above, 27 mel for a factor of 6.4. A band that is narrower than the
    distance of two bins can be empty: such a mel has power 0.
    """

    def mel_of(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))

    mel = np.linspace(mel_of(low_hz), mel_of(high_hz), mels + 2)
    edges = np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
    bins = np.arange(fft // 2 + 1) * (rate / fft)
    left, middle, right = edges[:-2, np.newaxis], edges[1:-1, np.newaxis], edges[2:, np.newaxis]
    triangles: Array = np.maximum(0, np.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)))
    triangles *= 2 / (right - left)
    return triangles.astype(np.float32)
