"""Files, texts, records and forms as the body of REST: tensors of whole rows, or InvalidArgument; no row is longer than the body.

The first line is the Content-Type, and the rest the body.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from native_access import head_of

from inferd._core.tensor.signature import Signature
from inferd.errors import InvalidArgument, RequestError
from inferd.protocol import inference
from inferd.serving.rest.raw_body import begins_with_brace, tensors_of

MODULES = ()
LINES = ("inferd.serving.rest.raw_body",)
WORDS = (b"multipart/form-data; boundary=xyz", b"application/json", b"text/plain; charset=utf-8", b"image/png", b"audio/wav", b"text/csv")
FORM = (b"--xyz", b"--xyz--", b"Content-Disposition: form-data; name=", b'"picture"', b"Content-Type: ", b"\r\n\r\n", b"filename=")
DICTIONARY = (*WORDS, *FORM, b'{"picture":', b'{"b64":', b"data:image/png;base64,", b"AAAA", b"[{}]", b"\n")


def model(*inputs: tuple[str, str]) -> Any:
    """inputs: the name, and the step that reads it or ''."""
    config = inference.ModelConfig(max_batch_size=8)
    for name, word in inputs:
        if word:
            getattr(config.inferd.preprocess.add(name=name).steps.add(), word).SetInParent()
    specs = [(name, "BYTES", (-1, 1)) for name, _ in inputs]
    return SimpleNamespace(name="m", config=config, signature=Signature("m", "1", specs, [("y", "FP32", (-1,))], 8))


MODELS = (
    model(("picture", "decode_image")),
    model(("record", "columns")),
    model(("picture", "decode_image"), ("text", "tokenize"), ("x", "")),
)


def check(data: bytes) -> None:
    line, _, body = data.partition(b"\n")
    try:
        head = head_of("POST", "/v2/models/m/infer", [(b"content-type", line)])
    except RequestError:
        return
    for one in MODELS:
        try:
            tensors = tensors_of(one, head, body)
        except InvalidArgument:
            continue
        if tensors is None:  # the protocol's own JSON, as text/plain
            assert (head.content_type, begins_with_brace(body)) == (b"text/plain", True)
            continue
        assert tensors
        for name, datatype, shape, content in tensors:
            assert (name in one.signature.input_names, datatype, shape[1]) == (True, "BYTES", 1)
            assert len(content) == shape[0]
            assert all(memoryview(value).nbytes <= len(body) for value in content)


def seeds() -> list[bytes]:
    form = b'--xyz\r\nContent-Disposition: form-data; name="picture"\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--xyz--\r\n'
    value = b'application/json\n{"picture": ["AAAA", {"b64": "AA=="}]}'
    bodies = [b"image/png\n\x89PNG", b"text/plain\na text", value, b"application/json\n[{}]"]
    return [*bodies, b"multipart/form-data; boundary=xyz\n" + form, b'\n{"record": 1}', b"text/csv\n1,2"]
