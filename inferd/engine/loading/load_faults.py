"""Shortens ONNX Runtime's errors about a file that it cannot load, and adds cures for the common ones.

Never in here: onnxruntime itself. An unknown error keeps its words.
"""

from __future__ import annotations

import re

# C++ source and signature in front of the reason.
_SOURCE = re.compile(r"/\S*onnxruntime/core/\S+:\d+ .*?[)>] (?=[A-Z])")
_PLACE = re.compile(r"/\S*onnxruntime/core/\S+:\d+ .*?[)>] ")  # the same, in front of a condition
_ANY = "check that the file is a complete ONNX model"
_OLDER = "this onnxruntime is older than the file: upgrade it, or export for a lower opset (torch: opset_version, skl2onnx: target_opset)"
_CURES = (
    (r"Unsupported model IR version|models stamped with official released onnx opset versions", _OLDER),
    (r'External data path does not exist: "(?:[^"]*/)?(?P<what>[^"/]+)"', "its weights are in a file of their own: put {what} beside it"),
    (
        r"External data path escapes model directory|Absolute path not allowed for external data",
        "its weights must lie in the folder of the .onnx file: put them beside it, and name them without a folder",
    ),
    (
        r"Failed to construct locale with name:(?P<what>[\w.@-]+)",
        "its text operators need the locale {what}, which this machine lacks: install it (Debian: apt install locales-all)",
    ),
    (
        r"Type \(tensor\(double\)\) of output arg \((?P<what>[^)]*)\).* does not match expected type \(tensor\(float\)\)",
        "the exporter declared {what} as FP64, and its operator gives FP32: export with float32 data, X.astype('float32')",
    ),
    (
        r"Fatal error: (?P<what>\S+)\(-?\d+\) is not a registered function/op",
        "onnxruntime has no operator {what}: export the model with operators of ONNX",
    ),
)


def without_source(text: str) -> str:
    """onnxruntime's error on one line, without its code and the place in its source."""
    if text.startswith("[ONNXRuntimeError]"):
        text = text.split(" : ", 3)[-1]
    return " ".join(_PLACE.sub("", _SOURCE.sub("", text)).split()).rstrip(".")


def explained(text: str) -> str:
    """onnxruntime's error without its source, and the cure."""
    text = _SOURCE.sub("", text)
    for pattern, cure in _CURES:
        if found := re.search(pattern, text):
            return f"{text}; {cure.format(**found.groupdict())}"
    return f"{text}; {_ANY}"
