"""Audio files of every format: what is decoded, against soundfile and soxr themselves, and what is rejected."""

from __future__ import annotations

import errno
import io
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd.errors import Cancelled, ConfigError, InvalidArgument
from inferd.protocol import options
from inferd.steps import audio_file
from inferd.steps.audio import compile_audio
from inferd.steps.audio_container import BadClip
from inferd.steps.audio_file import AudioDecoder
from inferd.steps.pipeline import EntryPlace, TensorType
from tests.clips import ogg_pages, sound, with_checksums, written

KINDS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_U8"),
    ("WAV", "PCM_24"),
    ("WAV", "PCM_32"),
    ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"),
    ("WAV", "ULAW"),
    ("WAV", "ALAW"),
    ("WAVEX", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("FLAC", "PCM_S8"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]
PLAIN = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


def unchecked() -> None:
    pass


def decoded(content, rate=16_000, seconds=300.0):
    return AudioDecoder(rate, seconds)(memoryview(content), unchecked)


def rejection(content, rate=16_000, seconds=300.0):
    with pytest.raises(BadClip) as raised:
        decoded(content, rate, seconds)
    return str(raised.value)


# ---------------------------------------------------------------------------------------------------------------------
# What is decoded


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_every_format_and_codec(kind) -> None:
    content = written(sound(9000), 16_000, kind)
    expected, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    clip = decoded(content)
    assert clip.dtype == np.float32
    assert clip.flags.c_contiguous
    np.testing.assert_allclose(clip, expected, atol=1e-7 if kind[0] == "MP3" else 0)  # MP3 is rounded by where it lies in memory
    assert len(clip) == 9000


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_channels_are_mixed_by_their_mean(channels) -> None:
    content = written(sound(3000, channels=channels), kind=("WAV", "FLOAT"))
    expected = soundfile.read(io.BytesIO(content), always_2d=True)[0].mean(axis=1)
    np.testing.assert_allclose(decoded(content), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 192_000, 1000])
def test_other_rates_are_resampled(rate) -> None:
    samples = sound(rate, rate)
    content = written(samples, rate, ("WAV", "FLOAT"))
    np.testing.assert_allclose(decoded(content), soxr.resample(samples[:, 0], rate, 16_000, quality="HQ"), atol=1e-6)


@pytest.mark.parametrize("kind", PLAIN, ids="-".join)
@pytest.mark.parametrize("rate", [16_000, 12_000])
def test_long_files_are_decoded_in_blocks(monkeypatch: pytest.MonkeyPatch, kind, rate) -> None:
    content = written(sound(40_000, channels=2), kind=kind)
    whole = decoded(content, rate)
    monkeypatch.setattr(audio_file, "BLOCK_BYTES", 8 * 3001)
    np.testing.assert_allclose(decoded(content, rate), whole, atol=1e-6)


def test_check_is_asked_between_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_file, "BLOCK_BYTES", 4 * 1000)
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise Cancelled("nobody waits")

    with pytest.raises(Cancelled):
        AudioDecoder(16_000, 300)(memoryview(written(sound(8000))), check)


def test_a_wav_stream_of_unknown_length_is_what_is_there() -> None:
    content = bytearray(written(sound(2000)))
    at = content.index(b"data") + 4
    for size in (0xFFFFFFFF, 0x7FFFF000):
        content[at : at + 4] = struct.pack("<I", size)
        assert len(decoded(content)) == 2000


def test_chunks_in_front_of_the_samples() -> None:
    plain = written(sound(500))
    at = plain.index(b"data")
    extra = b"junk" + struct.pack("<I", 3) + b"abc\0"
    np.testing.assert_array_equal(decoded(plain[:at] + extra * 5 + plain[at:]), decoded(plain))
    assert rejection(plain[:at] + (b"junk" + bytes(4)) * 1001 + plain[at:]).endswith("within 1000 chunks, got more")


def test_without_files_in_memory_python_reads_for_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    content = written(sound(1000), kind=("FLAC", "PCM_16"))
    expected = decoded(content)

    def full(name) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(os, "memfd_create", full)
    np.testing.assert_array_equal(decoded(content), expected)


def test_no_file_stays_open() -> None:
    contents = [written(sound(1000)), written(sound(1000))[:300], b"fLaC" + bytes(200), b"nothing"]
    decoded(contents[0])
    before = len(os.listdir("/proc/self/fd"))
    for content in contents * 5:
        try:
            decoded(content)
        except BadClip:
            continue
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_share_a_decoder() -> None:
    decoder = AudioDecoder(8000, 300)
    contents = [written(sound(20_000, seed=seed), kind=kind) for seed, kind in enumerate(PLAIN)]
    expected = [decoder(memoryview(content), unchecked) for content in contents]
    wrong = []

    def work(first) -> None:
        for turn in range(10):
            index = (first + turn) % len(contents)
            if not np.array_equal(decoder(memoryview(contents[index]), unchecked), expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---------------------------------------------------------------------------------------------------------------------
# What is rejected


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "got no bytes"),
        (b"R", "got something else, which begins with 0x52"),
        (b"nonsense of some length", "got something else, which begins with 0x6e6f6e73"),
        (b"\xff", "got something else, which begins with 0xff"),
        (written(sound(100), kind=("AIFF", "PCM_16")), "got AIFF: convert it"),
        (written(sound(100), kind=("AU", "PCM_16")), "got AU: convert it"),
        (written(sound(100), kind=("CAF", "PCM_16")), "got CAF: convert it"),
        (written(sound(100), kind=("RF64", "PCM_16")), "got RF64: convert it"),
        (written(sound(100), kind=("W64", "PCM_16")), "got Wave64: convert it"),
        (b"\0\0\0\x20ftypM4A \0\0\0\0", "got MP4 or M4A: convert it"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81", "got WebM or Matroska: convert it"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "got RIFF, but not WAVE: convert it"),
        (b"RIFX\0\0\0\0WAVEfmt ", "got RIFX: convert it"),
        (b"\x30\x26\xb2\x75\x8e\x66", "got WMA: convert it"),
        (b"#!AMR\n", "got AMR: convert it"),
        (b"MThd\0\0\0\x06", "got MIDI: convert it"),
        (b"\xff\xf1\x50\x80", "got AAC: convert it"),
        (b"\xff\xfd\x50\x80", "got MPEG audio of another layer: convert it"),
    ],
)
def test_other_formats_are_named(content, says) -> None:
    assert rejection(content) == f"expected a WAV, FLAC, OGG or MP3 file, {says}"


@pytest.mark.parametrize("codec", ["IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"])
def test_rare_codecs_are_named(codec) -> None:
    why = rejection(written(sound(1000), 8000, ("WAV", codec)))
    assert why.startswith("expected a WAV, FLAC, OGG or MP3 file with a codec of WAV: ALAW, ")
    assert why.endswith(f"got {codec} in WAV: convert it")


def test_channels_and_rates_have_limits() -> None:
    assert rejection(written(sound(100, channels=9))) == "expected 1 to 8 channels, got 9: mix them down"
    assert rejection(written(sound(100), 999)) == "expected a sample rate from 1000 to 192000 Hz, got 999: resample it"
    assert rejection(written(sound(100), 192_001)).endswith("got 192001: resample it")


@pytest.mark.parametrize("kind", [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")], ids="-".join)
def test_files_without_samples(kind) -> None:
    assert "expected" in rejection(written(np.empty((0, 1), np.float32), kind=kind))
    if kind[0] == "WAV":
        assert (
            rejection(written(np.empty((0, 1), np.float32), kind=kind)) == "expected samples, got a file whose header says that it has none"
        )


@pytest.mark.parametrize("kind", PLAIN, ids="-".join)
def test_long_clips_are_rejected_by_their_header(kind) -> None:
    content = written(sound(24_000), kind=kind)
    assert len(decoded(content, seconds=1.5)) == 24_000
    assert rejection(content, seconds=1.4) == "expected at most 1.4 seconds, got 1.500: send a shorter clip"


def test_long_clips_of_unknown_length_are_rejected_by_what_is_there() -> None:
    content = bytearray(written(sound(24_000), kind=("FLAC", "PCM_16")))
    content[21] &= 0xF0  # the number of samples in STREAMINFO: 0 is unknown
    content[22:26] = bytes(4)
    assert len(decoded(content)) == 24_000
    assert "expected at most 1 seconds" in rejection(content, seconds=1)


def test_headers_that_lie() -> None:
    content = bytearray(written(sound(24_000), kind=("FLAC", "PCM_16")))
    content[22:26] = struct.pack(">I", 24_001)
    assert rejection(content).startswith("expected 24001 samples, as the file's header says, got 24000: ")
    for fewer in (1, 1000, 23_999):  # libsndfile would stop there
        content[22:26] = struct.pack(">I", fewer)
        assert rejection(content).startswith(f"expected {fewer} samples, as the file's header says, got more: ")
    content[22:26] = struct.pack(">I", 2**32 - 1)
    assert rejection(content).startswith("expected at most 300 seconds, got 268435")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("codec", ["FLOAT", "DOUBLE"])
def test_what_is_no_sound_is_rejected(value, codec) -> None:
    samples = sound(1000)
    samples[500] = value
    assert rejection(written(samples, kind=("WAV", codec))).startswith("expected samples from -32,768 to 32,768 (sound is -1 to 1), got ")


SIGNALS = {"FLOAT": np.uint32(0x7F800001).view(np.float32), "DOUBLE": np.uint64(0x7FF0000000000001).view(np.float64)}  # NaN that traps


@pytest.mark.parametrize("rate", [8_000, 16_000])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("codec", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("value", ["signal", "nan", "inf", "-inf", "3e38", "-3e38", "40000", "1e300", "1e-42", "5e-324"])
def test_whatever_floats_hold_numpy_says_nothing(value, codec, channels, rate) -> None:
    """Each channel is sound, or rejected: the mean of two that are not may be. Warnings are errors here."""
    wide = np.float64 if codec == "DOUBLE" else np.float32
    with np.errstate(over="ignore"):
        loud = SIGNALS[codec] if value == "signal" else np.float64(value).astype(wide)
    samples = sound(3000, channels=channels).astype(wide)
    content = bytearray(written(samples, rate, kind=("WAV", codec)))
    first = content.index(samples[0].tobytes())
    frame = [loud, np.negative(loud), loud][:channels]
    content[first : first + samples[0].nbytes] = b"".join(number.tobytes() for number in frame)
    pipeline = compiled("steps { decode_audio { sample_rate: 16000 } } steps { log_mel {} }", (80, -1))
    (told,) = pipeline.prepare([[[memoryview(content)]]], lambda request: None)
    if value in ("1e-42", "5e-324"):
        assert np.isfinite(told[0]).all()
    else:
        assert str(told).startswith("input 'clip', row 0: expected samples from -32,768 to 32,768 (sound is -1 to 1), got values from ")


def test_a_codebook_that_makes_no_sound_is_rejected() -> None:
    """Vorbis multiplies with numbers of the file's own."""
    whole = written(sound(1000, channels=2), kind=("OGG", "VORBIS"))
    books = list(ogg_pages(whole))[1]
    random = np.random.default_rng(0)
    for _ in range(5_000):
        damaged = bytearray(whole)
        damaged[random.integers(books.start + 60, books.stop)] ^= 1 << random.integers(8)
        content = with_checksums(bytes(damaged), [books])
        try:
            samples, _ = soundfile.read(io.BytesIO(content), dtype="float32")
        except soundfile.SoundFileError:
            continue
        if np.abs(samples).max(initial=0) > 1e6:
            break
    else:
        pytest.fail("no bit of the codebooks makes a sound so loud")
    assert rejection(content).startswith("expected samples from -32,768 to 32,768 (sound is -1 to 1), got values from ")


def test_floats_beyond_full_scale_are_taken_as_they_are() -> None:
    samples = sound(1000) * 20_000
    assert np.abs(samples).max() > 2
    np.testing.assert_array_equal(decoded(written(samples, kind=("WAV", "FLOAT"))), samples[:, 0])


def test_a_clip_too_short_for_the_rate() -> None:
    assert rejection(written(sound(1), 192_000), 1000).startswith("expected a longer clip: 1 samples at 192000 Hz")


@pytest.mark.parametrize("kind", [*PLAIN, ("WAV", "PCM_24")], ids="-".join)
def test_files_that_are_cut_off(kind) -> None:
    content = written(sound(8000), kind=kind)
    whole = decoded(content)
    rng = np.random.default_rng(3)
    ends = {*range(60), *rng.integers(60, len(content), 60).tolist(), len(content) - 1, len(content) - 2}
    for end in sorted(ends):
        if kind[0] != "MP3":
            assert rejection(content[:end])
            continue
        try:
            clip = decoded(content[:end])
        except BadClip:
            continue
        assert len(clip) <= len(whole)
        assert mp3_frames(content, end), "only behind a frame nothing tells"


def mp3_frames(content, end):
    """Whether a frame of this MP3 of 16 kHz, mono, ends there: all of them are as long as the first."""
    return end % 144 == 0 and content[end : end + 2] == content[:2]


def test_tags_around_an_mp3() -> None:
    content = written(sound(8000), kind=("MP3", "MPEG_LAYER_III"))
    plain = decoded(content)
    tag = b"ID3\4\0\0" + bytes([0, 0, 1, 5]) + bytes(133)
    for tagged in (tag + content, tag + bytes(77) + content, tag + tag + content, content + b"TAG" + bytes(125), content + bytes(100)):
        np.testing.assert_allclose(decoded(tagged), plain, atol=1e-6)
    assert rejection(tag) == "the MP3 file is cut off: its first frame is missing. Send all of it"
    assert rejection(tag + b"nonsense") == "the MP3 file is corrupt: expected its first frame at byte 143, got something else"
    assert rejection(content + b"nonsense").startswith("the MP3 file is corrupt: expected a frame like its first at byte ")


@pytest.mark.parametrize("rate", [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3_of_every_rate_is_whole(rate, channels) -> None:
    content = written(sound(rate, rate, channels), rate, ("MP3", "MPEG_LAYER_III"))
    assert len(decoded(content, rate)) == rate
    assert rejection(content[:-1]) == "the MP3 file is cut off: 1 bytes are missing. Send all of it"


def test_ogg_that_is_cut_off_behind_a_page() -> None:
    content = written(sound(200_000), kind=("OGG", "VORBIS"))
    pages = [at for at in range(len(content)) if content.startswith(b"OggS", at)]
    assert len(pages) > 4
    for at in pages[3:]:
        assert rejection(content[:at]) == "the OGG file is cut off: its last page is missing. Send all of it"


@pytest.mark.parametrize("kind", [*PLAIN, ("WAV", "FLOAT"), ("WAV", "PCM_24")], ids="-".join)
def test_damaged_files_are_rejected_or_are_sound(kind, capfd) -> None:
    content = written(sound(8000), kind=kind)
    rng = np.random.default_rng(4)
    decoder = AudioDecoder(16_000, 2)
    rejected = 0
    for turn in range(150):
        damaged = bytearray(content)
        within = 200 if turn % 2 else len(content)
        for at in rng.integers(0, min(within, len(content)), 1 + turn % 4):
            damaged[at] = rng.integers(256)
        try:
            clip = decoder(memoryview(damaged), unchecked)
        except BadClip:
            rejected += 1
            continue
        assert clip.ndim == 1
        assert 0 < len(clip) <= 2 * 16_000 * 2
        assert np.isfinite(clip).all()
    assert rejected
    said = capfd.readouterr()
    if kind[0] == "MP3":  # libmpg123 tells of damage inside a frame, and of a length that its header has wrong
        assert all("layer3.c" in line or "Xing" in line for line in said.err.splitlines())
    else:
        assert said == ("", "")


def test_damage_that_a_checksum_tells() -> None:
    content = bytearray(written(sound(40_000), kind=("FLAC", "PCM_16")))
    for at in range(len(content) // 4, len(content), len(content) // 40):
        damaged = content.copy()
        damaged[at] ^= 0x55
        assert rejection(damaged)


def without_sound(kind):
    """A file whose header says that it has some, and which has none."""
    content = bytearray(written(sound(1000), kind=kind))
    if kind[0] == "FLAC":  # in STREAMINFO, the number of samples: 0 is unknown
        content[21] &= 0xF0
        content[22:26] = bytes(4)
        content[4] |= 0x80  # the last block of metadata
        return bytes(content[: 8 + 34])
    content[39] |= 0x80  # in the first header of Opus, how many samples to skip
    return with_checksums(bytes(content), list(ogg_pages(bytes(content))))


@pytest.mark.parametrize("kind", [("FLAC", "PCM_16"), ("OGG", "OPUS")], ids="-".join)
def test_files_that_decode_to_nothing(kind) -> None:
    why = "expected samples, got a file without any, whatever its header says: send all of it as it was written"
    assert rejection(without_sound(kind)) == why


ENCODED = Path(__file__).parent / "mp3"  # its README says how they were made


@pytest.mark.parametrize(("name", "samples"), [("constant", 51 * 1152), ("variable", 32 * 1152), ("tagged", 22_050)])
def test_mp3_of_other_encoders_is_decoded_to_its_end(name, samples) -> None:
    """libsndfile guesses the length of the first two: it looks for more samples in the one, and leaves out two thirds of the other."""
    content = (ENCODED / f"{name}.mp3").read_bytes()
    clip = decoded(content, 44_100)
    assert len(clip) == samples
    by_guess, _ = soundfile.read(io.BytesIO(content), dtype="float32")
    np.testing.assert_allclose(clip[: len(by_guess)], by_guess[: len(clip)], atol=1e-6)
    assert len(decoded(content, 44_100, seconds=(samples + 1) / 44_100)) == samples
    assert "at most" in rejection(content, 44_100, seconds=(samples - 1) / 44_100)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_without_a_tag_begins_where_soundfile_has_it(rate, channels) -> None:
    """Also one that was cut out of another, whose first frames lack data."""
    content = written(sound(rate, rate, channels), rate, ("MP3", "MPEG_LAYER_III"), bitrate_mode="CONSTANT", compression_level=0.5)
    begins = [at for at in range(len(content)) if content[at : at + 2] == content[:2] and content[at + 2] & 0xFC == content[2] & 0xFC]
    for begin in (begins[1], begins[5]):
        expected, _ = soundfile.read(io.BytesIO(content[begin:]), dtype="float32", always_2d=True)
        np.testing.assert_allclose(decoded(content[begin:], rate), expected.mean(axis=1), atol=1e-6)


def test_mp3_of_free_format_is_rejected_by_name() -> None:
    assert rejection((ENCODED / "free.mp3").read_bytes()).startswith("expected an MP3 file whose frames say their bit rate")


def test_an_mp3_of_random_frames_is_rejected_without_a_word(capfd) -> None:
    content = bytearray(written(sound(32_000), kind=("MP3", "MPEG_LAYER_III"), bitrate_mode="CONSTANT", compression_level=0.5))
    rng, size = np.random.default_rng(6), 360  # bytes of each frame
    for at in range(size, len(content), size):
        content[at + 4 : at + size] = rng.bytes(size - 4)
    assert "says of itself what cannot be" in rejection(content)
    assert capfd.readouterr() == ("", "")


def test_a_second_stream_is_not_left_out() -> None:
    assert "expected an OGG file of one stream" in rejection(written(sound(8000), kind=("OGG", "VORBIS")) * 2)


HEADS = [b"", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0"]


@given(st.binary(max_size=300), st.sampled_from(HEADS))
def test_any_bytes(content, head) -> None:
    with pytest.raises(BadClip):
        decoded(head + content)


REAL = [written(sound(1000, channels=1 + number % 2), kind=kind) for number, kind in enumerate(KINDS)]
EDITS = st.lists(st.tuples(st.integers(0, 250), st.integers(0, 255)), max_size=5)


@settings(max_examples=200)
@given(st.sampled_from([*REAL, without_sound(("FLAC", "PCM_16"))]), EDITS, st.integers(0, 400) | st.just(1 << 20))
def test_any_header_is_rejected_or_is_sound(content, edits, end) -> None:
    """Checksums of OGG pages are made to fit, so that what lies behind them is reached."""
    pages = list(ogg_pages(content)) if content.startswith(b"OggS") else []
    damaged = bytearray(content)
    for at, byte in edits:
        damaged[at % len(damaged)] = byte
    try:
        clip = decoded(with_checksums(bytes(damaged), pages)[:end], seconds=5)
    except BadClip:
        return
    assert clip.dtype == np.float32
    assert clip.ndim == 1
    assert len(clip)
    assert np.isfinite(clip).all()


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def broken_files(kind):
    """As many files as like, each with a byte changed; of OGG with checksums that fit. What is wrong of all is in the headers."""
    content = written(sound(2000), kind=kind)
    pages = list(ogg_pages(content)) if kind[0] == "OGG" else []
    rng = np.random.default_rng(7)
    for number in range(200):
        damaged = bytearray(content)
        at = int(rng.integers(0, 120 if number % 2 else 1000))
        damaged[at] ^= 1 << int(rng.integers(8))
        yield with_checksums(bytes(damaged), pages) if number % 4 == 0 else bytes(damaged)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("kind", PLAIN, ids="-".join)
def test_broken_files_take_no_memory_for_ever(kind) -> None:
    """libsndfile keeps 5.8 KB of some Vorbis files: of 200 broken ones, 15 times, that were some 10 MB."""
    decoder = AudioDecoder(16_000, 2)
    files = [memoryview(content) for content in broken_files(kind)]

    def decode_all(times) -> None:
        for _ in range(times):
            for file in files:
                with suppress(BadClip):
                    decoder(file, unchecked)

    decode_all(2)
    before = resident_bytes()
    decode_all(15)
    assert resident_bytes() - before < 3 << 20


# ---------------------------------------------------------------------------------------------------------------------
# As a pipeline


def compiled(steps, shape):
    place = EntryPlace("config.pbtxt of model 'ears': preprocess 'clip'", {"mel": TensorType("FP32", shape)})
    return compile_audio(text_format.Parse(f"name: 'clip' {steps}", options.Preprocess()), place)


def test_from_files_to_bands() -> None:
    pipeline = compiled("steps { decode_audio { sample_rate: 16000 } } steps { log_mel {} }", (80, -1))
    assert pipeline.inputs == (("clip", TensorType("BYTES", (1,))),)
    assert pipeline.outputs == (("mel", TensorType("FP32", (80, -1))),)
    one, two = written(sound(16_000, seed=1)), written(sound(16_000, seed=2), kind=("FLAC", "PCM_16"))
    long, broken = written(sound(16_160)), one[:1000]
    clips = [memoryview(one), memoryview(two)]
    good, unequal, bad = pipeline.prepare([[clips], [[*clips, memoryview(long)]], [[*clips, memoryview(broken)]]], lambda request: None)
    (mel,) = good
    assert mel.shape == (2, 80, 100)
    samples = compiled("steps { samples { sample_rate: 16000 } } steps { log_mel {} }", (80, -1))
    ((expected,),) = samples.prepare([[np.stack([decoded(one), decoded(two)])]], lambda request: None)
    np.testing.assert_array_equal(mel, expected)
    assert isinstance(unequal, InvalidArgument)
    assert "row 2: expected a clip as long as that of row 0, of which [80, 100] is made, got [80, 101]" in str(unequal)
    assert isinstance(bad, InvalidArgument)
    assert str(bad) == "input 'clip', row 2: the WAV file is cut off: 31044 bytes are missing. Send all of it"


def test_fit_length_makes_clips_equal() -> None:
    pipeline = compiled("steps { decode_audio { sample_rate: 16000 } } steps { fit_length { samples: 8000 } }", (8000,))
    clips = [memoryview(written(sound(samples))) for samples in (7000, 8000, 9000)]
    ((fitted,),) = pipeline.prepare([[clips]], lambda request: None)
    assert fitted.shape == (3, 8000)
    assert not fitted[0, 7000:].any()
    np.testing.assert_array_equal(fitted[2], decoded(clips[2])[:8000])


def test_resample_is_soxrs() -> None:
    steps = "steps { samples { sample_rate: 48000 } } steps { resample { sample_rate: 16000 } }"
    clip = sound(48_000, 48_000)[:, 0]
    ((result,),) = compiled(steps, (-1,)).prepare([[clip[np.newaxis]]], lambda request: None)
    np.testing.assert_array_equal(result[0], soxr.resample(clip, 48_000, 16_000, quality="HQ"))
    same = compiled(steps.replace("48000", "16000"), (-1,))
    ((result,),) = same.prepare([[clip[np.newaxis]]], lambda request: None)
    np.testing.assert_array_equal(result[0], clip)


def test_the_rate_of_log_mel_is_that_after_resampling() -> None:
    steps = "steps { samples { sample_rate: 48000 } } steps { resample { sample_rate: 8000 } } steps { log_mel { high_hz: 5000 } }"
    with pytest.raises(ConfigError, match=r"steps\[2\] \(log_mel\): expected 0 <= low_hz < high_hz <= 4000"):
        compiled(steps, (80, -1))


def test_resampling_to_nothing() -> None:
    steps = "steps { samples { sample_rate: 192000 } } steps { resample { sample_rate: 1000 } }"
    (error,) = compiled(steps, (-1,)).prepare([[np.zeros((1, 1), np.float32)]], lambda request: None)
    assert str(error) == "input 'clip', row 0: expected a longer clip: 1 samples at 192000 Hz are none at 1000 Hz"


@pytest.mark.parametrize("missing", ["soundfile", "soxr"])
def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch, missing) -> None:
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    with pytest.raises(ConfigError, match=r"steps\[0\] \(decode_audio\): .* pip install 'inferd\[audio\]'"):
        compiled("steps { decode_audio { sample_rate: 16000 } }", (-1,))
