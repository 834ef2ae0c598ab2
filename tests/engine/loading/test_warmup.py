"""What a warm-up sends, and what it measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferd._core.batching.local import LocalRequest
from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.engine.loading import steadiness, warmup
from inferd.engine.running.executor import Instance
from inferd.errors import ConfigError, Internal, InvalidArgument
from inferd.protocol import inference
from inferd.steps.plan import Pipelines, Plan
from tests.engine.running.test_preparer import Numbers
from tests.fake_backend import SIGNATURE, FakeBackend


def instance(backend: FakeBackend) -> Instance:
    return Instance("model 'double' version 1", backend)


def test_zeros_of_every_datatype_pass_the_check() -> None:
    inputs = [(word, word, (-1, 3, -1)) for word in DATATYPES]
    signature = Signature("all", "1", inputs, [("y", "FP32", (-1,))], 8)
    made = warmup.rows_of(signature, {}, 5)
    assert {(name, word, array.shape) for name, word, array in made} == {(word, word, (5, 3, 1)) for word in DATATYPES}
    LocalRequest(made).check(signature)
    assert made[list(DATATYPES).index("BYTES")][2][0, 0, 0] == ""


def test_zeros_without_a_batch_axis() -> None:
    signature = Signature("m", "1", [("x", "FP32", (2, -1)), ("s", "INT64", ())], [("y", "FP32", ())], 0)
    made = warmup.rows_of(signature, {}, 1)
    assert [array.shape for _, _, array in made] == [(2, 1), ()]
    LocalRequest(made).check(signature)


def test_rows_that_are_given_stand_in_place_of_zeros() -> None:
    specs = [("text", "BYTES", (-1, 1)), ("matrix", "FP32", (-1, -1)), ("other", "INT64", (-1, 1))]
    examples = {"text": np.array(["Bern"], dtype=object), "matrix": np.array([0, 7, 0], np.float32)}
    batched = Signature("m", "1", specs, [("y", "FP32", (-1, 1))], 8)
    made = warmup.rows_of(batched, examples, 2, 4)
    assert [array.tolist() for _, _, array in made] == [[["Bern"]] * 2, [[0, 7, 0]] * 2, [[0]] * 2]
    LocalRequest(made).check(batched)
    bare = Signature("m", "1", [("text", "BYTES", (1,)), ("matrix", "FP32", (1, 3))], [("y", "FP32", (1,))], 0)
    made = warmup.rows_of(bare, examples, 1)
    assert [array.tolist() for _, _, array in made] == [["Bern"], [[0, 7, 0]]]
    LocalRequest(made).check(bare)


def test_configured_inputs() -> None:
    words = list(DATATYPES)
    signature = Signature("all", "1", [(word, word, (-1, -1)) for word in words], [("y", "FP32", (-1,))], 8)
    config = inference.ModelConfig(max_batch_size=8)
    sample = config.model_warmup.add(name="random", batch_size=4, count=3)
    for word in words:
        sample.inputs[word].dims.append(7)
        sample.inputs[word].random_data = True
    config.model_warmup.add(name="zero").inputs["FP32"].zero_data = True
    (name, count, inputs), (_, one, zeros) = warmup.configured_inputs(config, signature)
    assert (name, count, one) == ("random", 3, 1)
    assert {array.shape for _, _, array in inputs} == {(4, 7)}
    assert {array.shape for _, _, array in zeros} == {(1, 1)}
    LocalRequest(inputs).check(signature)
    LocalRequest(zeros).check(signature)
    values: dict[str, Any] = {word: array for _, word, array in inputs}
    assert len(np.unique(values["FP32"])) > 20
    assert len(np.unique(values["BF16"])) > 20
    assert set(np.unique(values["BOOL"])) == {False, True}
    again = next(iter(warmup.configured_inputs(config, signature)))[2]
    assert all((first == second).all() for (_, _, first), (_, _, second) in zip(inputs, again, strict=True)), "reproducible"


def test_rows_of_files(tmp_path: Path) -> None:
    """A file has one row, which is repeated, or all of batch_size; a default stands for what is not named."""
    signature = Signature("m", "1", [("x", "FP32", (-1, 2)), ("t", "BYTES", (-1, 2)), ("d", "INT8", (-1, 1))], [("y", "FP32", (-1,))], 4)
    signature.defaults = {"d": ((1,), b"\7" * 4, 1)}
    config = inference.ModelConfig(name="m", max_batch_size=4)
    sample = config.model_warmup.add(name="real", batch_size=2)
    for name in "xt":
        sample.inputs[name].input_data_file, sample.inputs[name].dims[:] = name, [2]
    (tmp_path / "x").write_bytes(np.array([1, 2], np.float32).tobytes())
    (tmp_path / "t").write_bytes(b"".join(len(word).to_bytes(4, "little") + word for word in (b"a", b"", "ä".encode(), b"c")))
    ((_, _, inputs),) = warmup.configured_inputs(config, signature, tmp_path.joinpath)
    assert {name: array.tolist() for name, _, array in inputs} == {
        "x": [[1, 2], [1, 2]],
        "t": [[b"a", b""], ["ä".encode(), b"c"]],
    }
    LocalRequest(inputs).check(signature)
    for content in (bytes(12), bytes(7), b""):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(
            ConfigError, match=rf"model_warmup 'real': inputs 'x': input_data_file 'x' has {len(content)} bytes: .* 8 bytes"
        ):
            list(warmup.configured_inputs(config, signature, tmp_path.joinpath))
    (tmp_path / "x").write_bytes(bytes(8))
    (tmp_path / "t").write_bytes(b"\xff\xff\xff\xff")
    with pytest.raises(ConfigError, match=r"'t' has 4 bytes: .* 2 texts, each behind its length"):
        list(warmup.configured_inputs(config, signature, tmp_path.joinpath))


@pytest.mark.parametrize(("once", "runs"), [(True, 1), (False, 3)])
def test_warm_up_runs_one_row_and_the_most_rows(once: bool, runs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until they take a steady time, which runs of this back end do from the first one on."""
    monkeypatch.setattr(steadiness, "SLACK_NS", 10**12)
    backend = FakeBackend()
    warmup.warm_up(instance(backend), SIGNATURE, {}, once=once)
    assert backend.rows == [1] * runs + [8] * runs


def test_the_same_row_is_run_twice_and_its_bytes_are_compared() -> None:
    """At values that are not zero, which a factor would hide."""

    class Random(FakeBackend):
        drift = 1.0

        def run(self, rows: int) -> Tensors:
            self._x *= self.drift
            self.drift += 1e-6
            return super().run(rows)

    class Rejecting(FakeBackend):
        def inputs(self, batch: Any) -> Tensors:
            raise Internal("not this row")

    assert warmup.is_deterministic(instance(FakeBackend()), SIGNATURE, {}) is True
    assert warmup.is_deterministic(instance(Random()), SIGNATURE, {}) is False
    assert warmup.is_deterministic(instance(Random()), SIGNATURE, {"x": np.zeros(4, np.float32)}) is True, "an example is kept"
    assert warmup.is_deterministic(instance(Rejecting()), SIGNATURE, {}) is None


def test_measure_takes_the_slower_size_and_stops_where_runs_are_hopeless() -> None:
    backend = FakeBackend()
    assert 0 < warmup.measure(instance(backend), SIGNATURE, {}, 10**12) < 10**9
    assert sorted(backend.rows) == [1] * 6 + [8] * 6
    backend.rows.clear()
    assert warmup.measure(instance(backend), SIGNATURE, {}, 0) > 0
    assert backend.rows == [1, 1], "once more, as the system may have interrupted it; not the most rows, which may take seconds"
    backend.rows.clear()
    assert warmup.measure(instance(backend), SIGNATURE, {}, -warmup.INTERRUPTED_NS) > 0
    assert backend.rows == [1]


def test_measure_begins_with_one_row_whatever_the_most_are() -> None:
    """64 comes before 1 in a set."""
    backend = FakeBackend()
    signature = Signature("m", "1", SIGNATURE.input_specs, SIGNATURE.output_specs, 64)
    warmup.measure(instance(backend), signature, {}, 0)
    assert backend.rows == [1, 1]


@pytest.mark.parametrize(("limit_ns", "widest", "found"), [(0, 10**9, 0), (10**12, 100, 4 * 64), (10**12, 10**9, 1 << 20)])
def test_the_largest_request_that_is_known_to_be_short(limit_ns: int, widest: int, found: int) -> None:
    """Sizes grow until a run is too long, the model does not take them, or there are enough bytes."""

    class Picky(FakeBackend):
        def inputs(self, batch: Any) -> Tensors:
            if batch.input_shape(0)[1] > widest:
                raise Internal("too wide")
            return super().inputs(batch)

    signature = Signature("double", "1", [("x", "FP32", (-1, -1))], [("y", "FP32", (-1, -1))], 8)
    assert warmup.short_nbytes(instance(Picky()), signature, {}, limit_ns) == found


def test_a_failing_run_raises_what_the_request_is_answered_with() -> None:
    class Narrow(FakeBackend):
        def inputs(self, batch: Any) -> Tensors:
            return Tensors([np.zeros((batch.rows, 1), np.float32)], ["FP32"], True, batch.rows)

    with pytest.raises(Internal, match="do not fit"):
        warmup.run_once(instance(Narrow()), SIGNATURE, warmup.rows_of(SIGNATURE, {}, 1))


def test_a_request_is_prepared_by_steps() -> None:
    backend, plan = FakeBackend(), Plan(SIGNATURE, Pipelines((Numbers(),)))

    def run(text: bytes) -> None:
        warmup.run_once(instance(backend), plan.signature, [("text", "BYTES", np.array([[text]], object))], plan.prepare)

    run(b"1 2 3 4")
    assert backend.rows == [1]
    with pytest.raises(InvalidArgument, match="expected 4 numbers, got 2"):
        run(b"1 2")


def test_a_slow_model_is_not_warmed_with_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warmup, "LARGEST_RUN_NS", 1)
    backend = FakeBackend()
    warmup.warm_up(instance(backend), SIGNATURE, {}, once=True)
    assert backend.rows == [1]
