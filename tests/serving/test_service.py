"""ModelInfer from socket to socket, on both transports: real models, answers equal to in-process onnxruntime's bit for bit."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest
from native_access import record_time

from inferd._core.grpc.message import copied_nbytes
from tests import models
from tests.rest import Asker, infer_body
from tests.server_fixtures import TRANSPORTS, ServerFixture, until
from tests.wire import LIMIT_S, WORDS, Caller, Held, infer_request, oracle, outputs_of, rows, same, status_of

NUMBERS = tuple(word for word in models.DATATYPES if word not in ("BYTES", "BF16"))
TYPED_NUMBERS = tuple(word for word in NUMBERS if word != "FP16")  # FP16 and BF16 travel only raw


@pytest.fixture(scope="module")
def caller(served: ServerFixture) -> Iterator[Caller]:
    with Caller(served.address) as caller:
        yield caller


@pytest.fixture(scope="module")
def special_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that model_files has not."""
    return models.repository(
        tmp_path_factory.mktemp("special"),
        {
            "typed": models.every_datatype(TYPED_NUMBERS),
            "brain": models.identity("BF16", (3,)),
            "words": models.length_of_text(),
            "fixed_batch": models.fixed_batch(),
            "scalar": models.scalar(),
            "rows_depend": models.rows_depend(),
            "nonzero": models.nonzero(),
            "failing": models.failing(),
            "large": models.doubled("FP32", (1 << 20,)),
            "slow": models.slow(200),
            "short_queue": models.slow(200),
        },
        {
            "large": f"max_batch_size: 8 {models.listed('x', 'y', [1 << 20])}",
            "slow": "max_batch_size: 16 dynamic_batching { default_queue_policy { default_timeout_microseconds: 600000000 "
            "allow_timeout_override: true } }",
            "short_queue": "max_batch_size: 1 inferd { max_queue_requests: 2 }",
        },
    )


@pytest.fixture(scope="module", params=TRANSPORTS)
def special(request: pytest.FixtureRequest, special_files: Path) -> Iterator[ServerFixture]:
    with ServerFixture(special_files, transport=request.param, http_port=0) as server:
        yield server


@pytest.fixture(scope="module")
def specials(special: ServerFixture) -> Iterator[Caller]:
    with Caller(special.address) as caller:
        yield caller


def values(word: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Values of a datatype, its extremes among them."""
    rng = np.random.default_rng(20)
    dtype = next(dtype for dtype, name in WORDS.items() if name == word)
    if word == "BOOL":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.kind == "f":
        array = rng.normal(size=shape).astype(dtype)
        array.flat[0], array.flat[1], array.flat[2] = -np.inf, np.nan, np.finfo(dtype).max
        return array
    limits = np.iinfo(dtype)
    array = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    array.flat[0], array.flat[1] = limits.min, limits.max
    return array


def texts(*elements: str) -> np.ndarray[Any, Any]:
    array = np.empty(len(elements), object)
    array[:] = [element.encode() for element in elements]
    return array


# ---- values


def test_every_datatype_in_one_request(caller: Caller) -> None:
    inputs = {f"in_{word}": values(word, (5, 3)) for word in NUMBERS}
    answers = caller.answers("every_datatype", inputs)
    same(answers, oracle(models.every_datatype(), inputs))
    same(answers, {f"out_{word}": inputs[f"in_{word}"] for word in NUMBERS})


def test_typed_contents_give_what_raw_contents_give(specials: Caller) -> None:
    inputs = {f"in_{word}": values(word, (4, 3)) for word in TYPED_NUMBERS}
    same(specials.answers("typed", inputs, typed=True), {f"out_{word}": inputs[f"in_{word}"] for word in TYPED_NUMBERS})
    same(specials.answers("typed", inputs), {f"out_{word}": inputs[f"in_{word}"] for word in TYPED_NUMBERS})


def test_long_typed_contents_give_what_raw_contents_give(specials: Caller) -> None:
    """By a thread, where the transport has some; beside requests that need none."""
    large, small = rows(1, 1 << 20), {f"in_{word}": values(word, (4, 3)) for word in TYPED_NUMBERS}
    asked = infer_request("large", {"x": large}, typed=True)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(specials.infer, asked) for _ in range(4)]
        same(specials.answers("typed", small, typed=True), {f"out_{word}": small[f"in_{word}"] for word in TYPED_NUMBERS})
        for answer in answers:
            same(outputs_of(answer.result()), {"y": large + large})


def test_what_is_wrong_with_long_typed_contents_is_said(specials: Caller) -> None:
    inputs = {f"in_{word}": values(word, (8000, 3)) for word in TYPED_NUMBERS}
    request = infer_request("typed", inputs, typed=True)
    narrow = next(tensor for tensor in request.inputs if tensor.datatype == "INT8")
    narrow.contents.int_contents[-1] = 128
    with pytest.raises(grpc.RpcError) as caught:
        specials.infer(request)
    code, words = status_of(caught.value)
    assert code == "INVALID_ARGUMENT"
    assert f"input '{narrow.name}': INT8 holds -128 to 127, an element is 128" in words
    request = infer_request("nobody", inputs, typed=True)
    with pytest.raises(grpc.RpcError) as caught:
        specials.infer(request)
    assert status_of(caught.value)[0] == "NOT_FOUND"


def test_brain_floats(specials: Caller) -> None:
    bits = np.array([[1.5, -0.0, np.inf], [3e38, 1e-40, -2]], ml_dtypes.bfloat16).view(np.uint16)
    response = specials.infer(infer_request("brain", {"x": bits}, words={"x": "BF16"}))
    assert response.outputs[0].datatype == "BF16"
    same(outputs_of(response), {"y": bits})


@pytest.mark.parametrize("typed", [False, True])
def test_text(caller: Caller, typed: bool) -> None:
    words = texts("", "a", "ä€😀", "x" * 5000, "a\0b", " ").reshape(3, 2)
    same(caller.answers("text", {"x": words}, typed=typed), {"y": words})


@pytest.mark.parametrize("typed", [False, True])
def test_text_and_numbers_in_one_model(specials: Caller, typed: bool) -> None:
    words, scale = texts("one", "zwei", "три", "").reshape(2, 2), rows(2, 1)
    same(specials.answers("words", {"words": words, "scale": scale}, typed=typed), {"same": words, "twice": scale + scale})


# ---- which tensors


def test_inputs_in_any_order(caller: Caller) -> None:
    a, b = rows(3, first=1), rows(3, first=5)
    expected = {"sum": a + b, "difference": a - b}
    same(caller.answers("add", {"a": a, "b": b}), expected)
    same(caller.answers("add", {"b": b, "a": a}), expected)
    same(caller.answers("add", {"b": b, "a": a}, typed=True), expected)


def test_only_the_outputs_asked_for(caller: Caller) -> None:
    a, b = rows(2, first=1), rows(2, first=5)
    for asked in (("sum",), ("difference",), ("difference", "sum")):
        answers = caller.answers("add", {"a": a, "b": b}, outputs=asked)
        same(answers, {name: {"sum": a + b, "difference": a - b}[name] for name in asked})
    same(caller.answers("add", {"a": a, "b": b}, outputs=("sum", "sum")), {"sum": a + b})


def test_many_inputs_and_outputs(caller: Caller) -> None:
    inputs = {f"x{i}": rows(2, 4, first=i) for i in range(6)}
    same(caller.answers("many", inputs), {f"y{i}": inputs[f"x{i}"] + np.float32(i) for i in range(6)})


@pytest.mark.parametrize(("version", "factor", "answered"), [("", 2, "3"), ("3", 2, "3"), ("1", 1, "1")])
def test_versions(caller: Caller, version: str, factor: int, answered: str) -> None:
    response = caller.infer(infer_request("versions", {"x": rows(2)}, version=version))
    assert (response.model_name, response.model_version) == ("versions", answered)
    same(outputs_of(response), {"y": rows(2) * np.float32(factor)})


def test_the_id_comes_back(caller: Caller) -> None:
    assert caller.infer(infer_request("identity", {"x": rows(1)}, id="nr. 7 ä")).id == "nr. 7 ä"
    assert caller.infer(infer_request("identity", {"x": rows(1)})).id == ""


def test_parameters_that_say_nothing_to_the_model_are_ignored(caller: Caller) -> None:
    request = infer_request("identity", {"x": rows(1)})
    request.parameters["sequence_id"].int64_param = 7
    request.parameters["priority"].uint64_param = 1
    request.parameters["timeout"].int64_param = 5_000_000
    request.parameters["mine"].string_param = "anything"
    request.parameters["triton_enable_empty_final_response"].bool_param = False
    request.inputs[0].parameters["mine"].double_param = 0.5
    same(outputs_of(caller.infer(request)), {"y": rows(1)})


def test_metadata_of_the_call_is_ignored(caller: Caller) -> None:
    metadata = (("x-mine", "word"), ("mine-bin", bytes(range(256))), ("authorization", "Bearer none"))
    same(outputs_of(caller.infer(infer_request("identity", {"x": rows(1)}), metadata=metadata)), {"y": rows(1)})


# ---- shapes


def test_models_without_a_batch_axis(specials: Caller) -> None:
    same(specials.answers("fixed_batch", {"x": rows(2, 4)}), {"y": rows(2, 4) * np.float32(2)})
    same(specials.answers("scalar", {"x": np.full((), 41, np.float32)}), {"y": np.full((), 42, np.float32)})
    x = rows(3, 4)
    same(specials.answers("rows_depend", {"x": x}), oracle(models.rows_depend(), {"x": x}))
    x = np.array([0, 1, 0, 2, 3], np.float32)
    same(specials.answers("nonzero", {"x": x}), oracle(models.nonzero(), {"x": x}))
    same(specials.answers("nonzero", {"x": x * 0}), {"where": np.zeros((1, 0), np.int64)})


def test_requests_of_unequal_lengths_at_once(caller: Caller) -> None:
    sent = [np.arange(count * length, dtype=np.int64).reshape(count, length) + length for count in (1, 2, 3) for length in (1, 5, 17)]
    calls = [caller.start(infer_request("sequence_length", {"tokens": tokens}).SerializeToString()) for tokens in sent * 5]
    for tokens, call in zip(sent * 5, calls, strict=True):
        same(answer_of(call), {"total": tokens.sum(1, keepdims=True), "doubled": tokens * 2})


def test_batches_up_to_the_limit(caller: Caller) -> None:
    limit = caller.ask("ModelConfig", name="identity").config.max_batch_size
    for count in (1, 2, limit - 1, limit):
        same(caller.answers("identity", {"x": rows(count)}), {"y": rows(count)})


def answer_of(call: Any) -> dict[str, np.ndarray[Any, Any]]:
    from inferd.protocol import inference

    return outputs_of(inference.ModelInferResponse.FromString(call.result(LIMIT_S)))


# ---- large messages


def test_images(caller: Caller) -> None:
    image = np.random.default_rng(3).normal(size=(1, 3, 224, 224)).astype(np.float32)
    expected = oracle(models.pooled_image(), {"image": image})
    caller.answers("pooled_image", {"image": image})
    before = copied_nbytes()
    same(caller.answers("pooled_image", {"image": image}), expected)
    assert copied_nbytes() - before <= 2 * image.nbytes + 4096  # the rest of the message is names and shapes


def test_thirty_megabytes_both_ways(special: ServerFixture, specials: Caller) -> None:
    held = Held(special)
    x = np.random.default_rng(4).normal(size=(8, 1 << 20)).astype(np.float32)
    same(specials.answers("large", {"x": x}), {"y": x + x})
    held.check()


# ---- many clients


def test_32_clients_get_their_own_rows(served: ServerFixture) -> None:
    held = Held(served)

    def client(number: int) -> None:
        with Caller(served.address) as caller:
            for turn in range(15):
                x = rows(1 + (number + turn) % 4, first=1000 * number + turn)
                same(caller.answers("identity", {"x": x}, id=f"{number}/{turn}"), {"y": x})

    before = identity_counts(served)
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(client, range(32)))
    after = identity_counts(served)
    assert after[0] - before[0] == 32 * 15
    assert after[1] - before[1] == sum(1 + (number + turn) % 4 for number in range(32) for turn in range(15))
    held.check()


def identity_counts(served: ServerFixture) -> tuple[int, int]:
    with Caller(served.address) as caller:
        stats = caller.statistics("identity")
        return stats.inference_stats.success.count, stats.inference_count


def test_many_requests_of_one_client_share_batches(caller: Caller) -> None:
    """All of them wait behind one run, so they run together; every one gets its own rows back."""
    before = caller.statistics("slow")
    sent = [rows(1, 64, first=number) for number in range(40)]
    calls = [caller.start(infer_request("slow", {"x": x}).SerializeToString()) for x in sent]
    for x, call in zip(sent, calls, strict=True):
        np.testing.assert_allclose(answer_of(call)["y"], x, rtol=0.01, atol=0.05)  # the rounding of thousands of products
    after = caller.statistics("slow")
    assert after.inference_stats.success.count - before.inference_stats.success.count == 40
    assert after.inference_count - before.inference_count == 40
    assert after.execution_count - before.execution_count < 20
    ran = {batch.batch_size: batch.compute_infer.count for batch in after.batch_stats}
    assert sum(size * count for size, count in ran.items()) == after.inference_count
    assert sum(ran.values()) == after.execution_count


# ---- deadlines and cancellation


@pytest.fixture
def busy(special: ServerFixture, specials: Caller) -> Iterator[Any]:
    """A call that the slow model runs at this moment, and runs for some tenths of a second."""
    held = Held(special)
    model = special.server.repository.lookup("slow", "")
    call: Any = None

    def runs_or_ran() -> bool:
        return call.done() or special.on_loop(lambda: model.runners[0].running is not None and model.queues.depth == 0)

    while call is None or call.done():  # on a busy machine one may be over before anybody has looked
        call = specials.start(infer_request("slow", {"x": rows(1, 64)}).SerializeToString())
        until(runs_or_ran)
    yield call
    call.cancel()
    until(lambda: special.on_loop(lambda: model.runners[0].running is None and model.queues.depth == 0))
    held.check()


def counts(caller: Caller, model: str = "slow") -> tuple[int, int]:
    """Requests answered, and rows."""
    stats = caller.statistics(model)
    return stats.inference_stats.success.count, stats.inference_count


def test_a_request_that_expires_in_the_queue_never_runs(special: ServerFixture, specials: Caller, busy: Any) -> None:
    before = counts(specials)
    late = [specials.start(infer_request("slow", {"x": rows(1, 64)}).SerializeToString(), timeout=0.02) for _ in range(10)]
    for call in late:  # rejected as they come where earlier runs have told how long this one takes
        assert status_of(call.exception(LIMIT_S))[0] in ("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")
    np.testing.assert_allclose(answer_of(busy)["y"], rows(1, 64), atol=0.05)
    answers = specials.answers("slow", {"x": rows(1, 64, 3)})  # whatever waited has had its turn now
    np.testing.assert_allclose(answers["y"], rows(1, 64, 3), rtol=0.01, atol=0.05)
    assert counts(specials) == (before[0] + 2, before[1] + 2)


def test_a_request_that_would_be_answered_too_late_is_rejected_at_once(special: ServerFixture, specials: Caller, busy: Any) -> None:
    before = counts(specials)
    queue = special.server.repository.lookup("slow", "").queues.run.queue
    now_ns = time.monotonic_ns()
    special.on_loop(lambda: record_time(queue.run_times, 1, 10**12, now_ns + 10**13))  # long after all others: they are forgotten
    call = specials.start(infer_request("slow", {"x": rows(1, 64)}).SerializeToString(), timeout=100)
    error = call.exception(LIMIT_S)
    status, message = status_of(error)
    assert status == "RESOURCE_EXHAUSTED"
    assert "after the request's deadline" in message
    assert b"google.rpc.RetryInfo" in dict(error.trailing_metadata())["grpc-status-details-bin"]
    special.on_loop(lambda: record_time(queue.run_times, 1, 1, now_ns + 10**14))
    answer_of(busy)
    assert counts(specials) == (before[0] + 1, before[1] + 1)


def test_a_request_that_expires_while_it_runs_ends_the_run(special: ServerFixture, specials: Caller) -> None:
    before = counts(specials)
    fails = specials.statistics("slow").inference_stats.fail.count
    status, _ = specials.rejected(infer_request("slow", {"x": rows(1, 64)}), timeout=0.05)
    assert status == "DEADLINE_EXCEEDED"
    until(lambda: specials.statistics("slow").inference_stats.fail.count > fails)
    assert counts(specials) == before


def test_the_queue_timeout_of_a_request_is_answered_by_the_server(specials: Caller, busy: Any) -> None:
    request = infer_request("slow", {"x": rows(1, 64)})
    request.parameters["timeout"].int64_param = 1000
    status, message = specials.rejected(request)
    assert status == "DEADLINE_EXCEEDED"
    assert "'slow'" in message


def test_a_cancelled_request_in_the_queue_never_runs(specials: Caller, busy: Any) -> None:
    before = counts(specials)
    calls = [specials.start(infer_request("slow", {"x": rows(1, 64, number)}).SerializeToString()) for number in range(6)]
    for call in calls[::2]:
        call.cancel()
    for number in (1, 3, 5):
        np.testing.assert_allclose(answer_of(calls[number])["y"], rows(1, 64, number), rtol=0.01, atol=0.05)
    assert all(call.cancelled() for call in calls[::2])
    answer_of(busy)
    assert counts(specials) == (before[0] + 4, before[1] + 4)


def test_a_cancelled_run_is_ended(special: ServerFixture, specials: Caller, busy: Any) -> None:
    before = counts(specials)
    canceled = special.on_loop(lambda: special.server.repository.lookup("slow", "").failures["CANCELED"])
    busy.cancel()
    until(lambda: special.on_loop(lambda: special.server.repository.lookup("slow", "").failures["CANCELED"]) == canceled + 1)
    assert counts(specials) == before


def test_a_full_queue_rejects_at_once(special: ServerFixture, specials: Caller) -> None:
    held = Held(special)
    model = special.server.repository.lookup("short_queue", "")
    first = specials.start(infer_request("short_queue", {"x": rows(1, 64)}).SerializeToString())
    until(lambda: special.on_loop(lambda: model.runners[0].running is not None))
    waiting = [specials.start(infer_request("short_queue", {"x": rows(1, 64)}).SerializeToString()) for _ in range(2)]
    until(lambda: special.on_loop(lambda: model.queues.depth == 2))
    call = specials.start(infer_request("short_queue", {"x": rows(1, 64)}).SerializeToString())
    error = call.exception(LIMIT_S)
    status, message = status_of(error)
    assert status == "RESOURCE_EXHAUSTED"
    assert "'short_queue'" in message
    assert "2" in message
    assert b"google.rpc.RetryInfo" in dict(error.trailing_metadata())["grpc-status-details-bin"]
    for admitted in (first, *waiting):
        np.testing.assert_allclose(answer_of(admitted)["y"], rows(1, 64), atol=0.05)
    held.check()


def test_a_full_queue_has_tritons_status_where_that_is_asked_for(tmp_path: Path) -> None:
    text = "max_batch_size: 1 inferd { max_queue_requests: 1 inline: OFF }"
    folder = models.repository(tmp_path, {"m": models.slow(200)}, {"m": text})
    sent = infer_request("m", {"x": rows(1, 64)}).SerializeToString()
    with ServerFixture(folder, triton_statuses=True) as served, Caller(served.address) as caller:
        model = served.server.repository.lookup("m", "")
        calls = [caller.start(sent)]
        until(lambda: served.on_loop(lambda: model.runners[0].running is not None))
        calls.append(caller.start(sent))
        until(lambda: served.on_loop(lambda: model.queues.depth == 1))
        error = caller.start(sent).exception(LIMIT_S)
        assert status_of(error)[0] == "UNAVAILABLE"
        assert b"google.rpc.RetryInfo" in dict(error.trailing_metadata())["grpc-status-details-bin"]
        assert served.on_loop(lambda: model.failures)["REJECTED"] == 1


# ---- runs that fail


def test_a_failed_run_says_nothing_of_itself_and_harms_no_other(specials: Caller) -> None:
    before = counts(specials, "failing")
    good = np.array([[2], [0]], np.int64)
    expected = oracle(models.failing(), {"x": good})
    same(specials.answers("failing", {"x": good}), expected)
    status, message = specials.rejected(infer_request("failing", {"x": np.array([[99]], np.int64)}))
    assert status == "INTERNAL"
    assert "'failing'" in message
    assert "log" in message
    assert not any(word in message for word in ("Gather", "onnx", "indices", "Traceback", "99"))
    same(specials.answers("failing", {"x": good}), expected)
    assert counts(specials, "failing") == (before[0] + 2, before[1] + 4)


@pytest.mark.parametrize("version", [1, 2])
def test_the_log_names_the_trace_of_a_failed_run(
    special: ServerFixture, specials: Caller, caplog: pytest.LogCaptureFixture, version: int
) -> None:
    """Over gRPC, HTTP/1.1 and HTTP/2."""

    def header(number: int) -> tuple[str, str]:
        return "traceparent", f"00-{number:032x}-00f067aa0ba902b7-01"

    with pytest.raises(grpc.RpcError):
        specials.infer(infer_request("failing", {"x": np.array([[99]], np.int64)}), metadata=(header(7),))
    body = infer_body("x", "INT64", [1, 1], [99])
    if version == 1:
        with Asker(special.http) as asker:
            assert asker.post("/v2/models/failing/infer", body, **dict([header(8)])).status == 500
    else:
        curl = ["curl", "-s", "--http2-prior-knowledge", "-H", ": ".join(header(8)), "-d", json.dumps(body)]
        subprocess.run([*curl, f"http://{special.http}/v2/models/failing/infer"], check=True, timeout=LIMIT_S)
    told = [vars(record)["fields"] for record in caplog.records if hasattr(record, "fields")]
    assert [fields["trace_id"] for fields in told if fields["event"] == "run_failed"] == [[f"{7:032x}"], [f"{8:032x}"]]


# ---- counts


def test_statistics_grow_by_what_was_sent(caller: Caller) -> None:
    before = caller.statistics("add")
    for count in (1, 3, 2):
        caller.answers("add", {"a": rows(count), "b": rows(count)})
    for _ in range(2):
        assert caller.rejected(infer_request("add", {"a": rows(1)}))[0] == "INVALID_ARGUMENT"
    after = caller.statistics("add")
    grown = {name: getattr(after, name) - getattr(before, name) for name in ("inference_count", "execution_count")}
    assert grown == {"inference_count": 6, "execution_count": 3}
    for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        was, now = getattr(before.inference_stats, stage), getattr(after.inference_stats, stage)
        assert now.count - was.count == 3, stage
        assert now.ns >= was.ns, stage
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 2
    assert after.inference_stats.success.ns > before.inference_stats.success.ns
    assert abs(after.last_inference / 1000 - time.time()) < 60


def test_the_server_holds_nothing_of_what_it_has_answered(served: ServerFixture, caller: Caller) -> None:
    caller.answers("identity", {"x": rows(1)})
    held = Held(served)
    for count in range(1, 60):
        same(caller.answers("identity", {"x": rows(count)}), {"y": rows(count)})
        caller.rejected(infer_request("identity", {"x": rows(count, 15)}))
    held.check()


def test_a_thousand_open_requests(caller: Caller) -> None:
    sent = [rows(1, first=number) for number in range(1000)]
    calls = [caller.start(infer_request("identity", {"x": x}).SerializeToString()) for x in sent]
    for x, call in zip(sent, calls, strict=True):
        same(answer_of(call), {"y": x})


def test_compressed_requests(caller: Caller) -> None:
    request = infer_request("identity", {"x": rows(4)})
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        same(answer_of(caller.start(request.SerializeToString(), compression=compression)), {"y": rows(4)})
