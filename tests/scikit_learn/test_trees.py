"""Trees, trained with missing values and without, answer records that lack some as scikit-learn does, or such records are rejected; and
count votes as it does.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from onnx import numpy_helper
from skl2onnx import to_onnx
from skl2onnx.common import tree_ensemble
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    BaggingClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier

from inferd.errors import InvalidArgument
from inferd.scikit_learn import agreement, export, trees
from inferd.scikit_learn.conversion import convert
from inferd.scikit_learn.trained import trained
from tests.scikit_learn.test_export import as_records, ask, columns_of

ROWS = 64  # of a request, at most
NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Numbers of which a quarter is missing."""
    random = np.random.default_rng(3)
    made = pd.DataFrame(random.normal(size=(600, 3)), columns=NAMES)
    return made.mask(random.random(made.shape) < 0.25)


def target_of(frame: pd.DataFrame) -> np.ndarray:
    filled = frame.fillna({"a": 2.0, "b": -1.0, "c": 0.5})
    return (filled["a"] + filled["b"] * frame["c"].isna() + filled["c"] > 0.5).to_numpy()


def expected_of(pipeline, frame: pd.DataFrame) -> np.ndarray:
    return pipeline.predict_proba(frame) if hasattr(pipeline, "predict_proba") else pipeline.predict(frame)


def answers_of(folder, frame: pd.DataFrame) -> np.ndarray:
    answer = ask(folder, *as_records(frame))
    return answer.get("probabilities", answer.get("prediction"))


@pytest.mark.parametrize("lacking", [True, False], ids=["trained with missing values", "without"])
@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(max_depth=6, random_state=0),
        DecisionTreeRegressor(max_depth=6, random_state=0),
        ExtraTreeClassifier(max_depth=6, random_state=0),
        RandomForestClassifier(10, max_depth=6, random_state=0),
        ExtraTreesRegressor(10, max_depth=6, random_state=0),
        HistGradientBoostingClassifier(max_iter=10),
        BaggingClassifier(DecisionTreeClassifier(max_depth=5), 3, random_state=0),
        make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=6, random_state=0)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_missing_values_go_the_way_that_was_learned(frame, estimator, lacking, tmp_path: Path) -> None:
    trained_on = frame if lacking else frame.fillna(0.1)
    estimator.fit(trained_on, target_of(frame))
    exported = export(estimator, tmp_path / "m")
    assert exported.agrees
    assert [column.get("missing") for column in columns_of(tmp_path / "m").values()] == ["NaN"] * 3
    for first in range(0, len(frame), ROWS):
        rows = frame[first : first + ROWS]
        expected = expected_of(estimator, rows)
        np.testing.assert_allclose(answers_of(tmp_path / "m", rows).reshape(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_where_the_graph_has_them_go_another_way_they_are_rejected(frame, depth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As skl2onnx writes trees by itself. What is answered is right; what is not is told."""
    monkeypatch.setattr(trees, "_are_all_of", lambda members, attributes: False)
    tree = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(frame, target_of(frame))
    exported = export(tree, tmp_path / "m", guess=True)
    assert exported.agrees
    columns = columns_of(tmp_path / "m")
    assert not all("missing" in column for column in columns.values())
    notice, _ = exported.notices  # and that numbers are FP64
    assert re.fullmatch(
        r"columns? '.*: scikit-learn gives a result where (it is|they are) missing, and the graph otherwise, by DecisionTreeClassifier: "
        r"such records are rejected; put a SimpleImputer in front; .*",
        notice,
    )
    taken = [name for name, column in columns.items() if "missing" in column]
    rows = frame.where(frame.notna() | np.isin(NAMES, taken), 0.3)[:ROWS]
    np.testing.assert_allclose(answers_of(tmp_path / "m", rows), tree.predict_proba(rows), atol=1e-5)
    lacks = rows.assign(**{next(name for name in NAMES if name not in taken): np.nan})
    with pytest.raises(InvalidArgument, match="there is no value, and nothing stands in for one"):
        answers_of(tmp_path / "m", lacks)


def test_several_missing_values_at_once_are_tried_too(frame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the graph is right where one of three is missing, and no further."""
    monkeypatch.setattr(agreement, "agrees", lambda served, records, *others: all(len(record) >= 2 for record in records))
    exported = export(HistGradientBoostingClassifier(max_iter=5).fit(frame, target_of(frame)), tmp_path / "m")
    assert exported.agrees
    assert not any("missing" in column for column in columns_of(tmp_path / "m").values())
    notice, _ = exported.notices  # and that numbers are FP64
    assert notice.startswith("columns 'a', 'b', 'c': scikit-learn gives a result where they are missing, and the graph otherwise")


# ---- FP64


@pytest.mark.parametrize("count", [6, 50])
def test_equal_votes_of_a_forest_go_to_the_class_that_scikit_learn_chooses(count, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = random.normal(0, 1, (400, 2))
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(count, random_state=0))
    pipeline.fit(values, values[:, 0] + random.normal(0, 1, 400) > 0)
    fresh = pd.DataFrame(random.normal(0, 1, (2000, 2)), columns=["x0", "x1"])
    shares = pipeline.predict_proba(fresh.to_numpy())
    assert np.any(shares[:, 0] == 0.5)
    np.savez(tmp_path / "fresh.npz", X=fresh.to_numpy())
    assert export(pipeline, tmp_path / "forest", sample=tmp_path / "fresh.npz").agrees
    parts = [ask(tmp_path / "forest", *as_records(fresh[first : first + ROWS]))["label"] for first in range(0, len(fresh), ROWS)]
    assert np.concatenate(parts).reshape(-1).astype(bool).tolist() == pipeline.predict(fresh.to_numpy()).tolist()


def test_votes_on_texts_alone_are_counted_in_fp64_too() -> None:
    """Where no number goes in, and what texts became is FP32."""
    random = np.random.default_rng(0)
    table, fresh = (pd.DataFrame({name: random.choice(list("abcdefgh"), rows).astype(object) for name in "xyzw"}) for rows in (300, 2000))
    table = table.drop_duplicates()
    features = make_column_transformer((OneHotEncoder(sparse_output=False), list("xyzw")))
    pipeline = make_pipeline(features, RandomForestClassifier(20, random_state=0)).fit(table, random.integers(0, 2, len(table)))
    assert np.any(pipeline.predict_proba(fresh)[:, 0] == 0.5)
    found = convert(trained(pipeline), "FP64").model.trial({name: fresh[[name]].to_numpy(dtype=object) for name in fresh})
    assert found["label"].tolist() == pipeline.predict(fresh).tolist()


@pytest.mark.parametrize("estimator", [DecisionTreeClassifier(random_state=0), RandomForestClassifier(5, random_state=0)], ids=str)
def test_trees_that_ask_whether_a_value_is_missing(estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a threshold is infinite, for which skl2onnx's search among FP64 has no end."""
    search = tree_ensemble.find_switch_point

    def ends(low, high):
        assert np.isfinite([low, high]).all()
        return search(low, high)

    monkeypatch.setattr(tree_ensemble, "find_switch_point", ends)
    random = np.random.default_rng(0)
    values = np.stack([random.normal(0, 1, 400), 1.7e9 + random.integers(0, 2000, 400)], axis=1)
    values[::3, 0] = np.nan
    label = np.isnan(values[:, 0]) ^ (values[:, 1] // 40 % 2 == 1)
    pipeline = estimator.fit(values, label.astype(int))
    members = getattr(pipeline, "estimators_", [pipeline])
    assert np.isinf(np.concatenate([tree.tree_.threshold for tree in members])).any()
    trees.keep_trees(pipeline, "FP64")
    graph = to_onnx(
        pipeline, initial_types=[("x", DoubleTensorType([None, 2]))], options={"zipmap": False}, target_opset={"": 18, "ai.onnx.ml": 3}
    )
    (node,) = [node for node in graph.graph.node if node.op_type.startswith("TreeEnsemble")]
    (thresholds,) = [numpy_helper.to_array(each.t) for each in node.attribute if each.name == "nodes_values_as_tensor"]
    assert thresholds.dtype == np.float64
    assert np.isinf(thresholds).sum() == sum(np.isinf(tree.tree_.threshold).sum() for tree in members)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "squared_error"])
def test_boosted_counts_are_the_exponential_of_what_trees_say(frame, loss, tmp_path: Path) -> None:
    counts = np.exp(frame["a"].fillna(0.0)) + 0.1
    estimator = HistGradientBoostingRegressor(loss=loss, max_iter=10).fit(frame, counts)
    assert export(estimator, tmp_path / "m").agrees
    np.testing.assert_allclose(answers_of(tmp_path / "m", frame[:ROWS]).reshape(-1), estimator.predict(frame[:ROWS]), rtol=1e-5)
