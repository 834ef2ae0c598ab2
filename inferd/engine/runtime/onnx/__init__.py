"""ONNX Runtime. runtime.py has what the loader calls; library.py is the only file that imports onnxruntime."""
