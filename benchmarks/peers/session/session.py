"""The same ONNX Runtime session and the same plain body for every peer that lets its user write the model's code.

What is served comes by the environment: PEER_MODELS (folder with NAME/1/model.onnx), PEER_MODEL (NAME), PEER_THREADS (of one run).
The body of peers that speak no tensors: the bytes of each input in the model's order, one row; the answer: the bytes of the first output.
"""

from __future__ import annotations

import os

import numpy as np
import onnxruntime

NAME = os.environ["PEER_MODEL"]
PATH = os.path.join(os.environ["PEER_MODELS"], NAME, "1", "model.onnx")
THREADS = int(os.environ["PEER_THREADS"])
DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def open_session(threads: int = THREADS) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that spin between runs would take the cores from the client and the server's own front.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(PATH, options, providers=["CPUExecutionProvider"])


class Rows:
    """The model for servers of plain bodies: bodies in, bodies out, one run for all of them."""

    def __init__(self, threads: int = THREADS) -> None:
        self.session = open_session(threads)
        self.output = self.session.get_outputs()[0].name
        self.inputs = [
            (value.name, DTYPES[value.type], [1, *(size if isinstance(size, int) else -1 for size in value.shape[1:])])
            for value in self.session.get_inputs()
        ]

    def decode(self, body: bytes) -> list[np.ndarray]:
        part = len(body) // len(self.inputs)  # the inputs of one of these models are of one size
        return [
            np.frombuffer(body, dtype, part // dtype().itemsize, at * part).reshape(shape)
            for at, (_, dtype, shape) in enumerate(self.inputs)
        ]

    def run(self, bodies: list[bytes]) -> list[bytes]:
        rows = [self.decode(body) for body in bodies]
        values = rows[0] if len(rows) == 1 else [np.concatenate(parts) for parts in zip(*rows, strict=True)]
        answer = self.session.run([self.output], {name: value for (name, _, _), value in zip(self.inputs, values, strict=True)})[0]
        return [row.tobytes() for row in answer]
