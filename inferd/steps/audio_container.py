"""What an audio file is by its bytes: WAV, FLAC, OGG or MP3, or which other format; and whether all of it is there.

libsndfile takes a WAV, OGG or MP3 file that was cut off for a shorter clip. So its parts are looked at: a WAV file's samples are as many
bytes as it says (audio_wav.py; a stream, which says that it does not know, is what is there); the last page of an OGG file is marked as
such; an MP3 is one frame behind the other to its end, but for tags. An MP3 that was cut off just behind a frame is a shorter clip:
nothing in it says otherwise. FLAC tells by itself. Never in here: libraries, samples.
"""

from __future__ import annotations

__all__ = ["TAKEN", "Refused", "cut_off", "format_of", "whole_sound"]

TAKEN = "expected a WAV, FLAC, OGG or MP3 file"

MAX_OGG_PAGE_BYTES = 65_307
MOST_TAGS = 16  # in front of an MP3
MOST_ZEROS = 65_536  # between them and its first frame

# What files that are not taken begin with, at which place.
FOREIGN = (
    (0, b"FORM", "AIFF"),
    (0, b".snd", "AU"),
    (0, b"caff", "CAF"),
    (4, b"ftyp", "MP4 or M4A"),
    (0, b"\x1a\x45\xdf\xa3", "WebM or Matroska"),
    (0, b"\x30\x26\xb2\x75", "WMA"),
    (0, b"#!AMR", "AMR"),
    (0, b"MThd", "MIDI"),
    (0, b"RF64", "RF64"),
    (0, b"RIFX", "RIFX"),
    (0, b"riff", "Wave64"),
    (0, b"RIFF", "RIFF, but not WAVE"),
)

# Of MPEG audio, layer III, by the two bits of the version: 2.5, none, 2, 1. Bit rates by four bits, kbit/s; 0 is any, 15 none.
MP3_RATES = ((11_025, 12_000, 8_000), (), (22_050, 24_000, 16_000), (44_100, 48_000, 32_000))
MP3_SLOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MP3_FAST = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MP3_TRAILERS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")


class Refused(Exception):
    """Why a row cannot be used: what was expected, what came, and the cure."""


def format_of(content: memoryview) -> str:
    """WAV, FLAC, OGG or MP3 by the first bytes; any other is Refused by name."""
    head = bytes(content[:12])
    if not head:
        raise Refused(f"{TAKEN}, got no bytes")
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return "WAV"
    if head[:4] == b"fLaC":
        return "FLAC"
    if head[:4] == b"OggS":
        return "OGG"
    layer = head[1] & 0xE6 if len(head) > 1 and head[0] == 0xFF else 0
    if head[:3] == b"ID3" or layer == 0xE2:
        return "MP3"
    for place, magic, name in FOREIGN:
        if head[place : place + len(magic)] == magic:
            raise Refused(f"{TAKEN}, got {name}: convert it")
    if layer in (0xE0, 0xE4, 0xE6):
        raise Refused(f"{TAKEN}, got {'AAC' if layer == 0xE0 else 'MPEG audio of another layer'}: convert it")
    raise Refused(f"{TAKEN}, got something else, which begins with 0x{head[:4].hex()}")


def whole_sound(word: str, content: memoryview, seconds: float) -> memoryview:
    """What libsndfile is to decode: all of a file of that format, or an MP3's frames without the tags around them. Of WAV see audio_wav.py.

    Refused is what was cut off and libsndfile would not say so, and an MP3 longer than `seconds`, which would take long to look at.
    """
    if word == "MP3":
        return _mp3_frames(content, seconds)
    if word == "OGG":
        _refuse_cut_off_ogg(content)
    return content


def cut_off(word: str, missing: str) -> Refused:
    """The error of a file of which something is missing, such as "12 bytes are"."""
    return Refused(f"the {word} file is cut off: {missing} missing. Send all of it")


def _refuse_cut_off_ogg(content: memoryview) -> None:
    tail = bytes(content[-MAX_OGG_PAGE_BYTES:])
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or not page[5] & 4:
        raise cut_off("OGG", "its last page is")
    missing = 27 + page[26] + sum(page[27 : 27 + page[26]]) - len(page)
    if missing > 0:
        raise cut_off("OGG", f"{missing} bytes are")


def _mp3_frames(content: memoryview, seconds: float) -> memoryview:
    at = begin = _first_frame(content)
    first = bytes(content[at : at + 4])
    if len(first) < 4:
        raise cut_off("MP3", "its first frame is")
    rates, rate_index = MP3_RATES[first[1] >> 3 & 3], first[2] >> 2 & 3
    if first[0] != 0xFF or first[1] & 0xE6 != 0xE2 or not rates or rate_index == 3:
        raise Refused(f"the MP3 file is corrupt: expected its first frame at byte {at}, got something else")
    fast = first[1] & 0x18 == 0x18
    kilobits, factor, samples = (MP3_FAST, 144_000, 1152) if fast else (MP3_SLOW, 72_000, 576)
    most = (seconds + 1) * rates[rate_index] / samples  # a second for what encoders put in front and behind
    for _ in range(int(most)):
        frame = content[at : at + 3]
        # The version, the layer and the sample rate are those of the first.
        if len(frame) < 3 or frame[0] != 0xFF or (frame[1] ^ first[1]) & 0xFE or (frame[2] ^ first[2]) & 0x0C or frame[2] >> 4 in (0, 15):
            break
        at += factor * kilobits[frame[2] >> 4] // rates[rate_index] + (frame[2] >> 1 & 1)
    else:
        raise Refused(f"expected at most {seconds:g} seconds, got more: send a shorter clip")
    if at > len(content):
        raise cut_off("MP3", f"{at - len(content)} bytes are")
    rest = content[at:]
    if bytes(rest[:12]).startswith(MP3_TRAILERS) or not bytes(rest).strip(b"\0"):
        return content[begin:at]
    raise Refused(f"the MP3 file is corrupt: expected a frame like its first at byte {at}, got something else")


def _first_frame(content: memoryview) -> int:
    """Behind the tags in front of an MP3, and the zeros that may follow them."""
    at = 0
    for _ in range(MOST_TAGS):
        head = bytes(content[at : at + 10])
        if head[:3] != b"ID3" or len(head) < 10:
            break
        a, b, c, d = (byte & 0x7F for byte in head[6:])
        at += 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if head[5] & 0x10 else 0)
    rest = bytes(content[at : at + MOST_ZEROS])
    return at + len(rest) - len(rest.lstrip(b"\0"))
