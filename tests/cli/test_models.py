"""`inferd models`: what it asks of a server that serves, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import models
from tests.server_fixtures import ServerFixture

IDENTITY, DOUBLED = models.identity(), models.doubled()


@pytest.fixture
def served(tmp_path: Path):
    folder = models.repository(tmp_path / "models", {"m": {1: IDENTITY, 2: DOUBLED}, "other": IDENTITY})
    with ServerFixture(folder, http_port=0, model_control="explicit", load_model=("other",)) as served:
        yield served


def test_models_are_listed_loaded_and_unloaded(served: ServerFixture, call, tmp_path: Path) -> None:
    def said(*arguments: str, code: int = 0) -> str:
        done = call("models", served.address, *arguments)
        assert done.returncode == code, done
        return str(done.stdout if code == 0 else done.stderr)

    assert said("load", "m") == "m: loaded\n"
    assert said("load", "m", "--version", "1") == "m: loaded\n"
    assert said("label", "m", "stable", "1") == "m: label stable names version 1\n"
    assert said("list") == "m         1  READY        label stable\nm         2  READY\nother     1  READY\n"
    checks = "batch_axis=yes  deterministic=yes  rows=independent  run_bytes="
    lines = said("list", "--checks", "--ready").splitlines()
    assert [checks in line for line in lines] == [True] * 3
    assert lines[0].endswith("  label stable")
    assert said("label", "m", "stable", "2") == "m: label stable names version 2\n"
    assert said("rollback", "m", "stable") == "m: label stable names version 1\n"
    assert said("label", "m", "stable", "--remove") == "m: label stable is removed\n"
    assert said("unload", "m", "--version", "2") == "m: unloaded\n"
    assert said("unload", "m") == "m: unloaded\n"
    assert said("list", "--ready") == "other     1  READY\n"
    (tmp_path / "config.json").write_text('{"max_batch_size": 2}')
    assert said("load", "m", "--config", "config.json") == "m: loaded\n"
    assert "NOT_FOUND: failed to load 'none'" in said("load", "none", code=1)
    assert "NOT_FOUND: label: model 'm' has no label 'stable'" in said("rollback", "m", "stable", code=1)
    assert "--config none.json: expected a text file that can be read" in said("load", "m", "--config", "none.json", code=2)
    assert "expected VERSION, or --remove" in said("label", "m", "stable", code=2)


def test_the_progress_of_a_load_is_told(served: ServerFixture, call, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look comes before the load is over, however quick it is, and one after that, with the whole time."""
    looks = iter([False])
    monkeypatch.setattr("inferd.cli.models.waited", lambda future, timeout_s: next(looks, True))
    done = call("models", served.address, "load", "other")
    assert (done.stdout, done.stderr) == ("other: loaded\n", "other: version 1 READY, 0 s\n" * 2)


def test_over_http(served: ServerFixture, call) -> None:
    url = f"http://{served.http}"
    assert call("models", url, "load", "m").stdout == "m: loaded\n"
    over_http, over_grpc = (call("models", where, "list", "--checks").stdout for where in (url, served.address))
    assert over_http == over_grpc
    assert "other" in over_http
    assert call("models", url, "unload", "m", "--version", "2").stdout == "m: unloaded\n"
    done = call("models", url, "label", "m", "stable", "1")
    assert done.returncode == 1
    assert f"inferd: {url}: UNIMPLEMENTED: SetLabel is not to be had over HTTP; ask the server's gRPC address for it" in done.stderr


def test_the_words_in_the_wrong_order(call) -> None:
    done = call("models", "list", "localhost:8001")
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "inferd: TARGET comes before list: inferd models localhost:8001 list")


def test_a_server_that_is_not_there(call) -> None:
    done = call("models", "127.0.0.1:1", "list")
    assert done.returncode == 1
    assert "127.0.0.1:1: UNAVAILABLE" in done.stderr
