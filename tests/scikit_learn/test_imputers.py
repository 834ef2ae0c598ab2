"""Imputers, and what says that a value was missing, answer as scikit-learn's do, or name the step that cannot, and the cure."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from inferd.errors import ConfigError, InvalidArgument
from inferd.scikit_learn import export
from inferd.scikit_learn.learned import flagged_of, kept_of
from tests.scikit_learn.test_export import as_records, ask, columns_of

NAMES = ["a", "b", "c"]
ROWS = 64  # of a request, at most


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Numbers of which a fifth is missing."""
    random = np.random.default_rng(5)
    made = pd.DataFrame(random.normal(10, 3, size=(300, 3)), columns=NAMES)
    return made.mask(random.random(made.shape) < 0.2)


def features_of(folder, frame: pd.DataFrame) -> np.ndarray:
    parts = [ask(folder, *as_records(frame[first : first + ROWS]))["features"] for first in range(0, len(frame), ROWS)]
    return np.concatenate(parts)


@pytest.mark.parametrize("sampled", [True, False], ids=["sample", "made"])
@pytest.mark.parametrize(
    "step",
    [
        SimpleImputer(strategy="median"),
        SimpleImputer(add_indicator=True),
        make_union(SimpleImputer(strategy="constant", fill_value=-1.0, add_indicator=True), SimpleImputer()),
        KNNImputer(),
        KNNImputer(n_neighbors=1000),
        make_pipeline(StandardScaler(), KNNImputer(n_neighbors=2)),
        make_union(SimpleImputer(), MissingIndicator()),
        make_union(SimpleImputer(), MissingIndicator(features="all")),
        make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
    ],
    ids=str,
)
def test_missing_values_are_answered(frame, step, sampled, tmp_path: Path) -> None:
    frame.to_csv(tmp_path / "sample.csv", index=False)
    step.fit(frame)
    exported = export(step, tmp_path / "m", sample=tmp_path / "sample.csv" if sampled else None)
    assert exported.agrees
    told = [notice.partition(":")[0] for notice in exported.notices if "FP64" not in notice]
    assert told == (["KNNImputer"] if "KNNImputer" in str(step) else [])
    assert [column.missing for column in exported.columns] == ["NaN"] * 3
    np.testing.assert_allclose(features_of(tmp_path / "m", frame), step.transform(frame), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("neighbours", [1, 3, 1000])
def test_neighbours_may_be_weighted_by_how_near_they_are(frame, neighbours, tmp_path: Path) -> None:
    """Records of training themselves are as near as rounding has it."""
    step = KNNImputer(n_neighbors=neighbours, weights="distance", add_indicator=True).fit(frame[:150])
    frame[150:].to_csv(tmp_path / "sample.csv", index=False)
    exported = export(step, tmp_path / "m", sample=tmp_path / "sample.csv")
    assert exported.agrees
    assert [column.missing for column in exported.columns] == ["NaN"] * 3
    np.testing.assert_allclose(features_of(tmp_path / "m", frame[150:]), step.transform(frame[150:]), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize("add_indicator", [False, True], ids=["alone", "with indicator"])
@pytest.mark.parametrize("kind", [SimpleImputer, KNNImputer])
def test_columns_without_any_value_are_left_out(frame, kind, add_indicator, tmp_path: Path) -> None:
    step = kind(add_indicator=add_indicator)
    values = frame.assign(b=np.nan).to_numpy()
    step.fit(values)
    assert kept_of(step) == [0, 2]
    assert len(kept_of(step)) + len(flagged_of(step)) == step.transform(values).shape[1]
    np.savez(tmp_path / "sample.npz", X=values)
    assert export(step, tmp_path / "m", sample=tmp_path / "sample.npz").agrees
    named = pd.DataFrame(values, columns=["x0", "x1", "x2"])
    np.testing.assert_allclose(features_of(tmp_path / "m", named), step.transform(values), rtol=1e-5, atol=1e-5)


def test_a_number_may_stand_for_a_missing_one(frame, tmp_path: Path) -> None:
    values = frame.fillna(-1).to_numpy()
    step = SimpleImputer(missing_values=-1, add_indicator=True).fit(values)
    np.savez(tmp_path / "sample.npz", X=values)
    exported = export(step, tmp_path / "m", sample=tmp_path / "sample.npz")
    assert exported.agrees
    assert [column.missing for column in exported.columns] == [None] * 3


def test_values_that_training_never_missed_are_rejected_where_scikit_learn_rejects(frame, tmp_path: Path) -> None:
    whole = frame.assign(c=frame["c"].fillna(0))
    indicator = MissingIndicator().fit(whole)
    assert export(make_union(SimpleImputer(), indicator).fit(whole), tmp_path / "m").agrees
    assert [column.get("missing") for column in columns_of(tmp_path / "m").values()] == ["NaN", "NaN", None]
    with pytest.raises(InvalidArgument, match="column 'c': there is no value"):
        features_of(tmp_path / "m", whole[:1].assign(c=np.nan, a=1.0, b=1.0))


def test_what_an_indicator_says_is_no_column_of_numbers(frame, tmp_path: Path) -> None:
    """Steps behind it know the columns in front of it, and are tried on both sides of what they split by."""
    pipeline = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), LinearRegression()).fit(frame, frame["a"].fillna(0))
    exported = export(pipeline, tmp_path / "m")
    assert exported.agrees
    assert all("SimpleImputer and StandardScaler" in line for line in exported.sample.told)


@pytest.fixture
def like(frame) -> pd.DataFrame:
    """Records of which many are equally near, for they hold few values."""
    return frame.round(-1)


def test_where_neighbours_are_equally_near_the_step_is_named(like, tmp_path: Path) -> None:
    pipeline = make_pipeline(make_column_transformer((KNNImputer(), NAMES)), LogisticRegression()).fit(like, like["a"] > 0)
    exported = export(pipeline, tmp_path / "m")
    assert exported.agrees
    assert exported.notices[0] == (
        "columns 'a', 'b', 'c': scikit-learn gives a result where they are missing, and the graph otherwise, by step "
        "'columntransformer__knnimputer', KNNImputer: such records are rejected; rounding decides which of several equally near records "
        "it takes, and how near a record is to itself: put SimpleImputer in its place"
    )
    like.to_csv(tmp_path / "sample.csv", index=False)
    with pytest.raises(ConfigError, match=r"model would reject: .* column '.': there is no value.*'columntransformer__knnimputer'"):
        export(pipeline, tmp_path / "sampled", sample=tmp_path / "sample.csv")
    assert not (tmp_path / "sampled").exists()


def test_neighbours_behind_an_imputer_may_be_equally_near_too(like, tmp_path: Path) -> None:
    """Records whose values are imputed are alike."""
    pipeline = make_pipeline(SimpleImputer(), KNeighborsClassifier(4)).fit(like, np.random.default_rng(0).integers(0, 2, len(like)))
    exported = export(pipeline, tmp_path / "m", guess=True)
    rejected = [column.name for column in exported.columns if column.missing is None]
    assert rejected or not exported.agrees
    (notice,) = [notice for notice in exported.notices if notice.startswith("column")]
    assert re.search(r", by step 'kneighborsclassifier', KNeighborsClassifier: .*; rounding decides which of several equally near", notice)


def test_other_steps_that_take_missing_values_are_named_with_the_cure(frame, tmp_path: Path) -> None:
    notice, _ = export(IsolationForest(n_estimators=5, random_state=0).fit(frame), tmp_path / "forest").notices
    assert re.match(r"columns 'a', .*, by IsolationForest: such records are rejected; put a SimpleImputer in front", notice)


@pytest.mark.parametrize(
    ("step", "cure"),
    [
        (IterativeImputer(random_state=0), "use KNNImputer or SimpleImputer in its place"),
        (KNNImputer(weights=lambda apart: 1 / (1 + apart)), "use weights 'uniform' or 'distance', and metric 'nan_euclidean'"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_imputers_without_a_graph_name_their_likes(frame, step, cure, tmp_path: Path) -> None:
    pipeline = make_pipeline(StandardScaler(), step, LinearRegression()).fit(frame, frame["a"].fillna(0))
    word = type(step).__name__
    with pytest.raises(ConfigError, match=rf"^step '{word.lower()}', {word} cannot be converted by [^:]*: .*{cure}$"):
        export(pipeline, tmp_path / "m")


@pytest.mark.parametrize(
    "step",
    [
        make_pipeline(SimpleImputer(strategy="most_frequent", add_indicator=True), OneHotEncoder()),
        make_union(make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()), MissingIndicator()),
    ],
    ids=["SimpleImputer", "MissingIndicator"],
)
def test_missing_texts_are_a_category_instead(step, tmp_path: Path) -> None:
    texts = pd.DataFrame({"t": pd.Series(["x", "y", np.nan] * 30, dtype=object)})
    pipeline = make_pipeline(make_column_transformer((step, ["t"])), LogisticRegression()).fit(texts, texts["t"] == "x")
    with pytest.raises(ConfigError, match=r"(SimpleImputer|MissingIndicator) cannot be converted .*: of texts it has no graph.*category"):
        export(pipeline, tmp_path / "m")
