"""The graph of a model: ONNX's format, and what inferd changes of it without a runtime."""
