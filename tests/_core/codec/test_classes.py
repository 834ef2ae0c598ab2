"""The classification extension against a plain version of it, and in responses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from native_access import classify

from inferd._core.batching.batcher import Batcher
from inferd._core.codec.infer import decode_infer_request
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import InvalidArgument
from inferd.protocol import inference as pb
from tests.fake_backend import Caller

LABELS = ("cat", "", "dog")
WORDS = [word for word in DATATYPES if word not in ("BOOL", "BYTES", "BF16")]


def plain(row: np.ndarray, count: int) -> list[str]:
    """What Triton does: std::sort by value, std::to_string, and the label where there is one. NaN, which it leaves open, comes last."""
    values = row.reshape(-1).tolist()
    places = sorted(range(len(values)), key=lambda place: (values[place] != values[place], -values[place], place))[:count]
    form = "%f" if row.dtype.kind == "f" else "%d"
    return [":".join([form % values[place], str(place), *filter(None, LABELS[place : place + 1])]) for place in places]


@pytest.mark.parametrize("word", WORDS)
@given(data=st.data(), count=st.integers(1, 9), batched=st.booleans())
def test_the_largest_come_first(word: str, data: st.DataObject, count: int, batched: bool) -> None:
    array = data.draw(arrays(DATATYPES[word][2], st.sampled_from([(1, 1), (2, 5), (3, 2, 4), (2, 0)])))
    made = classify(array, LABELS, count, batched)
    rows = list(array) if batched else [array]
    expected = [plain(row, count) for row in rows]
    assert made.tolist() == (expected if batched else expected[0])


SIGNATURE = Signature("m", "1", [("x", "FP32", (-1, 1))], [("y", "FP32", (-1, 3)), ("n", "INT64", (-1,)), ("t", "BYTES", (-1,))], 8)


def asking(rows: int, *outputs: tuple[str, int]) -> bytes:
    request = pb.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[rows, 1])
    request.raw_input_contents.append(bytes(4 * rows))
    for name, classes in outputs:
        output = request.outputs.add(name=name)
        if classes:
            output.parameters["classification"].int64_param = classes
    return request.SerializeToString()


def test_each_request_of_a_batch_has_as_many_classes_as_it_asks_for() -> None:
    """The same arrays hold the outputs of the next batch."""
    signature = Signature("m", "1", SIGNATURE.input_specs, SIGNATURE.output_specs, 8)
    signature.labels = {"y": LABELS}
    scores = np.zeros((4, 3), np.float32)
    outputs = Tensors([scores, np.arange(4), np.array(list("abcd"), object)], ["FP32", "INT64", "BYTES"], True)
    asked = [(1, ("y", 2)), (2, ("y", 1), ("n", 1)), (1, ("y", 0), ("y", 3), ("t", 0))]
    for factor in (1, -1):
        scores[:] = factor * np.array([[1, 2, 3], [1, 3, 2], [5, 5, 4], [0, 9, 0]])
        batcher = Batcher(8, Statistics(8))
        callers = [Caller() for _ in asked]
        for caller, (rows, *names) in zip(callers, asked, strict=True):
            request = decode_infer_request(asking(rows, *names))
            request.check(signature)
            batcher.put(request, caller)
        batch = batcher.poll()
        assert batch is not None
        batch.encode(outputs)
        batch.deliver()
        responses = [pb.ModelInferResponse.FromString(bytes(caller.responses[0])) for caller in callers]
        first, second, third = ([(each.name, each.datatype, list(each.shape)) for each in response.outputs] for response in responses)
        assert first == [("y", "BYTES", [1, 2])]
        assert second == [("y", "BYTES", [2, 1]), ("n", "BYTES", [2, 1])]
        assert third == [("y", "FP32", [1, 3]), ("t", "BYTES", [1])], "one asked for twice is given once"
        told = [[bytes(raw) for raw in response.raw_output_contents] for response in responses]
        best = [plain(row, 2) for row in scores]
        assert told[0] == [texts(best[0])]
        assert told[1] == [texts([best[1][0], best[2][0]]), texts(["1:0", "2:0"])]
        assert told[2] == [scores[3:].tobytes(), texts(["d"])]


def texts(elements: list[str]) -> bytes:
    return b"".join(len(each).to_bytes(4, "little") + each.encode() for each in elements)


def test_outputs_without_classes() -> None:
    with pytest.raises(InvalidArgument, match="output 't': class result not available for output due to unsupported type 'BYTES'"):
        decode_infer_request(asking(1, ("t", 2))).check(SIGNATURE)
