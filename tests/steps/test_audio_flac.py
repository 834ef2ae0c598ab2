"""The number of samples in the head of a FLAC file, by libFLAC's own files and by the format's description."""

from __future__ import annotations

import io

import pytest

from inferd.steps.audio_flac import announced_frames, uncounted

numpy = pytest.importorskip("numpy")
soundfile = pytest.importorskip("soundfile")


@pytest.mark.parametrize("frames", [1, 3000])
def test_the_number_is_read_and_taken_out(frames: int) -> None:
    file = io.BytesIO()
    soundfile.write(file, numpy.zeros((frames, 2)), 48_000, format="FLAC")
    content = memoryview(file.getvalue())
    assert announced_frames(content) == frames
    without = b"".join(uncounted(content))
    assert announced_frames(memoryview(without)) == 0
    assert [at for at, (one, other) in enumerate(zip(content, without, strict=True)) if one != other] in ([25], [24, 25])
    with soundfile.SoundFile(io.BytesIO(without)) as opened:
        assert (opened.samplerate, opened.channels, opened.subtype) == (48_000, 2, "PCM_16")


def test_all_36_bits_are_of_the_number() -> None:
    content = memoryview(bytes(18) + b"\xff" * 8)
    assert announced_frames(content) == (1 << 36) - 1
    assert b"".join(uncounted(content)) == bytes(18) + b"\xff\xff\xff\xf0" + bytes(4)


@pytest.mark.parametrize("nbytes", [0, 4, 18, 20, 25])
def test_a_file_that_ends_before(nbytes: int) -> None:
    content = memoryview((b"fLaC" + bytes(22))[:nbytes])
    assert announced_frames(content) == 0
    assert b"".join(uncounted(content)) == content
