"""One request as a peer's protocol wants it, and whether the answer to it is right. Never in here: measuring.

grpc is the Open Inference Protocol's ModelInfer with raw contents. http1.py has the forms of HTTP/1.1.
"""

from __future__ import annotations

import http.client
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
from workloads import INFER_PATH

from inferd.protocol import inference

from . import http1
from .http1 import DATATYPES
from .models import ATOL, RTOL, Array, Model
from .running import Running, last_words

START_TIMEOUT_S = 60.0


class Question(NamedTuple):
    """What a load generator sends."""

    url: str
    headers: dict[str, str]
    body: Path | None  # as it goes over the wire; None: a GET
    answer_nbytes: int  # the body of a right answer


class WrongAnswer(Exception):
    """The peer answered, but not what the model says."""


def message(model: Model) -> bytes:
    request = inference.ModelInferRequest(model_name=model.name)
    for name, value in model.inputs.items():
        request.inputs.add(name=name, datatype=DATATYPES[value.dtype.name], shape=value.shape)
        request.raw_input_contents.append(value.tobytes())
    serialized: bytes = request.SerializeToString()
    return serialized


def framed(model: Model) -> bytes:
    serialized = message(model)
    return struct.pack(">BI", 0, len(serialized)) + serialized


def until_right(running: Running, model: Model, folder: Path) -> tuple[Question, float]:
    """Asks until the peer answers; the question for the generator, and the seconds since its start."""
    while True:
        try:
            nbytes = ask(running, model)
            break
        except (grpc.RpcError, OSError, http.client.HTTPException) as error:
            why = error.details() or error.code().name if isinstance(error, grpc.Call) else str(error)
        if not Path(f"/proc/{running.pid}").exists() or zombie(running.pid):
            raise RuntimeError(f"ended before it answered: {last_words(running.log)}")
        if time.monotonic() - running.begun > START_TIMEOUT_S:
            raise RuntimeError(f"no answer in {START_TIMEOUT_S:.0f} s: {' '.join(why.split())[:300]}")
        time.sleep(0.05)
    start_s = time.monotonic() - running.begun
    return question(running, model, folder, nbytes), start_s


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def question(running: Running, model: Model, folder: Path, nbytes: int) -> Question:
    protocol = running.peer.protocol
    if protocol == "static":
        return Question(f"http://{running.address}/file", {}, None, nbytes)
    body = folder / f"{model.name}.{protocol}"
    if protocol == "grpc":
        body.write_bytes(framed(model))
        return Question(f"http://{running.address}{INFER_PATH}", {"content-type": "application/grpc", "te": "trailers"}, body, nbytes)
    request = http1.request(protocol, model)
    body.write_bytes(request.body)
    return Question(f"http://{running.address}{request.path}", request.headers, body, nbytes)


def ask(running: Running, model: Model) -> int:
    """One request; the bytes of the answer's body. Raises WrongAnswer, or what the transport says where there is none."""
    if running.peer.protocol == "static":
        return ask_static(running)
    if running.peer.protocol != "grpc":
        return ask_http(running, model)
    # Every attempt on a connection of its own: one that was refused waits longer and longer before it tries again.
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(running.address, options) as channel:
        infer: Callable[..., bytes] = channel.unary_unary(INFER_PATH)
        serialized = infer(message(model), timeout=30)
    response = inference.ModelInferResponse.FromString(serialized)
    check(first_output(response), model)
    return len(serialized) + 5


def first_output(response: inference.ModelInferResponse) -> Array:
    if response.raw_output_contents:
        return np.frombuffer(response.raw_output_contents[0], np.float32)
    return np.array(response.outputs[0].contents.fp32_contents, np.float32)


def check(answer: Array, model: Model) -> None:
    if answer.size != model.expected.size:
        raise WrongAnswer(f"{answer.size} values in {model.output}, not {model.expected.size}")
    if not np.allclose(answer, model.expected.ravel(), rtol=RTOL, atol=ATOL):
        raise WrongAnswer(f"{model.output} is off by {np.abs(answer - model.expected.ravel()).max():g}")


def ask_http(running: Running, model: Model) -> int:
    request = http1.request(running.peer.protocol, model)
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    try:
        connection.request("POST", request.path, request.body, request.headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise http.client.HTTPException(f"status {response.status}: {body[:200].decode(errors='replace')}")
    try:
        answer = http1.output(running.peer.protocol, model, response.headers, body)
    except (LookupError, TypeError, ValueError) as error:
        raise WrongAnswer(f"no {running.peer.protocol}: {error!r} in {body[:200]!r}") from None
    check(answer, model)
    return len(body)


def ask_static(running: Running) -> int:
    import socket

    import servers

    socket.create_connection(("127.0.0.1", running.port), timeout=5).close()
    return servers.STATIC_NBYTES
