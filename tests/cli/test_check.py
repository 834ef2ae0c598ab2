"""`inferd check`: all findings of a repository and of the settings, and the exit code that says whether something must change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import models
from tests.command import EXAMPLES
from tests.engine.remote.web_server import WebServer

IDENTITY = models.identity()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three models that cannot be served, for their configuration, their graph and their file, and one that can."""
    configs = {
        "config": "sequence_batching { } response_cache { enable: true }",
        "graph": 'max_batch_size: 8 input { name: "z" data_type: TYPE_FP32 dims: [16] }',
        "good": 'max_batch_size: 8 metric_tags { key: "a" value: "b" }',
    }
    return models.repository(tmp_path / "models", {**dict.fromkeys(configs, IDENTITY), "broken": b"junk"}, configs)


def test_everything_is_listed_at_once(call, repository: Path) -> None:
    models.write(repository / "misnamed", "net", IDENTITY)
    done = call("check", repository)
    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    for text in (
        "rejected response_cache.enable asks for a response cache, which inferd does not do: remove the field",
        "rejected sequence_batching asks for stateful sequences",
        "graph rejected rejected input 'z' is not in the graph",
        "broken rejected rejected cannot be loaded",
        "holds .onnx files, but none named model.onnx",
        "good ok ignored metric_tags has no effect: add labels where Prometheus scrapes (relabel_configs) obeyed max_batch_size",
    ):
        assert text in said
    assert done.stdout.endswith("1 model can be served, 4 cannot.\n")
    assert done.stderr == ""


def test_nothing_is_loaded_unless_asked(call, repository: Path) -> None:
    rows = json.loads(call("check", repository, "--no-load", "--json").stdout)
    assert {row["model"] for row in rows if row["kind"] == "rejected"} == {"config"}


def test_all_is_well(call) -> None:
    done = call("check", EXAMPLES / "models")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("2 models can be served.\n")


def test_a_url_is_fetched_and_one_that_cannot_be_is_a_finding(call, tmp_path: Path) -> None:
    with WebServer(IDENTITY) as server:
        done = call("check", server.url, "--model-cache", tmp_path / "cache")
        assert (done.returncode, done.stdout.split()[:2]) == (0, ["digits", "ok"])
        server.status = 404
        done = call("check", server.url.replace("digits", "other"), "--model-cache", tmp_path / "cache")
    assert (done.returncode, done.stderr) == (1, "")
    assert "rejected models (PATH): 'http://" in " ".join(done.stdout.split())


def test_files_that_settings_name_are_looked_for(call, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("")
    model = models.write(tmp_path, "m", IDENTITY)
    asked = [model, "--tls-cert", "cert.pem", "--tls-key", "c2VjcmV0", "--tls-client-ca", "ca.pem", "--pid-file", "none/x"]
    asked += ["--listen", "unix:gone/s", "--token-file", "cert.pem"]
    for verb in ("check", "config"):
        done = call(verb, *asked)
        assert done.returncode == 1
        said = " ".join((done.stdout + done.stderr).split())
        assert "tls_client_ca (--tls-client-ca): there is no file 'ca.pem'" in said
        assert "tls_key (--tls-key): expected the path of a file that can be read" in said
        assert f"pid_file (--pid-file): there is no folder '{tmp_path}/none'" in said
        assert f"listen (--listen): there is no folder '{tmp_path}/gone'" in said
        assert "tls_cert (--tls-cert):" not in said
        assert "c2VjcmV0" not in done.stderr
    assert call("check").returncode == 2
    assert "models (PATH): there is no file or folder 'absent'" in " ".join(call("check", "absent").stdout.split())
