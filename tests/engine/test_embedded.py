"""The embedded engine: arrays in, arrays out, from many threads and tasks at once, equal to onnxruntime's answers."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from io import BytesIO
from pathlib import Path
from typing import Any, get_type_hints

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from inferd_client import texts
from PIL import Image

import inferd
from inferd import DeadlineExceeded, Engine, FailedPrecondition, Internal, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from inferd._core.tensor.datatypes import DATATYPES
from inferd.config import Settings
from inferd.engine.embedded import Metadata, TensorMetadata
from tests import models


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = models.repository(
        tmp_path_factory.mktemp("models"),
        {
            "add": models.add(),
            "bf16": models.identity("BF16", (4,)),
            "every": models.every_datatype(),
            "failing": models.failing(),
            "fixed": models.fixed_batch(),
            **{f"free_{word}": models.identity(word, ("s", "t")) for word in ("FP32", "BYTES", "BF16")},
            "identity": models.identity(),
            "one_BYTES": models.identity("BYTES", (), batch=1),
            "picture": models.identity("UINT8", (3, 3, 3)),
            "scalar": models.scalar(),
            "sequence": models.sequence_length(),
            "slow": models.slow(30),
            "table": models.failing(),
            "text": models.text(),
            "versions": {1: models.identity(), 2: models.doubled()},
            **{f"whole_{word}": models.identity(word, ("s", "t")) for word in ("FP32", "BYTES", "BF16")},
        },
        {f"whole_{word}": "max_batch_size: 0" for word in ("FP32", "BYTES", "BF16")}
        | {"picture": "inferd { preprocess { steps { decode_image {} } steps { resize { height: 3 width: 3 } } } }"}
        | {"versions": "version_policy { all {} }", "failing": "max_batch_size: 0"},
    )
    with Engine(folder) as engine:
        yield engine


def rows(count: int, value: float = 1.0) -> np.ndarray[Any, Any]:
    return np.full((count, 16), value, np.float32)


# ---- answers -------------------------------------------------------------------------------------------------------


def test_equals_onnxruntime(engine: Engine) -> None:
    generator = np.random.default_rng(1)
    arrays = {name: generator.normal(size=(5, 16)).astype(np.float32) for name in ("a", "b")}
    session = onnxruntime.InferenceSession(models.add(), providers=["CPUExecutionProvider"])
    expected = dict(zip(("sum", "difference"), session.run(["sum", "difference"], arrays), strict=True))
    answer = engine.infer("add", arrays)
    assert list(answer) == ["sum", "difference"]
    for name, array in answer.items():
        np.testing.assert_array_equal(array, expected[name])


def test_wanted_outputs_only(engine: Engine) -> None:
    assert list(engine.infer("add", {"b": rows(1), "a": rows(1)}, outputs=["difference"])) == ["difference"]


def test_versions(engine: Engine) -> None:
    assert engine.infer("versions", {"x": rows(1)})["y"][0, 0] == 2
    assert engine.infer("versions", {"x": rows(1)}, version="1")["y"][0, 0] == 1
    assert engine.infer("versions", {"x": rows(1)}, version=1)["y"][0, 0] == 1


def test_answers_are_the_callers_own(engine: Engine) -> None:
    """Bound buffers are used again by the next run: a response must not change, and may be written to."""
    x = rows(2, 1)
    first = engine.infer("identity", {"x": x})["y"]
    engine.infer("identity", {"x": rows(2, 9)})
    assert (first == 1).all()
    first[:] = 5
    assert (x == 1).all()
    assert (engine.infer("identity", {"x": rows(2, 3)})["y"] == 3).all()


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 0), (64, 100)])
def test_sizes_that_vary(engine: Engine, shape: tuple[int, int]) -> None:
    tokens = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    answer = engine.infer("sequence", {"tokens": tokens})
    np.testing.assert_array_equal(answer["total"], tokens.sum(1, keepdims=True))
    np.testing.assert_array_equal(answer["doubled"], 2 * tokens)


@pytest.mark.parametrize("shape", [(1, 0, 3), (2, 3, 0), (3, 0, 0), (1, 0, 2**20)])
@pytest.mark.parametrize("name", ["free_FP32", "free_BYTES", "free_BF16", "whole_FP32", "whole_BYTES", "whole_BF16"])
def test_empty_tensors_run(engine: Engine, name: str, shape: tuple[int, ...]) -> None:
    word = name.partition("_")[2]
    answer = engine.infer(name, {"x": np.empty(shape, DATATYPES[word][2])})
    assert answer["y"].shape == shape


def test_models_without_a_batch_axis(engine: Engine) -> None:
    assert engine.infer("scalar", {"x": 2.0})["y"] == 3
    np.testing.assert_array_equal(engine.infer("fixed", {"x": np.ones((2, 4))})["y"], np.full((2, 4), 2))


# ---- what numpy makes arrays of ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        [[1.0] * 16],
        [[1] * 16],
        np.ones((1, 16), np.float64),
        np.ones((1, 16), np.int8),
        np.ones((1, 16), bool),
        np.ones((1, 16), ">f4"),
        np.ones((16, 1), np.float32).T,
        np.ones((2, 32), np.float32)[::2, ::2],
        np.broadcast_to(np.float32(1), (1, 16)),
    ],
    ids=["list", "ints", "float64", "int8", "bool", "big endian", "transposed", "strided", "broadcast"],
)
def test_any_layout_and_safe_conversions(engine: Engine, value: Any) -> None:
    answer = engine.infer("identity", {"x": value})["y"]
    assert answer.dtype == np.float32
    assert (answer == 1).all()
    assert answer.shape == (1, 16)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("in_UINT8", [[0, 1, 255]], True),
        ("in_UINT8", [[0, 1, 256]], False),
        ("in_UINT8", [[0, -1, 0]], False),
        ("in_INT8", np.array([[200, 0, 0]], np.uint8), False),
        ("in_INT64", np.array([[1 << 63, 0, 0]], np.uint64), False),
        ("in_UINT64", [[1, 2, 3]], True),
        ("in_INT32", [[1.5, 0, 0]], False),
        ("in_BOOL", [[True, False, True]], True),
        ("in_BOOL", [[1, 0, 1]], False),
        ("in_FP16", [[0.5, 1, 2]], True),
        ("in_FP64", np.array([[1, 2, 3]], np.float32), True),
        ("in_FP32", [[1e300, 0, 0]], False),
        ("in_FP32", [[np.inf, -np.inf, np.nan]], True),
        ("in_FP16", [[0, 70000, 0]], False),
        ("in_FP16", np.array([[0, -70000, 0]], np.float32), False),
        ("in_FP32", [[1j, 0, 0]], False),
        ("in_FP32", [["a", "b", "c"]], False),
        ("in_FP32", np.array([[None, 1, 2]], object), False),
        ("in_FP32", np.array([["2020-01-01"] * 3], "M8[D]"), False),
        ("in_FP32", [[1, 2], [3]], False),
    ],
)
def test_conversions_keep_every_value(engine: Engine, name: str, value: Any, kept: bool) -> None:
    inputs: dict[str, Any] = {}
    for each, word, _ in engine.metadata("every").inputs:
        inputs[each] = np.zeros((1, 3), DATATYPES[word][2])
    inputs[name] = value
    if kept:
        answer = engine.infer("every", inputs)
        np.testing.assert_array_equal(answer[name.replace("in_", "out_")], value)
    else:
        with pytest.raises(InvalidArgument, match=f"input '{name}'"):
            engine.infer("every", inputs)


@pytest.mark.parametrize(
    "value",
    [
        [["a", "é"]],
        [[b"a", "é".encode()]],
        np.array([["a", "é"]]),
        np.array([["a", "é"]], object),
        np.array([[b"a", "é".encode()]], object),
    ],
)
def test_text(engine: Engine, value: Any) -> None:
    assert engine.infer("text", {"x": value})["y"].tolist() == [[b"a", "é".encode()]], "as a server's clients get it"


def test_files_in_a_list_keep_the_zeros_at_their_end(engine: Engine) -> None:
    image = Image.fromarray(np.arange(27, dtype=np.uint8).reshape(3, 3, 3))
    stream = BytesIO()
    image.save(stream, "BMP")
    file = stream.getvalue()
    assert file.endswith(b"\0")
    expected = np.asarray(image)[np.newaxis]
    for given in ([[file]], np.array([[file]], object)):
        np.testing.assert_array_equal(engine.infer("picture", {"x": given})["y"], expected)
    with pytest.raises(InvalidArgument, match=r"input 'x': numpy's .S90 drops NUL bytes at the end.*dtype=object"):
        engine.infer("picture", {"x": np.array([[file]])})


def test_rows_of_the_client_take_the_shape_of_the_input(engine: Engine) -> None:
    text = texts("one", "two")
    assert engine.infer("whole_BYTES", {"x": text})["y"].tolist() == [[[b"one"]], [[b"two"]]]
    assert engine.infer("one_BYTES", {"x": texts("one")})["y"].tolist() == [b"one"]
    with pytest.raises(InvalidArgument, match=r"input 'x': the model takes BYTES\[1\]: expected 1 a request, got 2"):
        engine.infer("one_BYTES", {"x": text})


@pytest.mark.parametrize(
    ("value", "words"),
    [([[1, 2]], "text"), ([[b"\xff", b""]], "UTF-8"), (np.array([[None, "a"]], object), "NoneType"), ([["a"]], "dimensions|axis 1")],
)
def test_what_is_no_text(engine: Engine, value: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        engine.infer("text", {"x": value})


def test_bf16(engine: Engine) -> None:
    values = np.array([[1.5, -2, 0, 3]], ml_dtypes.bfloat16)
    for given in (values, values.view(np.uint16)):
        assert engine.infer("bf16", {"x": given})["y"].view(ml_dtypes.bfloat16).tolist() == values.tolist()
    with pytest.raises(InvalidArgument, match=r"ml_dtypes\.bfloat16"):
        engine.infer("bf16", {"x": values.astype(np.float32)})


# ---- rejections ------------------------------------------------------------------------------------------------------


def test_rejections(engine: Engine) -> None:
    x = rows(1)
    with pytest.raises(NotFound, match="no model 'nope'"):
        engine.infer("nope", {"x": x})
    with pytest.raises(NotFound, match="no version 7"):
        engine.infer("versions", {"x": x}, version=7)
    with pytest.raises(InvalidArgument, match="model_version"):
        engine.infer("versions", {"x": x}, version="new")
    with pytest.raises(InvalidArgument, match="input 'z' is not an input"):
        engine.infer("identity", {"z": object()})
    with pytest.raises(InvalidArgument, match="is missing"):
        engine.infer("add", {"a": x})
    with pytest.raises(InvalidArgument, match="expected 1 to 64 rows"):
        engine.infer("identity", {"x": rows(65)})
    with pytest.raises(InvalidArgument, match="expected 1 to 64 rows"):
        engine.infer("identity", {"x": rows(0)})
    with pytest.raises(InvalidArgument, match=r"FP32\[-1,16\]"):
        engine.infer("identity", {"x": np.ones((1, 17))})
    with pytest.raises(InvalidArgument, match="output 'z' is not one of"):
        engine.infer("identity", {"x": x}, outputs=["z"])
    with pytest.raises(InvalidArgument, match="9 dimensions"):
        engine.infer("identity", {"x": np.ones((1,) * 9, np.float32)})
    with pytest.raises(InvalidArgument, match="257 inputs"):
        engine.infer("identity", {f"x{number}": x for number in range(257)})
    with pytest.raises(InvalidArgument, match="name one of add, "):
        engine.infer(None, {"x": x})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": 5}, "model: expected its name as a str, or None where there is only one, got int 5"),
        ({"inputs": [1]}, r"inputs: expected a dict of arrays by input name, got list \[1\]"),
        ({"inputs": None}, "inputs: expected a dict"),
        ({"inputs": {5: [1]}}, "inputs: expected input names as str, got int 5"),
        ({"inputs": {"\ud800": [1]}}, "holds half a surrogate pair"),
        ({"model": "\ud800"}, "there is no model"),
        ({"model": "text", "inputs": {"x": [["a", "\udfff"]]}}, "input 'x': .* holds half a surrogate pair"),
        ({"outputs": "y"}, "outputs: expected a list of output names, or None for all, got str 'y'"),
        ({"outputs": [3]}, "outputs: expected a list"),
        ({"outputs": 3}, "outputs: expected a list"),
        ({"timeout": "a"}, "timeout: expected seconds, or None to wait as long as it takes, got str 'a'"),
        ({"timeout": float("nan")}, "timeout: expected seconds"),
        ({"inputs": {"x": np.full((1, 16), 1e300)}}, r"input 'x': expected FP32, got float64, and 1e\+300 does not fit FP32"),
    ],
)
def test_arguments_of_another_kind(engine: Engine, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises((InvalidArgument, NotFound), match=words):
        engine.infer(**{"model": "identity", "inputs": {"x": rows(1)}} | arguments)


def test_a_forked_child_is_told_at_once(engine: Engine) -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            engine.infer("identity", {"x": rows(1)})
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        engine.close()
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    assert told.startswith("FailedPrecondition: this Engine belongs to the process that this one was forked from")
    assert (engine.infer("identity", {"x": rows(1)})["y"] == 1).all()


def test_a_failing_run_says_nothing_foreign(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Internal) as caught:
        engine.infer("failing", {"x": [[9]]})
    assert "Gather" not in str(caught.value)
    assert any(record.exc_info for record in caplog.records)
    assert engine.infer("failing", {"x": [[1]]})["y"].tolist() == [[4, 5, 6, 7]]


def test_a_full_queue_rejects_at_once(tmp_path: Path) -> None:
    config = "max_batch_size: 1 inferd { max_queue_requests: 1 }"
    with Engine(models.repository(tmp_path, {"slow": models.slow(100)}, {"slow": config})) as engine, ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(engine.infer, "slow", {"x": np.ones((1, 64), np.float32)}) for _ in range(8)]
        errors = [future.exception(30) for future in futures]
    rejected = [error for error in errors if error is not None]
    assert rejected
    assert len(rejected) < 8
    assert all(isinstance(error, ResourceExhausted) for error in rejected)


# ---- time ----------------------------------------------------------------------------------------------------------


LONG, SHORT = np.array([[1 << 40]]), np.array([[3]])  # turns of the loop: days, and no time


@pytest.fixture(scope="module")
def turtle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A model that runs one request at a time: SHORT behind a LONG one is answered only if that is ended."""
    with Engine(models.write(tmp_path_factory.mktemp("turtle"), "turtle", models.endless()), max_batch_size=1) as engine:
        yield engine


def test_a_timeout_ends_the_run(turtle: Engine) -> None:
    with pytest.raises(DeadlineExceeded, match=r"timeout of 0\.05 s"):
        turtle.infer("turtle", {"x": LONG}, timeout=0.05)
    assert turtle.infer("turtle", {"x": SHORT})["y"] == 6


async def test_a_timeout_of_a_task(turtle: Engine) -> None:
    with pytest.raises(DeadlineExceeded):
        await turtle.infer_async("turtle", {"x": LONG}, timeout=0.05)
    assert (await turtle.infer_async("turtle", {"x": SHORT}))["y"] == 6


async def test_cancelling_a_task_ends_the_run(turtle: Engine) -> None:
    tasks = [asyncio.create_task(turtle.infer_async("turtle", {"x": LONG})) for _ in range(4)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    assert all(isinstance(result, asyncio.CancelledError) for result in await asyncio.gather(*tasks, return_exceptions=True))
    assert (await turtle.infer_async("turtle", {"x": SHORT}))["y"] == 6


def test_a_timeout_that_has_passed_never_runs(engine: Engine) -> None:
    with pytest.raises(DeadlineExceeded):
        engine.infer("identity", {"x": rows(1)}, timeout=0)
    with pytest.raises(DeadlineExceeded):
        engine.infer("identity", {"x": rows(1)}, timeout=-1)
    with pytest.raises(DeadlineExceeded):
        engine.infer("identity", {"x": rows(1)}, timeout=-1e300)
    with pytest.raises(InvalidArgument, match="nan"):
        engine.infer("identity", {"x": rows(1)}, timeout=float("nan"))
    for timeout in (1e300, float("inf"), 60, None):
        assert engine.infer("identity", {"x": rows(1)}, timeout=timeout)["y"].shape == (1, 16)


# ---- many at once --------------------------------------------------------------------------------------------------


def test_many_threads_get_their_own_rows(engine: Engine) -> None:
    model = engine._repository.lookup("identity", "")
    before = model.statistics.runs

    def ask(seed: int) -> int:
        generator = np.random.default_rng(seed)
        for _ in range(50):
            x = generator.normal(size=(int(generator.integers(1, 9)), 16)).astype(np.float32)
            np.testing.assert_array_equal(engine.infer("identity", {"x": x})["y"], x)
        return 50

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(16))) == 800
    assert model.statistics.runs > before


async def test_many_tasks_share_batches(engine: Engine) -> None:
    model = engine._repository.lookup("slow", "")
    runs, answered = model.statistics.runs, model.statistics.rows
    values = [np.full((1, 64), value, np.float32) for value in range(32)]
    answers = await asyncio.gather(*(engine.infer_async("slow", {"x": value}) for value in values))
    for value, answer in zip(values, answers, strict=True):
        np.testing.assert_allclose(answer["y"], value, atol=0.05 * (1 + value[0, 0]))
    assert model.statistics.rows - answered == 32
    assert model.statistics.runs - runs < 32


async def test_a_value_that_the_graph_rejects_fails_one_request(engine: Engine) -> None:
    values = [np.array([[99 if index % 8 == 5 else index % 4]]) for index in range(64)]
    answers = await asyncio.gather(*(engine.infer_async("table", {"x": value}) for value in values), return_exceptions=True)
    for index, answer in enumerate(answers):
        if index % 8 == 5:
            assert isinstance(answer, Internal)
        else:
            assert isinstance(answer, dict)
            np.testing.assert_array_equal(answer["y"], np.arange(16).reshape(4, 4)[[index % 4]])


def test_mixed_lengths_at_once(engine: Engine) -> None:
    def ask(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(30):
            tokens = generator.integers(0, 100, (int(generator.integers(1, 4)), int(generator.integers(1, 6))))
            answer = engine.infer("sequence", {"tokens": tokens})
            np.testing.assert_array_equal(answer["doubled"], 2 * tokens)
            np.testing.assert_array_equal(answer["total"], tokens.sum(1, keepdims=True))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(12)))


def test_each_caller_raises_its_own_error(engine: Engine) -> None:
    def ask(_: int) -> BaseException:
        with pytest.raises(Internal) as caught:
            engine.infer("failing", {"x": [[9]]})
        return caught.value

    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(ask, range(16)))
    assert len({id(error) for error in errors}) == 16


# ---- the engine itself ---------------------------------------------------------------------------------------------


def test_metadata(engine: Engine) -> None:
    assert engine.metadata("versions") == Metadata(
        "versions", "2", ("1", "2"), (TensorMetadata("x", "FP32", (-1, 16)),), (TensorMetadata("y", "FP32", (-1, 16)),)
    )
    assert engine.metadata("versions", 1).version == "1"
    assert engine.metadata("fixed").inputs == (TensorMetadata("x", "FP32", (2, 4)),)
    assert "identity" in engine.models
    with pytest.raises(NotFound):
        engine.metadata("nope")


def test_a_single_model_needs_no_name(tmp_path: Path) -> None:
    with inferd.Engine(str(models.write(tmp_path, "net", models.identity())), max_batch_size=4) as engine:
        assert repr(engine) == "<Engine: net (x FP32[?, 16])>"
        assert engine.models == ("net",)
        assert engine.infer(None, {"x": rows(2)})["y"].shape == (2, 16)
        assert engine.metadata().name == "net"
        with pytest.raises(InvalidArgument, match="1 to 4 rows"):
            engine.infer(None, {"x": rows(5)})
    assert repr(engine) == "<Engine: closed>"


def test_options_are_settings_with_their_defaults() -> None:
    """That mypy rejects a misspelt one: tests/typed_options.py."""
    options = {name: option.default for name, option in signature(Engine).parameters.items() if name != "paths"}
    assert options == {name: getattr(Settings(), name) for name in options}
    assert {**get_type_hints(Engine.__init__), "providers": tuple[str, ...]}.items() >= {
        (name, kind) for name, kind in get_type_hints(Settings).items() if name in options
    }


@pytest.mark.parametrize(
    ("paths", "options", "words"),
    [
        (None, {}, "Engine: paths: expected a path, or a list of paths, of .onnx files and folders, got NoneType None"),
        (5, {}, "Engine: paths"),
        ([None], {}, "Engine: paths"),
        (b"models", {}, "Engine: paths"),
        ("does-not-exist", {}, "no file or folder"),
        ("x", {"max_batch_size": "8"}, "max_batch_size .*expected a whole number from 1 to 65536, got '8'"),
        ("x", {"providers": "cuda"}, "providers .*expected a list of: cpu, cuda or tensorrt, got 'cuda'"),
        ("x", {"providers": ["gpu"]}, "providers .*expected cpu, cuda, tensorrt, got 'gpu'"),
        ("x", {"instances": -1}, "instances"),
    ],
)
def test_options_of_another_kind(paths: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(inferd.ConfigError, match=words):
        Engine(paths, **options)


def test_providers_may_be_a_list(tmp_path: Path) -> None:
    with Engine(models.write(tmp_path, "m", models.identity()), providers=["cpu"]) as engine:
        assert engine.models == ("m",)


def test_close_rejects_what_waits_and_ends_threads(tmp_path: Path) -> None:
    before = threading.active_count()
    engine = Engine(models.write(tmp_path, "slow", models.slow(200)), max_batch_size=1)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(engine.infer, "slow", {"x": np.ones((1, 64), np.float32)}) for _ in range(4)]
        model = engine._repository.lookup("slow", "")
        until = time.monotonic() + 30
        while model.queues.depth < 3 and time.monotonic() < until:
            threading.Event().wait(0.001)
        engine.close()
        errors = [future.exception(30) for future in futures]
    assert sum(isinstance(error, Unavailable) for error in errors) >= 3
    engine.close()
    assert threading.active_count() == before
    for call in (lambda: engine.infer("slow", {"x": np.ones((1, 64), np.float32)}), engine.metadata):
        with pytest.raises(FailedPrecondition, match="this Engine is closed: make a new one"):
            call()


def test_nothing_is_kept_of_a_request(engine: Engine) -> None:
    class Watched(np.ndarray):
        pass

    x = np.ones((4, 16), np.float32).view(Watched)
    seen = weakref.ref(x)
    answer = engine.infer("identity", {"x": x})
    del x
    engine.infer("identity", {"x": rows(1)})  # the thread lets go of a batch when it takes the next one
    gc.collect()
    assert seen() is None
    assert (answer["y"] == 1).all()
