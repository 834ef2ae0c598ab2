"""Inputs and outputs whose values a record must not have: left out, or hashed with a key.

A hashed tensor is BYTES of the same shape: 16 hexadecimal digits for each element, the same for the same value and key. So rows of one
person can still be counted. A hash without a key can be undone by trying all values that there may be; therefore there is no such thing.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from inferd._core.tensor.datatypes import DATATYPES
from inferd.errors import ConfigError
from inferd.tensors import elements_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Change = Callable[[str, bytes], bytes]

LEAST_KEY_BYTES = 16
MOST_KEY_BYTES = 4096
DIGEST_BYTES = 8


def changes_of(omit: Sequence[str], hash_: Sequence[str], key: bytes) -> dict[str, Change | None]:
    """By the name of a tensor, for Columns.add: None leaves it out."""
    return {name: partial(hashed, key) for name in hash_} | dict.fromkeys(omit)


def hashed(key: bytes, datatype: str, data: bytes) -> bytes:
    """Raw bytes of BYTES: the hash of each element."""
    nbytes = DATATYPES[datatype][1]
    elements = [data[at : at + nbytes] for at in range(0, len(data), nbytes)] if nbytes else elements_of(data)
    size = (2 * DIGEST_BYTES).to_bytes(4, "little")
    return b"".join(size + hashlib.blake2b(each, digest_size=DIGEST_BYTES, key=key).hexdigest().encode() for each in elements)


def read_key(path: str) -> bytes:
    """The key in record_key_file. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_KEY_BYTES + 1).strip()
    except OSError as error:
        raise ConfigError(f"record_key_file: cannot read {path!r}: {error.strerror}") from None
    if not LEAST_KEY_BYTES <= len(content) <= MOST_KEY_BYTES:
        raise ConfigError(
            f"record_key_file: expected {LEAST_KEY_BYTES} to {MOST_KEY_BYTES} bytes in {path!r}, got {len(content)}; make one with "
            "`openssl rand -hex 32`"
        )
    return hashlib.blake2b(content, digest_size=64).digest()
