"""Audio files: the bytes of a WAV, FLAC, OGG or MP3 file -> samples of one channel at one rate.

libsndfile decodes and libsoxr resamples; numpy reads plain WAV files.

A broken file is rejected, never shortened or mended silently. It may be cut off (audio_wav.py, audio_ogg.py, audio_mp3.py), or the library
reports an error. It may have another number of samples than its header says, or NaN, infinity and numbers that are no sound. Only damage
in an MP3's coded spectra goes unnoticed, for they have no checksum. libmpg123 may write a line about such a frame to stderr.

The one importer of soundfile and soxr. Never in here: files of the disk, spectra, rows of requests.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from inferd.steps.audio_container import TAKEN, BadClip, corrupt, format_of
from inferd.steps.audio_flac import announced_frames, uncounted
from inferd.steps.audio_mp3 import DECODER_DELAY, mp3_frames
from inferd.steps.audio_ogg import check_ogg
from inferd.steps.audio_wav import Floats, plain_wav

LEAST_RATE, MOST_RATE = 1_000, 192_000  # samples a second, of files and of steps
MOST_CHANNELS = 8
LOUDEST = 32_768.0  # of FP32 samples, which should lie within -1 and 1, and are taken as they are: far beyond it powers would overflow
BLOCK_BYTES = 32 << 20  # that are decoded at a time
QUALITY = "HQ"  # of soxr, its own default
LEAD_BYTES = 16 << 10  # of an MP3: the frame with its first samples, of 1441 bytes at most, and some behind it
UNKNOWN_FRAMES = 1 << 62  # and above: libsndfile does not know how many samples there are

Check = Callable[[], None]

# libsndfile's words: the format's name -> ours, and the codecs of each. Old and rare codecs stay out: nobody tests their decoders.
FORMATS = {"WAV": "WAV", "WAVEX": "WAV", "FLAC": "FLAC", "OGG": "OGG", "MP3": "MP3"}
CODECS = {
    "WAV": {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"},
    "FLAC": {"PCM_S8", "PCM_16", "PCM_24"},
    "OGG": {"VORBIS", "OPUS"},
    "MP3": {"MPEG_LAYER_III"},
}
FLOAT_CODECS = {"FLOAT", "DOUBLE", "VORBIS", "OPUS", "MPEG_LAYER_III"}  # which can give what is no sound, or no number


class AudioDecoder:
    """Called with one file's bytes, gives its samples FP32 [samples] at `rate`, the mean of its channels. Raises BadClip.

    seconds: longer clips are rejected, by their header or, where it lies, by what is there. check is called between blocks of a long
    file. Raises ImportError where soundfile or soxr is not installed.
    """

    def __init__(self, rate: int, seconds: float) -> None:
        try:
            import soundfile
        except OSError as error:  # it is there, and libsndfile is not
            raise ImportError(str(error)) from None
        import soxr

        class Reader(soundfile.SoundFile):  # type: ignore[misc, unused-ignore]
            """A file that is read once, from its beginning to its end."""

            def seekable(self) -> bool:
                return False  # else each read is followed by a seek to where it ended, which is slow for compressed files

        self._rate = rate
        self._seconds = seconds
        self._open = Reader
        self._broken: type[Exception] = soundfile.SoundFileError
        self._resampler = soxr.ResampleStream

    def __call__(self, content: memoryview, check: Check) -> Floats:
        word = format_of(content)
        if word == "WAV" and (wav := plain_wav(content)):
            return self._decoded(wav, wav.frames, check)
        announced = announced_frames(content) if word == "FLAC" else 0
        pieces = _whole(word, content, self._seconds)
        try:
            lead = self._lead(pieces[1][:LEAD_BYTES]) if word == "MP3" and len(pieces) > 1 else None
            with _opened(pieces) as source, self._open(source, closefd=False) as file:
                return self._decoded(file, announced or file.frames, check, lead)
        except self._broken:
            raise BadClip(f"the {word} file is corrupt or cut off: send all of it as it was written") from None

    def _lead(self, frames: bytes | memoryview) -> Floats:
        """The first samples of an MP3 without a tag, which are missing behind one."""
        with _opened([frames]) as source, self._open(source, closefd=False) as file:
            samples: Floats = file.read(DECODER_DELAY, dtype="float32", always_2d=True)
        if len(samples) < DECODER_DELAY:
            raise corrupt("MP3", "its first frame cannot be decoded")
        return samples

    def _decoded(self, file: Any, announced: int, check: Check, lead: Floats | None = None) -> Floats:
        """announced: how many samples the file says that it has. lead: what comes in front of them."""
        led = 0 if lead is None else len(lead)
        announced += led
        longest = int(self._seconds * file.samplerate)
        self._check_header(file, announced, longest)
        resampler = None if file.samplerate == self._rate else self._resampler(file.samplerate, self._rate, 1, "float32", QUALITY)
        block_frames = min(announced, longest + 1, BLOCK_BYTES // (4 * file.channels))
        pieces, frames = [], 0
        while frames < led + file.frames and frames <= announced:
            check()
            if lead is None:
                samples = file.read(out=np.empty((block_frames, file.channels), np.float32))
            else:
                samples, lead = lead, None
            if not len(samples):
                break
            frames += len(samples)
            if frames > longest:
                raise BadClip(f"expected at most {self._seconds:g} seconds, got more, whatever the file's header says: send a shorter clip")
            mono = _mixed(checked_samples(samples) if file.subtype in FLOAT_CODECS else samples)
            pieces.append(mono if resampler is None else resampler.resample_chunk(mono))
        if not frames:
            raise BadClip("expected samples, got a file without any, whatever its header says: send all of it as it was written")
        if frames != announced < UNKNOWN_FRAMES and file.format != "MP3":  # whose frames are counted already
            got = frames if frames < announced else "more"
            raise BadClip(f"expected {announced} samples, as the file's header says, got {got}: send all of it as it was written")
        if resampler is not None:
            pieces.append(resampler.resample_chunk(np.empty(0, np.float32), last=True))
        clip = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return np.ascontiguousarray(_some(clip, frames, file.samplerate, self._rate))

    def _check_header(self, file: Any, announced: int, longest: int) -> None:
        """Rejects by what the file announces, before anything is decoded."""
        word = FORMATS.get(file.format, "")
        if file.subtype not in CODECS.get(word, ()):
            codecs = "; ".join(f"{name}: {', '.join(sorted(some))}" for name, some in CODECS.items())
            raise BadClip(f"{TAKEN} with a codec of {codecs}; got {file.subtype} in {file.format}: convert it")
        if not 1 <= file.channels <= MOST_CHANNELS:
            raise BadClip(f"expected 1 to {MOST_CHANNELS} channels, got {file.channels}: mix them down")
        if not LEAST_RATE <= file.samplerate <= MOST_RATE:
            raise BadClip(f"expected a sample rate from {LEAST_RATE} to {MOST_RATE} Hz, got {file.samplerate}: resample it")
        if announced < 1:
            raise BadClip("expected samples, got a file whose header says that it has none")
        if longest < announced < UNKNOWN_FRAMES:
            got = f"{announced / file.samplerate:.3f}"
            raise BadClip(f"expected at most {self._seconds:g} seconds, got {got}: send a shorter clip")


def resampler(rate: int, wanted: int) -> Callable[[Floats], Floats]:
    """FP32 [samples] at one rate -> the same sound at another, by soxr's high quality. Raises ImportError where soxr is not installed."""
    import soxr

    return lambda clip: _some(soxr.resample(clip, rate, wanted, quality=QUALITY), len(clip), rate, wanted)


def _some(clip: Floats, samples: int, rate: int, wanted: int) -> Floats:
    """The same, which so many samples at another rate became; BadClip where that is nothing."""
    if not len(clip):
        raise BadClip(f"expected a longer clip: {samples} samples at {rate} Hz are none at {wanted} Hz")
    return clip


def checked_samples(samples: Floats) -> Floats:
    """The same; NaN, infinity and what is far too large to be sound are BadClip."""
    low, high = np.min(samples), np.max(samples)
    if not (low >= -LOUDEST and high <= LOUDEST):  # NaN is neither
        why = f"expected samples from {-LOUDEST:,.0f} to {LOUDEST:,.0f} (sound is -1 to 1), got values from {low:g} to {high:g}"
        raise BadClip(f"{why}: send finite numbers, divided by the largest")
    return samples


def _whole(word: str, content: memoryview, seconds: float) -> list[bytes | memoryview]:
    """The pieces of a file of that format that libsndfile is to decode. Raises BadClip for faults that libsndfile does not report."""
    if word == "MP3":
        return mp3_frames(content, seconds)
    if word == "OGG":
        check_ogg(content, seconds)
    return uncounted(content) if word == "FLAC" else [content]


def _mixed(samples: Floats) -> Floats:
    """[frames, channels] -> the mean of the channels."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    mixed = samples[:, 0] + samples[:, 1]
    for channel in range(2, samples.shape[1]):
        mixed += samples[:, channel]
    mixed *= np.float32(1 / samples.shape[1])
    return mixed


@contextmanager
def _opened(pieces: list[bytes | memoryview]) -> Iterator[Any]:
    """An object of a file's pieces that libsndfile can open: a file in memory, which it reads without the GIL, or else a BytesIO."""
    try:
        descriptor = os.memfd_create("clip")
    except (AttributeError, OSError):  # an old system, or too many open files
        yield io.BytesIO(b"".join(pieces))
        return
    try:
        for piece in pieces:
            written = 0
            while written < len(piece):
                written += os.write(descriptor, piece[written:])
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
