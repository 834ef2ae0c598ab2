"""An ONNX file in parts: its graph, and the bytes in which its weights lie. These are of the file itself, or of others beside it.

ONNX Runtime's Python interface holds Python's lock while it parses a file, 60 ms for 100 MB, and no request gets on meanwhile. It does not
hold it while it makes the session, which is when it takes weights that lie in other files. So it parses the graph alone, and finds the
weights in the second part, at the places where they are in the file.

It would map other files of weights. Bytes that are written over a mapped file change the model that serves, and a file that is cut ends
the process. So they are read, unless there is no room for the copies that this takes for a moment, or a tensor may be too large for it.
Never in here: onnxruntime (backend.py).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from inferd.engine.onnx_file import external_files, without_weights
from inferd.errors import StartError
from inferd.system.memory_limit import memory_limit_bytes, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["LOCATION", "Parts", "check_room", "parted", "weights_in"]

LEAST_BYTES = 4 << 20  # a smaller file is parsed within some milliseconds
LOCATION = ".inferd-weights"  # the name of the second part
READ_COPIES = 3  # of weights that are read: the bytes, onnxruntime's tensors, and what it packs of these for its kernels
PARSED_COPIES = 2  # of a file that onnxruntime opens by itself: the message, and the tensors
MAX_READ_BYTES = (1 << 31) - 1  # of one file of weights: onnxruntime takes no tensor of 2 GiB from memory
MiB = 1 << 20

Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


class Parts(NamedTuple):
    """graph: an ONNX file. weights: the files that it names."""

    graph: bytes
    weights: dict[str, Bytes]


def check_room(name: str, file: str | os.PathLike[str]) -> None:
    """StartError where the ONNX file is too large to be opened in the memory that is left: the system would end the process."""
    try:
        size = os.stat(file).st_size
    except OSError:
        return  # onnxruntime says better why
    if size >= LEAST_BYTES and PARSED_COPIES * size > (left := _left_bytes()):
        raise StartError(
            f"model {name!r}: its .onnx file has {size // MiB} MiB, and takes {PARSED_COPIES * size // MiB} MiB of memory to be opened; "
            f"{max(left, 0) // MiB} MiB are left: raise the memory limit, unload a model, or export the weights to a file of their own "
            "(onnx.save with save_as_external_data=True)"
        )


def parted(file: str | os.PathLike[str]) -> Parts | None:
    """None: the file is small, or is parsed as a whole for another reason."""
    try:
        size = os.stat(file).st_size
        if size >= LEAST_BYTES and not _may_read([size]):
            return None
        if size >= LEAST_BYTES:
            weights = np.fromfile(file, np.uint8, size)
            graph = without_weights(weights.data, LOCATION)
            if graph is not None:
                return None if len(graph) > size // 2 else Parts(graph, {LOCATION: weights})
        return _with_files(Path(file))
    except (OSError, ValueError, IndexError, RecursionError, MemoryError):
        return None  # onnxruntime says better why


def weights_in(folder: Path, names: Iterable[str], file: Path) -> dict[str, Path]:
    """The regular files of these names that lie in the folder of an ONNX file, as ONNX Runtime demands, or where a link to it leads."""
    found = {name: folder / name for name in names if os.path.isfile(folder / name)}
    roots = [folder.resolve(), file.resolve().parent] if found else []
    return {name: path for name, path in found.items() if any(path.resolve().is_relative_to(root) for root in roots)}


def _with_files(file: Path) -> Parts | None:
    """Weights that lie beside the file; None where there are none, not all are there, or they are large."""
    names = external_files(file)
    found = weights_in(file.parent, names, file)
    if not names or len(found) < len(names) or not _may_read([path.stat().st_size for path in found.values()]):
        return None
    return Parts(file.read_bytes(), {name: np.fromfile(path, np.uint8) for name, path in found.items()})


def _may_read(sizes: Sequence[int]) -> bool:
    """Whether files of weights are read into memory, and not mapped or parsed by onnxruntime."""
    return max(sizes) <= MAX_READ_BYTES and READ_COPIES * sum(sizes) <= _left_bytes()


def _left_bytes() -> int:
    return memory_limit_bytes() - resident_bytes()
