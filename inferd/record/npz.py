"""Arrays by name in a .npz file: any name, and any bytes.

`numpy.savez` takes no array of the name `file`, and its byte strings lose the NULs at their end. A tensor of BYTES with such an element is
written as the protocol has it: each element behind its length, padded to one size. Never in here: reading (client_inputs/arrays.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy

from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from inferd.tensors import Array

LENGTH_NBYTES = 4  # little-endian, before an element


def write_npz(path: str | Path, arrays: Mapping[str, Array]) -> None:
    """BYTES: bytes objects or texts. Raises ConfigError for a name with NUL, which no archive can hold, and OSError."""
    with ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            if "\0" in name:
                raise ConfigError(f"a .npz file holds no name with NUL: expected another name of the tensor {name!r:.200}")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, byte_strings(array) if array.dtype == object else array, allow_pickle=False)


def byte_strings(texts: Array) -> Array:
    """Dtype S; V, where an element ends with NUL."""
    elements = [text.encode() if isinstance(text, str) else bytes(text) for text in texts.reshape(-1)]
    if any(element.endswith(b"\0") for element in elements):
        nbytes = LENGTH_NBYTES + max(map(len, elements))
        padded = [(len(element).to_bytes(LENGTH_NBYTES, "little") + element).ljust(nbytes, b"\0") for element in elements]
        return np.frombuffer(b"".join(padded), f"V{nbytes}").reshape(texts.shape)
    return np.array(elements, np.bytes_).reshape(texts.shape)
