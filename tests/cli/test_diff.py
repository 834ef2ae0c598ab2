"""`inferd diff`: two models on the same requests, from files to a verdict and its exit code."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from inferd.errors import InferdError
from tests import models
from tests.command import GRPC_ALONE, Serving

RNG = np.random.default_rng(23)
WEIGHTS = RNG.normal(size=(8, 4)).astype(np.float32)


def linear(weights, batch="N", outputs=("p",)):
    """x FP32[N,8] -> p = softmax(x W), FP32[N,4]."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Softmax", ["h"], [outputs[0]])]
    return models.model(nodes, [("x", "FP32", (batch, 8))], [(outputs[0], "FP32", (batch, 4))], {"w": weights})


def step(weights, row):
    """The same, but for one row, which it recognizes by its first value: there all is turned round."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Gather", ["x", "zero"], ["first"], axis=1),
        helper.make_node("Equal", ["first", "odd"], ["is_odd"]),
        helper.make_node("Neg", ["h"], ["turned"]),
        helper.make_node("Where", ["is_odd", "turned", "h"], ["chosen"]),
        helper.make_node("Softmax", ["chosen"], ["p"]),
    ]
    constants = {"w": weights, "zero": np.array([0], np.int64), "odd": row[:1]}
    return models.model(nodes, [("x", "FP32", ("N", 8))], [("p", "FP32", ("N", 4))], constants)


@pytest.fixture
def inputs(tmp_path: Path) -> np.ndarray:
    values = RNG.normal(size=(1000, 8)).astype(np.float32)
    (tmp_path / "requests").mkdir()
    np.save(tmp_path / "requests" / "x.npy", values)
    (tmp_path / "old.onnx").write_bytes(linear(WEIGHTS))
    return values


def test_a_model_with_itself(call, inputs, tmp_path: Path) -> None:
    done = call("diff", "old.onnx", "old.onnx", "--random", 30, "--time", "1s", "--max-slower", "900%")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SAME: NEW gives the same predictions on all 30 requests, and costs" in done.stdout
    assert all(figure in done.stdout for figure in ("p50", "requests/s", "CPU/request", "load time", "memory"))


def test_one_changed_row_in_a_thousand_is_named(call, inputs, tmp_path: Path) -> None:
    (tmp_path / "new.onnx").write_bytes(step(WEIGHTS, inputs[417]))
    reports = ("--html", "d.html", "--json", "d.json", "--junit", "d.xml", "--save-worst", "worst")
    done = call("diff", "old.onnx", "new.onnx", "--on", "requests", "--no-performance", *reports)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("✗ WORSE: NEW decides 1 of 1,000 requests differently (0.1 %)")
    assert "x.npy row 417: p: " in done.stdout
    report = json.loads((tmp_path / "d.json").read_text())
    assert [worst["name"] for worst in report["worst"]] == ["x.npy row 417"]
    assert report["worst"][0]["inputs"]["x"]["values"] == pytest.approx(inputs[417].tolist())
    np.testing.assert_array_equal(np.load(tmp_path / "worst" / "001.npz")["x"], inputs[417:418])
    suite = ET.parse(tmp_path / "d.xml").getroot()
    assert (suite.get("failures"), suite.get("errors")) == ("2", "0")
    page = (tmp_path / "d.html").read_text()
    assert "x.npy row 417" in page
    assert "Flips of p" in page
    assert "inferd diff old.onnx new.onnx" in page


def test_a_rounded_copy_passes_with_limits(call, inputs, tmp_path: Path) -> None:
    (tmp_path / "new.onnx").write_bytes(linear(np.round(WEIGHTS * 64) / 64))
    done = call("diff", "old.onnx", "new.onnx", "--on", "requests", "--no-performance")
    assert done.returncode == 1
    assert "as of a quantised or converted copy" in done.stdout
    done = call("diff", "old.onnx", "new.onnx", "--on", "requests", "--no-performance", "--max-changed", "100%", "--max-flips", "2%")
    assert done.returncode == 0, done.stdout
    assert "which the limits allow" in done.stdout


def test_the_truth_finds_the_one_that_is_wrong_more_often(call, inputs, tmp_path: Path) -> None:
    right = (inputs @ WEIGHTS).argmax(axis=1)
    np.save(tmp_path / "truth.npy", right)
    np.save(tmp_path / "short.npy", right[1:])
    worse = WEIGHTS + RNG.normal(size=WEIGHTS.shape).astype(np.float32)
    (tmp_path / "new.onnx").write_bytes(linear(worse))
    share = f"{100 * np.mean((inputs @ worse).argmax(axis=1) == right):.3g} %"
    given = ("--on", "requests", "--no-performance", "--truth")
    done = call("diff", "old.onnx", "new.onnx", *given, "p=truth.npy")
    assert done.returncode == 1
    assert f"NEW is right in {share} of 1,000 rows, OLD in 100 %" in done.stdout
    assert call("diff", "new.onnx", "old.onnx", *given, "p=truth.npy").returncode == 0
    done = call("diff", "old.onnx", "new.onnx", *given, "p=short.npy")
    assert done.returncode == 2
    assert "--truth p: expected a label for each of the 1,000 decisions, got 999 labels" in done.stderr


def test_too_few_requests_are_inconclusive(call, inputs, tmp_path: Path) -> None:
    (tmp_path / "new.onnx").write_bytes(linear(WEIGHTS + 0.001))
    few = ("--random", 5, "--no-performance", "--max-changed", "100%", "--max-flips", "1%")
    done = call("diff", "old.onnx", "new.onnx", *few)
    assert done.returncode == 4, done.stdout
    assert done.stdout.startswith("? INCONCLUSIVE")


def test_what_cannot_be_compared_says_why(call, inputs, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(models.identity("FP32", (9,)))
    (tmp_path / "renamed.onnx").write_bytes(linear(WEIGHTS, outputs=("q",)))
    (tmp_path / "empty").mkdir()
    rejected = {
        ("old.onnx", "other.onnx", "--random", 2): "the input 'x' differs: old.onnx takes FP32 [?, 8], other.onnx takes FP32 [?, 9]",
        ("old.onnx", "gone.onnx", "--random", 2): "gone.onnx: there is no such file or folder",
        ("old.onnx", "127.0.0.1:1/m", "--random", 2): "127.0.0.1:1",
        ("old.onnx", "old.onnx"): "--on PATH or --random N",
        ("old.onnx", "old.onnx", "--on", "nowhere"): "--on nowhere: expected a record, or a folder",
        ("old.onnx", "old.onnx", "--on", "empty"): "--on empty: expected files of requests",
        ("old.onnx", "old.onnx", "--random", 2, "--decide", "z=none"): "--decide z=none: expected OUTPUT=HOW for one of p",
        ("old.onnx", "old.onnx", "--random", 2, "--html", "no/d.html"): "no/d.html: its folder does not exist",
    }
    for arguments, words in rejected.items():
        done = call("diff", *arguments)
        assert done.returncode == (3 if "127.0.0.1:1/m" in arguments else 2)
        assert words in done.stderr
    done = call("diff", "old.onnx", "renamed.onnx", "--random", 2, "--no-performance")
    assert done.returncode == 1
    assert "the output p cannot be compared in 2 requests: only OLD has it" in done.stdout


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZeroDivisionError("nobody expects it"), "inferd: a fault of inferd itself (ZeroDivisionError: nobody expects it): the two"),
        (OSError(28, "No space left on device"), "inferd: [Errno 28] No space left on device; the two models were not compared"),
        (InferdError("the server has gone"), "inferd: the server has gone"),
    ],
)
def test_no_error_says_that_new_is_worse(call, monkeypatch: pytest.MonkeyPatch, error, said) -> None:
    def raises(*_) -> None:
        raise error

    monkeypatch.setattr("inferd.diff.sources.Source.__init__", raises)
    done = call("diff", "old.onnx", "new.onnx", "--random", "1")
    assert done.returncode == 3
    assert said in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_does_not_say_that_new_is_worse(call, inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", full)
        done = call("diff", "old.onnx", "old.onnx", "--random", 1, "--no-performance")
    assert (done.returncode, done.stderr) == (3, "inferd: stdout cannot be written: No space left on device\n")


def test_inputs_of_any_name_are_saved_and_read_back(call, tmp_path: Path) -> None:
    """`file` is an argument of numpy.savez."""
    for name, to in ("old", "texts"), ("new", "other"):
        node = helper.make_node("Identity", ["file"], [to])
        (tmp_path / f"{name}.onnx").write_bytes(models.model([node], [("file", "BYTES", (1,))], [(to, "BYTES", (1,))]))
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "1.json").write_text(json.dumps({"file": ["ab"]}))
    done = call("diff", "old.onnx", "new.onnx", "--on", "requests", "--no-performance", "--save-worst", "worst")
    assert done.returncode == 1, done.stderr
    done = call("diff", "old.onnx", "old.onnx", "--on", "worst", "--no-performance")
    assert done.returncode == 0, done.stderr


def test_versions_of_a_repository_and_of_a_server(call, inputs, tmp_path: Path) -> None:
    for version, weights in (1, WEIGHTS), (2, WEIGHTS), (3, -WEIGHTS):
        folder = tmp_path / "models" / "m" / str(version)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(linear(weights))
    (tmp_path / "models" / "m" / "config.pbtxt").write_text("version_policy { all { } }")
    with Serving(tmp_path, tmp_path / "models", *GRPC_ALONE, "--record", "recorded", "--record-sample", "1") as server:
        address = server.addresses["grpc"]
        for one, other in ("models/m/1", "models/m/{}"), (f"{address}/m:1", f"{address}/m:{{}}"), ("old.onnx", f"{address}/m:{{}}"):
            for version, code in (2, 0), (3, 1):
                done = call("diff", one, other.format(version), "--on", "requests", "--rows", 50, "--no-performance")
                assert done.returncode == code, done.stdout + done.stderr
        done = call("diff", f"{address}/m:1", f"{address}/m:2", "--random", 3, "--time", "1s", "--max-slower", "900%")
        assert (done.returncode, "p50" in done.stdout, "memory" in done.stdout) == (0, True, False), done.stdout
        for seed in range(10):
            done = call("infer", address, "m", "--random", "--shape", "x:50,8", "--seed", seed)
            assert done.returncode == 0, done.stdout + done.stderr
    for version, code in (2, 0), (3, 1):  # on what the server has recorded meanwhile
        done = call("diff", "models/m/1", f"models/m/{version}", "--on", "recorded", "--no-performance")
        assert done.returncode == code, done.stdout + done.stderr
    assert "\non   10 requests of recorded\n" in done.stdout, "its own requests are not recorded"
    done = call("diff", "models/m/1", "models/m/2", "--on", "recorded", "--first", "7", "--no-performance")
    assert "NEW gives the same predictions on all 7 requests" in done.stdout
    (tmp_path / "other.onnx").write_bytes(models.add())
    done = call("diff", "other.onnx", "other.onnx", "--on", "recorded", "--no-performance")
    assert done.returncode == 2
    assert "is none of this model: the model has no input 'x'" in done.stderr
    done = call("diff", "models/m/1", "models/m/2", "--on", "recorded", "--recorded-model", "n")
    assert done.returncode == 2
    assert "expected requests of the model 'n'" in done.stderr
    done = call("diff", "models/m/1", "models/m/9", "--random", 2)
    assert done.returncode == 2
    assert "there is no version 9 in models/m; there is 1, 2, 3" in done.stderr


def test_versions_of_a_model_with_a_file_of_labels(call, inputs, tmp_path: Path) -> None:
    config = 'output { name: "p" data_type: TYPE_FP32 dims: 4 label_filename: "labels.txt" } version_policy { specific { versions: 3 } }'
    models.repository(tmp_path / "models", {"m": {1: linear(WEIGHTS), 2: linear(WEIGHTS), 3: linear(-WEIGHTS)}}, {"m": config})
    (tmp_path / "models" / "m" / "labels.txt").write_text("a\nb\nc\nd\n")
    for one, other, code in ("models/m/1", "models/m/2", 0), ("models/m/1", "old.onnx", 0), ("models/m/1", "models/m/3", 1):
        done = call("diff", one, other, "--on", "requests", "--rows", 50, "--no-performance")
        assert done.returncode == code, done.stdout + done.stderr
    done = call("diff", "models/m/1", "models/m/2", "--random", 3, "--time", "1s", "--max-slower", "900%")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "load time" in done.stdout


def test_a_model_named_by_a_number_is_no_version(call, inputs, tmp_path: Path) -> None:
    for number in ("1001", "1002"):
        models.repository(tmp_path / "models", {number: {1: linear(WEIGHTS)}})
    done = call("diff", "models/1001", "models/1002/1", "--random", 3, "--no-performance")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ranks_and_scores_are_one_decision(call, inputs, tmp_path: Path) -> None:
    """NEW is another model: its first classes are counted once, and the order of the others apart."""
    steps = 'output: "p" name: "class" steps { top_k { k: 3 labels: "labels.txt" } }'
    config = f"version_policy {{ all {{ }} }} inferd {{ postprocess {{ {steps} }} }}"
    moved = WEIGHTS + RNG.normal(scale=0.1, size=WEIGHTS.shape).astype(np.float32)
    models.repository(tmp_path / "models", {"m": {1: linear(WEIGHTS), 2: linear(moved)}}, {"m": config})
    (tmp_path / "models" / "m" / "labels.txt").write_text("a\nb\nc\nd\n")
    call("diff", "models/m/1", "models/m/2", "--on", "requests", "--no-performance", "--json", "d.json", "--html", "d.html")
    ranks = [np.argsort(-(inputs @ weights), axis=1, kind="stable")[:, :3] for weights in (WEIGHTS, moved)]
    flips, orders = int((ranks[0] != ranks[1])[:, 0].sum()), int((ranks[0] != ranks[1]).any(axis=1).sum())
    report = json.loads((tmp_path / "d.json").read_text())
    found = report["difference"]["outputs"]
    assert 0 < flips < orders
    assert (found["class_label"]["decisions"], found["class_label"]["decision_flips"]) == (1000, flips)
    assert found["class_label"]["rank_changes"] == orders
    assert [name for name, each in found.items() if each["decisions"]] == ["class_label"]
    assert f"NEW decides {flips} of 1,000 requests differently" in report["verdict"]["checks"][2][2]
    assert set(re.findall(r"(?:Flips|Decisions) of (\w+)", (tmp_path / "d.html").read_text())) == {"class_label"}
