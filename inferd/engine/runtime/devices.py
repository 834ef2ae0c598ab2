"""Whether this machine has a GPU at all. Whether ONNX Runtime can use it is another question (onnx/options.py)."""

from __future__ import annotations

from pathlib import Path


def gpu_there(root: Path = Path("/dev")) -> bool:
    """Whether there is an NVIDIA device, or the GPU device of Windows' Linux subsystem."""
    return any(root.glob("nvidia[0-9]*")) or (root / "dxg").exists()
