"""`inferd demo`: the whole way, with a real server; and what it draws."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from inferd.cli import demo
from inferd.cli.demo import _bars


def test_the_demo_shows_answers_latency_and_batches(run) -> None:
    done = run("demo", "--requests", "300", "--concurrency", "16")
    assert done.returncode == 0, done.stderr
    for text in ("ready after", "label ", "model ", "requests/s", "p99", "batches of", "ended with 0", "Go on with:"):
        assert text in done.stdout
    assert "Traceback" not in done.stderr


def test_the_developers_settings_do_not_reach_the_demo(run, tmp_path: Path) -> None:
    (tmp_path / "inferd.toml").write_text("grpc_port = 1\n")
    assert run("demo", "--requests", "1", INFERD_GRPC_PORT="nonsense").returncode == 0


def test_without_examples_it_says_what_it_needs(run) -> None:
    done = run("demo", "--examples", "nowhere")
    assert done.returncode == 2
    assert "expected a folder with models/digits in it, got 'nowhere'" in done.stderr


@pytest.mark.parametrize("runs", [{1: 5}, {1: 3, 2: 1, 64: 9}, {size: size for size in range(1, 100)}, {65536: 1}])
def test_bars_count_every_run_on_few_lines(runs: dict[int, int]) -> None:
    lines = _bars(runs)
    assert 1 <= len(lines) <= 17
    assert sum(int(line.split()[3]) for line in lines) == sum(runs.values())


def test_bars_of_nothing() -> None:
    assert _bars({}) == ["no runs"]


def test_an_installed_package_brings_its_examples(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel has no clone around it: the files lie in the package, as links in a clone."""
    own = Path(demo.__file__).parent / "examples"
    assert {file.relative_to(own).as_posix() for file in own.rglob("*") if file.is_file()} == {
        *("digit.npy", "digits_sample.npz", "models/digits/1/model.onnx", "models/identity/1/model.onnx")
    }
    monkeypatch.setattr(demo.inferd, "__file__", str(tmp_path / "site-packages" / "inferd" / "__init__.py"))
    (tmp_path / "site-packages" / "examples" / "models" / "digits").mkdir(parents=True)  # of another package
    assert demo._examples(None) == own
    shutil.copytree(own, tmp_path / "unpacked")  # files in place of links, as a wheel has them
    assert run("demo", "--requests", "1", "--examples", str(tmp_path / "unpacked")).returncode == 0
