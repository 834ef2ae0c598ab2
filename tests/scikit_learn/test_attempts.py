"""Where FP32 gives other responses than scikit-learn, on a sample or beside it, numbers are FP64 in the graph, and it is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, MinMaxScaler, OneHotEncoder, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from inferd.engine.embedded import Engine
from inferd.errors import ConfigError
from inferd.scikit_learn import attempts, export

RANDOM = np.random.default_rng(0)
TIME = 1.7e9
AT_THRESHOLDS = (
    "numbers are FP64 in the graph, as in scikit-learn: rounded to FP32, one that lies at a threshold may come on the other side of it"
)


def ask(folder, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """The model's responses to JSON records, by the engine that servers have."""
    rows = np.empty((len(frame), 1), dtype=object)
    there = [{name: value if value == value else None for name, value in row.items()} for row in frame.to_dict("records")]
    rows[:, 0] = [json.dumps(row).encode() for row in there]
    with Engine(folder) as engine:
        answers = [engine.infer(None, {"record": rows[first : first + 64]}) for first in range(0, len(rows), 64)]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


@pytest.mark.parametrize(
    "estimator",
    [
        HistGradientBoostingClassifier(max_iter=20),
        GradientBoostingClassifier(n_estimators=20, random_state=0),
        make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)),
        make_pipeline(StandardScaler(), BaggingClassifier(DecisionTreeClassifier(), 5, random_state=0)),
        make_pipeline(StandardScaler(), LogisticRegression()),
    ],
    ids=str,
)
def test_times_in_seconds_keep_their_labels(estimator, tmp_path: Path) -> None:
    times = pd.DataFrame({"time": TIME + RANDOM.integers(0, 2000, 600), "z": RANDOM.normal(0, 1, 600)})
    label = ((times["time"] + 20 * times["z"]) // 40 % 2).astype(int)
    pipeline = estimator.fit(times, label)
    exported = export(pipeline, tmp_path / "times")
    assert exported.agrees
    got = ask(tmp_path / "times", times)
    assert got["label"].reshape(-1).tolist() == pipeline.predict(times).tolist()
    np.testing.assert_allclose(got["probabilities"], pipeline.predict_proba(times), atol=1e-6)


@pytest.mark.parametrize("estimator", [ExtraTreesRegressor(10, random_state=0), HistGradientBoostingRegressor(max_iter=20)], ids=str)
def test_times_in_seconds_keep_their_predictions(estimator, tmp_path: Path) -> None:
    times = TIME + RANDOM.integers(0, 2000, (500, 1)).astype(np.float64)
    pipeline = make_pipeline(StandardScaler(), estimator).fit(times, times[:, 0] % 40)
    assert export(pipeline, tmp_path / "times").agrees
    got = ask(tmp_path / "times", pd.DataFrame({"x0": times[:, 0]}))["prediction"]
    np.testing.assert_allclose(got.reshape(-1), pipeline.predict(times), rtol=1e-6)


def test_what_is_chosen_is_told_and_written(tmp_path: Path) -> None:
    times = TIME + RANDOM.integers(0, 2000, (500, 1))
    exported = export(HistGradientBoostingClassifier(max_iter=9).fit(times, times[:, 0] // 40 % 2), tmp_path / "times", form="TENSORS")
    assert exported.notices == (AT_THRESHOLDS,)
    assert [column.datatype for column in exported.columns] == ["FP64"]
    with Engine(tmp_path / "times") as engine:
        metadata = engine.metadata()
    assert {each.name: each.datatype for each in (*metadata.inputs, *metadata.outputs)} == {
        "x0": "FP64", "label": "FP64", "probabilities": "FP64",
    }  # fmt: skip


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler(), RobustScaler(), "passthrough"], ids=str)
@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(random_state=0),
        GradientBoostingClassifier(n_estimators=10, random_state=0),
        HistGradientBoostingClassifier(max_iter=10),
        RandomForestClassifier(10, random_state=0),
        make_pipeline(KBinsDiscretizer(20, strategy="uniform", quantile_method="averaged_inverted_cdf"), LogisticRegression()),
        StackingClassifier([("linear", LogisticRegression())], DecisionTreeClassifier(random_state=0), passthrough=True, cv=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_values_at_thresholds_are_told_apart_as_scikit_learn_tells_them(estimator, scaler, tmp_path: Path) -> None:
    """Trained on every second value, so that thresholds lie on the others, of which the sample holds none."""
    random = np.random.default_rng(0)
    tenths = pd.DataFrame({"age": np.arange(0, 400, 2).repeat(2) / 10, "visits": random.permutation(400) // 2 * 2})
    label = (tenths["age"] + tenths["visits"] / 10 + random.normal(0, 5, 400)) // 2 % 2
    pipeline = make_pipeline(scaler, estimator).fit(tenths, label.astype(int))
    tenths.to_csv(tmp_path / "tenths.csv", index=False)
    exported = export(pipeline, tmp_path / "model", sample=tmp_path / "tenths.csv")
    assert exported.agrees
    fresh = pd.DataFrame({"age": np.arange(1, 400) / 10, "visits": random.permutation(399)})
    got = ask(tmp_path / "model", fresh)
    assert got["label"].tolist() == pipeline.predict(fresh).tolist()
    np.testing.assert_allclose(got["probabilities"], pipeline.predict_proba(fresh), atol=1e-6)
    assert exported.notices == (AT_THRESHOLDS,)


def test_where_thresholds_have_no_fp64_it_is_told(tmp_path: Path) -> None:
    ages = np.arange(18.0, 90.0)[:, None]
    pipeline = make_pipeline(StandardScaler(), AdaBoostClassifier(n_estimators=5)).fit(ages, ages[:, 0] // 20 % 2)
    exported = export(pipeline, tmp_path / "model")
    assert exported.agrees
    (told,) = exported.notices
    assert told.startswith(
        "numbers were tried as FP32 alone, and rounded to FP32, one that lies at a threshold may come on the other side of it: as FP64, "
        "step 'adaboostclassifier', AdaBoostClassifier cannot be converted by skl2onnx"
    )


@pytest.mark.parametrize("scale", [1e12, 1e20, 1e30])
@pytest.mark.parametrize("estimator", [KNeighborsClassifier(3), GaussianNB(), QuadraticDiscriminantAnalysis()], ids=str)
def test_numbers_that_fp32_has_no_squares_of(estimator, scale, tmp_path: Path) -> None:
    values = RANDOM.normal(0, scale, (300, 3))
    estimator.fit(values, (values[:, 0] + values[:, 1] / 2 > 0).astype(int))
    np.savez(tmp_path / "sample.npz", X=values)
    exported = export(estimator, tmp_path / "model", sample=tmp_path / "sample.npz")
    assert exported.agrees
    if scale > 1e19:
        assert [column.datatype for column in exported.columns] == ["FP64"] * 3
    got = ask(tmp_path / "model", pd.DataFrame(values, columns=["x0", "x1", "x2"]))
    assert got["label"].shape == (300,)
    assert got["label"].tolist() == estimator.predict(values).tolist()
    np.testing.assert_allclose(got["probabilities"], estimator.predict_proba(values), atol=1e-5)


@pytest.mark.parametrize("estimator", [LogisticRegression(), GaussianNB(), KNeighborsClassifier(3)], ids=str)
def test_classifiers_behind_texts_are_tried_too(estimator, tmp_path: Path) -> None:
    """skl2onnx says of their probabilities that they were FP32, as what comes of texts is."""
    table = pd.DataFrame({"plan": pd.Series(RANDOM.choice(["a", "b"], 300), dtype=object), "time": TIME + RANDOM.normal(0, 10, 300)})
    features = make_column_transformer((OneHotEncoder(sparse_output=False), ["plan"]), (StandardScaler(), ["time"]))
    pipeline = make_pipeline(features, estimator).fit(table, (table["time"] > TIME) ^ (table["plan"] == "a"))
    exported = export(pipeline, tmp_path / "model")
    assert exported.agrees
    assert [column.datatype for column in exported.columns] == ["BYTES", "FP64"]
    np.testing.assert_allclose(ask(tmp_path / "model", table)["probabilities"], pipeline.predict_proba(table), atol=1e-6)


@pytest.mark.parametrize("estimator", [ExtraTreesClassifier(10, random_state=0), KNeighborsClassifier(1)], ids=str)
def test_a_sample_of_few_records_does_not_hide_what_fp32_cannot_tell_apart(estimator, tmp_path: Path) -> None:
    """FP32 has one in 128 of such seconds, and this sample holds these alone. Of one neighbor none is as near as another."""
    times = TIME + RANDOM.integers(0, 2000, (600, 1))
    pipeline = make_pipeline(StandardScaler(), estimator).fit(times, times[:, 0] // 40 % 2)
    alike = TIME // 128 * 128 + np.arange(2) * 128.0
    assert np.array_equal(alike, alike.astype(np.float32))
    np.savez(tmp_path / "sample.npz", X=alike[:, None])
    exported = export(pipeline, tmp_path / "model", sample=tmp_path / "sample.npz")
    assert exported.agrees
    assert [column.datatype for column in exported.columns] == ["FP64"]
    got = ask(tmp_path / "model", pd.DataFrame({"x0": times[:, 0]}))
    assert got["label"].tolist() == pipeline.predict(times).tolist()


def test_what_no_attempt_answers_alike_beside_the_sample_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where only FP32 can be converted."""
    own = attempts.convert

    def in_fp32(known, floats):
        if floats == "FP64":
            raise ConfigError("step 'own' cannot be converted")
        return own(known, floats)

    monkeypatch.setattr(attempts, "convert", in_fp32)
    times = TIME + RANDOM.integers(0, 2000, (600, 1))
    pipeline = make_pipeline(StandardScaler(), ExtraTreesClassifier(10, random_state=0)).fit(times, times[:, 0] // 40 % 2)
    np.savez(tmp_path / "few.npz", X=(TIME // 128 * 128 + np.arange(2) * 128.0)[:, None])
    exported = export(pipeline, tmp_path / "model", sample=tmp_path / "few.npz")
    assert not exported.files
    assert any(difference.made and not difference.kept for difference in exported.differences)
    np.savez(tmp_path / "all.npz", X=times)
    exported = export(pipeline, tmp_path / "none", sample=tmp_path / "all.npz")
    assert not exported.files
    assert exported.notices[-1].startswith("numbers were tried as FP32 alone, and rounded")
    assert exported.notices[-1].endswith(": as FP64, step 'own' cannot be converted")


def test_missing_values_are_imputed(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "time": TIME + RANDOM.integers(0, 2000, 300).astype(np.float64),
            "visits": RANDOM.integers(0, 9, 300).astype(np.float64),
            "plan": pd.Series(RANDOM.choice(["a", "b"], 300), dtype=object),
        }
    )
    label = (table["time"] // 40 % 2).astype(int)
    table.loc[::7, ["time", "visits"]] = np.nan
    features = make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), ["time", "visits"]), (OneHotEncoder(), ["plan"]))
    pipeline = make_pipeline(features, GradientBoostingClassifier(n_estimators=20, random_state=0)).fit(table, label)
    exported = export(pipeline, tmp_path / "model")
    assert exported.agrees
    assert [column.missing for column in exported.columns] == ["NaN", "NaN", None]
    got = ask(tmp_path / "model", table)
    assert got["label"].reshape(-1).tolist() == pipeline.predict(table).tolist()


@pytest.mark.parametrize(
    "estimator",
    [KNeighborsClassifier(3), make_pipeline(StandardScaler(), KNeighborsRegressor(3)), LocalOutlierFactor(novelty=True)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_that_neighbors_may_be_equally_near_is_always_told(estimator, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (60, 2))
    exported = export(estimator.fit(values, (values[:, 0] > 0).astype(int)), tmp_path / "model")
    assert exported.agrees
    (told,) = [notice for notice in exported.notices if "equally near" in notice]
    assert told.endswith("rounding decides which of them count, here and in scikit-learn: compare on records of your own (--sample)")


def test_neighbors_that_are_counts_are_compared_on_counts(tmp_path: Path) -> None:
    """Of which many are equally near, and rounding chooses others: nothing is written."""
    random = np.random.default_rng(0)
    counts = random.integers(0, 12, (220, 3))
    estimator = KNeighborsClassifier(3).fit(counts, counts.sum(axis=1) + random.integers(0, 8, 220) > 20)
    exported = export(estimator, tmp_path / "model")
    assert not exported.agrees
    assert any(notice.startswith("KNeighborsClassifier: where records") for notice in exported.notices)
    assert not (tmp_path / "model").exists()
