"""ONNX Runtime backends against onnxruntime itself: the same bits, over reused buffers, and clear errors."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import helper

from inferd._core.batching.batch import Batch
from inferd._core.batching.batcher import Batcher
from inferd._core.batching.local import LocalRequest
from inferd._core.grpc.call import Call
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.signature import Signature
from inferd.engine.runtime.onnx.bound_backend import BoundBackend
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.engine.runtime.onnx.options import SessionOptions
from inferd.engine.runtime.onnx.run import OpenSession
from inferd.engine.runtime.runtime import Graph, TensorInfo
from inferd.errors import Cancelled, ConfigError, Internal, RequestError, RunFailed, StartError
from tests import models
from tests.leak_check import counted, end_by_hand

Arrays = dict[str, np.ndarray[Any, Any]]
ROWS = (1, 2, 7, 64)


def signature_for(graph: Graph, max_batch_size: int = 64) -> Signature:
    def shapes(tensors: tuple[TensorInfo, ...]) -> list[tuple[str, str, tuple[int, ...]]]:
        return [(t.name, t.datatype, tuple(-1 if isinstance(size, str) else size for size in t.shape)) for t in tensors]

    return Signature("m", "1", shapes(graph.inputs), shapes(graph.outputs), max_batch_size)


class Unheard(Call):
    def reply(self, message: object) -> None:
        self.finish()

    def fail(self, error: RequestError) -> None:
        self.finish()


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Batches are made here and answered by nobody."""
    yield
    if counted():
        end_by_hand()


class Runner:
    """A loaded model and one backend; runs whole batches as an instance does."""

    def __init__(self, content: bytes, max_batch_size: int = 64, **options: Any) -> None:
        self.model = OnnxModel.load(content, SessionOptions(intra_op_threads=1, **options))
        self.signature = signature_for(self.model.graph, max_batch_size)
        self.backend = self.model.backend(self.signature)

    def batch(self, *requests: Arrays) -> Batch:
        words = {name: word for name, word, _ in self.signature.input_specs}
        batcher = Batcher(max(self.signature.max_batch_size, 1), Statistics(64))
        for arrays in requests:
            request = LocalRequest([(name, words[name], array) for name, array in arrays.items()])
            request.check(self.signature)
            batcher.put(request, Unheard())
        batch = batcher.poll()
        assert batch is not None
        assert len(batch.requests) == len(requests)
        return batch

    def run(self, *requests: Arrays) -> Arrays:
        """The output arrays of one run over all requests: views, valid until the next run."""
        batch = self.batch(*requests)
        try:
            batch.gather(self.backend.inputs(batch))
            outputs = self.backend.run(batch.rows)
            batch.encode(outputs)
        except Exception:
            batch.fail(Internal("the run failed"))
            raise
        finally:
            batch.deliver()
        return dict(zip(self.signature.output_names, outputs.arrays, strict=True))


def oracle(content: bytes, arrays: Arrays) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, arrays), strict=True))


def some(word: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, Any]:
    generator = np.random.default_rng(seed)
    if word == "BYTES":
        return np.array([f"é{number}" for number in generator.integers(0, 99, int(np.prod(shape)))], dtype=object).reshape(shape)
    dtype = DATATYPES[word][2]
    if word.startswith("FP"):
        return generator.normal(size=shape).astype(dtype)
    return generator.integers(0, 2 if word == "BOOL" else 100, shape).astype(dtype)


def assert_same(ours: Arrays, theirs: Arrays) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype
        np.testing.assert_array_equal(array, theirs[name])


# ---- answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [word for word in models.DATATYPES if word != "BF16"])
def test_every_datatype_comes_back_bit_for_bit(word: str) -> None:
    runner = Runner(models.identity(word, (3,)))
    for rows in ROWS:
        x = some(word, (rows, 3), rows)
        assert_same(runner.run({"x": x}), {"y": x})


@pytest.mark.parametrize("dims", [(3,), ("s",)], ids=["fixed", "varying"])
def test_bf16_keeps_its_bits(dims: tuple[int | str, ...]) -> None:
    runner = Runner(models.identity("BF16", dims))
    bits = np.arange(0, 1 << 16, 997, dtype=np.uint16)
    bits = np.resize(bits, (5, 3))  # among them infinities and NaNs with payloads
    for rows in (5, 1):
        assert_same(runner.run({"x": bits[:rows]}), {"y": bits[:rows]})
    values = np.array([[1.5, -2.0, 3.0]], dtype=ml_dtypes.bfloat16)
    assert runner.run({"x": values})["y"].view(ml_dtypes.bfloat16).tolist() == [[1.5, -2.0, 3.0]]


@pytest.mark.parametrize(
    "content",
    [models.add(), models.many(), models.every_datatype(), models.doubled("FP16"), models.identity(dims=(2, 3, 4))],
    ids=["add", "many", "every_datatype", "fp16", "rank4"],
)
def test_fixed_sizes_equal_onnxruntime(content: bytes) -> None:
    runner = Runner(content)
    assert runner.signature.fixed
    for rows in ROWS:
        arrays = {name: some(word, (rows, *shape[1:]), rows) for name, word, shape in runner.signature.input_specs}
        assert_same(runner.run(arrays), oracle(content, arrays))


def test_requests_lie_one_after_the_other() -> None:
    runner = Runner(models.doubled())
    parts = [{"x": some("FP32", (rows, 16), rows)} for rows in (3, 1, 5)]
    whole = np.concatenate([part["x"] for part in parts])
    np.testing.assert_array_equal(runner.run(*parts)["y"], 2 * whole)


def test_varying_sizes_equal_onnxruntime() -> None:
    content = models.sequence_length()
    runner = Runner(content)
    assert not runner.signature.fixed
    for shape in [(1, 1), (64, 5), (2, 1000), (3, 7), (2, 1000), (64, 0)]:  # grows, shrinks, comes back, empty
        arrays = {"tokens": some("INT64", shape, sum(shape))}
        assert_same(runner.run(arrays), oracle(content, arrays))


def test_more_shapes_than_are_kept() -> None:
    runner = Runner(models.identity(dims=("s",)))
    for size in [*range(1, 80), *range(80, 1, -3)]:
        x = some("FP32", (2, size), size)
        assert_same(runner.run({"x": x}), {"y": x})


@pytest.mark.parametrize("content", [models.identity(), models.identity(dims=("length",))], ids=["bound", "varying"])
def test_each_run_shrinks_the_arenas_that_are_named(content: bytes) -> None:
    """onnxruntime says that this machine has none for the second device, and so has read the entry."""
    for devices, said in (("cpu:0", ""), ("cpu:0;gpu:7", "gpu")):
        runner = Runner(content, run_entries={"memory.enable_memory_arena_shrinkage": devices})
        with contextlib.nullcontext() if not said else pytest.raises(RunFailed) as caught:
            assert_same(runner.run({"x": some("FP32", (3, 16))}), {"y": some("FP32", (3, 16))})
        assert caught is None or said in caught.value.words.lower()


def test_a_varying_model_keeps_no_memory_of_large_runs() -> None:
    runner = Runner(models.identity(dims=("s",)))
    small, large = some("FP32", (2, 7)), np.ones((1, 6 << 20), np.float32)  # 24 MiB
    for x in (small, large, small, large):
        assert_same(runner.run({"x": x}), {"y": x})
    backend = runner.backend
    assert sum(arena.nbytes for arena in backend._arenas) < 1 << 20
    assert [tensors.arrays[0].shape for tensors, _ in backend._views.values()] == [small.shape]
    assert backend._next_feed == {}


def test_answers_of_a_varying_model_survive_the_next_run() -> None:
    runner = Runner(models.identity(dims=("s",)))
    first = runner.run({"x": np.full((2, 3), 1, np.float32)})["y"]
    second = runner.run({"x": np.full((2, 3), 2, np.float32)})["y"]
    assert first.tolist() == [[1.0] * 3] * 2
    assert second.tolist() == [[2.0] * 3] * 2


def test_text_beside_numbers() -> None:
    content = models.length_of_text()
    runner = Runner(content)
    arrays = {"words": np.array([["a", ""], ["ü" * 1000, "\x00b"]], dtype=object), "scale": some("FP32", (2, 1))}
    assert_same(runner.run(arrays), oracle(content, arrays))


@pytest.mark.parametrize(
    ("content", "shape"),
    [(models.fixed_batch(), (2, 4)), (models.scalar(), ()), (models.nonzero(), (9,)), (models.rows_depend(), (5, 4))],
    ids=["fixed_batch", "scalar", "nonzero", "rows_depend"],
)
def test_models_without_a_batch_axis(content: bytes, shape: tuple[int, ...]) -> None:
    runner = Runner(content, 0)
    for seed in range(3):
        arrays = {"x": np.asarray(np.sign(some("FP32", shape, seed)).clip(0))}
        assert_same(runner.run(arrays), oracle(content, arrays))


def test_real_graph_equals_onnxruntime() -> None:
    content = models.light("squeezenet")
    runner = Runner(content, 4)
    name = runner.signature.input_names[0]
    arrays = {name: some("FP32", (2, 3, 224, 224))}
    assert_same(runner.run(arrays), oracle(content, arrays))


def test_a_run_with_fixed_sizes_makes_no_new_arrays() -> None:
    runner = Runner(models.identity())
    batch = runner.batch({"x": some("FP32", (3, 16))})
    inputs = runner.backend.inputs(batch)
    outputs = runner.backend.run(3)
    assert runner.backend.inputs(batch) is inputs
    assert runner.backend.run(3) is outputs
    for tensors in (inputs, outputs):
        assert tensors.arrays[0].ctypes.data % 64 == 0


def test_instances_share_the_session_and_nothing_else() -> None:
    runner = Runner(models.identity())
    other = runner.model.backend(runner.signature)
    ones, twos = np.ones((2, 16), np.float32), np.full((2, 16), 2, np.float32)
    batch = runner.batch({"x": twos})
    batch.gather(other.inputs(batch))
    runner.run({"x": ones})
    np.testing.assert_array_equal(other.run(2).arrays[0], twos)


def test_some_outputs_only() -> None:
    model = OnnxModel.load(models.add())
    signature = Signature("m", "1", [("a", "FP32", (-1, 16)), ("b", "FP32", (-1, 16))], [("difference", "FP32", (-1, 16))], 8)
    runner = Runner(models.add(), 8)
    runner.signature, runner.backend = signature, model.backend(signature)
    assert_same(
        runner.run({"a": np.full((2, 16), 3, np.float32), "b": np.ones((2, 16), np.float32)}),
        {"difference": np.full((2, 16), 2, np.float32)},
    )


# ---- graphs that do not keep their promise ---------------------------------------------------------------------------


def promised(content: bytes, shape: tuple[int, ...], max_batch_size: int = 0) -> Runner:
    """A runner whose signature says that the output has this shape."""
    runner = Runner(content, 0)
    name, word, _ = runner.signature.output_specs[0]
    runner.signature = Signature("m", "1", runner.signature.input_specs, [(name, word, shape)], max_batch_size)
    runner.backend = runner.model.backend(runner.signature)
    return runner


def test_rows_that_do_not_come_back_are_rejected() -> None:
    runner = promised(models.false_promise(), (-1, 4), 8)
    for _ in range(2):
        with pytest.raises(Internal, match=r"output 'y' of shape \[2, 4\] for 4 rows.*\[-1, 4\].*max_batch_size: 0"):
            runner.run({"x": np.ones((4, 4), np.float32)})
    assert runner.run({"x": np.ones((1, 4), np.float32)})["y"].shape == (1, 4)  # half of one row, rounded up, is one


def test_a_wrong_fixed_size_is_rejected() -> None:
    content = models.false_promise()
    model = OnnxModel.load(content)
    signature = Signature("m", "1", [("x", "FP32", (4, 4))], [("y", "FP32", (4, 4))], 0)
    runner = Runner(content, 0)
    runner.signature, runner.backend = signature, model.backend(signature)
    with pytest.raises(Internal, match=r"shape \[2, 4\]"):
        runner.run({"x": np.ones((4, 4), np.float32)})


def test_outputs_are_given_up_where_only_the_bound_array_was_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """A scalar signature accepts any rank, as onnxruntime reports an unknown rank as none: then binding is what fails."""
    content = models.fixed_batch()
    model = OnnxModel.load(content)
    signature = Signature("m", "1", [("x", "FP32", (2, 4))], [("y", "FP32", ())], 0)
    runner = Runner(content, 0)
    runner.signature, runner.backend = signature, model.backend(signature)
    x = some("FP32", (2, 4))
    for _ in range(3):
        np.testing.assert_array_equal(runner.run({"x": x})["y"], 2 * x)
    assert len([record for record in caplog.records if "not bound" in record.message]) == 1


def test_a_failing_run_fails_and_the_next_one_works() -> None:
    runner = Runner(models.failing())
    bad = {"x": np.array([[765432]], np.int64)}
    for _ in range(2):
        with pytest.raises(RunFailed, match=r"onnxruntime raised .* in operator Gather") as failed:
            runner.run(bad)
        assert "765432" in failed.value.words, "onnxruntime quotes what was sent: such text is not for the log"
        assert "765432" not in str(failed.value)
    assert runner.run({"x": np.array([[2]], np.int64)})["y"].tolist() == [[8, 9, 10, 11]]
    with pytest.raises(RunFailed):
        runner.run(bad)
    assert runner.run({"x": np.array([[0]], np.int64)})["y"].tolist() == [[0, 1, 2, 3]]


# ---- terminate ---------------------------------------------------------------------------------------------------


def test_terminate_ends_the_current_run() -> None:
    runner = Runner(models.slow(20_000), 4)
    x = np.abs(some("FP32", (1, 64)))
    batch = runner.batch({"x": x})
    batch.gather(runner.backend.inputs(batch))
    ended: list[BaseException] = []

    def run() -> None:
        try:
            runner.backend.run(1)
        except Cancelled as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until = time.monotonic() + 30
    while not ended and time.monotonic() < until:  # once is enough as soon as the run has begun
        runner.backend.terminate()
        thread.join(0.005)
    thread.join(30)
    assert len(ended) == 1


def test_terminate_without_a_run_does_nothing() -> None:
    runner = Runner(models.identity())
    x = some("FP32", (1, 16))
    for _ in range(3):
        runner.backend.terminate()
        assert_same(runner.run({"x": x}), {"y": x})


def test_a_run_after_a_terminated_one_works() -> None:
    runner = Runner(models.slow(300), 4)
    x = np.abs(some("FP32", (1, 64)))
    batch = runner.batch({"x": x})
    batch.gather(runner.backend.inputs(batch))
    stop = threading.Event()

    def terminate() -> None:
        while not stop.wait(0.001):
            runner.backend.terminate()

    thread = threading.Thread(target=terminate)
    thread.start()
    try:
        with pytest.raises(Cancelled, match="nobody waits"):
            runner.backend.run(1)
    finally:
        stop.set()
        thread.join()
    np.testing.assert_allclose(runner.backend.run(1).arrays[0], x, atol=0.05)


# ---- loading -----------------------------------------------------------------------------------------------------


def test_graph_in_the_protocols_words(tmp_path: Path) -> None:
    model = OnnxModel.load(models.write(tmp_path, "seq", models.sequence_length()))
    assert model.name == "seq"
    assert model.graph == Graph(
        (TensorInfo("tokens", "INT64", ("N", "s")),),
        (TensorInfo("total", "INT64", ("N", 1)), TensorInfo("doubled", "INT64", ("N", "s"))),
    )
    assert model.providers == ("CPUExecutionProvider",)


def test_unnamed_axes_are_empty_symbols() -> None:
    assert OnnxModel.load(models.identity(batch=None)).graph.inputs[0].shape == ("", 16)


def test_a_type_that_no_request_can_carry() -> None:
    with pytest.raises(ConfigError) as caught:
        OnnxModel.load(models.sequence_output(), name="odd")
    for word in ["model 'odd'", "output 'y'", "seq(tensor(float))", "ConcatFromSequence"]:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["ENTRY", "RESULT", "ROWS", "Identity"])
def test_a_name_that_is_no_utf8(tmp_path: Path, name: str) -> None:
    content = models.model(
        [helper.make_node("Identity", ["ENTRY"], ["RESULT"])], [("ENTRY", "FP32", ("ROWS", 4))], [("RESULT", "FP32", ("ROWS", 4))]
    )
    broken = content.replace(name.encode(), b"\xff" * len(name))
    with pytest.raises(ConfigError, match=r"model 'm' cannot be loaded: the name of .* is not UTF-8 text"):
        OnnxModel.load(models.write(tmp_path, "m", broken))


@pytest.mark.parametrize("content", [b"", b"junk", models.identity()[:40], models.identity()[:-20], b"\x08" * 1000])
def test_a_broken_file_is_named_without_a_traceback(tmp_path: Path, content: bytes) -> None:
    path = models.write(tmp_path / "secret", "broken", content)
    with pytest.raises(ConfigError) as caught:
        OnnxModel.load(path)
    text = str(caught.value)
    assert text.startswith("model 'broken' cannot be loaded: ")
    assert "\n" not in text
    assert str(tmp_path) not in text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model 'none': there is no file"):
        OnnxModel.load(tmp_path / "none.onnx")
    with pytest.raises(ConfigError, match="there is no file"):
        OnnxModel.load(tmp_path)


def test_text_beside_bf16_is_rejected() -> None:
    content = models.every_datatype(("BYTES", "BF16"))
    model = OnnxModel.load(content)
    with pytest.raises(ConfigError, match="mixes BYTES and BF16"):
        model.backend(signature_for(model.graph))


def test_few_rows_run_on_the_session_that_was_given_for_them() -> None:
    """A model that doubles instead of the same one tells which session ran."""
    runner = Runner(models.identity())
    runner.model.give_few_rows_to(OnnxModel.load(models.doubled()), 2)
    runner.backend = runner.model.backend(runner.signature)
    for rows, factor in ((1, 2), (2, 2), (3, 1), (64, 1), (2, 2)):
        x = some("FP32", (rows, 16))
        assert_same(runner.run({"x": x}), {"y": factor * x})


def test_without_the_inner_session_object() -> None:
    """onnxruntime's public methods do the same, should its private ones go away."""
    runner = Runner(models.add())

    class Outside:
        def __init__(self, session: Any) -> None:
            self.io_binding = lambda: PublicBinding(session)
            self.run_with_iobinding = lambda binding, options: session.run_with_iobinding(binding.binding, options)
            self.run = session.run

    class PublicBinding:
        def __init__(self, session: Any) -> None:
            self.binding = session.io_binding()
            self.bind_input, self.bind_output = self.binding.bind_input, self.binding.bind_output

    session = Outside(runner.model._session)
    runner.backend = BoundBackend(OpenSession(session), runner.signature)
    arrays = {name: some("FP32", (3, 16), seed) for seed, name in enumerate("ab")}
    assert_same(runner.run(arrays), oracle(models.add(), arrays))


CASES: dict[str, tuple[bytes, Callable[[int], Arrays]]] = {
    "bound": (models.identity(), lambda turn: {"x": some("FP32", (1 + turn % 64, 16))}),
    "varying": (models.sequence_length(), lambda turn: {"tokens": some("INT64", (2, 1 + turn % 50))}),
    "bf16": (models.identity("BF16", ("s",)), lambda turn: {"x": some("BF16", (2, 1 + turn % 50))}),
    "text": (models.text(), lambda turn: {"x": some("BYTES", (3, 2), turn)}),
    "failing": (models.failing(), lambda turn: {"x": np.array([[9]], np.int64)}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_memory_stays_flat(case: str) -> None:
    content, arrays = CASES[case]
    runner = Runner(content)
    made = [arrays(turn) for turn in range(100)]

    def resident_bytes(runs: int) -> int:
        for turn in range(runs):
            with contextlib.suppress(Exception):
                runner.run(made[turn % len(made)])
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident_bytes(1000)
    assert resident_bytes(6000) - before < 6 << 20  # a leak of 1 KiB a run; allocators themselves move by 3 MiB


def test_close_gives_the_buffers_back() -> None:
    runner = Runner(models.identity())
    runner.run({"x": some("FP32", (1, 16))})
    runner.backend.close()
    varying = Runner(models.sequence_length())
    varying.run({"tokens": some("INT64", (1, 3))})
    varying.backend.close()
    varying.backend.close()


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = models.write(tmp_path, "m", models.identity())
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(StartError, match="cannot be read"):
        OnnxModel.load(path)
