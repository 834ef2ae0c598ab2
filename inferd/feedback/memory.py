"""How much memory the feedback of a process takes. Never in here: the store."""

from __future__ import annotations

MAX_HELD_BYTES = 32 << 20  # of requests whose prediction is not read yet,
MEMORY_PART = 32  # and no more than one part in so many of message_memory_bytes, which they are charged to
OWN_BYTES = 48 << 20  # SQLite's cache, predictions of a transaction, labels that wait for it


def room_bytes(message_memory_bytes: int) -> int:
    """The most that the tap of a process holds."""
    return min(MAX_HELD_BYTES, message_memory_bytes // MEMORY_PART)


def most_bytes(message_memory_bytes: int) -> int:
    return room_bytes(message_memory_bytes) + OWN_BYTES
