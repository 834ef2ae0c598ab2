"""A server that records: each request, whichever way it came, with what the client sent and got."""

from __future__ import annotations

import json
import resource
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from inferd._core.batching.tap import Tap
from inferd.config import Settings
from inferd.errors import StartError
from inferd.protocol import inference
from inferd.record import recorder
from inferd.record.decoded import decode
from inferd.record.part import RecordPart
from inferd.record.reader import Recorded, Segments, read
from inferd.system import pace
from tests import models
from tests.fake_backend import LIMIT_S
from tests.record.records import answer
from tests.rest import Asker, infer_body
from tests.server_fixtures import Program, ServerFixture, until
from tests.wire import SERVICE, Caller, infer_request, rows, same


def counted(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics") as page:
        lines = page.read().decode().splitlines()
    return {line.split()[0].removeprefix("inferd_record_"): float(line.split()[1]) for line in lines if line.startswith("inferd_record_")}


def by_id(folder: Path) -> dict[str, Recorded]:
    return {request.id: request for request in read(folder)}


def test_requests_of_each_way_are_recorded(model_files: Path, tmp_path: Path) -> None:
    x = rows(2)
    texts = np.array([["é".encode(), b""]], object)
    image = np.zeros((1, 3, 224, 224), np.float32)
    with ServerFixture(model_files, http_port=0, record=str(tmp_path)) as server, Caller(server.address) as caller:
        got = caller.answers("identity", {"x": x}, id="grpc")
        caller.answers("identity", {"x": x}, id="typed", typed=True)
        caller.answers("pooled_image", {"image": image}, id="large")
        stream = caller.channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            request_serializer=inference.ModelInferRequest.SerializeToString,
            response_deserializer=inference.ModelStreamInferResponse.FromString,
        )
        assert len(list(stream(iter([infer_request("identity", {"x": x}, id="stream")])))) == 1
        with Asker(server.http) as asker:
            for name, more in (("json", {}), ("binary", {"parameters": {"binary_data_output": True}})):
                body = infer_body("x", "FP32", [2, 16], x.ravel().tolist(), id=name, **more)
                assert asker.post("/v2/models/identity/infer", body).status == 200
            late = infer_body("x", "FP32", [60, 16], rows(60).ravel().tolist(), id="late")
            assert asker.post("/v2/models/identity/infer", late).status == 200
            assert asker.post("/v2/models/text/infer", infer_body("x", "BYTES", [1, 2], ["é", ""], id="text")).status == 200
    found = by_id(tmp_path)
    assert set(found) == {"grpc", "typed", "large", "stream", "json", "binary", "late", "text"}
    for name in ("grpc", "typed", "stream", "json", "binary"):
        same(found[name].inputs, {"x": x})
        same(found[name].outputs, got)
        assert (found[name].model, found[name].version, found[name].code) == ("identity", "1", 0)
    same(found["late"].outputs, {"y": rows(60)})
    assert found["large"].inputs["image"].shape == (1, 3, 224, 224)
    (text,) = found["text"].inputs.values()
    np.testing.assert_array_equal(text, texts)
    arrivals = [request.arrival_ns for request in read(tmp_path)]
    assert arrivals == sorted(arrivals)


def test_large_requests_wait_for_idle_cores(model_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that come meanwhile are dropped, and small ones are recorded all the same."""
    monkeypatch.setattr(pace, "BURST_S", 0)
    with ServerFixture(model_files, record=str(tmp_path)) as server, Caller(server.address) as caller:
        until(lambda: all(tap.max_nbytes == recorder.LARGE_BYTES for tap in server.server.parts.of(RecordPart)._recorder._taps.values()))
        caller.answers("pooled_image", {"image": np.zeros((1, 3, 224, 224), np.float32)})
        caller.answers("identity", {"x": rows(2)}, id="small")
        told = counted(server.metrics)
    assert (told["seen_total"], told["dropped_total"]) == (2, 1)
    assert list(by_id(tmp_path)) == ["small"]


def test_shares_of_models_and_what_is_counted(model_files: Path, tmp_path: Path) -> None:
    options = {"record": str(tmp_path), "record_sample": ("identity=1", "add=0"), "record_omit": ("y",)}
    with ServerFixture(model_files, **options) as server, Caller(server.address) as caller:
        for number in range(5):
            caller.answers("identity", {"x": rows(1)}, id=str(number))
        caller.answers("versions", {"x": rows(1)})
        told = counted(server.metrics)
    assert (told["seen_total"], told["dropped_total"], told["lost_total"]) == (5, 0, 0)
    segments = Segments([tmp_path])
    assert [request.id for request in segments.requests()] == ["0", "1", "2", "3", "4"]
    assert segments.models() == {"identity": 5}
    assert segments.changed == {"y": "omit"}


def test_a_batch_is_written_as_soon_as_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests wait: the worst case of memory has room for one batch."""

    class Watched:
        name = "double"

        def tap(self, tap: Tap) -> None:
            self.kept = tap

    model = Watched()
    for limit, most, batches in (("BATCH_BYTES", 64, [2, 2, 1]), ("BATCH_ROWS", 3, [3, 2])):
        with monkeypatch.context() as patch:
            patch.setattr(recorder, limit, most)
            made = recorder.Recorder(Settings(record=str(tmp_path / limit)), 1 << 30)
            made.watch(model)
            for _ in range(5):
                answer(model.kept)
            made.start()
            made.stop(LIMIT_S)
        assert [batch.num_rows for _, batch in Segments([tmp_path / limit]).batches()] == batches


def test_a_version_that_is_loaded_later_is_recorded(tmp_path: Path, model_files: Path) -> None:
    with ServerFixture(model_files, model_control="explicit", record=str(tmp_path)) as server, Caller(server.address) as caller:
        caller.ask("RepositoryModelLoad", model_name="identity")
        caller.answers("identity", {"x": rows(1)}, id="a")
    assert set(by_id(tmp_path)) == {"a"}


def test_a_disk_that_is_full_fails_no_request(tmp_path: Path) -> None:
    """A limit on the size of the process's files stands for the disk."""
    repository = models.repository(tmp_path / "models", {"identity": models.identity()})
    folder = tmp_path / "recorded"
    with Program(repository, "--record", folder) as server, Caller(server.address) as caller:
        address = str(server.addresses["metrics"])
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        caller.answers("identity", {"x": rows(1)}, id="lost")
        until(lambda: counted(address)["lost_total"] > 0)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
        told = counted(address)
        assert (told["write_failures_total"], told["lost_total"], told["recorded_total"]) == (1, 1, 0)
        until(lambda: caller.answers("identity", {"x": rows(1)}, id="kept") and counted(address)["recorded_total"] > 0)
        assert server.stop() == 0
    assert "a batch cannot be written" in server.errors
    assert set(by_id(folder)) == {"kept"}


def test_without_pyarrow_the_server_does_not_start(model_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inferd.record import form

    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    form.arrow.cache_clear()
    form._types.cache_clear()
    with pytest.raises(StartError, match=r"pip install 'inferd\[record\]'"), ServerFixture(model_files, record=str(tmp_path)):
        pass
    form.arrow.cache_clear()


def test_a_tap_of_any_transport_is_decoded(model_files: Path) -> None:
    """What a shadow and a canary read."""
    tap, x = Tap(), rows(2)
    with ServerFixture(model_files, http_port=0) as server, Caller(server.address) as caller, Asker(server.http) as asker:
        model = server.server.repository.lookup("identity", "")
        server.on_loop(lambda: model.tap(tap))
        got = caller.answers("identity", {"x": x}, id="a")
        assert asker.post("/v2/models/identity/infer", infer_body("x", "FP32", [2, 16], x.ravel().tolist(), id="b")).status == 200
        server.on_loop(lambda: model.queues.untap(tap))
        caller.answers("identity", {"x": x}, id="c")
        first, second = (decode(each) for each in tap.take())
        for found, name in ((first, "a"), (second, "b")):
            assert (found.id, found.model, found.version, found.arm) == (name, "identity", "1", "")
            same(found.inputs, {"x": x})
            same(found.outputs, got)
            assert found.datatypes == {"y": "FP32"}
        assert json.dumps([tap.seen, tap.offered, tap.dropped]) == "[2, 2, 0]"
