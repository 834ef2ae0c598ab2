"""A server with feedback: labels join its predictions over gRPC and REST, in several processes, and are counted."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from inferd.errors import StartError
from inferd.feedback import writer as writers
from inferd.feedback.part import FeedbackPart
from inferd.feedback.rpc import MAX_LABELS
from inferd.feedback.schema import FILE
from inferd.protocol import options
from inferd.rollout.part import RolloutPart
from tests import models
from tests.rest import Asker, infer_body
from tests.server_fixtures import TRANSPORTS, Program, ServerFixture, until
from tests.wire import LIMIT_S, Caller, infer_request, status_of

SHARES = np.eye(4, 16, dtype=np.float32)
FATES = ("joined", "repeated", "contradictory", "misfit", "late", "waiting", "unknown")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = {"m": models.identity(), "number": models.identity(dims=(1,)), "many": models.many(), "text": models.text((1,))}
    return models.repository(tmp_path / "models", made)


@pytest.fixture(params=TRANSPORTS)
def served(folder: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServerFixture]:
    with ServerFixture(folder, transport=request.param, http_port=0, feedback=str(tmp_path / "kept")) as served:
        yield served


def call(address: str, method: str, request: Any, response: Any) -> Any:
    with grpc.insecure_channel(address) as channel:
        asked = channel.unary_unary(f"/inferd.v1.Feedback/{method}", type(request).SerializeToString, response.FromString)
        return asked(request, timeout=LIMIT_S)


def report(address: str, *labels: tuple[str, int, str | float], model: str = "m") -> dict[str, int]:
    """The fates of labels, without those that none has."""
    made = [
        options.RequestLabel(request_id=request_id, row=row, **{"text" if isinstance(value, str) else "number": value})
        for request_id, row, value in labels
    ]
    told = call(address, "Report", options.ReportLabelsRequest(model_name=model, labels=made), options.ReportLabelsResponse)
    return {fate: getattr(told, fate) for fate in FATES if getattr(told, fate)}


def performance(address: str, model: str = "m", **asked: Any) -> options.PerformanceResponse:
    found: options.PerformanceResponse = call(
        address, "Performance", options.PerformanceRequest(model_name=model, **asked), options.PerformanceResponse
    )
    return found


def figure(group: options.PerformanceGroup, name: str, of: str = "") -> float:
    (found,) = [each.value for each in group.figures if (each.name, each.of) == (name, of)]
    return found


def test_labels_of_each_way_join(served: ServerFixture) -> None:
    with Caller(served.address) as caller, Asker(served.http) as asker:
        caller.infer(infer_request("m", {"x": SHARES}, id="grpc"))
        body = infer_body("x", "FP32", [1, 16], [0, 0, 1, *[0] * 13])
        assert asker.post("/v2/models/m/infer", body | {"id": "rest"}).status == 200
        assert asker.post("/v2/models/m/infer", body, X_Request_Id="header").status == 200
        assert asker.post("/v2/models/m/infer", body).status == 200
        late = infer_body("x", "FP32", [60, 16], [0, 1, *[0] * 14] * 60, id="late")
        assert asker.post("/v2/models/m/infer", late).status == 200
        labels = [("grpc", 0, "0"), ("grpc", 1, 0.0), ("rest", 0, "2"), ("header", 0, 2.0), ("late", 59, "1"), ("grpc", 4, "1")]
        assert report(served.address, *labels) == {"joined": 5, "misfit": 1}
        (group,) = performance(served.address).groups
        assert (group.model_version, group.predicted_rows, group.labelled_rows) == (1, 66, 5)
        assert figure(group, "accuracy") == 0.8
        assert {each.name for each in group.figures} == {"accuracy", "precision", "recall", "auc", "log_loss", "calibration"}
        shown = asker.get("/v2/models/m/performance?buckets=3").json
        assert sum(each["labelled_rows"] for each in shown["groups"]) == 5
        assert shown["labels"] == {"joined": 5, "misfit": 1}
        again = {"labels": [{"request_id": "rest", "text": "2"}, {"request_id": "rest", "number": 1}, {"request_id": "new", "text": "1"}]}
        told = asker.post("/v2/models/m/feedback", again).json
        assert {fate: count for fate, count in told.items() if count} == {"repeated": 1, "contradictory": 1, "waiting": 1}
        caller.infer(infer_request("m", {"x": SHARES[1:2]}, id="new"))
        until(lambda: served.measured("inferd_feedback_labels")[("m", "joined")] == 6)
    until(lambda: served.measured("inferd_feedback_without_id")[()] == 1)
    assert served.measured("inferd_feedback_coverage")[("m",)] == 6 / 67
    assert served.measured("inferd_feedback_waiting_labels")[("m",)] == 0


def test_a_model_of_numbers(served: ServerFixture) -> None:
    values = np.array([[1], [2], [4], [np.nan]], np.float32)
    with Caller(served.address) as caller:
        caller.infer(infer_request("number", {"x": values}, id="r"))
    labels = [("r", row, label) for row, label in enumerate((1.0, "3", 4.5, 1.0))]
    assert report(served.address, *labels, model="number") == {"joined": 4}
    (group,) = performance(served.address, "number").groups
    assert figure(group, "mae") == 0.5
    assert [each.rows for each in group.figures] == [3] * 4


def test_text(served: ServerFixture) -> None:
    with Caller(served.address) as caller:
        caller.infer(infer_request("text", {"x": np.array([[b"cat"], [b"dog"]], object)}, id="r"))
    assert report(served.address, ("r", 0, "cat"), ("r", 1, "cat"), ("r", 1, 3.5), model="text") == {"joined": 2, "misfit": 1}
    (group,) = performance(served.address, "text").groups
    assert figure(group, "recall", "cat") == 0.5


def test_a_model_without_one_prediction_a_row(served: ServerFixture) -> None:
    with Caller(served.address) as caller:
        caller.infer(infer_request("many", {f"x{number}": np.zeros((1, 4), np.float32) for number in range(6)}, id="r"))
    assert report(served.address, ("r", 0, "a"), model="many") == {"waiting": 1}


BAD = [
    ({"labels": [{"text": "a"}]}, r"labels\[0\]: request_id: expected the id of a request, got none"),
    ({"labels": [{"request_id": "r"}]}, r"labels\[0\]: expected text or number, got neither"),
    ({"labels": [{"request_id": "r", "text": ""}]}, r"labels\[0\]: text: expected a class of 1 to 256 characters, got 0"),
    ({"labels": [{"request_id": "r", "text": "a" * 257}]}, "got 257"),
    ({"labels": [{"request_id": "r", "text": "a"}] * (MAX_LABELS + 1)}, "labels: expected at most 1000, got 1001; send them in parts"),
]


class TestBadInput:
    @pytest.mark.parametrize(("body", "words"), BAD, ids=[words[:30] for _, words in BAD])
    def test_labels(self, served: ServerFixture, body: dict[str, Any], words: str) -> None:
        made = options.ReportLabelsRequest(model_name="m", labels=[options.RequestLabel(**each) for each in body["labels"]])
        with pytest.raises(grpc.RpcError) as caught:
            call(served.address, "Report", made, options.ReportLabelsResponse)
        status, said = status_of(caught.value)
        assert status == "INVALID_ARGUMENT"
        assert re.search(words, said)
        with Asker(served.http) as asker:
            response = asker.post("/v2/models/m/feedback", body)
            assert (response.status, response.error) == (400, said)

    @pytest.mark.parametrize("number", [float("nan"), float("inf")])
    def test_a_label_that_is_no_number(self, served: ServerFixture, number: float) -> None:
        with pytest.raises(grpc.RpcError, match=r"labels\[1\]: number: expected a finite number, got .*; leave out rows without a label"):
            report(served.address, ("r", 0, 1.0), ("r", 1, number))
        assert performance(served.address).labels == {}, "nothing of it was taken"

    def test_rest(self, served: ServerFixture) -> None:
        with Asker(served.http) as asker:
            for path, status, words in (
                ("m/performance?buckets=101", 400, "buckets: expected at most 100, got 101"),
                ("m/performance?since_unix_ns=-1", 400, "since_unix_ns: expected a whole number from 0 to"),
                ("m/performance?buckets=99999999999", 400, "buckets: expected a whole number"),
                ("m/performance?color=red", 400, "query: expected since_unix_ns, until_unix_ns, buckets and slice, got 'color'"),
                ("none/performance", 404, "model_name: there is no model 'none', and no prediction of one"),
            ):
                response = asker.get(f"/v2/models/{path}")
                assert (response.status, words in response.error) == (status, True), response.error
            assert asker.post("/v2/models/m/feedback", b"no JSON").status == 400
            assert asker.post("/v2/models/m/feedback", {"labels": [{"request_id": "r", "text": 1}]}).status == 400
            assert asker.post("/v2/models/m/versions/1/feedback", {"labels": []}).status == 404
            assert asker.get("/v2/models/m/performance").json["groups"] == []
            paths = asker.get("/openapi.json").json["paths"]
            assert {"/v2/models/{model}/feedback", "/v2/models/{model}/performance"} <= set(paths)

    def test_an_unknown_model(self, served: ServerFixture) -> None:
        with pytest.raises(grpc.RpcError, match="there is no model 'none'"):
            report(served.address, ("r", 0, 1.0), model="none")


def test_a_full_disk_stops_no_request(folder: Path, tmp_path: Path) -> None:
    with ServerFixture(folder, feedback=str(tmp_path / "kept")) as served, Caller(served.address) as caller:
        connection = served.server.parts.of(FeedbackPart).writer._store.connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")
        for number in range(100):
            caller.infer(infer_request("m", {"x": SHARES}, id=f"{number}"))
        until(lambda: served.measured("inferd_feedback_lost")[()] > 0)
        with pytest.raises(grpc.RpcError, match="labels: the server could not write them; send them again"):
            report(served.address, *((f"{number}", 0, "a" * 200) for number in range(1000)))
        connection.execute("PRAGMA max_page_count=1000000")
        caller.infer(infer_request("m", {"x": SHARES}, id="after"))
        assert report(served.address, ("after", 0, "0")) == {"joined": 1}
        assert served.measured("inferd_feedback_write_failures")[()] >= 2


def test_a_full_tap_drops_and_counts(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "room_bytes", lambda _: 1)
    with ServerFixture(folder, feedback=str(tmp_path / "kept")) as served, Caller(served.address) as caller:
        caller.infer(infer_request("m", {"x": SHARES}, id="r"))
        assert served.measured("inferd_feedback_dropped")[()] == 1


def test_too_many_reports_wait(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "MOST_REPORTS", 0)
    with (
        ServerFixture(folder, feedback=str(tmp_path / "kept")) as served,
        pytest.raises(grpc.RpcError, match="labels: expected at most 0 reports that wait to be written, got one more"),
    ):
        report(served.address, ("r", 0, "0"))


def test_a_canary_learns_whether_predictions_were_right(folder: Path, tmp_path: Path) -> None:
    options_ = {"model_control": "explicit", "load_model": ("m",), "feedback": str(tmp_path / "kept")}
    with ServerFixture(folder, **options_) as served, Caller(served.address) as caller:
        models.repository(folder, {"m": {2: models.identity()}})
        request = options.StartRolloutRequest(
            model_name="m", kind=options.CANARY, candidate_version=2, steps=[0.5], guards={"outcome": 0.05}, dwell_s=3600
        )
        start = caller.channel.unary_unary("/inferd.v1.Rollouts/Start", request.SerializeToString, options.RolloutStatus.FromString)
        start(request, timeout=LIMIT_S)
        for number in range(4):
            caller.infer(infer_request("m", {"x": SHARES[:1]}, id=f"{number}"))
        assert report(served.address, *((f"{number}", 0, "0" if number else "1") for number in range(4))) == {"joined": 4}
        outcome = served.server.parts.of(RolloutPart).rollouts.roster.live["m"]._policy.seen.excess["outcome"]
        until(lambda: outcome.candidate_count + outcome.stable_count == 4)
        assert outcome.candidate_events + outcome.stable_events == 1


def test_a_folder_that_cannot_be_used(folder: Path, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(StartError, match="feedback: cannot write"), ServerFixture(folder, feedback=str(tmp_path)):
        pass


def scraped(address: str, name: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=LIMIT_S) as page:
        found = re.findall(rf"^{name}{{(.*)}} (\S+)$", page.read().decode(), re.MULTILINE)
    return {labels: float(value) for labels, value in found}


@pytest.mark.parametrize("options_", [("--transport", "native"), ("--transport", "grpcio"), ("--workers", "2")], ids=" ".join)
def test_a_program_that_is_killed_and_started_again(folder: Path, tmp_path: Path, options_: tuple[str, ...]) -> None:
    """With two workers, most labels come to another process than their requests did."""
    kept = ("--feedback", str(tmp_path / "kept"))
    ids = [f"request {number}" for number in range(20)]
    with Program(folder, *options_, *kept) as program:
        for request_id in ids:
            with Caller(program.address) as caller:
                caller.infer(infer_request("m", {"x": SHARES[:1]}, id=request_id))
        told = [report(program.address, (request_id, 0, "0")) for request_id in ids]
        assert {fate for each in told for fate in each} <= {"joined", "waiting"}
        joined, contradictory = (f'fate="{fate}",model="m"' for fate in ("joined", "contradictory"))
        until(lambda: scraped(program.addresses["metrics"], "inferd_feedback_labels_total").get(joined) == 20)
        program.process.kill()
        program.process.wait(LIMIT_S)
    with Program(folder, *options_, *kept) as program:
        assert [report(program.address, (request_id, 0, "1")) for request_id in ids] == [{"contradictory": 1}] * 20
        until(lambda: scraped(program.addresses["metrics"], "inferd_feedback_labels_total").get(contradictory) == 20)
        found = performance(program.address)
        assert found.labels["joined"] == 20
        assert [(each.predicted_rows, each.labelled_rows) for each in found.groups] == [(20, 20)]
