"""inferd: a native gRPC inference server for ONNX models, and the same engine without a network.

    import inferd
    with inferd.Engine("model.onnx") as engine:
        outputs = engine.infer("model", {"x": array})

`Engine` and `Server` load on first use (PEP 562). Importing this package never imports onnxruntime, grpc, protobuf or
numpy: a program that only needs errors or settings starts at once.
"""

from __future__ import annotations

from importlib import import_module

from inferd import errors
from inferd.errors import *  # noqa: F403  (as asyncio does: its list is this package's)

try:
    from inferd._version import __version__  # a build writes it, from the newest tag
except ImportError:  # a tree that was never built
    __version__ = "0+unknown"

TYPE_CHECKING = False  # that of `typing` takes as long to import as all the rest, and Ctrl-C that comes then ends in a traceback
if TYPE_CHECKING:
    from inferd.config import Settings
    from inferd.engine.embedded import Engine
    from inferd.serving.server import Server

__all__ = ["Engine", "Server", "Settings", "__version__"]
__all__ += errors.__all__

_LAZY = {"Engine": "inferd.engine.embedded", "Server": "inferd.serving.server", "Settings": "inferd.config"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'inferd' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value  # the next access is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY))
