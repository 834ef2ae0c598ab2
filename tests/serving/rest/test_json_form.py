"""Messages as JSON: protobuf reads it back, and numbers are numbers."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format

from inferd.protocol import POOL, inference
from inferd.serving.rest.json_form import json_form

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
