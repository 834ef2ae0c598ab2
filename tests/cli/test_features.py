"""`inferd features export` shows what it compared, and its exit code says whether scikit-learn was answered alike."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

VALUES = np.random.default_rng(0).normal(0, 1, (80, 2))


@pytest.fixture
def pipeline(tmp_path: Path):
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(VALUES, VALUES[:, 0] > 0), tmp_path / "signs.joblib")
    return "signs.joblib"


def test_a_model_is_written_and_the_comparison_shown(call, pipeline, tmp_path: Path) -> None:
    done = call("features", "export", pipeline)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "compared on records made of what the pipeline's steps learned"
    assert lines[1].startswith("  x0: normal around ")
    assert "StandardScaler" in lines[1]
    table = [line.split() for line in lines if line.startswith(("label", "probabilities"))]
    assert table[0] == ["label", "256", "0", "yes"]
    assert table[1][:2] == ["probabilities", "256"]
    assert table[1][3:] == ["yes"]
    assert lines[-1] == "wrote signs/1/model.onnx"
    assert (tmp_path / "signs" / "config.toml").exists()


def test_answers_that_differ_are_exit_code_1(call, pipeline, tmp_path: Path) -> None:
    done = call("features", "export", pipeline, "model", "--tolerance", "0")
    assert done.returncode == 1
    assert "NO" in done.stdout
    assert "nothing is written: the graph's results are not scikit-learn's within 0" in done.stderr
    assert 'they differ most at {"x0": ' in done.stderr
    assert not (tmp_path / "model").exists()


def test_records_beside_the_sample_that_differ_are_exit_code_1_unless_allowed(call, tmp_path: Path) -> None:
    """A vote has a graph of FP32 alone, which has one in 128 of such seconds; the sample holds two of these."""
    start = 1_700_000_000 // 128 * 128
    times = start + np.random.default_rng(0).integers(0, 2000, (600, 1))
    trees = [(f"trees {seed}", ExtraTreesClassifier(10, random_state=seed)) for seed in range(2)]
    votes = make_pipeline(StandardScaler(), VotingClassifier(trees, voting="soft"))
    joblib.dump(votes.fit(times, times[:, 0] // 40 % 2), tmp_path / "votes.joblib")
    np.savez(tmp_path / "few.npz", X=start + np.array([[0.0], [128.0]]))
    done = call("features", "export", "votes.joblib", "--sample", "few.npz")
    assert done.returncode == 1
    rows = {row[0]: row[1:] for row in (re.split("  +", line) for line in done.stdout.splitlines())}
    assert rows["label"] == ["2", "0", "yes"]
    assert rows["label, made records"][::2] == ["256", "NO"]
    assert int(rows["label, made records"][1]) > 0
    assert "nothing is written" in done.stderr
    assert re.search(r'they differ most at \{"x0": 17\d+[\d.]+\} -> label', done.stderr)
    assert not (tmp_path / "votes").exists()
    done = call("features", "export", "votes.joblib", "--sample", "few.npz", "--allow-differences")
    assert done.returncode == 0
    assert rows.keys() < {line.split("  ")[0] for line in done.stdout.splitlines()}
    assert "note: the graph's results are not scikit-learn's within 1e-05" in done.stderr
    assert (tmp_path / "votes" / "1" / "model.onnx").exists()


def test_what_was_compared_is_told_of_a_single_column_too(call, tmp_path: Path) -> None:
    joblib.dump(StandardScaler().fit(VALUES[:, :1]), tmp_path / "one.joblib")
    np.savez(tmp_path / "one.npz", X=VALUES[:, :1])
    assert call("features", "export", "one.joblib").stdout.startswith(
        "compared on records made of what the pipeline's steps learned\n  x0: "
    )
    done = call("features", "export", "one.joblib", "again", "--sample", "one.npz")
    assert done.stdout.startswith("compared on a sample\n  one.npz: 80 rows\n")


def test_nothing_that_was_guessed_is_said_to_be_equal(call, tmp_path: Path) -> None:
    joblib.dump(LogisticRegression().fit(VALUES, VALUES[:, 0] > 0), tmp_path / "bare.joblib")
    done = call("features", "export", "bare.joblib")
    assert done.returncode == 2
    assert "no step of the pipeline says what these columns hold: 'x0', 'x1'" in done.stderr
    assert not (tmp_path / "bare").exists()
    done = call("features", "export", "bare.joblib", "--guess")
    assert done.returncode == 0
    assert "yes" not in done.stdout
    assert [line.split()[-2:] for line in done.stdout.splitlines() if line.startswith(("label", "probabilities"))] == [
        ["on", "guesses"]
    ] * 2
    assert "NOT TESTED: what 'x0', 'x1' hold was guessed" in done.stderr


class Talkative:
    """Code that runs when it is read."""

    def __reduce__(self):
        return exec, ("import sys; print('running', file=sys.stderr, flush=True)",)


def test_code_in_a_file_is_warned_of_before_it_runs(call, tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Talkative()))
    done = call("features", "export", "evil.pkl", "model")
    assert done.returncode == 2
    assert done.stderr.splitlines()[:2] == [
        "note: reading evil.pkl runs whatever code it holds: export files that you trust only",
        "running",
    ]


def test_wrong_usage_is_exit_code_2(call, pipeline) -> None:
    assert call("features", "export").returncode == 2
    assert call("features", "export", pipeline, "--tolerance", "nan").returncode == 2
    assert call("features", "export", pipeline, "--format", "XML").returncode == 2
    done = call("features", "export", "absent.joblib")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no such file" in done.stderr


def test_overwriting_is_asked_for(call, pipeline) -> None:
    assert call("features", "export", pipeline).returncode == 0
    done = call("features", "export", pipeline)
    assert done.returncode == 2
    assert "overwrite it with --force" in done.stderr
    assert call("features", "export", pipeline, "--force", "--format", "csv").returncode == 0
    assert call("features", "export", pipeline, "--model-version", "2", "--format", "csv").returncode == 0


def test_help_warns_of_files_that_are_not_trusted(call) -> None:
    done = call("features", "--help")
    assert done.returncode == 0
    assert "RUN IT ON FILES THAT YOU TRUST ONLY" in done.stdout
    assert "--features-only" in done.stdout


def test_libraries_that_are_missing_are_named(tmp_path: Path) -> None:
    code = "import sys\nsys.modules['joblib'] = None\nfrom inferd.cli import run\nsys.exit(run(['features', 'export', 'a.joblib']))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "inferd: features: joblib is not installed: pip install 'inferd[features]'\n"


def test_nothing_heavy_is_imported_for_help() -> None:
    code = "import sys\nimport inferd.cli.features\nassert not {'sklearn', 'skl2onnx', 'pandas', 'joblib', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
