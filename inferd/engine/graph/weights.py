"""Divides an ONNX file into its graph and the bytes of its weights, which come from the file itself or from others beside it.

ONNX Runtime's Python interface holds the GIL while it parses a file, 60 ms for 100 MB, and requests wait meanwhile. It releases the GIL
while it makes the session, and only then reads weights of other files. So it parses the graph alone, and gets the weights as another file,
at their offsets in this one.

By itself it would map files of weights. Writing over a mapped file would change the model that serves, and truncating it would end the
process. So they are read, unless there is too little memory for the copies, or a tensor may be too large. Never in here: onnxruntime
(runtime/onnx).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from inferd.engine.graph.onnx_file import external_files, without_weights
from inferd.errors import StartError
from inferd.system.memory_limit import memory_limit_bytes, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEAST_BYTES = 4 << 20  # a smaller file is parsed within some milliseconds
LOCATION = ".inferd-weights"  # the name of the weights as another file
READ_COPIES = 3  # of weights that are read: the bytes, onnxruntime's tensors, and its packed copies for kernels
PARSED_COPIES = 2  # of a file that onnxruntime opens by itself: the message, and the tensors
MAX_READ_BYTES = (1 << 31) - 1  # of one file of weights: onnxruntime takes no tensor of 2 GiB from memory
MiB = 1 << 20

Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


class Parts(NamedTuple):
    """graph: an ONNX file. weights: the files that it names."""

    graph: bytes
    weights: dict[str, Bytes]


def check_room(name: str, file: str | os.PathLike[str]) -> None:
    """Raises StartError if too little memory is left to open the ONNX file: the system would end the process."""
    try:
        size = os.stat(file).st_size
    except OSError:
        return  # onnxruntime raises a better error
    if size >= LEAST_BYTES and PARSED_COPIES * size > (left := _left_bytes()):
        raise StartError(
            f"model {name!r}: its .onnx file has {size // MiB} MiB, and takes {PARSED_COPIES * size // MiB} MiB of memory to be opened; "
            f"{max(left, 0) // MiB} MiB are left: raise the memory limit, unload a model, or export the weights to a file of their own "
            "(onnx.save with save_as_external_data=True)"
        )


def parted(file: str | os.PathLike[str]) -> Parts | None:
    """The parts of a file; None: onnxruntime shall parse the whole file, as it is small or for another reason."""
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
        return None  # onnxruntime raises a better error


def weights_in(folder: Path, names: Iterable[str], file: Path) -> dict[str, Path]:
    """The regular files of these names in the folder of an ONNX file, or of a link's target, as ONNX Runtime demands."""
    found = {name: folder / name for name in names if os.path.isfile(folder / name)}
    roots = [folder.resolve(), file.resolve().parent] if found else []
    return {name: path for name, path in found.items() if any(path.resolve().is_relative_to(root) for root in roots)}


def _with_files(file: Path) -> Parts | None:
    """The file with weights from files beside it; None if there are none, one is missing, or they are too large."""
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
