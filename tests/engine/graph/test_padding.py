"""Padding of real models: what is declared, requests of unequal length in one run against runs alone, and the check at load."""

from __future__ import annotations

import bisect
import logging
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from inferd import Engine
from inferd._core.batching.batcher import Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd.engine.graph.padding import Paddings, check_padding, compile_padding, padded
from inferd.engine.running.executor import Instance
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.engine.runtime.onnx.options import SessionOptions
from inferd.errors import ConfigError
from inferd.protocol import options
from inferd.steps.pipeline import PadAxis
from tests import models
from tests.fake_backend import Caller

Array = np.ndarray[Any, Any]

VOCABULARY = 50
WIDTH = 8
IDS: Any = PadAxis(0, 3)


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(operator, inputs, [output], **attributes)


def attention(masked: bool = True, size: int | str = "s") -> bytes:
    """One head over embedded ids INT64[N,s] -> tokens FP32[N,s,8], pooled FP32[N,8], count INT64[N,1]. masked: with mask INT64[N,s]."""
    random = np.random.default_rng(1)
    nodes = [
        node("Gather", ["table", "ids"], "embedded"),
        node("Transpose", ["embedded"], "turned", perm=[0, 2, 1]),
        node("MatMul", ["embedded", "turned"], "raw"),
    ]
    if masked:
        nodes += [
            node("Cast", ["mask"], "real", to=TensorProto.FLOAT),
            node("Sub", ["one", "real"], "empty"),
            node("Mul", ["empty", "far"], "pushed"),
            node("Unsqueeze", ["pushed", "rows"], "bias"),
            node("Add", ["raw", "bias"], "scores"),
            node("Unsqueeze", ["real", "columns"], "kept"),
        ]
    else:
        ones = numpy_helper.from_array(np.ones(1, np.float32))
        nodes += [node("Identity", ["raw"], "scores"), node("ConstantOfShape", ["few"], "kept", value=ones)]
    nodes += [
        node("Softmax", ["scores"], "weights", axis=-1),
        node("MatMul", ["weights", "embedded"], "tokens"),
        node("Mul", ["tokens", "kept"], "counted"),
        node("ReduceSum", ["counted", "rows"], "pooled", keepdims=0),
        node("ReduceSum", ["mask" if masked else "ids", "rows"], "count", keepdims=1),
    ]
    ids = ("ids", "INT64", ("N", size))
    used = {name for each in nodes for name in each.input}
    constants = {
        "table": random.standard_normal((VOCABULARY, WIDTH)).astype(np.float32),
        "one": np.float32(1),
        "far": np.float32(-1e9),
        "rows": np.array([1], np.int64),
        "columns": np.array([2], np.int64),
        "few": np.array([1, 1, 1], np.int64),
    }
    return models.model(
        nodes,
        [("mask", "INT64", ("N", size)), ids] if masked else [ids],
        [("tokens", "FP32", ("N", size, WIDTH)), ("pooled", "FP32", ("N", WIDTH)), ("count", "INT64", ("N", 1))],
        {name: value for name, value in constants.items() if name in used},
    )


class Served:
    """A model, its signature with paddings, and one instance that runs whole batches."""

    def __init__(self, content: bytes, paddings: Paddings, max_batch_size: int = 16) -> None:
        model = OnnxModel.load(content, SessionOptions(intra_op_threads=1), name="m")

        def specs(tensors: Any) -> list[tuple[str, str, tuple[int, ...]]]:
            return [(t.name, t.datatype, tuple(-1 if isinstance(size, str) else size for size in t.shape)) for t in tensors]

        inputs, outputs = specs(model.graph.inputs), specs(model.graph.outputs)
        self.signature = Signature(
            "m", "1", inputs, outputs, max_batch_size, paddings=paddings.axes, masks=paddings.masks, cuts=paddings.cuts
        )
        self.instance = Instance("model 'm' version 1", model.backend(self.signature))

    def ask(self, *requests: dict[str, Array]) -> list[dict[str, Array]]:
        batcher = Batcher(16, Statistics(16))
        words = {name: word for name, word, _ in self.signature.input_specs}
        callers = []
        self.runs = 0
        for arrays in requests:
            request = LocalRequest([(name, words[name], array) for name, array in arrays.items()])
            request.check(self.signature)
            callers.append(Caller())
            batcher.put(request, callers[-1])
        while (batch := batcher.poll()) is not None:
            self.instance.run_batch(batch)
            batch.deliver()
            self.runs += 1
        assert [caller.errors for caller in callers] == [[]] * len(callers)
        return [caller.responses[0] for caller in callers]

    def check(self, **more: Any) -> None:
        check_padding(self.instance, self.signature, "config of model 'm'", **more)


CUT = {"tokens": (0, "ids")}
MASKED = Paddings({"ids": IDS}, {"mask": "ids"}, CUT)


@pytest.fixture(scope="module")
def alone() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(attention())


def ids_of(rows: int, length: int, seed: int = 0) -> Array:
    return np.random.default_rng((rows, length, seed)).integers(0, VOCABULARY, (rows, length))


# ---- runs ----------------------------------------------------------------------------------------------------------

BUCKETS: tuple[tuple[int, ...], ...] = ((), (8, 20))
SERVED = {
    (buckets, left): Served(attention(), Paddings({"ids": IDS._replace(buckets=buckets, left=left)}, {"mask": "ids"}, CUT))
    for buckets in BUCKETS
    for left in (False, True)
}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 24)), min_size=1, max_size=2), st.sampled_from(BUCKETS), st.booleans())
def test_unequal_requests_get_the_answers_of_their_own_runs(
    alone: onnxruntime.InferenceSession, requests: list[tuple[int, int]], buckets: tuple[int, ...], left: bool
) -> None:
    served = SERVED[buckets, left]
    sent = [ids_of(rows, length, seed) for seed, (rows, length) in enumerate(requests)]
    answers = served.ask(*({"ids": ids} for ids in sent))
    ranges = (1, 2, 3, 4, 6, 8, 12, 16, 24)  # where there are no buckets: see length_class
    assert served.runs == len(
        {next((size for size in buckets if length <= size), -bisect.bisect(ranges, length)) for _, length in requests}
    )
    for ids, answer in zip(sent, answers, strict=True):
        expected = alone.run(["tokens", "pooled", "count"], {"ids": ids, "mask": np.ones_like(ids)})
        for array, name in zip(expected, ("tokens", "pooled", "count"), strict=True):
            np.testing.assert_allclose(answer[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_graph_of_one_size_takes_every_length_up_to_it(alone: onnxruntime.InferenceSession) -> None:
    served = Served(attention(size=12), MASKED)
    assert served.signature.fixed
    served.check()
    for _ in range(2):
        sent = [ids_of(2, length) for length in (3, 12, 7)]
        for ids, answer in zip(sent, served.ask(*({"ids": ids} for ids in sent)), strict=True):
            tokens, pooled = alone.run(["tokens", "pooled"], {"ids": ids, "mask": np.ones_like(ids)})
            np.testing.assert_allclose(answer["tokens"], tokens, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(answer["pooled"], pooled, rtol=1e-4, atol=1e-5)
        assert served.runs == 1


# ---- the check at load ---------------------------------------------------------------------------------------------


def test_a_model_that_looks_at_the_last_token_is_filled_up_in_front() -> None:
    Served(models.last_token(), Paddings({"input_ids": PadAxis(0, left=True)}, {"attention_mask": "input_ids"})).check()
    with pytest.raises(ConfigError, match=r"padding changes responses: output 'last'.* on the other side \(padding.left; of texts"):
        Served(models.last_token(), Paddings({"input_ids": PadAxis(0)}, {"attention_mask": "input_ids"})).check()


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("buckets", [(), (16,), (8, 16, 32)])
def test_a_padding_that_changes_nothing(buckets: tuple[int, ...], left: bool) -> None:
    Served(attention(), Paddings({"ids": IDS._replace(buckets=buckets, left=left)}, {"mask": "ids"}, CUT)).check()
    harmless = Paddings({"tokens": PadAxis(0, 0, buckets)}, {}, {"doubled": (0, "tokens")})
    Served(models.sequence_length(), harmless).check()


@pytest.mark.parametrize("buckets", [(), (16,), (8, 16, 32)])
def test_a_padding_that_changes_answers_is_rejected(buckets: tuple[int, ...]) -> None:
    """Where everything is filled up to a bucket, too: single requests would be as wrong as those of a batch."""
    served = Served(attention(masked=False), Paddings({"ids": IDS._replace(buckets=buckets)}, {}, CUT))
    with pytest.raises(ConfigError) as caught:
        served.check()
    text = str(caught.value)
    assert text.startswith("config of model 'm': padding changes responses: output ")
    assert "once it is filled up to " in text
    assert "and the tolerance is 0.001: give the graph a mask of what is real (padding.mask), pad another axis" in text


@pytest.mark.parametrize("buckets", [(), (16, 32)])
@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("value", [0, -5, -11.5, 40])
def test_fillings_that_only_some_values_show_are_found(operator: str, buckets: tuple[int, ...], value: float) -> None:
    """0 is not the largest of positive values, but of negative ones, as logarithms are; and so is any other filling."""
    content = models.model(
        [helper.make_node(operator, ["x"], ["y"], axes=[1], keepdims=1)],
        [("x", "FP32", ("N", "s"))],
        [("y", "FP32", ("N", 1))],
    )
    with pytest.raises(ConfigError, match="padding changes responses: output 'y' of a row of length"):
        Served(content, Paddings({"x": PadAxis(0, value, buckets)})).check()


@pytest.mark.parametrize("buckets", [(), (16, 32)])
@pytest.mark.parametrize("datatype", ["INT64", "INT32", "INT8"])
@pytest.mark.parametrize(("operator", "value"), [("ReduceMax", 0), ("ReduceMin", 0), ("ReduceMax", -100), ("ReduceMin", 100)])
def test_fillings_that_only_some_whole_numbers_show_are_found(operator: str, value: int, datatype: str, buckets: tuple[int, ...]) -> None:
    content = models.model(
        [helper.make_node(operator, ["x"], ["y"], axes=[1], keepdims=1)],
        [("x", datatype, ("N", "s"))],
        [("y", datatype, ("N", 1))],
    )
    with pytest.raises(ConfigError, match="padding changes responses: output 'y' of a row of length"):
        Served(content, Paddings({"x": PadAxis(0, value, buckets)})).check()


def level(datatype: str, normalized: bool, value: float = 0) -> Served:
    """Clips [frames, 80] -> each value's place between the least and the largest, or the least."""
    nodes = [node("Cast", ["x"], "f", to=TensorProto.FLOAT), node("ReduceMin", ["f"], "least", axes=[1, 2], keepdims=1)]
    if normalized:
        nodes += [
            node("ReduceMax", ["f"], "most", axes=[1, 2], keepdims=1),
            node("Sub", ["most", "least"], "width"),
            node("Sub", ["f", "least"], "above"),
            node("Div", ["above", "width"], "y"),
        ]
        paddings = Paddings({"x": PadAxis(0, value)}, {}, {"y": (0, "x")})
    else:
        nodes[-1].output[0] = "y"
        paddings = Paddings({"x": PadAxis(0, value)})
    shape = ("N", "s", 80) if normalized else ("N", 1, 1)
    return Served(models.model(nodes, [("x", datatype, ("N", "s", 80))], [("y", "FP32", shape)]), paddings)


@pytest.mark.parametrize("value", [0, 200, 255])
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("datatype", ["FP32", "FP16", "UINT8", "UINT16", "UINT32", "INT16"])
def test_fillings_that_show_where_all_values_are_far_from_them_are_found(datatype: str, normalized: bool, value: float) -> None:
    """Of hundreds of random numbers from the filling on, one is next to it."""
    if value == 255 and datatype == "UINT8" and not normalized:
        level(datatype, normalized, value).check()  # nothing is above it: the least is right
        return
    with pytest.raises(ConfigError, match="padding changes responses: output 'y' of a row of length"):
        level(datatype, normalized, value).check()


@pytest.mark.parametrize("datatype", ["INT64", "INT32"])
def test_whole_numbers_that_a_graph_looks_up_are_tried_from_0_alone(datatype: str) -> None:
    """The graph takes all below 1 for filling, and may: nobody sends them."""
    content = models.model(
        [
            node("Gather", ["table", "ids"], "found"),
            node("Greater", ["ids", "none"], "real"),
            node("Cast", ["real"], "counted", to=TensorProto.FLOAT),
            node("Where", ["real", "found", "far"], "kept"),
            node("ReduceMax", ["kept"], "most", axes=[1], keepdims=1),
            node("ReduceSum", ["counted", "rows"], "count", keepdims=1),
            node("Add", ["most", "count"], "y"),
        ],
        [("ids", datatype, ("N", "s"))],
        [("y", "FP32", ("N", 1))],
        {
            "table": np.arange(500, dtype=np.float32),
            "none": np.array(0, np.dtype(datatype.lower())),
            "far": np.float32(-1e9),
            "rows": np.array([1], np.int64),
        },
    )
    Served(content, Paddings({"ids": PadAxis(0, 0)})).check()


def test_values_that_a_graph_cares_about_are_tried() -> None:
    """The mean of what is above 5."""
    content = models.model(
        [
            helper.make_node("Sub", ["x", "five"], ["less"]),
            helper.make_node("Relu", ["less"], ["above"]),
            helper.make_node("ReduceMean", ["above"], ["y"], axes=[1], keepdims=1),
        ],
        [("x", "FP32", ("N", "s"))],
        [("y", "FP32", ("N", 1))],
        {"five": np.float32(5)},
    )
    with pytest.raises(ConfigError, match="padding changes responses: output 'y' of a row of length"):
        Served(content, Paddings({"x": PadAxis(0, 0, ())})).check()


def reducing(operator: str, datatype: str = "FP32") -> bytes:
    """x [N, s] -> y [N, 1]."""
    reduce = helper.make_node(operator, ["x"], ["y"], axes=[1], keepdims=1)
    return models.model([reduce], [("x", datatype, ("N", "s"))], [("y", datatype, ("N", 1))])


def within(limit: float, operator: str) -> bytes:
    """x FP32 [N, s] -> y FP32 [N, 1]: whether any (ReduceMax) or all (ReduceMin) are as near to 0 as that."""
    nodes = [
        node("Abs", ["x"], "size"),
        node("Less", ["size", "limit"], "near"),
        node("Cast", ["near"], "one", to=TensorProto.FLOAT),
        helper.make_node(operator, ["one"], ["y"], axes=[1], keepdims=1),
    ]
    return models.model(nodes, [("x", "FP32", ("N", "s"))], [("y", "FP32", ("N", 1))], {"limit": np.float32(limit)})


@pytest.mark.parametrize("limit", [50, 1000])
def test_what_a_graph_does_far_from_0_alone_is_rejected(limit: float) -> None:
    served = Served(within(limit, "ReduceMax"), Paddings({"x": PadAxis(0)}))
    with pytest.raises(ConfigError) as caught:
        served.check()
    said = str(caught.value)
    assert "padding changes responses: output 'y' of a row of length" in said
    assert ", of numbers as large as 10000 in 'x', differs by 1 (0 alone, 1 padded) once it is filled up to" in said
    assert "say how large numbers may be (padding.largest), allow more (padding.tolerance), or remove the padding" in said
    served.check(largest=1000)


def test_what_a_graph_does_close_to_0_alone_is_rejected() -> None:
    """The filling is the only number that is not close."""
    with pytest.raises(ConfigError, match=r", of numbers as large as 0.001 in 'x', differs by 1 \(1 alone, 0 padded\)"):
        Served(within(0.01, "ReduceMin"), Paddings({"x": PadAxis(0, 5)})).check()


def test_what_rounding_changes_as_much_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The sine of a thousand times a large number: its last places decide."""
    nodes = [
        node("Abs", ["x"], "size"),
        node("Less", ["size", "limit"], "near"),
        node("Cast", ["near"], "one", to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["one"], ["any"], axes=[1], keepdims=1),
        node("Gather", ["x", "first"], "head", axis=1),
        node("Mul", ["head", "thousand"], "large"),
        node("Sin", ["large"], "sine"),
        node("Add", ["any", "sine"], "y"),
    ]
    constants = {"limit": np.float32(50), "thousand": np.float32(1000), "first": np.array([0], np.int64)}
    content = models.model(nodes, [("x", "FP32", ("N", "s"))], [("y", "FP32", ("N", 1))], constants)
    Served(content, Paddings({"x": PadAxis(0)})).check()
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ", of numbers as large as 10000 in 'x', differs by" in said
    assert said.endswith("It is served, since rounding moves these responses as much: where such numbers never come, nothing is to be done")


def test_what_a_graph_does_where_inputs_usually_are_is_rejected() -> None:
    with pytest.raises(ConfigError, match="padding changes responses: output 'y' of a row of length"):
        Served(within(1, "ReduceMax"), Paddings({"x": PadAxis(0)})).check()


def test_rounding_of_large_numbers_is_no_difference() -> None:
    """How far each is from the mean of those that the mask says are real, which is summed up in another order."""
    nodes = [
        node("Mul", ["x", "x_mask"], "real"),
        node("ReduceSum", ["real", "columns"], "sum", keepdims=1),
        node("ReduceSum", ["x_mask", "columns"], "count", keepdims=1),
        node("Div", ["sum", "count"], "mean"),
        node("Sub", ["x", "mean"], "y"),
    ]
    shape = ("N", "s")
    content = models.model(
        nodes, [("x", "FP32", shape), ("x_mask", "FP32", shape)], [("y", "FP32", shape)], {"columns": np.array([1], np.int64)}
    )
    Served(content, Paddings({"x": PadAxis(0)}, {"x_mask": "x"}, {"y": (0, "x")})).check()


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16"])
@pytest.mark.parametrize(
    ("operator", "value"),
    [(operator, value) for operator in ("ReduceMax", "ReduceMin", "ReduceMean") for value in (-math.inf, math.inf)]
    + [("ReduceMean", math.nan)],
)
def test_what_is_filled_in_need_not_be_finite(operator: str, value: float, datatype: str) -> None:
    served = Served(reducing(operator, datatype), Paddings({"x": PadAxis(0, value)}))
    if (operator, value) not in {("ReduceMax", -math.inf), ("ReduceMin", math.inf)}:
        with pytest.raises(ConfigError, match="padding changes responses: output 'y'"):
            served.check()
        return
    served.check()
    rows = [np.random.default_rng(length).standard_normal((1, length)).astype(datatype.replace("FP", "float")) for length in (13, 15, 12)]
    answers = served.ask(*({"x": row} for row in rows))
    assert served.runs == 1
    best = np.max if operator == "ReduceMax" else np.min
    assert [answer["y"].tolist() for answer in answers] == [[[best(row).tolist()]] for row in rows]


def test_the_difference_at_the_worst_length_is_shown() -> None:
    served = Served(models.sequence_length(), Paddings({"tokens": PadAxis(0, 1000)}, {}, {"doubled": (0, "tokens")}))
    with pytest.raises(ConfigError, match=r"'total' of a row of length 12 differs by .* alone, .* padded\) once it is filled up to 15"):
        served.check()


def test_the_tolerance_counts() -> None:
    served = Served(models.sequence_length(), Paddings({"tokens": PadAxis(0, 1)}, {}, {"doubled": (0, "tokens")}))
    served.check(tolerance=math.inf)
    served.check(tolerance=3.0)
    with pytest.raises(ConfigError, match="differs by"):
        served.check(tolerance=1e-6)


def test_an_output_that_is_not_cut() -> None:
    served = Served(attention(), Paddings({"ids": IDS}, {"mask": "ids"}))
    with pytest.raises(
        ConfigError, match=r"'tokens' of a row of length 13 has shape \[1, 13, 8\] alone and \[1, 15, 8\] .*: cut it along axis 0"
    ):
        served.check()


def test_another_input_of_that_axis_that_is_not_padded() -> None:
    """The mask comes from clients, and its lengths must be those of ids: rows share a batch only with their like, and nothing is padded."""
    served = Served(attention(), Paddings({"ids": IDS}, {}, CUT))
    sent = [{"ids": ids_of(1, length), "mask": np.ones((1, length), np.int64)} for length in (3, 5, 3)]
    assert [answer["tokens"].shape[1] for answer in served.ask(*sent)] == [3, 5, 3]
    assert served.runs == 2


def test_a_padded_run_that_fails() -> None:
    """Two inputs of one length, of which one has buckets."""
    paddings = Paddings({"ids": PadAxis(0, 0, (16,)), "mask": PadAxis(0, 0)}, {}, CUT)
    with pytest.raises(ConfigError, match=r"lengths 8, 15, 1 run alone, and fail when they are padded together \(.*pad every input"):
        Served(attention(), paddings).check()


def test_a_mask_that_steps_make_is_an_input_like_any() -> None:
    Served(attention(), Paddings({"ids": PadAxis(0, 0), "mask": PadAxis(0, 0)}, {}, CUT)).check()


def test_a_model_that_runs_none_of_the_rows_is_served_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    served = Served(models.sequence_length(), Paddings({"tokens": PadAxis(0)}, {}, {"doubled": (0, "tokens")}))
    served.instance.backend.close()

    class Rejecting:
        def inputs(self, batch: Any) -> Any:
            raise RuntimeError("not these sizes")

    served.instance = Instance("model 'm' version 1", Rejecting())  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "inferd.engine"):
        served.check()
    assert ["padding could not be checked" in record.getMessage() for record in caplog.records] == [True]
    assert "not these sizes" not in caplog.text


def test_nothing_to_check() -> None:
    Served(models.identity(), Paddings()).check()
    Served(attention(masked=False), Paddings({"ids": IDS}, {}, CUT), max_batch_size=1).check()


# ---- a model that is configured so --------------------------------------------------------------------------------

CONFIG = """
max_batch_size: 16
inferd { padding { input: "ids" value: 3 mask: "mask" cut { output: "tokens" } } }
"""


def test_mixed_lengths_at_once_through_the_engine(tmp_path: Path, alone: onnxruntime.InferenceSession) -> None:
    folder = models.repository(tmp_path, {"m": attention()}, {"m": CONFIG})

    def ask(engine: Engine, seed: int) -> None:
        for turn in range(10):
            ids = ids_of(1 + turn % 2, 1 + (7 * seed + 3 * turn) % 23, seed)
            answer = engine.infer("m", {"ids": ids})
            for name, array in zip(
                ("tokens", "pooled"), alone.run(["tokens", "pooled"], {"ids": ids, "mask": np.ones_like(ids)}), strict=True
            ):
                np.testing.assert_allclose(answer[name], array, rtol=1e-4, atol=1e-5)

    with Engine(folder) as engine:
        shown = engine.metadata("m")
        assert [tensor.name for tensor in shown.inputs] == ["ids"], "nobody sends the mask"
        assert [entry.name for entry in engine.config("m").input] == ["ids"]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda seed: ask(engine, seed), range(8)))
        (model,) = engine._repository.models()
        assert model.statistics.runs < model.statistics.rows


def test_texts_are_filled_up_in_front_where_their_tokenizer_says_so(tmp_path: Path) -> None:
    padding = {"strategy": "BatchLongest", "direction": "Left", "pad_to_multiple_of": None, "pad_id": 3, "pad_type_id": 0, "pad_token": ""}
    models.tokenized(tmp_path, "m", graph=models.last_token(), padding=padding)
    words = {"one": 1, "two": 2, "three": 3}

    def expected(text: str) -> list[float]:
        ids = [words[word] for word in text.split()]
        return [ids[-1], len(ids)]

    def ask(engine: Engine, seed: int) -> None:
        for turn in range(10):
            texts = [
                " ".join(np.random.default_rng((seed, turn, row)).choice(list(words), 8 + (seed + 3 * turn + row) % 4)) for row in (0, 1)
            ]
            answer = engine.infer("m", {"text": [[text] for text in texts]})["last"]
            assert answer.tolist() == [expected(text) for text in texts]
            assert answer[:1].tolist() == engine.infer("m", {"text": [texts[:1]]})["last"].tolist()

    with Engine(tmp_path) as engine, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: ask(engine, seed), range(8)))


def test_a_model_whose_answers_would_change_is_not_served(tmp_path: Path) -> None:
    folder = models.repository(tmp_path, {"m": attention(masked=False)}, {"m": CONFIG.replace('mask: "mask"', "")})
    with pytest.raises(ConfigError, match="padding changes responses: output"):
        Engine(folder)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ('input: "nope"', "model 'm': padding of input 'nope': 'nope' is not there; there is 'mask', 'ids'"),
        ('input: "ids" axis: 4294967295', "axis 4294967295 of INT64"),
        ('input: "ids" buckets: [8, 4]', "buckets [8, 4]: expected at most 32 rising sizes"),
        ('input: "ids" mask: "m"', "mask 'm' is not one of the inputs"),
    ],
)
def test_a_configuration_that_the_graph_does_not_have(tmp_path: Path, entry: str, expected: str) -> None:
    folder = models.repository(tmp_path, {"m": attention()}, {"m": f"max_batch_size: 16 inferd {{ padding {{ {entry} }} }}"})
    with pytest.raises(ConfigError) as caught:
        Engine(folder)
    assert expected in str(caught.value)


# ---- what is declared ----------------------------------------------------------------------------------------------


def declared(**fields: Any) -> Any:
    cut = [options.CutOutput(output=name, axis=axis) for name, axis in fields.pop("cut", ())]
    return options.Padding(cut=cut, **fields)


def test_compile_padding() -> None:
    entries = [
        declared(input="ids", axis=0, value=3, buckets=[8, 16], mask="mask", cut=[("tokens", 0), ("other", 1)], tolerance=0.5),
        declared(input="sound", axis=1, left=True, largest=100),
    ]
    assert compile_padding(entries, "here") == Paddings(
        {"ids": PadAxis(0, 3, (8, 16)), "sound": PadAxis(1, left=True)},
        {"mask": "ids"},
        {"tokens": (0, "ids"), "other": (1, "ids")},
        0.5,
        100,
        True,
    )
    assert compile_padding([], "here") == Paddings()


def test_an_entry_adds_to_what_a_step_pads() -> None:
    made = {"ids": PadAxis(0, 7, (16,)), "mask": PadAxis(0)}
    assert compile_padding([], "here", made) == Paddings(made)
    assert compile_padding([declared(input="ids", cut=[("tokens", 0)])], "here", made) == Paddings(made, {}, CUT, declared=True)


def test_steps_that_pad_and_a_model_without_a_batch_axis() -> None:
    plain = Signature("m", "1", [("ids", "INT64", (1, -1))], [("y", "FP32", (1, 2))], 0)
    assert padded(plain, compile_padding([], "here", {"ids": PadAxis(0)}), shared=False) is plain
    with pytest.raises(ConfigError, match="max_batch_size is 0: set it, or remove the padding"):
        padded(plain, compile_padding([declared(input="ids")], "here"), shared=False)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([declared(axis=1)], "here: padding[0]: input is empty"),
        ([declared(input="a"), declared(input="a", axis=1)], "here: padding[1] 'a': the input has an entry already"),
        ([declared(input="a", tolerance=-1)], "here: padding[0] 'a': tolerance is -1.0"),
        ([declared(input="a", tolerance=math.nan)], "tolerance is nan"),
        ([declared(input="a", largest=-1)], "here: padding[0] 'a': largest is -1.0; it must be a number above 0, or 0: any size"),
        ([declared(input="a", largest=math.nan)], "largest is nan"),
        ([declared(input="a", mask="m"), declared(input="b", mask="m")], "padding[1] 'b': 'm' is the mask of 'a' already"),
        ([declared(input="a", cut=[("y", 0)]), declared(input="b", cut=[("y", 0)])], "output 'y' is cut by another entry already"),
        ([declared(input="made", axis=1)], "padding[0] 'made': a step pads axis 0 of this input"),
        ([declared(input="made", buckets=[4])], "leave axis as it is, and value, buckets, left and mask out"),
        ([declared(input="made", left=True)], "a step pads axis 0 of this input"),
        ([declared(input="made", mask="m")], "a step pads axis 0 of this input"),
    ],
)
def test_entries_that_cannot_be(entries: list[Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_padding(entries, "here", {"made": PadAxis(0)})
    assert expected in str(caught.value)


def test_texts_are_padded_only_where_requests_share_runs(tmp_path: Path) -> None:
    models.tokenized(tmp_path, "m", graph=models.mean_of_ids())
    with pytest.raises(ConfigError, match="padding changes responses"):
        Engine(tmp_path)
    with Engine(tmp_path, batching="off") as engine:
        assert engine.infer("m", {"text": [["one two three"]]})["mean"].item() == 2
    models.tokenized(tmp_path, "m", "{ buckets = [4] }", graph=models.mean_of_ids())
    with pytest.raises(ConfigError, match="padding changes responses"):  # each text by itself is filled up to a bucket
        Engine(tmp_path, batching="off")
