"""Audio steps against numpy in double precision, and what is rejected, by real files of every format."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd.errors import Cancelled, ConfigError, InvalidArgument
from inferd.protocol import options
from inferd.steps import audio
from inferd.steps.audio import compile_audio
from inferd.steps.audio_spectrum import mel_weights
from inferd.steps.pipeline import EntryPlace, TensorType

RATE = 16_000


def place(shape=(80, -1), datatype="FP32", **others):
    free = {"mel": TensorType(datatype, shape), **others}
    return EntryPlace("config.pbtxt of model 'ears': preprocess 'clip'", free)


def compiled(steps, shape=(80, -1), datatype="FP32"):
    """`steps` in protobuf's text format, for a graph that takes that."""
    return compile_audio(text_format.Parse(f"name: 'clip' {steps}", options.Preprocess()), place(shape, datatype))


def prepared(pipeline, *requests):
    return pipeline.prepare([[request] for request in requests], lambda request: None)


def answer(pipeline, value):
    (arrays,) = prepared(pipeline, value)
    if isinstance(arrays, Exception):
        raise arrays
    (array,) = arrays
    assert array.flags.c_contiguous
    return array


def sound(samples=RATE, seed=0):
    """Two tones and noise, with a silence in it."""
    n = np.arange(samples)
    clip = 0.4 * np.sin(2 * np.pi * 440 * n / RATE) + 0.2 * np.sin(2 * np.pi * 3000 * n / RATE)
    clip += np.random.default_rng(seed).normal(0, 0.01, samples)
    clip[samples // 3 : samples // 2] *= 1e-3
    return clip.astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# The formulas, in double precision


def slaney_weights(rate, fft, mels, low_hz, high_hz):
    """One number at a time."""

    def mel(hz):
        return hz / (200 / 3) if hz < 1000 else 15 + np.log(hz / 1000) / (np.log(6.4) / 27)

    def hz(mel):
        return mel * 200 / 3 if mel < 15 else 1000 * np.exp((mel - 15) * np.log(6.4) / 27)

    edges = [hz(mel(low_hz) + index * (mel(high_hz) - mel(low_hz)) / (mels + 1)) for index in range(mels + 2)]
    weights = np.zeros((mels, fft // 2 + 1))
    for band in range(mels):
        left, middle, right = edges[band : band + 3]
        for column in range(fft // 2 + 1):
            at = column * rate / fft
            if left < at <= middle:
                weights[band, column] = (at - left) / (middle - left)
            elif middle < at < right:
                weights[band, column] = (right - at) / (right - middle)
        weights[band] *= 2 / (right - left)
    return weights


def reference(clip, *, rate=RATE, fft=400, hop=160, mels=80, low_hz=0, high_hz=None, scaling="WHISPER", centered=True, last=False):
    """Log-mel [mels, frames] as Whisper computes it; last: with the last frame, which it leaves out."""
    clip = np.asarray(clip, np.float64)
    if centered:
        clip = np.pad(clip, fft // 2, mode="reflect")
    window = 0.5 * (1 - np.cos(2 * np.pi * np.arange(fft) / fft))
    frames = np.stack([clip[at : at + fft] * window for at in range(0, len(clip) - fft + 1, hop)])
    if centered and not last:
        frames = frames[:-1]
    power = np.abs(np.fft.rfft(frames)) ** 2
    mel = slaney_weights(rate, fft, mels, low_hz, high_hz or rate / 2) @ power.T
    if scaling == "LN":
        return np.log(mel + 1e-6)
    logarithm = np.log10(np.maximum(mel, 1e-10))
    logarithm = np.maximum(logarithm, logarithm.max() - 8)
    return (logarithm + 4) / 4 if scaling == "WHISPER" else 10 * logarithm


def close(answer, expected) -> None:
    assert answer.dtype == np.float32
    assert answer.shape == expected.shape
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# log_mel, mfcc


SAMPLES = "steps { samples { sample_rate: 16000 } }"


def test_defaults_are_whispers() -> None:
    clip = sound(3 * RATE)
    pipeline = compiled(SAMPLES + "steps { log_mel {} }")
    assert pipeline.inputs == (("clip", TensorType("FP32", (-1,))),)
    assert pipeline.outputs == (("mel", TensorType("FP32", (80, -1))),)
    assert pipeline.paddings == {}
    assert pipeline.together == 1
    result = answer(pipeline, clip[np.newaxis])
    assert result.shape == (1, 80, 300)
    close(result[0], reference(clip))


@pytest.mark.parametrize("scaling", ["WHISPER", "LN", "DB"])
@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("frames_first", [True, False])
def test_every_scaling_and_layout(scaling, centered, frames_first) -> None:
    clip = sound()
    mel = f"fft: 512 hop: 200 mels: 40 low_hz: 50 high_hz: 7000 scaling: {scaling}"
    step = f"steps {{ log_mel {{ {mel} centered: {str(centered).lower()} frames_first: {str(frames_first).lower()} }} }}"
    result = answer(compiled(SAMPLES + step, (-1, 40) if frames_first else (40, -1)), clip[np.newaxis])[0]
    expected = reference(clip, fft=512, hop=200, mels=40, low_hz=50, high_hz=7000, scaling=scaling, centered=centered)
    close(result.T if frames_first else result, expected)


@settings(max_examples=60)
@given(samples=st.integers(200, 5000), hop=st.integers(1, 600), frames=st.sampled_from(["", "last_frame: true", "centered: false"]))
def test_any_length(samples, hop, frames) -> None:
    clip = sound(samples)
    pipeline = compiled(SAMPLES + f"steps {{ log_mel {{ hop: {hop} mels: 8 {frames} }} }}", (8, -1))
    least = {"": max(201, hop), "last_frame: true": 201, "centered: false": 400}[frames]
    if samples < least:
        with pytest.raises(InvalidArgument, match=f"row 0: expected at least {least} samples, got {samples}"):
            answer(pipeline, clip[np.newaxis])
    else:
        expected = reference(clip, hop=hop, mels=8, centered="centered" not in frames, last="last" in frames)
        close(answer(pipeline, clip[np.newaxis])[0], expected)


@pytest.mark.parametrize(
    ("rate", "fft", "mels"), [(16000, 400, 80), (16000, 400, 128), (8000, 256, 23), (44100, 2048, 128), (22050, 882, 64)]
)
def test_weights_are_slaneys(rate, fft, mels) -> None:
    weights = mel_weights(rate, fft, mels, 0, rate / 2)
    np.testing.assert_allclose(weights, slaney_weights(rate, fft, mels, 0, rate / 2), rtol=1e-6, atol=1e-9)


def test_mfcc_is_the_dct_of_decibels() -> None:
    clip = sound()
    expected = scipy.fft.dct(reference(clip, mels=64, scaling="DB"), type=2, norm="ortho", axis=0)[:13]
    result = answer(compiled(SAMPLES + "steps { mfcc { coefficients: 13 mel { mels: 64 } } }", (13, -1)), clip[np.newaxis])
    np.testing.assert_allclose(result[0], expected, rtol=1e-5, atol=1e-3)  # sums of 64 decibels
    steps = SAMPLES + "steps { mfcc { coefficients: 13 mel { mels: 64 frames_first: true } } }"
    first = answer(compiled(steps, (-1, 13)), clip[np.newaxis])
    np.testing.assert_allclose(first[0], expected.T, rtol=1e-5, atol=1e-3)
    assert answer(compiled(SAMPLES + "steps { mfcc {} }", (20, -1)), clip[np.newaxis]).shape == (1, 20, 100)


@pytest.mark.parametrize("samples", [16_000, 16_001, 16_159])
def test_the_last_frame_is_kept_where_it_is_asked_for(samples) -> None:
    """One frame more than Whisper has: the one that is centred on the last multiple of hop, at the clip's end where that is one."""
    clip = sound(samples)
    assert reference(clip, last=True).shape == (80, 101)
    close(answer(compiled(SAMPLES + "steps { log_mel { last_frame: true } }"), clip[np.newaxis])[0], reference(clip, last=True))
    steps = f"steps {{ fit_length {{ samples: {samples} }} }} steps {{ mfcc {{ mel {{ last_frame: true frames_first: true }} }} }}"
    pipeline = compiled(SAMPLES + steps, (101, 20))
    assert pipeline.outputs == (("mel", TensorType("FP32", (101, 20))),)
    expected = scipy.fft.dct(reference(clip, scaling="DB", last=True), type=2, norm="ortho", axis=0)[:20].T
    np.testing.assert_allclose(answer(pipeline, clip[np.newaxis])[0], expected, rtol=1e-5, atol=1e-3)


def test_silence_is_a_number() -> None:
    result = answer(compiled(SAMPLES + "steps { log_mel {} }"), np.zeros((1, RATE), np.float32))
    np.testing.assert_allclose(result, np.full((1, 80, 100), (-10 + 4) / 4), rtol=1e-6)


def test_the_loudest_that_is_let_through_is_a_number() -> None:
    clip = np.where(np.arange(RATE) % 2, 32768, -32768).astype(np.float32)[np.newaxis]
    assert np.isfinite(answer(compiled(SAMPLES + "steps { log_mel { fft: 16384 } }"), clip)).all()


# ---------------------------------------------------------------------------------------------------------------------
# samples, fit_length, numbers


def test_samples_go_to_a_graph_that_takes_them() -> None:
    clip = sound(1000)
    result = answer(compiled(SAMPLES, (-1,)), np.stack([clip, clip[::-1]]))
    np.testing.assert_array_equal(result, np.stack([clip, clip[::-1]]))


def test_int16_is_divided_by_32768() -> None:
    pipeline = compiled("steps { samples { sample_rate: 8000 datatype: 'INT16' } }", (-1,))
    assert pipeline.inputs == (("clip", TensorType("INT16", (-1,))),)
    np.testing.assert_array_equal(answer(pipeline, np.array([[-32768, 0, 16384, 32767]], np.int16)), [[-1, 0, 0.5, 32767 / 32768]])


def test_samples_that_lie_anywhere_in_a_message() -> None:
    clip = sound(2000)
    message = bytearray(1 + clip.nbytes)
    message[1:] = clip.tobytes()
    unaligned = np.frombuffer(message, np.float32, offset=1)[np.newaxis]
    assert not unaligned.flags.aligned
    close(answer(compiled(SAMPLES + "steps { log_mel {} }"), unaligned)[0], reference(clip))


def test_what_clients_sent_is_never_written_to() -> None:
    clip = sound(2000)[np.newaxis]
    clip.flags.writeable = False
    for steps in ("steps { scale { factor: 3 } }", "steps { normalize { mean: 1 std: 2 } }", "steps { log_mel { mels: 8 scaling: LN } }"):
        answer(compiled(SAMPLES + steps, (8, -1) if "mel" in steps else (-1,)), clip)


@pytest.mark.parametrize("samples", [1, 999, 1000, 1001, 5000])
def test_fit_length_cuts_or_fills(samples) -> None:
    pipeline = compiled(SAMPLES + f"steps {{ fit_length {{ samples: {samples} }} }}", (samples,))
    assert pipeline.outputs == (("mel", TensorType("FP32", (samples,))),)
    clip = sound(1000)
    np.testing.assert_array_equal(answer(pipeline, clip[np.newaxis])[0], np.pad(clip, (0, max(0, samples - 1000)))[:samples])


def test_fixed_frames_for_a_graph_that_has_them() -> None:
    clip = sound(20_000)
    pipeline = compiled(SAMPLES + "steps { fit_length { samples: 32000 } } steps { log_mel {} }", (80, 200))
    assert pipeline.outputs == (("mel", TensorType("FP32", (80, 200))),)
    close(answer(pipeline, clip[np.newaxis])[0], reference(np.pad(clip, (0, 12_000))))


def test_a_graph_that_takes_pictures_of_one_channel() -> None:
    pipeline = compiled(SAMPLES + "steps { log_mel {} }", (1, 80, -1))
    assert pipeline.outputs == (("mel", TensorType("FP32", (1, 80, -1))),)
    clip = sound(4000)
    result = answer(pipeline, np.stack([clip, clip]))
    assert result.shape == (2, 1, 80, 25)
    close(result[1, 0], reference(clip))


def test_numbers_after_bands() -> None:
    clip = sound()
    mean, std = [index / 100 for index in range(80)], [1 + index / 10 for index in range(80)]
    steps = "steps { log_mel {} } steps { scale { factor: 2 offset: 1 } }"
    steps += f"steps {{ normalize {{ {' '.join(f'mean: {one}' for one in mean)} {' '.join(f'std: {one}' for one in std)} }} }}"
    expected = (reference(clip) * 2 + 1 - np.array(mean)[:, None]) / np.array(std)[:, None]
    close(answer(compiled(SAMPLES + steps), clip[np.newaxis])[0], expected)
    steps = steps.replace("log_mel {}", "log_mel { frames_first: true }")
    close(answer(compiled(SAMPLES + steps, (-1, 80)), clip[np.newaxis])[0], expected.T)


@pytest.mark.parametrize("steps", ["scale { factor: 3e38 }", "scale { factor: -3e38 }", "normalize { mean: 0.5 std: 1e-38 }"])
def test_what_is_too_large_is_infinite_without_a_word(steps) -> None:
    """Warnings are errors here."""
    loud = np.array([[0.5, 32768, -32768]], np.float32)
    result = answer(compiled(SAMPLES + f"steps {{ {steps} }}", (-1,)), loud)
    assert np.isfinite(result[0, 0]), "nothing but what overflows"
    assert np.isinf(result[0, 1:]).all()
    naught = "steps { scale { factor: 0 } }"  # of which infinity makes NaN
    for datatype, last in (("FP16", np.nan), ("INT8", 0), ("UINT64", 0)):
        cast = f"steps {{ cast {{ datatype: '{datatype}' }} }}"
        result = answer(compiled(SAMPLES + f"steps {{ {steps} }}" + naught + cast, (-1,), datatype), loud)
        np.testing.assert_array_equal(result, np.array([[0, last, last]], result.dtype))


def test_cast_last() -> None:
    clip = np.array([[-1, -0.6, 0, 0.4, 0.99]], np.float32)
    steps = "steps { scale { factor: 100 } } steps { cast { datatype: 'INT8' } }"
    result = answer(compiled(SAMPLES + steps, (-1,), "INT8"), clip)
    assert result.dtype == np.int8
    assert result.tolist() == [[-100, -60, 0, 40, 99]]


# ---------------------------------------------------------------------------------------------------------------------
# Requests


def test_each_request_has_its_own_length_and_its_own_error() -> None:
    pipeline = compiled(SAMPLES + "steps { log_mel {} }")
    good, short, nan = sound()[np.newaxis], sound(100)[np.newaxis], np.full((2, 1000), 0.5, np.float32)
    nan[1, 999] = np.nan
    first, second, third, fourth = prepared(pipeline, good, short, nan, good[:, :8000])
    close(first[0][0], reference(good[0]))
    assert isinstance(second, InvalidArgument)
    assert str(second) == "input 'clip', row 0: expected at least 201 samples, got 100: send a longer clip"
    assert isinstance(third, InvalidArgument)
    assert str(third).startswith(
        "input 'clip', row 1: expected samples from -32,768 to 32,768 (sound is -1 to 1), got values from nan to nan"
    )
    close(fourth[0][0], reference(good[0, :8000]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 40_000, -1e30])
def test_what_is_no_sound_is_rejected(value) -> None:
    clip = sound()[np.newaxis]
    clip[0, 500] = value
    with pytest.raises(InvalidArgument, match="row 0: expected samples from -32,768 to 32,768 "):
        answer(compiled(SAMPLES + "steps { log_mel {} }"), clip)


@pytest.mark.parametrize("datatype", ["FP32", "INT16"])
def test_no_samples_are_rejected(datatype) -> None:
    pipeline = compiled(f"steps {{ samples {{ sample_rate: 16000 datatype: '{datatype}' }} }}", (-1,))
    empty = np.empty((2, 0), np.float32 if datatype == "FP32" else np.int16)
    with pytest.raises(InvalidArgument, match="row 0: expected samples, got none"):
        answer(pipeline, empty)


def test_check_is_asked_before_each_row_and_step() -> None:
    pipeline = compiled(SAMPLES + "steps { fit_length { samples: 800 } } steps { log_mel {} }")
    asked = []

    def check(request) -> None:
        asked.append(request)
        if request == 1 and asked.count(1) == 5:
            raise Cancelled("nobody waits")

    clips = np.stack([sound(800)] * 2)
    one, two = pipeline.prepare([[clips], [clips]], check)
    assert one[0].shape == (2, 80, 5)
    assert isinstance(two, Cancelled)
    assert asked == [0] * 6 + [1] * 5


def test_a_request_has_a_limit_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "MAX_REQUEST_BYTES", 100_000)
    pipeline = compiled(SAMPLES + "steps { log_mel {} }")
    clips = np.stack([sound(16_000)] * 4)
    assert answer(pipeline, clips[:3]).nbytes == 96_000
    with pytest.raises(InvalidArgument, match=r"row 0: 4 clips like this one become 128,000 bytes, 100,000 are allowed"):
        answer(pipeline, clips)
    with pytest.raises(InvalidArgument, match=r"row 0: its 313 frames of 80 mels are more than 100,000 bytes: send a shorter clip"):
        answer(pipeline, sound(50_080)[np.newaxis])


def test_what_resampling_makes_has_a_limit_of_bytes_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a later step leaves of it."""
    made = []

    def resampler(rate, wanted):
        return lambda clip: made.append(len(clip)) or np.zeros(len(clip) * wanted // rate, np.float32)

    monkeypatch.setattr(audio, "resampler", resampler)
    monkeypatch.setattr(audio, "MAX_REQUEST_BYTES", 100_000)
    pipeline = compiled(SAMPLES + "steps { resample { sample_rate: 48000 } } steps { fit_length { samples: 80 } }", (80,))
    assert answer(pipeline, sound(8_333)[np.newaxis]).shape == (1, 80)
    says = "row 0: its 8,334 samples at 16000 Hz become 100,008 bytes at 48000 Hz, 100,000 are allowed: send a shorter clip"
    with pytest.raises(InvalidArgument, match=says):
        answer(pipeline, sound(8_334)[np.newaxis])
    assert made == [8_333]


# ---------------------------------------------------------------------------------------------------------------------
# What does not compile


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("steps { resample { sample_rate: 8000 } }", r"steps\[0\] \(resample\): audio begins with decode_audio or samples"),
        ("steps {}", r"steps\[0\] \(empty\): audio begins"),
        ("steps { samples {} }", r"steps\[0\] \(samples\): expected sample_rate from 1000 to 192000, got 0"),
        ("steps { samples { sample_rate: 192001 } }", "expected sample_rate from 1000 to 192000, got 192001"),
        ("steps { samples { sample_rate: 16000 datatype: 'FP64' } }", "expected FP32 or INT16 as datatype, got 'FP64'"),
        ("steps { decode_audio {} }", r"steps\[0\] \(decode_audio\): expected sample_rate from 1000"),
        ("steps { decode_audio { sample_rate: 16000 max_seconds: -1 } }", "expected max_seconds from 0 to 4194 .* got -1"),
        ("steps { decode_audio { sample_rate: 16000 max_seconds: nan } }", "expected max_seconds from 0 .* got nan"),
        ("steps { decode_audio { sample_rate: 16000 max_seconds: 4195 } }", "expected max_seconds from 0 to 4194 .* got 4195"),
        (SAMPLES + "steps {}", r"steps\[1\] \(empty\): no step of audio"),
        (SAMPLES + SAMPLES, r"steps\[1\] \(samples\): no step of audio; these can follow: resample, fit_length, log_mel"),
        (SAMPLES + "steps { transpose {} }", r"steps\[1\] \(transpose\): no step of audio"),
        (SAMPLES + "steps { resample {} }", r"steps\[1\] \(resample\): expected sample_rate from 1000 to 192000, got 0"),
        (SAMPLES + "steps { fit_length {} }", r"steps\[1\] \(fit_length\): expected samples from 1 to 67108864, got 0"),
        (SAMPLES + "steps { log_mel {} } steps { log_mel {} }", r"steps\[2\] \(log_mel\): expected FP32 samples, got FP32\[80,-1\] of"),
        (SAMPLES + "steps { log_mel {} } steps { fit_length { samples: 3 } }", r"steps\[2\] \(fit_length\): expected FP32 samples"),
        (SAMPLES + "steps { cast { datatype: 'INT8' } } steps { log_mel {} }", r"expected FP32 samples, got INT8\[-1\]: put it further"),
        (SAMPLES + "steps { log_mel { fft: 401 } }", r"steps\[1\] \(log_mel\): expected as fft an even number .* got 401: 420 is one"),
        (SAMPLES + "steps { log_mel { fft: 20000 } }", "an even number up to 16384 .* got 20000: 16384 is one"),
        (SAMPLES + "steps { log_mel { hop: 2000000 } }", "expected hop from 1 to 1048576, got 2000000"),
        (SAMPLES + "steps { log_mel { mels: 1025 } }", "expected mels from 1 to 1024, got 1025"),
        (SAMPLES + "steps { log_mel { high_hz: 8001 } }", "expected 0 <= low_hz < high_hz <= 8000, half the sample rate, got 0 and 8001"),
        (SAMPLES + "steps { log_mel { low_hz: 500 high_hz: 400 } }", "got 500 and 400"),
        (SAMPLES + "steps { log_mel { low_hz: nan } }", "got nan and 8000"),
        (SAMPLES + "steps { fit_length { samples: 200 } } steps { log_mel {} }", "at least 201 samples, got 200: a longer fit_length"),
        (SAMPLES + "steps { log_mel { centered: false last_frame: true } }", "last_frame is for centered frames, and centered is false"),
        (SAMPLES + "steps { mfcc { coefficients: 81 } }", r"steps\[1\] \(mfcc\): expected coefficients from 1 to 80, got 81"),
        (SAMPLES + "steps { mfcc { mel { fft: 22 } } }", r"steps\[1\] \(mfcc\): expected as fft"),
        (SAMPLES + "steps { normalize {} }", r"steps\[1\] \(normalize\): expected mean, std"),
        (SAMPLES + "steps { log_mel {} } steps { normalize { mean: [1, 2] } }", "expected 1 or 80 numbers in mean"),
        (SAMPLES + "steps { cast { datatype: 'FP8' } }", r"steps\[1\] \(cast\): expected one of FP16, "),
    ],
)
def test_steps_that_do_not_compile_are_named(steps, says) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        compiled(steps)
    assert str(raised.value).startswith("config.pbtxt of model 'ears': preprocess 'clip': steps[")


@pytest.mark.parametrize(
    ("steps", "shape", "datatype", "says"),
    [
        ("", (80, -1), "FP32", r"steps\[0\] \(samples\): expected FP32\[80,-1\], .* 'mel' takes, got FP32\[-1\]: log_mel and mfcc"),
        ("steps { log_mel {} }", (40, -1), "FP32", r"steps\[1\] \(log_mel\): .* got FP32\[80,-1\]: ask for as many mels"),
        ("steps { log_mel {} }", (80, 3000), "FP32", "fit_length of 480000 samples before that step makes it 3000"),
        ("steps { log_mel { centered: false } }", (80, 98), "FP32", "fit_length of 15920 samples before that step makes it 98"),
        ("steps { log_mel { last_frame: true } }", (80, 3001), "FP32", "fit_length of 480000 samples before that step makes it 3001"),
        ("steps { fit_length { samples: 480000 } } steps { log_mel {} }", (80, 3001), "FP32", ": last_frame makes it 3001"),
        ("", (8000,), "FP32", "fit_length of 8000 samples makes it 8000"),
        ("steps { log_mel {} }", (80, -1), "FP16", "add cast to FP16 as the last step"),
        ("steps { log_mel {} }", (2, 80, -1), "FP32", "log_mel and mfcc give two axes"),
        ("steps { log_mel {} }", (1, 40, -1), "FP32", "ask for as many mels"),
    ],
)
def test_results_that_the_graph_does_not_take(steps, shape, datatype, says) -> None:
    with pytest.raises(ConfigError, match=says):
        compiled(SAMPLES + steps, shape, datatype)


def test_the_cure_that_an_error_names_is_one() -> None:
    for steps, shape, samples in (
        ("steps { log_mel { centered: false } }", (80, 98), 15920),
        ("steps { log_mel {} }", (80, 3000), 480_000),
        ("steps { log_mel { last_frame: true } }", (80, 3001), 480_000),
        ("steps { mfcc { mel { frames_first: true } } }", (7, 20), 1120),
    ):
        compiled(SAMPLES + f"steps {{ fit_length {{ samples: {samples} }} }}" + steps, shape)


def test_names() -> None:
    entry = text_format.Parse(SAMPLES + "input: 'mel'", options.Preprocess())
    assert compile_audio(entry, place((-1,), other=TensorType("INT64", (1,)))).inputs[0][0] == "mel"
    entry.input = ""
    with pytest.raises(ConfigError, match="say which of the graph's tensors"):
        compile_audio(entry, place((-1,), other=TensorType("INT64", (1,))))
