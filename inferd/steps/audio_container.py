"""The format of an audio file by its bytes: WAV, FLAC, OGG, MP3, or one that is not taken; and texts of errors about files.

Whether all of a file is there, and is what it says, is looked at before a library decodes it: audio_wav.py, audio_ogg.py, audio_mp3.py.
FLAC tells by itself, all but how much there is (audio_flac.py). Never in here: libraries, samples.
"""

from __future__ import annotations

TAKEN = "expected a WAV, FLAC, OGG or MP3 file"

# Files of other formats: at which byte they have which bytes, and the format's name.
OTHER_FORMATS = (
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

TRAILERS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")  # what tags behind the sound begin with


class BadClip(Exception):
    """Why a row cannot be used: what was expected, what came, and the cure."""


def format_of(content: memoryview) -> str:
    """WAV, FLAC, OGG or MP3 by the first bytes; any other is BadClip by name."""
    head = bytes(content[:12])
    if not head:
        raise BadClip(f"{TAKEN}, got no bytes")
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return "WAV"
    if head[:4] == b"fLaC":
        return "FLAC"
    if head[:4] == b"OggS":
        return "OGG"
    layer = head[1] & 0xE6 if len(head) > 1 and head[0] == 0xFF else 0
    if head[:3] == b"ID3" or layer == 0xE2:
        return "MP3"
    for place, magic, name in OTHER_FORMATS:
        if head[place : place + len(magic)] == magic:
            raise BadClip(f"{TAKEN}, got {name}: convert it")
    if layer in (0xE0, 0xE4, 0xE6):
        raise BadClip(f"{TAKEN}, got {'AAC' if layer == 0xE0 else 'MPEG audio of another layer'}: convert it")
    raise BadClip(f"{TAKEN}, got something else, which begins with 0x{head[:4].hex()}")


def cut_off(word: str, missing: str) -> BadClip:
    """The error of a file of which something is missing, such as "12 bytes are"."""
    return BadClip(f"the {word} file is cut off: {missing} missing. Send all of it")


def corrupt(word: str, why: str) -> BadClip:
    """The error of a file that is not as its format has it; `why` says what was expected where, and what is there."""
    return BadClip(f"the {word} file is corrupt: {why}")


def only_tags(rest: memoryview) -> bool:
    """Whether what follows a file's sound is nothing, a tag or zeros."""
    return bytes(rest[:12]).startswith(TRAILERS) or not bytes(rest).strip(b"\0")
