"""Outputs of a model are those responses that scikit-learn has, too, by names that say what they are."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier, SGDClassifier
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsOneClassifier
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, NuSVC, OneClassSVM

from inferd.scikit_learn import export
from tests.scikit_learn.test_export import as_records, ask


@pytest.mark.parametrize("classes", [("no", "yes"), ("a", "b", "c")], ids=len)
@pytest.mark.parametrize(
    "estimator",
    [SGDClassifier(random_state=0), Perceptron(), RidgeClassifier(), LinearSVC(), SVC(), NuSVC()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_scores_are_no_probabilities(estimator, classes, tmp_path: Path) -> None:
    """They are scikit-learn's decision_function."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(0, 1, (200, 2)), columns=["a", "b"])
    places = np.digitize(table["a"] + table["b"], [0.0, 1.0][: len(classes) - 1])
    pipeline = make_pipeline(StandardScaler(), estimator).fit(table, np.array(classes)[places])
    exported = export(pipeline, tmp_path / "model")
    assert exported.agrees
    answers = ask(tmp_path / "model", *as_records(table[:20]))
    assert answers["label"].reshape(-1).tolist() == pipeline.predict(table[:20]).tolist()
    assert [each.output for each in exported.differences] == list(answers)
    config = tomllib.loads((tmp_path / "model" / "config.toml").read_text())["inferd"].get("postprocess", [])
    assert list(answers) == ["label", "scores"]
    expected = pipeline.decision_function(table[:20]).reshape(20, -1)
    np.testing.assert_allclose(answers["scores"][:, -expected.shape[1] :], expected, atol=1e-5)
    by_class = answers["scores"].shape[1] == len(classes)
    assert [entry["classes"] for entry in config] == ([list(classes)] if by_class else [])


@pytest.mark.parametrize(
    ("estimator", "output", "method"),
    [
        (KMeans(3, n_init=1, random_state=0), "scores", "transform"),
        (GaussianMixture(3, random_state=0), "probabilities", "predict_proba"),
        (LocalOutlierFactor(novelty=True), "scores", "decision_function"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_all_that_is_given_was_compared(estimator, output, method, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (90, 2))
    pipeline = make_pipeline(StandardScaler(), estimator).fit(values)
    exported = export(pipeline, tmp_path / "model")
    assert [(each.output, each.kept) for each in exported.differences] == [("label", True), (output, True)]
    answers = ask(tmp_path / "model", *({"x0": a, "x1": b} for a, b in values[:9].tolist()))
    expected = getattr(pipeline, method)(values[:9])
    np.testing.assert_allclose(answers[output].reshape(expected.shape), expected, atol=1e-5)


def test_where_scores_are_others_labels_are_given_alone(tmp_path: Path) -> None:
    """skl2onnx counts the votes of the pairs; scikit-learn, where there is one pair, has its score."""
    values = np.random.default_rng(0).normal(0, 1, (90, 2))
    pipeline = make_pipeline(StandardScaler(), OneVsOneClassifier(LogisticRegression())).fit(values, (values[:, 0] > 0).astype(int))
    exported = export(pipeline, tmp_path / "model")
    assert exported.agrees
    assert exported.notices == ("the model gives labels alone: its scores would not be scikit-learn's decision_function",)
    answers = ask(tmp_path / "model", *({"x0": a, "x1": b} for a, b in values[:9].tolist()))
    assert list(answers) == ["label"]
    assert answers["label"].reshape(-1).tolist() == pipeline.predict(values[:9]).tolist()


@pytest.mark.parametrize("kernel", ["rbf", "poly"])
def test_where_scores_that_decide_are_others_nothing_is_given(kernel, tmp_path: Path) -> None:
    """Rounded scores of 300 records that all count: a label is the sign of one."""
    values = np.random.default_rng(0).normal(0, 1, (300, 3))
    exported = export(OneClassSVM(kernel=kernel).fit(values), tmp_path / "model")
    assert [each.output for each in exported.differences if not each.kept][-1] == "scores"
    assert not exported.files
    assert not (tmp_path / "model").exists()
