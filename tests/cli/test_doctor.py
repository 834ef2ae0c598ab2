"""`inferd doctor`: what is there, what is missing, and the exit code that says so."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from inferd.cli.doctor import TINY_MODEL, _steps, build_flavour
from tests.command import EXAMPLES

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def findings(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, object]]:
    return {(row["area"], row["what"]): row for row in json.loads(done.stdout)}


def test_all_is_well_with_the_defaults(run: Run) -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout
    for text in ("onnxruntime", "native", "grpcio", "would serve with", "CPUExecutionProvider", "cores", "open files", "cgroup memory"):
        assert text in done.stdout
    assert done.stdout.endswith("\nnothing asked for is missing\n")


def test_json_holds_the_same_findings(call: Run) -> None:
    rows = findings(call("doctor", "--json", "--drain-timeout-s", "1min"))
    assert rows["execution providers", "cpu"]["value"] == "usable: CPUExecutionProvider"
    assert rows["transport", "would serve with"]["value"] == "native"
    assert rows["settings that are not defaults", "drain_timeout_s"]["value"] == "60s (--drain-timeout-s)"
    assert not any(row["missing"] for row in rows.values())


def test_a_provider_that_is_not_there_is_exit_code_1(call: Run) -> None:
    done = call("doctor", "--json", "--providers", "cuda,cpu")
    row = findings(done)["execution providers", "cuda"]
    if not row["missing"]:
        pytest.skip("this machine has a usable CUDA device")
    assert done.returncode == 1
    assert "CUDAExecutionProvider" in str(row["note"])
    assert not findings(done)["execution providers", "cpu"]["missing"]


def test_transport_that_was_chosen(call: Run) -> None:
    assert findings(call("doctor", "--json", "--transport", "grpcio"))["transport", "would serve with"]["value"] == "grpcio"


def test_what_speaks_rest(call: Run) -> None:
    assert findings(call("doctor", "--json"))["transport", "REST"]["value"] == "on"
    assert findings(call("doctor", "--json", "--http-port", "off"))["transport", "REST"]["value"] == "off"


def test_what_a_loop_without_uvloop_costs(call: Run) -> None:
    assert findings(call("doctor", "--json", "--no-uvloop"))["transport", "event loop"]["note"] == ""


def test_too_many_connections_for_the_descriptors_are_noted(call: Run) -> None:
    assert "max_connections (1000000)" in str(
        findings(call("doctor", "--json", "--max-connections", "1000000"))["limits", "open files"]["note"]
    )


def test_the_plan_follows_the_settings(call: Run) -> None:
    rows = findings(call("doctor", "--json", "--instances", "3", "--intra-op-threads", "2"))
    assert str(rows["machine", "plan for one model"]["value"]).startswith("3 instances")


def test_models_say_how_they_would_run(call: Run) -> None:
    models = EXAMPLES / "models"
    rows = findings(call("doctor", "--json", models, "--inline", "off", "--instances", "2"))
    for name in ("digits version 1", "identity version 1"):
        assert str(rows["models", name]["value"]).startswith("2 executor threads (")
    assert "inline, on the event loop" in str(findings(call("doctor", "--json", models, "--inline", "on"))["models", "identity version 1"])
    told = str(findings(call("doctor", "--json", models, "--batching", "off"))["models", "identity version 1"])
    assert "requests share no run: batching is off" in told


def test_models_say_where_their_memory_goes(call: Run) -> None:
    models = EXAMPLES / "models"
    assert re.fullmatch(
        r"file 0\.0 MiB; arrays of the largest batch 0\.\d MiB; runs of the warm-up 0\.\d MiB, of which 0\.\d MiB stays when no run uses "
        r"it; all runs together at most 80\.0 MiB \(max_run_bytes\)",
        str(findings(call("doctor", "--json", models, "--max-run-bytes", "80MiB"))["memory", "digits version 1"]["value"]),
    )


@pytest.mark.parametrize(("each", "word"), [("80MiB", "which fits"), ("1TiB", "so lower max_run_bytes or max_axis")])
def test_the_runs_of_all_models_are_held_against_what_is_left(call: Run, each: str, word: str) -> None:
    value = str(findings(call("doctor", "--json", EXAMPLES / "models", "--max-run-bytes", each))["memory", "all models"]["value"])
    assert word in value


def test_a_model_that_cannot_be_served_is_exit_code_1(call: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    done = call("doctor", "--json", "broken.onnx")
    assert done.returncode == 1
    assert "broken" in str(findings(done)["models", "broken.onnx"]["note"])
    assert "Traceback" not in done.stderr


def test_the_probe_is_the_model_that_it_claims_to_be() -> None:
    model = onnx.load_from_string(TINY_MODEL)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Identity"]


@pytest.mark.parametrize(
    ("content", "flavour"),
    [
        (b"\x7fELF stripped", "release"),
        (b"\0GNU C11 12.2.0 -mtune=generic -O2 -g1\0", "release (-O2)"),
        (b"\0GNU C11 12.2.0 -g3 -O2 -O0\0", "debug"),
        (b"\0__asan_init\0GNU C17 12.2.0 -O0 -fsanitize=address\0", "debug-sanitize"),
        (b"\0__ubsan_handle_add_overflow\0GNU C17 12.2.0 -O2\0", "sanitize"),
    ],
)
def test_build_flavour(tmp_path: Path, content: bytes, flavour: str) -> None:
    (tmp_path / "module.so").write_bytes(content)
    assert build_flavour(str(tmp_path / "module.so")) == flavour


def test_what_steps_can_read_is_said() -> None:
    findings = {finding.what: finding for finding in _steps()}
    assert findings["images"].value.startswith("pillow ")
    assert not any(finding.missing for finding in findings.values())
