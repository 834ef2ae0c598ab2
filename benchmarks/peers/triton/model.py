"""A model of Triton's Python back end: the requests that Triton batched become one run of ONNX Runtime."""

import numpy as np
import triton_python_backend_utils as pb_utils
from session import open_session


class TritonPythonModel:
    def initialize(self, args):
        self.session = open_session()
        self.names = [value.name for value in self.session.get_inputs()]
        self.output = self.session.get_outputs()[0].name

    def execute(self, requests):
        values = [[pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.names] for request in requests]
        batch = values[0] if len(requests) == 1 else [np.concatenate(parts) for parts in zip(*values, strict=True)]
        answer = self.session.run([self.output], dict(zip(self.names, batch, strict=True)))[0]
        rows = np.split(answer, np.cumsum([len(value[0]) for value in values])[:-1])
        return [pb_utils.InferenceResponse([pb_utils.Tensor(self.output, part)]) for part in rows]
