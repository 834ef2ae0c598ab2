"""Imported first by benchmarks that need the packages of development: where one is missing it says how to get it, and ends with 2."""

from __future__ import annotations

import sys
from importlib.util import find_spec

MISSING = [name for name in ("numpy", "onnx", "onnxruntime", "tritonclient") if find_spec(name) is None]
if MISSING:
    print(
        f"missing packages: {', '.join(MISSING)}; `make bench` installs them, or in your own environment: "
        "pip install ./clients/python '.[cpu,client,bench,dev,test]'",
        file=sys.stderr,
    )
    raise SystemExit(2)
