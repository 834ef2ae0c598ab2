"""Plain WAV files as numpy reads them, against libsndfile."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from inferd.steps.audio_container import BadClip
from inferd.steps.audio_wav import plain_wav

CODECS = ["PCM_U8", "PCM_16", "PCM_32", "FLOAT", "DOUBLE"]


def written(samples, codec="PCM_16", form="WAV"):
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=form, subtype=codec)
    return file.getvalue()


def read(content, frames=None):
    file = plain_wav(memoryview(content))
    assert file is not None
    return file.read(out=np.full((file.frames if frames is None else frames, file.channels), np.nan, np.float32))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
@given(frames=st.integers(1, 50), channels=st.integers(1, 8), seed=st.integers(0, 2**32))
def test_is_what_the_library_reads(codec, form, frames, channels, seed) -> None:
    content = written(np.random.default_rng(seed).uniform(-1, 1, (frames, channels)), codec, form)
    file = plain_wav(memoryview(content))
    assert (file.format, file.subtype, file.samplerate, file.channels, file.frames) == ("WAV", codec, 16_000, channels, frames)
    np.testing.assert_array_equal(read(content), soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0])


@given(pieces=st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_piece_by_piece(pieces) -> None:
    content = written(np.linspace(-1, 1, 60))
    file = plain_wav(memoryview(content))
    got = [file.read(out=np.empty((piece, 1), np.float32)) for piece in pieces]
    np.testing.assert_array_equal(np.concatenate(got), read(content)[: sum(pieces)])


def test_the_ends_of_every_range() -> None:
    assert read(written(np.array([-128, 0, 127], np.int16) * 256, "PCM_U8")).ravel().tolist() == [-1, 0, 127 / 128]
    assert read(written(np.array([-32768, 0, 32767], np.int16))).ravel().tolist() == [-1, 0, 32767 / 32768]
    assert read(written(np.array([-(2**31), 0, 2**31 - 1], np.int32), "PCM_32")).ravel().tolist() == [-1, 0, 1]
    assert read(written(np.array([-3.5, 1e300]), "DOUBLE")).ravel().tolist() == [-3.5, np.inf]


@pytest.mark.parametrize("codec", ["PCM_24", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_others_are_the_librarys(codec) -> None:
    assert plain_wav(memoryview(written(np.zeros(1000, np.float32), codec))) is None


@pytest.mark.parametrize(
    ("codec", "channels", "size", "missing"), [("PCM_16", 1, 19, 1), ("PCM_16", 2, 37, 3), ("PCM_24", 1, 29, 1), ("ULAW", 2, 19, 1)]
)
def test_a_last_sample_that_is_not_all_there_is_cut_off(codec, channels, size, missing) -> None:
    content = bytearray(written(np.zeros((10, channels), np.float32), codec))
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    with pytest.raises(BadClip, match=rf"cut off: {missing} bytes of its last sample are missing"):
        plain_wav(memoryview(content))


@pytest.mark.parametrize(
    ("offset", "size", "value"), [(8 + 2, 2, 0), (8 + 2, 2, 3), (8 + 12, 2, 1), (8 + 14, 2, 0), (8 + 14, 2, 17), (4, 4, 2)]
)
def test_layouts_that_contradict_themselves_are_the_librarys(offset, size, value) -> None:
    content = bytearray(written(np.zeros((10, 2), np.int16)))
    at = content.index(b"fmt ") + offset
    content[at : at + size] = value.to_bytes(size, "little")
    try:
        assert plain_wav(memoryview(content)) is None
    except BadClip as rejected:  # of a size that leads away from the samples
        assert "cut off" in str(rejected)  # noqa: PT017


@given(st.binary(max_size=200))
def test_any_bytes(content) -> None:
    try:
        file = plain_wav(memoryview(b"RIFF\0\0\0\0WAVE" + content))
    except BadClip:
        return
    assert file is None or file.frames * file.channels <= len(content)
