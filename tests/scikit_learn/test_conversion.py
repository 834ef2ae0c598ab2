"""Outputs are what the graph says of them, and what has no graph is told by the step that it is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.cross_decomposition import PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier, VotingRegressor
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest
from sklearn.impute import MissingIndicator
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from inferd.engine.embedded import Engine
from inferd.errors import ConfigError
from inferd.scikit_learn import export
from tests.scikit_learn.test_export import VERSIONS, as_records, ask


@pytest.mark.parametrize(
    ("steps", "output", "width"),
    [
        ([RidgeClassifier()], "label", 0),  # two classes, of which skl2onnx says [rows, 2] and gives [rows, 1]
        ([PLSRegression(2)], "prediction", 1),
        ([OneHotEncoder(max_categories=2, sparse_output=False)], "features", 4),
    ],
    ids=["RidgeClassifier", "PLSRegression", "OneHotEncoder"],
)
def test_outputs_are_as_wide_as_the_model_says(steps, output, width, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.choice(4, 200, p=[0.4, 0.3, 0.2, 0.1]), "b": random.choice(3, 200, p=[0.5, 0.3, 0.2])})
    pipeline = make_pipeline(*steps).fit(table, (table["a"] + table["b"] > 2).astype(int))
    table.to_csv(tmp_path / "rows.csv", index=False)
    assert export(pipeline, tmp_path / "model", sample=tmp_path / "rows.csv").agrees
    answers = ask(tmp_path / "model", *as_records(table[:9]))
    expected = pipeline.transform(table[:9]) if output == "features" else pipeline.predict(table[:9])
    assert answers[output].shape == ((9, width) if width else (9,))
    np.testing.assert_allclose(answers[output].reshape(expected.shape), expected, atol=1e-5)
    with Engine(tmp_path / "model") as engine:
        (spec,) = [spec for spec in engine.metadata().outputs if spec.name == output]
    assert tuple(spec.shape[1:]) == answers[output].shape[1:]


def test_an_output_without_values_is_rejected(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (60, 2))
    with pytest.raises(ConfigError, match="the pipeline gives no features for a record, and an output of a model has a value at least"):
        export(make_pipeline(StandardScaler(), MissingIndicator()).fit(values), tmp_path / "model")


@pytest.mark.parametrize(("classes", "datatype"), [((False, True), "BOOL"), ((1.0, 2.0, 7.0), "FP64"), ((3, 5), "INT64"), ("ab", "BYTES")])
def test_labels_are_of_the_type_of_the_classes(classes, datatype, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame(random.normal(0, 1, (90, 2)), columns=["a", "b"])
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(
        table, np.array(list(classes))[random.integers(len(classes), size=90)]
    )
    assert export(pipeline, tmp_path / "model").agrees
    with Engine(tmp_path / "model") as engine:
        assert {spec.name: spec.datatype for spec in engine.metadata().outputs}["label"] == datatype
    labels = ask(tmp_path / "model", *as_records(table[:20]))["label"].tolist()
    assert labels == pipeline.predict(table[:20]).tolist()
    assert set(map(str, labels)) <= set((tmp_path / "model" / "labels.txt").read_text().split())


@pytest.mark.parametrize("features_only", [False, True])
@pytest.mark.parametrize("step", [LinearDiscriminantAnalysis(n_components=1), KMeans(3, n_init=1)], ids=lambda step: type(step).__name__)
def test_a_step_that_is_converted_as_what_it_predicts_is_named(step, features_only, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (90, 2))
    pipeline = make_pipeline(StandardScaler(), step, LogisticRegression()).fit(values, np.digitize(values[:, 0], [-0.5, 0.5]))
    name = type(step).__name__
    with pytest.raises(
        ConfigError,
        match=rf"^step '{name.lower()}', {name} cannot be converted by {VERSIONS} \(its predictions have a graph, its transformed "
        r"values have none\): use a transformer that predicts nothing in its place, such as PCA$",
    ):
        export(pipeline, tmp_path / "model", features_only=features_only)


def test_columns_that_an_estimator_picks(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (90, 4))
    label = values[:, 0] + values[:, 2] > 0
    picked = make_pipeline(StandardScaler(), RFE(LogisticRegression())).fit(values, label)
    with pytest.raises(ConfigError, match=r"^RFE cannot be exported as the last step: .* fit an estimator behind it, .* --features-only$"):
        export(picked, tmp_path / "model")
    assert export(picked, tmp_path / "features", features_only=True).agrees
    answers = ask(tmp_path / "features", *({f"x{place}": value for place, value in enumerate(row)} for row in values[:9].tolist()))
    np.testing.assert_allclose(answers["features"], picked.transform(values[:9]), atol=1e-5)
    behind = make_pipeline(StandardScaler(), RFE(LogisticRegression()), LogisticRegression()).fit(values, label)
    assert export(behind, tmp_path / "model").agrees


def test_votes_that_are_tied_are_not_left_to_skl2onnx(tmp_path: Path) -> None:
    """It chooses the first of the classes that have equally many, and says nothing of it; of two classes there is no tie."""
    values = np.random.default_rng(0).normal(0, 1, (90, 2))
    classes = np.digitize(values[:, 0], [-0.7, 0.7])
    step = SVC(break_ties=True)
    why = r"cannot be converted: skl2onnx \S+ has no graph of break_ties: .*: set break_ties=False"
    for pipeline in (step, make_pipeline(StandardScaler(), step), BaggingClassifier(step, 3, random_state=0)):
        with pytest.raises(ConfigError, match=why):
            export(pipeline.fit(values, classes), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert export(step.fit(values, values[:, 0] > 0), tmp_path / "model").agrees


MEMBERS = [("linear", LogisticRegression()), ("tree", DecisionTreeClassifier(max_depth=3, random_state=0))]


@pytest.mark.parametrize(
    "estimator",
    [
        VotingClassifier(MEMBERS, voting="soft"),
        VotingClassifier(MEMBERS, voting="soft", weights=[1, 3]),
        VotingClassifier(MEMBERS, weights=[1, 3], flatten_transform=False),
        VotingRegressor([("linear", Ridge()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))], weights=[1, 3]),
    ],
    ids=["flattened", "weighted", "hard", "VotingRegressor"],
)
def test_votes_are_weighted_as_scikit_learn_weights_them(estimator, tmp_path: Path) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(0, 1, (200, 2)), columns=["a", "b"])
    estimator.fit(table, np.digitize(table["a"] + table["b"], [-0.7, 0.7]))
    assert export(estimator, tmp_path / "model").agrees
    answers = ask(tmp_path / "model", *as_records(table[:40]))
    got = answers["label"] if "label" in answers else answers["prediction"].reshape(-1)
    np.testing.assert_allclose(got, estimator.predict(table[:40]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "pick",
    [
        SelectKBest(k=1),
        SelectFromModel(RandomForestClassifier(5, random_state=0), max_features=1, threshold=-np.inf),
        RFE(LogisticRegression(), n_features_to_select=1),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_column_may_be_picked_alone(pick, place, tmp_path: Path) -> None:
    """skl2onnx makes zeros of the first one, and of others what no estimator behind it takes."""
    values = np.random.default_rng(0).normal(0, 1, (200, 3))
    pipeline = make_pipeline(StandardScaler(), pick, LogisticRegression()).fit(values, values[:, place] > 0)
    assert pipeline[1].get_support(indices=True).tolist() == [place]
    assert export(pipeline, tmp_path / "model").agrees
    answers = ask(tmp_path / "model", *as_records(pd.DataFrame(values[:40], columns=["x0", "x1", "x2"])))
    np.testing.assert_allclose(answers["probabilities"], pipeline.predict_proba(values[:40]), atol=1e-5)
