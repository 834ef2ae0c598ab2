"""`inferd tune` over real servers and real loads: what it writes, what it says, how it ends. Nothing here depends on which settings win."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inferd_client import Client

from inferd.bench import report
from inferd.bench.candidate import in_force, locate
from inferd.bench.climb import Settings
from inferd.bench.measurement import Load
from inferd.bench.tune import Target, Tuned
from inferd.cli.tune import usage, write_configuration
from tests import models
from tests.command import EXAMPLES, GRPC_ALONE, TIMEOUT_S, Serving, command, environment

QUICK = ("--duration", "50ms", "--warm-up", "20ms", "--rounds", "5", "--connections", "1", "--concurrency", "4")
ONE = ("--instances", "1", "--threads", "1", "--batch-sizes", "16")
UNKEPT = ("--slo", "p99=1us")  # that nothing keeps: all is tried, and there is no best for rounds with the default
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES / "models" / "digits", tmp_path / "digits"))


def test_a_configuration_is_not_replaced_unasked(call: Run, digits: Path) -> None:
    (digits / "config.toml").write_text("max_batch_size = 8")
    done = call("tune", digits)
    assert done.returncode == 2
    assert "config.toml exists: give --force to change its tuning fields (other fields stay, comments are lost)" in done.stderr


def test_a_default_that_keeps_no_target_gives_way(call: Run, tmp_path: Path) -> None:
    """Requests of eight rows, which the default rejects: on any machine a server that takes them is better. The model pads: the buckets
    with which it is better are written, too."""
    folder = tmp_path / "narrow"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(models.sum_of_ids())
    config = folder / "config.toml"
    config.write_text('max_batch_size = 4\n[inferd]\nmax_queue_requests = 100\n[[inferd.padding]]\ninput = "input_ids"\n')
    asked = ("--sizes", "input_ids:1=uniform:20..40", "--rows", "8", "--buckets", "24,48", "--force")
    done = call("tune", folder, *QUICK, *ONE, *asked)
    assert done.returncode == 0, done.stderr
    assert (
        "batches of 4, buckets none: not kept in any of 5 rounds; the best keeps the target where the model as it is now fails"
        in done.stdout
    )
    assert "best: cpu, 1 x 1 threads, batches of 16, buckets 24,48: " in done.stdout
    assert "written: narrow/config.toml\n" in done.stdout
    text = config.read_text()
    assert text.startswith("# written by `inferd tune`: inferd ")
    assert "#   provider  instances" in text
    assert tomllib.loads(text) == {
        "max_batch_size": 16,
        "instance_group": [{"count": 1, "kind": "KIND_CPU"}],
        "inferd": {"intra_op_threads": 1, "max_queue_requests": 100, "padding": [{"input": "input_ids", "buckets": [24, 48]}]},
    }
    with (
        Serving(tmp_path, folder, *GRPC_ALONE) as server,
        Client(server.addresses["grpc"], timeout=30) as client,
    ):
        assert in_force(client.model_config("narrow")) == Settings("cpu", 1, 1, 16, (24, 48))


TEXTS = [["one"], ["two one three two"], ["three two " * 8]]


def test_buckets_of_a_model_of_texts(call: Run, tmp_path: Path) -> None:
    """Texts have as many tokens as the step's max_tokens at most: the sets go up to that. tests/bench/test_buckets.py has more sets."""
    models.tokenized(tmp_path, "total", "{ max_tokens = 16 }")
    Path("texts.json").write_text(json.dumps({"text": TEXTS}))
    done = call("tune", "total", *QUICK, *ONE, "--json-input", "texts.json", "--rows", "1", *UNKEPT, "--json", "tuned.json", "--dry-run")
    assert done.returncode == 1, done.stderr
    assert "no buckets are tried" not in done.stderr
    assert " buckets  in flight" in done.stdout
    tried = {tuple(trial["settings"]["buckets"]) for trial in report.load("tuned.json").summary["trials"]}
    assert tried == {(), (16,)}


def test_buckets_with_which_the_model_is_not_served_are_a_line(call: Run, tmp_path: Path) -> None:
    models.tokenized(tmp_path, "total", "{ max_tokens = 60 }")
    done = call("tune", "total", *QUICK, *ONE, "--buckets", "none", "--buckets", "64", *UNKEPT, "--dry-run")
    assert done.returncode == 1, done.stderr
    assert "batches of 16, buckets 64 is not served: config.toml of model 'total'" in done.stdout
    assert "buckets: 64 is more than max_tokens, 60" in done.stdout


def test_random_texts_say_nothing_of_buckets(call: Run, tmp_path: Path) -> None:
    models.tokenized(tmp_path, "total")
    done = call("tune", "total", *QUICK, *ONE[:4], "--batch-sizes", "8", *UNKEPT, "--dry-run")
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("so no buckets are tried: give texts or arrays as unequal as those that will come") == 1
    assert ", buckets none  " in done.stderr
    assert ", buckets 16" not in done.stderr


def test_a_single_file_gets_settings_to_serve_it_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "m.onnx"
    file.write_bytes(models.doubled())
    subject, best = locate(file, None), Settings("cpu", 2, 1, 256)
    tuned = Tuned([], best, best, best, None, True, "tested")
    write_configuration(subject, tuned, Target(Load()), subject.output, {})
    assert usage(subject, subject.output) == "written: m.inferd.toml; serve it with: inferd serve --config m.inferd.toml"
    with (
        Serving(tmp_path, "--config", "m.inferd.toml", *GRPC_ALONE) as server,
        Client(server.addresses["grpc"], timeout=30) as client,
    ):
        assert in_force(client.model_config("m")) == best


def test_a_model_of_pictures_is_tuned_with_pictures(call: Run, tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLES / "raw" / "written_digits", tmp_path / "written_digits")
    done = call("tune", folder, "--dry-run")
    assert done.returncode == 2
    assert "the input 'picture' is what decode_image reads, and no random bytes are that; give --image FILE" in done.stderr
    done = call("tune", folder, *QUICK, *ONE, "--image", EXAMPLES / "seven.png", "--json", "tuned.json", "--dry-run")
    assert done.returncode == 0, done.stderr
    made = report.load("tuned.json")
    assert made.requests_per_second > 0
    assert made.settings["images"] == [str(EXAMPLES / "seven.png")]


def test_a_target_that_nothing_keeps_is_reported(call: Run, digits: Path) -> None:
    done = call("tune", digits, *QUICK, *ONE[:4], "--batch-sizes", "1", *UNKEPT, "--json", "tuned.json", "--html", "tuned.html")
    assert done.returncode == 1, done.stderr
    assert re.match(r"trial  stage    settings .*\n    1  now      cpu, ", done.stderr)
    assert "  search   cpu, " in done.stderr
    assert "the search\n  provider  instances" in done.stdout
    assert done.stdout.startswith("✗ SLO MISSED: no settings that were tried keep p99 1 µs; as it is now: p99 is ")
    assert done.stdout.splitlines()[0] == done.stdout.splitlines()[-1]
    assert "SLO MISSED" in Path("tuned.html").read_text()
    made = report.load("tuned.json")
    assert (made.kind, made.model, made.target) == ("tune", "digits", str(digits))
    assert made.measurements[0].server is not None
    assert made.measurements[0].server.batch_sizes
    assert {trial["settings"]["rows"] for trial in made.summary["trials"]} == {1, 64}
    assert not (digits / "config.toml").exists()


def test_an_early_end_shows_what_there_is(digits: Path, tmp_path: Path) -> None:
    """And leaves no server behind, which would still be in its folder. tests/cli/test_bench.py has the other signals."""
    (tmp_path / "folders").mkdir()
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(
        command("tune", digits, *QUICK, "--json", "tuned.json"),
        cwd=digits,
        env=environment(TMPDIR=str(tmp_path / "folders")),
        start_new_session=True,
        **pipes,
    ) as process:
        watchdog = threading.Timer(TIMEOUT_S, process.kill)
        watchdog.start()
        assert process.stderr is not None
        for line in process.stderr:
            if "  search   cpu" in line:
                process.send_signal(signal.SIGINT)
                break
        output, errors = process.communicate()
        watchdog.cancel()
    assert process.returncode == 130, errors
    assert output.startswith("? INCONCLUSIVE: the best so far: cpu, ")
    assert "Traceback" not in errors
    assert json.loads((digits / "tuned.json").read_text())["summary"]["trials"]
    assert not (digits / "config.toml").exists()
    assert not list((tmp_path / "folders").iterdir())


def test_a_terminal_that_goes_takes_nothing_that_was_measured(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "folders").mkdir()
    ours, theirs = os.openpty()
    words = command("tune", digits, *QUICK, "--json", "tuned.json")
    with subprocess.Popen(
        ["sh", "-c", 'exec "$@" <>"$0" >&0 2>&0', os.ttyname(theirs), *words],
        cwd=digits,
        env=environment(TMPDIR=str(tmp_path / "folders")),
        start_new_session=True,
    ) as process:
        shown = b""
        while b"search   cpu" not in shown:  # drawn, or as a line
            shown += os.read(ours, 1 << 16)
        os.close(theirs)
        os.close(ours)
        process.wait(TIMEOUT_S)
    assert process.returncode == 1, "stdout cannot be written"
    assert json.loads((digits / "tuned.json").read_text())["summary"]["trials"]
    assert not list((tmp_path / "folders").iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["none.onnx"], 2, "expected an .onnx file"),
        (["digits", "other"], 2, "MODEL other"),
        (["digits", "--slo", "10ms"], 2, "--slo 10ms: expected"),
        (["digits", "--seed", "-1"], 2, "-1 is not in the range"),
        (["digits", "--budget", "soon"], 2, "expected a time above 0 such as 10s, 250ms or 2m, got 'soon'"),
        (["digits", "--threads", "1,x"], 2, "expected whole numbers"),
        (["digits", "--batch-sizes", "0"], 2, "expected whole numbers"),
        (["digits", "--buckets", "none", "--buckets", "8,x"], 2, "expected whole numbers from 1 to 2147483647"),
        (["digits", "--buckets", "8,16"], 2, "--buckets: the model's configuration pads nothing"),
        (["digits", "--providers", "cpu,npu"], 2, "expected cpu, cuda, tensorrt, got 'npu'"),
        (["digits", "--processes", "9"], 2, "at most as many as --connections"),
        (["digits", "--output", "config.ini"], 2, "ends in .pbtxt or .toml"),
        (["digits", "--output", "nowhere/config.toml"], 2, "folder does not exist"),
        (["digits", "--json", "."], 2, "expected a file"),
        (["digits", "--npz", "none.npz"], 2, "none.npz"),
        (["broken.onnx"], 3, "broken"),
    ],
)
def test_what_cannot_be(call: Run, digits: Path, arguments: list[str], code: int, said: str) -> None:
    Path("broken.onnx").write_bytes(b"no model")
    done = call("tune", *arguments, "--quiet")
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
