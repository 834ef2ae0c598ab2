"""The part of an ONNX file that inferd changes at load (package onnx)."""

from inferd.protocol._pool import namespace

__getattr__, __dir__ = namespace(globals(), "onnx")
