"""Inferences as whole requests of HTTP/1.1."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from inferd_client import codec

from inferd.client_inputs.over_http import HttpEndpoint, response_message, whole_requests
from inferd.config import Address
from inferd.errors import ConfigError

X = np.arange(4, dtype=np.float32).reshape(1, 4)
BODY = codec.encode_infer_request("a/b", {"x": X}, version="2", parameters={"priority": 1})


@pytest.mark.parametrize(
    ("text", "address", "authority", "prefix"),
    [
        ("http://h:8000", Address("h", 8000, http=True), "h:8000", ""),
        ("HTTPS://[::1]/some/v2/", Address("::1", 443, tls=True, http=True), "[::1]", "/some"),
        ("http+unix:/run/a b", Address("", 0, "/run/a b", http=True), "localhost", ""),
    ],
)
def test_a_place_is_what_a_url_says(text: str, address: Address, authority: str, prefix: str) -> None:
    assert HttpEndpoint.of(text)[:3] == (address, authority, prefix)


def test_a_text_that_is_no_url() -> None:
    with pytest.raises(ConfigError, match=r"Target: expected http://HOST:PORT"):
        HttpEndpoint.of("http://h:99999")


def test_a_request_as_it_travels() -> None:
    place = HttpEndpoint.of("http://h:8000/some")
    heads, contents = [], []
    for binary in (True, False):
        (request,) = whole_requests(place, [BODY], [("authorization", "Bearer t")], binary=binary, timeout_ms=1.5)
        head, _, content = request.partition(b"\r\n\r\n")
        heads.append(head.decode().split("\r\n"))
        contents.append(content)
    assert heads[0][0] == "POST /some/v2/models/a%2Fb/versions/2/infer HTTP/1.1"
    assert {"Host: h:8000", "authorization: Bearer t", "Inferd-Timeout-Ms: 2", f"Content-Length: {len(contents[0])}"} <= set(heads[0])
    text, raw = contents[0][:-16], contents[0][-16:]
    assert f"inference-header-content-length: {len(text)}" in heads[0]
    assert raw == X.tobytes()
    assert json.loads(text)["parameters"] == {"priority": 1, "binary_data_output": True}
    assert json.loads(contents[1])["inputs"] == [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 1, 2, 3]}]
    assert "content-type: application/json" in heads[1]


def test_a_tensor_that_json_cannot_hold() -> None:
    body = codec.encode_infer_request("m", {"x": np.full((1, 1), np.nan, np.float32)})
    with pytest.raises(ConfigError, match="request 1: input 'x': this server takes JSON alone, and there is no NaN"):
        whole_requests(HttpEndpoint.of("http://h"), [BODY, body], (), binary=False)


@pytest.mark.parametrize("binary", [True, False])
def test_a_response_as_it_was_kept(binary: bool) -> None:
    output = {"name": "y", "datatype": "FP32", "shape": [1, 4]}
    output |= {"parameters": {"binary_data_size": 16}} if binary else {"data": [0, 1, 2, 3]}
    text = json.dumps({"model_name": "m", "model_version": "1", "outputs": [output]}).encode()
    kept = struct.pack("=q", len(text)) + text + X.tobytes() if binary else struct.pack("=q", -1) + text
    assert (codec.decode_infer_response(response_message(kept))["y"] == X).all()
