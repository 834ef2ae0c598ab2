"""FastAPI over one ONNX model, as a team writes it: a pydantic class for the request, one for the response, a route between them."""

import numpy as np
from fastapi import FastAPI
from pydantic import create_model
from session import DTYPES, open_session


def nested(value):
    """Lists of numbers, as deep as the tensor has axes."""
    kind = float if value.type == "tensor(float)" else int
    for _ in value.shape:
        kind = list[kind]
    return kind


app = FastAPI()
session = open_session()
inputs, output = session.get_inputs(), session.get_outputs()[0]
Request = create_model("Request", **{value.name: nested(value) for value in inputs})
Answer = create_model("Answer", **{output.name: nested(output)})


@app.post("/infer")
async def infer(request: Request) -> Answer:
    values = {value.name: np.array(getattr(request, value.name), DTYPES[value.type]) for value in inputs}
    return Answer(**{output.name: session.run([output.name], values)[0].tolist()})
