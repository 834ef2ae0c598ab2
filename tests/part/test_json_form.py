"""Messages as JSON: protobuf reads it back, and numbers are numbers."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format

from inferd.errors import InvalidArgument
from inferd.part.json_form import JsonBody, json_form
from inferd.protocol import POOL, inference, options

CONFIG = inference.ModelConfig(
    name="m",
    platform="onnxruntime_onnx",
    max_batch_size=8,
    input=[inference.ModelInput(name="x", data_type=inference.DataType.TYPE_FP32, dims=[-1, 1 << 40])],
    parameters={"b": inference.ModelParameter(string_value="1"), "a": inference.ModelParameter(string_value="2")},
)
STATISTICS = inference.ModelStatisticsResponse(
    model_stats=[
        inference.ModelStatistics(
            name="m",
            last_inference=1 << 60,
            inference_stats=inference.InferStatistics(success=inference.StatisticDuration(count=3, ns=1 << 62)),
        )
    ]
)


@pytest.mark.parametrize("message", [CONFIG, STATISTICS, inference.ServerMetadataResponse(name="s", extensions=["a"])])
def test_it_says_what_the_message_says(message) -> None:
    text = json.dumps(json_form(message))
    assert json_format.Parse(text, type(message)(), descriptor_pool=POOL) == message


def test_triton_s_form() -> None:
    found = json_form(CONFIG)
    assert found["input"][0] == {**found["input"][0], "data_type": "TYPE_FP32", "dims": [-1, 1 << 40]}
    assert (list(found["parameters"]), found["version_policy" if "version_policy" in found else "output"]) == (["a", "b"], [])


def test_messages_that_are_not_set() -> None:
    (some,), (whole,) = (json_form(STATISTICS, whole=each)["model_stats"] for each in (False, True))
    assert "cache_hit" not in some["inference_stats"]
    assert whole["inference_stats"]["cache_hit"] == {"count": 0, "ns": 0}


START = JsonBody(options.StartRolloutRequest, "model_name")
REPORT = JsonBody(options.ReportOutcomesRequest, "model_name")


def test_a_body_is_read() -> None:
    made = options.StartRolloutRequest(
        model_name="m", kind=options.CANARY, candidate_version=1 << 40, sample=0.5, steps=[0.5, 1], guards={"a": 1}
    )
    found = json_form(made)
    del found["model_name"]
    assert START.read(json.dumps(found).encode(), model_name="m") == made
    assert START.read(b"", model_name="m") == options.StartRolloutRequest(model_name="m")
    outcomes = [options.Outcome(request_id="a"), options.Outcome(good=True)]
    body = b'{"outcomes": [{"request_id": "a"}, {"good": true}]}'
    assert REPORT.read(body, model_name="m") == options.ReportOutcomesRequest(model_name="m", outcomes=outcomes)


@pytest.mark.parametrize(
    ("reader", "body", "words"),
    [
        (START, b'{"model_name": "m"}', "body: object contains unknown field `model_name`; the body is an object that may have kind "),
        (START, b'{"kind": 1}', r"kind: expected `str`, got `int`; .* may have kind \(SHADOW or CANARY\), candidate_version, sample"),
        (START, b'{"kind": "ROLLOUT_KIND_UNSPECIFIED"}', "kind: invalid enum value"),
        (START, b'{"candidate_version": 9223372036854775808}', "candidate_version: expected `int` <= 9223372036854775807"),
        (START, b'{"sample": "0.5"}', "sample: expected `float`, got `str`"),
        (START, b'{"guards": {"a": true}}', "guards.*: expected `float`, got `bool`"),
        (START, b"[]", "body: expected `object`, got `array`"),
        (START, b"{", "body: expected a JSON object: "),
        (START, b'{"%s": 1}' % (b"x" * 9999), "body: object contains unknown field `x{90,128};"),
        (REPORT, b'{"outcomes": [{}, {"good": 1}]}', r"outcomes\[1\].good: expected `bool`, got `int`; .* may have outcomes$"),
        (REPORT, b'{"outcomes": [%s{}]}' % (b"{}," * 5000), "outcomes: expected `array` of length <= 4096"),
    ],
)
def test_bodies_that_are_wrong(reader: JsonBody, body: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{words}"):
        reader.read(body)
