"""Answers of a real server are right; one wrong bit, name or shape is found and told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd.bench.inputs import Requests, make
from inferd.bench.measurement import Load, Measurement
from inferd.bench.verify import Verifier
from inferd.client_inputs import arrays
from inferd.client_inputs.targets import Description, open_target
from inferd.errors import ConfigError
from inferd.protocol import inference
from tests import models
from tests.wire import Caller

TENSORS = ["identity", "add", "text", "many", "every_datatype", "pooled_image", "fixed_batch"]


def response(**outputs: np.ndarray) -> bytes:
    """A ModelInferResponse as a server sends it."""
    words = {"float32": "FP32", "float16": "FP16", "int64": "INT64", "float64": "FP64", "uint16": "BF16"}
    message = inference.ModelInferResponse(model_name="model")
    for name, array in outputs.items():
        message.outputs.add(name=name, datatype=words[array.dtype.name], shape=array.shape)
        message.raw_output_contents.append(array.tobytes())
    return message.SerializeToString()


def fault(expected: np.ndarray, got: np.ndarray, **options: object) -> str:
    verifier = Verifier([{"y": expected}], "test", **options)
    verifier.check(0, response(y=got))
    assert verifier.result.checked == 1
    assert verifier.result.wrong == bool(verifier.result.first_wrong)
    return verifier.result.first_wrong


def asked(served, model: str, **options: object) -> tuple[Description, Requests, list[bytes]]:
    with open_target(served.address, None, 30, ()) as target, Caller(served.address) as caller:
        description = target.describe(model, "")
        made = make(description, **options)
        return description, made, [caller.start(body).result() for body in made.bodies]


@pytest.mark.parametrize("model", TENSORS)
def test_a_servers_responses_are_those_of_the_same_model_here(served, model_files: Path, model: str) -> None:
    _, made, responses = asked(served, model, count=3)
    verifier = Verifier.from_file(str(model_files / model), made)
    for index, each in enumerate(responses):
        verifier.check(index, each)
    result = verifier.result
    assert (result.checked, result.wrong, result.first_wrong) == (3, 0, "")
    assert result.largest_difference < 1e-4
    assert result.reference.endswith(model)


def test_a_response_to_another_request_is_wrong(served, model_files: Path) -> None:
    _, made, responses = asked(served, "identity", count=2)
    verifier = Verifier.from_file(str(model_files), made, model="identity")
    verifier.check(0, responses[1])
    verifier.check(1, responses[1])
    assert verifier.result.wrong == 1
    assert verifier.result.first_wrong.startswith("request 0: y[0, 0]: expected 0.")
    assert "16 of 16 values wrong, beyond atol 1e-05 + rtol 0.0001" in verifier.result.first_wrong


def test_the_version_that_is_asked(served, model_files: Path) -> None:
    _, made, responses = asked(served, "versions", files=["x=" + str([[1] * 16])])
    for version, wrong in {"1": 1, "3": 0, "": 0}.items():
        verifier = Verifier.from_file(str(model_files), made, model="versions", version=version)
        verifier.check(0, responses[0])
        assert verifier.result.wrong == wrong


def test_brain_floats(tmp_path: Path) -> None:
    made = make(Description("half", "", (models_spec("BF16"),), ()), count=1)
    verifier = Verifier.from_file(str(models.write(tmp_path, "half", models.identity("BF16", (2,)))), made)
    bits = made.inputs[0]["x"]
    for given, wrong in ((bits, 0), (bits + np.uint16(1), 0), (bits + np.uint16(9), 1)):
        before = verifier.result.wrong
        verifier.check(0, response(y=given))
        assert verifier.result.wrong - before == wrong


def test_requests_of_more_rows_than_an_engine_takes_by_itself(model_files: Path) -> None:
    made = make(Description("identity", "", (models_spec("FP32")._replace(shape=(-1, 16)),), ()), rows=129)
    verifier = Verifier.from_file(str(model_files / "identity"), made)
    verifier.check(0, response(y=made.inputs[0]["x"]))
    assert (verifier.result.checked, verifier.result.wrong) == (1, 0)


def models_spec(datatype: str):
    from inferd.client_inputs.inputs import Spec

    return Spec("x", datatype, (-1, 2))


def test_floats_within_the_tolerance() -> None:
    one = np.float32([1, 100])
    assert fault(one, one * np.float32(1.00005)) == ""
    assert "y[0]: expected 1.0, got 1.001" in fault(one, one * np.float32(1.001))
    assert fault(one, one * np.float32(1.001), rtol=0.01) == ""
    assert fault(np.float32([0]), np.float32([9e-6])) == ""
    assert fault(np.float16([1]), np.float16([1.001])) == ""
    assert fault(np.float64([1.0]), np.float32([1.0])) == ""


def test_nan_and_infinity() -> None:
    odd = np.float32([np.nan, np.inf, -np.inf])
    assert fault(odd, odd) == ""
    assert fault(np.float64([np.nan]), np.float32([np.nan])) == ""
    assert "y[0]: expected nan, got 1.0" in fault(odd, np.float32([1, np.inf, -np.inf]))
    assert "y[1]: expected inf, got -inf" in fault(odd, np.float32([np.nan, -np.inf, -np.inf]))


@pytest.mark.parametrize(
    ("expected", "got", "largest", "beyond"),
    [
        (np.float32([0, 1]), np.float32([np.nan, np.nan]), 0.0, 1),
        (np.float32([0, 1]), np.float32([3, np.inf]), 3.0, 1),
        (np.float32([np.nan, 1]), np.float32([0, 1]), 0.0, 1),
        (np.float32([np.inf, np.nan, 1]), np.float32([np.inf, np.nan, 3]), 2.0, 0),
        (np.int64([1, 2]), np.int64([1, 9]), 7.0, 0),
        (np.float32([1, 2]), np.float32([1, 2, 3]), 0.0, 1),
        (np.float32([1, 2]), np.float32([1, 2]), 0.0, 0),
    ],
)
def test_what_no_difference_tells_of_is_counted_beside_the_largest(
    expected: np.ndarray, got: np.ndarray, largest: float, beyond: int
) -> None:
    verifier = Verifier([{"y": expected}], "test")
    verifier.check(0, response(y=got))
    result = verifier.result
    assert (result.largest_difference, result.beyond_numbers) == (largest, beyond)
    assert verifier.anew().result.beyond_numbers == 0
    verifier.check(0, b"none")
    verifier.check(0, response(z=expected))
    assert verifier.result.beyond_numbers == beyond + 2


def test_all_else_is_exact() -> None:
    assert fault(np.arange(3), np.arange(3)) == ""
    assert "y[2]: expected 2, got 3, 1 of 3 values wrong" in fault(np.arange(3), np.array([0, 1, 3]))
    assert "expected float32 [2], got float32 [1, 2]" in fault(np.float32([1, 2]), np.float32([[1, 2]]))
    assert "expected int64 [1], got float32 [1]" in fault(np.array([1]), np.float32([1]))
    assert fault(np.empty((0, 4), np.float32), np.empty((0, 4), np.float32)) == ""


def test_outputs_that_lack_and_bytes_that_are_no_response() -> None:
    verifier = Verifier([{"y": np.float32([1])}], "test")
    verifier.check(0, response(z=np.float32([1])))
    verifier.check(0, b"\xff\xff")
    verifier.check(0, response())
    assert verifier.result.wrong == 3
    assert verifier.result.first_wrong == "request 0: expected the outputs y, got z"


def test_the_largest_difference_is_kept() -> None:
    verifier = Verifier([{"y": np.float32([1, np.inf])}], "test")
    verifier.check(0, response(y=np.float32([1.5, 0])))
    verifier.check(0, response(y=np.float32([0.75, np.inf])))
    assert verifier.result.largest_difference == 0.5


def test_ctrl_c_ends_the_checking_and_loses_nothing() -> None:
    class Pressed(dict[str, np.ndarray]):
        def keys(self) -> None:
            raise KeyboardInterrupt

    right = np.float32([1])
    verifier, measured = Verifier([{"y": right}], "test"), Measurement(Load())
    verifier.check_kept([(0, response(y=right)), (0, {"y": right}), (0, Pressed(y=right)), (0, {"y": right})], measured, 5)
    assert (measured.ended, measured.verified.checked, measured.verified.wrong, measured.verified.unchecked) == ("interrupted", 2, 0, 7)


def test_a_reference_file(served, tmp_path: Path) -> None:
    _, made, responses = asked(served, "text", files=['x=[["a", "é"]]'])
    np.savez(tmp_path / "right.npz", y=np.array([["a", "é"]]))
    np.savez(tmp_path / "wrong.npz", y=np.array([["a", "b"]]))
    for name, wrong in {"right.npz": 0, "wrong.npz": 1}.items():
        verifier = Verifier.from_file(str(tmp_path / name), made)
        verifier.check(0, responses[0])
        assert verifier.result.wrong == wrong
    many = make(Description("m", "", (models_spec("FP32"),), ()), count=2)
    assert "holds the answer to one request, and 2 are sent" in refusal(str(tmp_path / "right.npz"), many)


def test_a_reference_file_has_the_limit_of_all_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(Description("m", "", (models_spec("FP32"),), ()), count=1)
    np.savez_compressed(tmp_path / "bomb.npz", y=np.zeros(1000))
    monkeypatch.setattr(arrays, "MAX_BYTES", 7999)
    assert f"--verify {tmp_path / 'bomb.npz'}: 'y': expected arrays of" in refusal(str(tmp_path / "bomb.npz"), made)


def test_only_the_outputs_that_a_recorded_request_wants(served, model_files: Path, tmp_path: Path) -> None:
    _, made, _ = asked(served, "add", count=1)
    message = inference.ModelInferRequest.FromString(made.bodies[0])
    message.outputs.add(name="sum")
    body = message.SerializeToString()
    verifier = Verifier.from_file(str(model_files / "add"), made._replace(bodies=[body]))
    with Caller(served.address) as caller:
        verifier.check(0, caller.start(body).result())
    assert verifier.result.wrong == 0


def refusal(source: str, requests: Requests, **options: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Verifier.from_file(source, requests, **options)
    return str(caught.value)


def test_references_that_are_none(tmp_path: Path, model_files: Path) -> None:
    made = make(Description("m", "", (models_spec("FP32"),), ()), count=1)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert "there is no such file or folder" in refusal(str(tmp_path / "absent.onnx"), made)
    assert "broken.onnx: " in refusal(str(tmp_path / "broken.onnx"), made)
    assert "expected the model 'm', or one only; it has: add, " in refusal(str(model_files), made, model="m")
    assert "does not answer request 0: " in refusal(str(model_files / "add"), made)
    with pytest.raises(ConfigError, match="--rtol -1: expected 0 or more"):
        Verifier([], "", rtol=-1)
