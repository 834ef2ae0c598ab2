"""How much memory the recorder of a process takes. Never in here: pyarrow, which the recorder needs."""

from __future__ import annotations

MAX_HELD_BYTES = 64 << 20  # of requests that wait to be recorded,
MEMORY_PART = 16  # and no more than one part in so many of message_memory_bytes, which they are charged to
BATCH_BYTES = 4 << 20  # a batch that is as large, or
BATCH_ROWS = 16384  # as long, is written
ROW_BYTES = 256  # of a row, beside its tensors, its id and its error: times, names, where each begins
LIBRARY_BYTES = 32 << 20  # pyarrow: 24 MiB when it is imported


def room_bytes(message_memory_bytes: int) -> int:
    """The most that taps hold for the recorder of a process."""
    return min(MAX_HELD_BYTES, message_memory_bytes // MEMORY_PART)


def most_bytes(message_memory_bytes: int) -> int:
    """The most that a recorder takes beside the messages: two batches, each nearly full before the largest request came, and pyarrow."""
    return room_bytes(message_memory_bytes) + 2 * (BATCH_BYTES + BATCH_ROWS * ROW_BYTES) + LIBRARY_BYTES
