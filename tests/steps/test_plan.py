"""Compiling a model's plan: which pipeline an entry becomes, the contracts that come of it, and what is rejected by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import ConfigError
from inferd.protocol import inference
from inferd.steps.plan import Plan, compile_steps

WHERE = "config.toml of model 'm'"
NORMALIZED = [{"decode_image": {}}, {"resize": {"height": 8, "width": 8}}, {"scale": {}}, {"transpose": {}}]


def graph(inputs: list[Any] | None = None, outputs: list[Any] | None = None, max_batch_size: int = 4) -> Signature:
    batch = (-1,) if max_batch_size else ()
    return Signature(
        "m",
        "1",
        inputs or [("image", "FP32", (*batch, 3, 8, 8))],
        outputs or [("scores", "FP32", (*batch, 10))],
        max_batch_size,
    )


def config(preprocess: Any = (), postprocess: Any = (), max_batch_size: int = 4) -> inference.ModelConfig:
    return inference.ModelConfig(
        name="m", max_batch_size=max_batch_size, inferd={"preprocess": list(preprocess), "postprocess": list(postprocess)}
    )


def compile_plan(own: inference.ModelConfig, takes: Signature) -> Plan:
    pipelines = compile_steps(own, takes, [], WHERE)
    assert pipelines is not None
    return Plan(takes, pipelines)


def test_no_steps_no_plan() -> None:
    assert compile_steps(config(), graph(), [], WHERE) is None


def test_names_of_classes_alone_change_nothing() -> None:
    named = {"output": "scores", "classes": list("abcdefghij")}
    assert compile_steps(config([], [named]), graph(), [], WHERE) is None
    plan = compile_plan(config([{"steps": NORMALIZED}], [named]), graph())
    assert (plan.prepares, plan.finishes) == (True, False)
    assert compile_plan(config([], [named | {"name": "kinds"}]), graph()).signature.output_specs == (("kinds", "FP32", (-1, 10)),)


def test_an_image_model_takes_bytes_and_gives_labels() -> None:
    plan = compile_plan(config([{"steps": NORMALIZED, "name": "picture"}], [{"steps": [{"top_k": {"k": 2}}]}]), graph())
    assert (plan.prepares, plan.finishes, plan.together) == (True, True, 1)
    assert plan.signature.input_specs == (("picture", "BYTES", (-1, 1)),)
    assert plan.signature.output_specs == (("scores", "FP32", (-1, 2)), ("scores_index", "INT64", (-1, 2)))
    assert plan.run_signature.input_specs == graph().input_specs
    assert plan.run_signature.output_specs == plan.signature.output_specs


def test_inputs_and_outputs_without_steps_stay() -> None:
    own = graph([("image", "FP32", (-1, 3, 8, 8)), ("scale", "FP32", (-1, 1))], [("a", "FP32", (-1, 10)), ("b", "FP32", (-1, 2))])
    plan = compile_plan(config([{"input": "image", "steps": NORMALIZED}], [{"output": "a", "steps": [{"argmax": {}}]}]), own)
    assert plan.signature.input_specs == (("image", "BYTES", (-1, 1)), ("scale", "FP32", (-1, 1)))
    assert plan.signature.output_specs == (("a", "INT64", (-1, 1)), ("b", "FP32", (-1, 2)))


def test_a_graph_without_a_batch_axis() -> None:
    own = graph([("image", "FP32", (1, 3, 8, 8))], [("scores", "FP32", (1, 10))], 0)
    plan = compile_plan(config([{"steps": NORMALIZED}], [{"steps": [{"softmax": {}}]}], 0), own)
    assert plan.signature.input_specs == (("image", "BYTES", (1,)),)
    assert plan.signature.output_specs == (("scores", "FP32", (1, 10)),)


def test_finish_makes_of_a_run_what_clients_get() -> None:
    plan = compile_plan(config((), [{"steps": [{"softmax": {}}]}]), graph())
    logits = np.zeros((2, 10), np.float32)
    inputs = Tensors([np.zeros((2, 3, 8, 8), np.float32)], ["FP32"], True, 2)
    (finished,) = plan.finish(inputs, Tensors([logits], ["FP32"], True, 2)).arrays
    np.testing.assert_allclose(finished, np.full((2, 10), 0.1), rtol=1e-6)


@pytest.mark.parametrize(
    ("preprocess", "postprocess", "said"),
    [
        ([{"steps": []}], [], r"preprocess\[0\]: it has no steps"),
        ([{"steps": [{}]}], [], r"preprocess\[0\]: steps\[0\] is empty"),
        ([{"input": "picture", "steps": NORMALIZED}], [], r"preprocess\[0\] 'picture': .*'image' FP32\[3,8,8\]"),
        ([{"steps": NORMALIZED}, {"name": "more", "steps": NORMALIZED}], [],
         r"preprocess\[1\] 'more': no tensor of the graph is left for it \('image' is that of preprocess\[0\]\): remove this entry"),
        ([{"steps": NORMALIZED}, {"input": "image", "steps": NORMALIZED}], [],
         r"preprocess\[1\] 'image': 'image' is that of preprocess\[0\] already, and has one entry at most: remove one of the two"),
        ([], [{"output": "other", "steps": [{"softmax": {}}]}], r"postprocess\[0\] 'other': .*'scores'"),
        ([], [{"steps": [{"drop": {}}]}], "drops every output"),
        ([], [{"classes": ["a"]}, {"output": "scores"}], r"postprocess\[0\]: classes names 1, and the output is FP32\[10\]"),
        ([], [{"classes": list("abcdefghij")}, {"output": "scores"}], r"postprocess\[1\] 'scores': 'scores' is that of postprocess\[0\] "),
        ([], [{"steps": [{"top_k": {"k": 11}}]}], r"postprocess\[0\]: steps\[0\] \(top_k\)"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_rejected_by_name(preprocess: Any, postprocess: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^config\.toml of model 'm': .*{said}|^config\.toml of model 'm': {said}"):
        compile_plan(config(preprocess, postprocess), graph())


def test_two_inputs_of_one_name_are_rejected() -> None:
    own = graph([("image", "FP32", (-1, 3, 8, 8)), ("scale", "FP32", (-1, 1))])
    with pytest.raises(ConfigError, match="two inputs named 'scale'"):
        compile_plan(config([{"input": "image", "name": "scale", "steps": NORMALIZED}]), own)
