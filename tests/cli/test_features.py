"""`inferd features export` shows what it compared, and its exit code says whether scikit-learn was answered alike."""

from __future__ import annotations

import subprocess
import sys

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@pytest.fixture
def pipeline(tmp_path):
    values = np.random.default_rng(0).normal(0, 1, (80, 2))
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(values, values[:, 0] > 0), tmp_path / "signs.joblib")
    return "signs.joblib"


def test_a_model_is_written_and_the_comparison_shown(call, pipeline, tmp_path):
    done = call("features", "export", pipeline)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "compared on records made of the pipeline's statistics"
    assert lines[1].startswith("  x0: normal around ")
    assert "StandardScaler" in lines[1]
    table = [line.split() for line in lines if line.startswith(("label", "probabilities"))]
    assert table[0] == ["label", "256", "0", "yes"]
    assert table[1][:2] == ["probabilities", "256"]
    assert table[1][3:] == ["yes"]
    assert lines[-1] == "wrote signs/1/model.onnx"
    assert (tmp_path / "signs" / "config.toml").exists()


def test_answers_that_differ_are_exit_code_1(call, pipeline, tmp_path):
    done = call("features", "export", pipeline, "model", "--tolerance", "0")
    assert done.returncode == 1
    assert "NO" in done.stdout
    assert "nothing is written: the graph's answers are not scikit-learn's within 0" in done.stderr
    assert not (tmp_path / "model").exists()


def test_wrong_usage_is_exit_code_2(call, pipeline):
    assert call("features", "export").returncode == 2
    assert call("features", "export", pipeline, "--tolerance", "nan").returncode == 2
    assert call("features", "export", pipeline, "--format", "XML").returncode == 2
    done = call("features", "export", "absent.joblib")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no such file" in done.stderr


def test_overwriting_is_asked_for(call, pipeline):
    assert call("features", "export", pipeline).returncode == 0
    done = call("features", "export", pipeline)
    assert done.returncode == 2
    assert "overwrite it with --force" in done.stderr
    assert call("features", "export", pipeline, "--force", "--format", "csv").returncode == 0
    assert call("features", "export", pipeline, "--model-version", "2", "--format", "csv").returncode == 0


def test_help_warns_of_files_that_are_not_trusted(call):
    done = call("features", "--help")
    assert done.returncode == 0
    assert "RUN IT ON FILES THAT YOU TRUST ONLY" in done.stdout
    assert "--features-only" in done.stdout


def test_libraries_that_are_missing_are_named(tmp_path):
    code = "import sys\nsys.modules['joblib'] = None\nfrom inferd.cli import run\nsys.exit(run(['features', 'export', 'a.joblib']))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "inferd: features: joblib is not installed: pip install 'inferd[features]'\n"


def test_nothing_heavy_is_imported_for_help():
    code = "import sys\nimport inferd.cli.features\nassert not {'sklearn', 'skl2onnx', 'pandas', 'joblib', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
