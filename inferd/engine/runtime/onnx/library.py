"""The one importer of onnxruntime in this project. The first load imports it, never an import of this module."""

from __future__ import annotations

import os
from typing import Any

from inferd.errors import StartError


def onnxruntime() -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else its wheels log their use in the home folder, and may send it
    try:
        import onnxruntime  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise StartError(
            "onnxruntime is not installed, and a model needs it: "
            "install inferd[cpu], or inferd[gpu] on a machine with an NVIDIA GPU (never both)"
        ) from None
    return onnxruntime


def available_providers() -> tuple[str, ...]:
    """Execution providers that this onnxruntime was built with. One that is built in may still fail for want of a device."""
    return tuple(onnxruntime().get_available_providers())


def versions() -> dict[str, str]:
    """The version and the build line of the installed onnxruntime."""
    ort = onnxruntime()
    return {"onnxruntime": ort.__version__, "build": ort.get_build_info()}
