"""The number of samples in a FLAC file's header, and the same file without it: libsndfile stops at that number, and drops the rest
silently. Never in here: libraries, samples.
"""

from __future__ import annotations

_COUNT = slice(18, 26)  # of the file: of STREAMINFO, which comes first, the 64 bits whose last 36 are the number
_COUNT_BITS = 36


def announced_frames(content: memoryview) -> int:
    """Samples of each channel by the file's header; 0: it says none."""
    return int.from_bytes(content[_COUNT], "big") & ((1 << _COUNT_BITS) - 1)


def uncounted(content: memoryview) -> list[bytes | memoryview]:
    """The pieces of the same file, which says no number."""
    field = content[_COUNT]
    kept = int.from_bytes(field, "big") >> _COUNT_BITS << _COUNT_BITS
    return [content[: _COUNT.start], kept.to_bytes(len(field), "big"), content[_COUNT.stop :]]
