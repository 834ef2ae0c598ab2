"""Pipelines of many kinds become models that response as scikit-learn does, also where values are missing or were never seen."""

from __future__ import annotations

import contextlib
import pickle
import re
import tomllib
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import neighbors
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from inferd.engine.embedded import Engine
from inferd.errors import ConfigError, InvalidArgument
from inferd.scikit_learn import export

RANDOM = np.random.default_rng(0)
VERSIONS = r"skl2onnx \S+ with scikit-learn \S+"  # and no word of theirs
ROWS = 300


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    made = pd.DataFrame(
        {
            "age": RANDOM.normal(40, 12, ROWS),
            "income": RANDOM.lognormal(10, 0.4, ROWS),
            "rooms": RANDOM.integers(1, 6, ROWS),
            "city": pd.Series(RANDOM.choice(["Ulm", "Köln", 'the "big" one'], ROWS), dtype=object),
            "job": pd.Series(RANDOM.choice(["a", "b", "c"], ROWS), dtype=object),
        }
    )
    made.loc[::17, "age"] = np.nan
    made.loc[5::19, "job"] = np.nan
    return made


@pytest.fixture(scope="module")
def target(frame) -> np.ndarray:
    score = frame["income"] / 2e4 + frame["rooms"] / 3 + (frame["city"] == "Ulm") + RANDOM.normal(0, 0.3, ROWS)
    return np.where(score > np.median(score), "yes", "no")


def mixed(estimator=None, *, unknown="ignore", text_imputer=True):
    """Numbers and categories, each imputed."""
    texts = [SimpleImputer(strategy="most_frequent")] if text_imputer else []
    encoder = OneHotEncoder(handle_unknown=unknown)
    features = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age", "income", "rooms"]),
            ("texts", make_pipeline(*texts, encoder), ["city", "job"]),
        ]
    )
    return Pipeline([("features", features), *([("estimator", estimator)] if estimator is not None else [])])


def columns_of(folder: Path) -> dict[str, dict[str, object]]:
    config = tomllib.loads((folder / "config.toml").read_text("utf-8"))
    (entry,) = config["inferd"]["preprocess"]
    return {column["name"]: column for column in entry["steps"][0]["columns"]["columns"]}


def ask(folder: Path, *records) -> dict[str, np.ndarray]:
    """The model's responses to JSON records, by the engine that servers have. Its bytes are str here, as those of scikit-learn."""
    import json

    rows = np.empty((len(records), 1), dtype=object)
    rows[:, 0] = [json.dumps(record).encode() for record in records]
    with Engine(folder) as engine:
        answers = engine.infer(None, {"record": rows})
    return {name: array.astype(str).astype(object) if array.dtype == object else array for name, array in answers.items()}


def as_records(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [{name: value if value == value else None for name, value in row.items()} for row in frame.to_dict("records")]


def test_what_is_written_answers_as_scikit_learn_does(frame, target, tmp_path: Path) -> None:
    pipeline = mixed(LogisticRegression()).fit(frame, target)
    path = tmp_path / "flats.joblib"
    joblib.dump(pipeline, path)
    exported = export(path, tmp_path / "flats")
    assert exported.agrees
    assert exported.role == "classifier"
    assert not exported.notices
    assert [(each.output, each.rows, each.flipped) for each in exported.differences] == [("label", 256, 0), ("probabilities", 256, None)]
    assert [path.name for path in exported.files] == ["config.toml", "labels.txt", "model.onnx"]
    assert (tmp_path / "flats" / "labels.txt").read_text() == "no\nyes\n"
    columns = columns_of(tmp_path / "flats")
    assert {name: column["datatype"] for name, column in columns.items()} == {
        "age": "FP32", "income": "FP32", "rooms": "FP32", "city": "BYTES", "job": "BYTES",
    }  # fmt: skip
    assert columns["age"]["missing"] == "NaN"
    assert columns["job"]["missing"] == pipeline["features"].transformers_[1][1][0].statistics_[1]
    answers = ask(tmp_path / "flats", *as_records(frame[:40]))
    assert answers["label"].tolist() == pipeline.predict(frame[:40]).tolist()
    np.testing.assert_allclose(answers["probabilities"], pipeline.predict_proba(frame[:40]), atol=1e-5)
    strange = frame[:1].assign(city="Paris", age=np.nan)
    np.testing.assert_allclose(ask(tmp_path / "flats", *as_records(strange))["probabilities"], pipeline.predict_proba(strange), atol=1e-5)


def test_types_are_those_of_the_sample(frame, target, tmp_path: Path) -> None:
    pipeline = mixed(LogisticRegression()).fit(frame, target)
    frame.assign(sold=target).to_csv(tmp_path / "sample.csv", index=False)
    exported = export(pipeline, tmp_path / "flats", sample=tmp_path / "sample.csv")
    assert exported.agrees
    assert exported.sample.told == (f"sample.csv: {ROWS} rows",)
    assert {column.name: column.datatype for column in exported.columns}["rooms"] == "INT64"
    arrays = {name: frame[name].to_numpy(dtype=str if frame[name].dtype == object else None) for name in ("income", "rooms", "city")}
    np.savez(tmp_path / "sample.npz", **arrays, age=frame["age"].fillna(30), job=frame["job"].fillna("a").to_numpy(dtype=str))
    assert export(pipeline, tmp_path / "again", sample=tmp_path / "sample.npz").columns[2].datatype == "INT64"


def test_what_scikit_learn_rejects_is_rejected(frame, target, tmp_path: Path) -> None:
    whole = frame.fillna({"age": 30, "job": "a"})
    encoder = OneHotEncoder()  # rejects what it has not seen
    features = make_column_transformer((StandardScaler(), ["age", "income", "rooms"]), (encoder, ["city", "job"]))
    pipeline = make_pipeline(features, LogisticRegression()).fit(whole, target)
    assert export(pipeline, tmp_path / "flats").agrees
    columns = columns_of(tmp_path / "flats")
    assert "missing" not in columns["age"]
    assert "missing" not in columns["city"]
    assert columns["job"]["allowed"] == ["a", "b", "c"]
    good = as_records(whole[:1])[0]
    for change, told in [({"age": None}, "column 'age': there is no value"), ({"job": "z"}, "column 'job': 'z' is none of the 3 values")]:
        with pytest.raises(InvalidArgument, match=f"input 'record', row 0: {told}"):
            ask(tmp_path / "flats", good | change)


def test_numbers_alone_are_one_matrix(tmp_path: Path) -> None:
    values, target = load_breast_cancer(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(RobustScaler(), GradientBoostingClassifier(n_estimators=20, random_state=0)).fit(values, target)
    exported = export(pipeline, tmp_path / "cells")
    assert exported.agrees
    answers = ask(tmp_path / "cells", *as_records(values[:20]))
    assert answers["label"].tolist() == pipeline.predict(values[:20]).tolist()
    assert set(columns_of(tmp_path / "cells")) == set(values.columns)


def test_without_names_columns_are_counted(tmp_path: Path) -> None:
    values, target = load_diabetes(return_X_y=True)
    pipeline = make_pipeline(MinMaxScaler(), RandomForestRegressor(10, max_depth=4, random_state=0)).fit(values, target)
    exported = export(pipeline, tmp_path / "sugar", form="CSV")
    assert [(each.output, each.kept) for each in exported.differences] == [("prediction", True)]
    assert [column.name for column in exported.columns] == [f"x{place}" for place in range(10)]
    rows = np.empty((3, 1), dtype=object)
    rows[:, 0] = [",".join(map(str, row)).encode() for row in values[:3].tolist()]
    with Engine(tmp_path / "sugar") as engine:
        answer = engine.infer(None, {"record": rows})["prediction"]
    np.testing.assert_allclose(answer.reshape(-1), pipeline.predict(values[:3]), rtol=1e-5)


def test_features_alone_are_a_model_of_their_own(frame, target, tmp_path: Path) -> None:
    pipeline = mixed(LogisticRegression()).fit(frame, target)
    exported = export(pipeline, tmp_path / "features", features_only=True, version=3)
    assert exported.role == "transformer"
    assert (tmp_path / "features" / "3" / "model.onnx").exists()
    assert not (tmp_path / "features" / "labels.txt").exists()
    expected = pipeline[:-1].transform(frame[:9])
    np.testing.assert_allclose(ask(tmp_path / "features", *as_records(frame[:9]))["features"], expected, atol=1e-5)
    assert export(mixed().fit(frame), tmp_path / "same", features_only=True).agrees
    with pytest.raises(ConfigError, match="--features-only: LogisticRegression has no features in front of it"):
        export(LogisticRegression().fit(expected, target[:9]), tmp_path / "none", features_only=True)


@pytest.mark.parametrize("radius", [2.0, 1e9])
@pytest.mark.parametrize("word", ["RadiusNeighborsClassifier", "RadiusNeighborsRegressor"])
def test_what_fails_at_other_records_is_rejected_whatever_the_sample(word, radius, tmp_path: Path) -> None:
    """Where the radius holds all records of training the graph runs over any sample like them."""
    values = np.random.default_rng(0).normal(0, 1, (40, 2))
    step = getattr(neighbors, word)(radius=radius)
    cure = f"use {word.replace('Radius', 'K')} in its place"
    with pytest.raises(ConfigError, match=rf"^{word} cannot be converted: .* within the radius: {cure}$"):
        export(step.fit(values, values[:, 0] > 0), tmp_path / "m")
    pipeline = make_pipeline(StandardScaler(), step).fit(values, values[:, 0] > 0)
    with pytest.raises(ConfigError, match=rf"^step '{word.lower()}', {word} cannot be converted: .*: {cure}; --features-only exports"):
        export(pipeline, tmp_path / "m")


@pytest.mark.parametrize(
    "pipeline",
    [
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=2),
        make_pipeline(FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())]), RandomForestClassifier(5, random_state=0)),
        LogisticRegression(),
        make_pipeline(SimpleImputer(), LogisticRegression()),
        Pipeline([("scale", "passthrough"), ("model", LogisticRegression())]),
    ],
    ids=["search", "union", "bare", "imputed", "passed"],
)
def test_pipelines_of_many_shapes(pipeline, tmp_path: Path) -> None:
    values = RANDOM.normal(0, 2, (100, 3))
    pipeline.fit(values, values[:, 0] + values[:, 2] > 0)
    assert export(pipeline, tmp_path / "model", guess=True).agrees
    answers = ask(tmp_path / "model", *({f"x{place}": value for place, value in enumerate(row)} for row in values[:10].tolist()))
    assert answers["label"].tolist() == pipeline.predict(values[:10]).astype(int).tolist()


def test_whole_categories_and_ordinals(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"kind": RANDOM.choice([3, 5, 70_000_001], 90), "size": pd.Series(RANDOM.choice(["s", "m", "l"], 90), dtype=object)}
    )
    target = (table["kind"] == 5) | (table["size"] == "l")
    features = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["kind"]), (OrdinalEncoder(categories=[["s", "m", "l"]]), ["size"])
    )
    pipeline = make_pipeline(features, LogisticRegression()).fit(table, target)
    exported = export(pipeline, tmp_path / "sizes")
    assert exported.agrees
    kind, size = exported.columns
    assert (kind.datatype, size.datatype, size.allowed) == ("INT64", "BYTES", ("s", "m", "l"))
    answers = ask(tmp_path / "sizes", *as_records(table[:20]))
    np.testing.assert_allclose(answers["probabilities"], pipeline.predict_proba(table[:20]), atol=1e-5)


def test_a_model_that_rejects_what_it_has_not_seen_is_warmed_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"plan": ["a", "b"] * 50, "rooms": [1, 2, 3, 4] * 25, "age": np.arange(100.0)})
    features = make_column_transformer((OneHotEncoder(), ["plan"]), (OrdinalEncoder(), ["rooms"]), (StandardScaler(), ["age"]))
    exported = export(make_pipeline(features, LogisticRegression()).fit(table, table["plan"]), tmp_path / "model")
    assert [bool(column.allowed) for column in exported.columns] == [True, True, False]
    with caplog.at_level("WARNING"), Engine(tmp_path):
        assert not caplog.records


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("encoder", [OneHotEncoder(), OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder()])
def test_numbers_that_are_names_are_told_apart_to_the_last_digit(encoder, sampled, tmp_path: Path) -> None:
    names = [5, (1 << 53) + 1, (1 << 53) + 3, (1 << 62) + 7, 10**18]
    table = pd.DataFrame({"id": names * 20, "age": np.arange(100.0)})
    table.to_csv(tmp_path / "rows.csv", index=False)
    features = make_column_transformer((encoder, ["id"]), (StandardScaler(), ["age"])).fit(table)
    exported = export(features, tmp_path / "model", sample=tmp_path / "rows.csv" if sampled else None)
    assert exported.agrees
    assert not exported.notices
    assert set(exported.sample.columns["id"]) == set(names)
    if exported.columns[0].allowed:
        assert exported.columns[0].allowed == tuple(map(str, sorted(names)))
    rows = pd.DataFrame({"id": names, "age": 50.0})
    (answers,) = ask(tmp_path / "model", *as_records(rows)).values()
    np.testing.assert_allclose(answers, features.transform(rows), atol=1e-6)
    assert len(np.unique(answers, axis=0)) == len(names)


def test_true_and_false_are_flags_without_a_sample_too(tmp_path: Path) -> None:
    table = pd.DataFrame({"flag": RANDOM.random(90) < 0.5, "age": RANDOM.normal(40, 9, 90)})
    features = make_column_transformer((OneHotEncoder(), ["flag"]), (StandardScaler(), ["age"]))
    exported = export(make_pipeline(features, LogisticRegression()).fit(table, table["flag"] & (table["age"] > 40)), tmp_path / "model")
    assert exported.agrees
    assert [(column.name, column.datatype) for column in exported.columns] == [("flag", "BOOL"), ("age", "FP32")]
    assert len(ask(tmp_path / "model", {"flag": True, "age": 41.5})["label"]) == 1


@pytest.mark.parametrize("names", [("label", "probabilities"), ("label", "x"), ("x", "probabilities"), ("label", "label_1")])
@pytest.mark.parametrize("form", ["JSON", "TENSORS"])
def test_columns_that_are_called_as_outputs_are(names, form, tmp_path: Path) -> None:
    text, number = names
    frame = pd.DataFrame({text: pd.Series(RANDOM.choice(["a", "b"], 60), dtype=object), number: RANDOM.normal(0, 1, 60)})
    features = make_column_transformer((OneHotEncoder(), [text]), (StandardScaler(), [number]))
    pipeline = make_pipeline(features, LogisticRegression()).fit(frame, np.where(frame[number] > 0, "yes", "no"))
    exported = export(pipeline, tmp_path / "m", form=form)
    assert [difference.output for difference in exported.differences] == ["label", "probabilities"], "both are compared"
    assert exported.agrees
    if form == "JSON":
        answer = ask(tmp_path / "m", *as_records(frame))
    else:
        with Engine(tmp_path / "m") as engine:
            numbers = frame[[number]].to_numpy(np.float32)
            answer = engine.infer(None, {text: frame[[text]].to_numpy(object), number: numbers})
    np.testing.assert_allclose(answer["probabilities"], pipeline.predict_proba(frame), atol=1e-5)
    assert answer["label"].reshape(-1).astype(str).tolist() == pipeline.predict(frame).tolist()
    assert list(answer) == ["label", "probabilities"]


@pytest.mark.parametrize("names", [("x", "y"), ("x", "probabilities")])
def test_labels_by_name_are_a_line_away(names, tmp_path: Path) -> None:
    """What stands as a comment in the configuration can be made part of it."""
    frame = pd.DataFrame({names[0]: pd.Series(RANDOM.choice(["a", "b"], 60), dtype=object), names[1]: RANDOM.normal(0, 1, 60)})
    features = make_column_transformer((OneHotEncoder(), [names[0]]), (StandardScaler(), [names[1]]))
    export(make_pipeline(features, LogisticRegression()).fit(frame, frame[names[1]] > 0), tmp_path / "m")
    config = tmp_path / "m" / "config.toml"
    text = config.read_text("utf-8")
    config.write_text(re.sub(r"^# (steps = )", r"\1", text, flags=re.MULTILINE), "utf-8")
    answer = ask(tmp_path / "m", *as_records(frame[:3]))
    assert set(answer["probabilities_label"].reshape(-1).tolist()) == {"True", "False"}


@pytest.mark.parametrize(("column", "estimator"), [("prediction", LinearRegression()), ("features", None)])
def test_so_are_those_of_other_roles(column, estimator, tmp_path: Path) -> None:
    frame = pd.DataFrame({column: pd.Series(RANDOM.choice(["a", "b"], 60), dtype=object), "x": RANDOM.normal(0, 1, 60)})
    steps = [make_column_transformer((OneHotEncoder(), [column]), (StandardScaler(), ["x"])), *([estimator] if estimator else [])]
    pipeline = make_pipeline(*steps).fit(frame, frame["x"] * 2)
    output = "prediction" if estimator else "features"
    assert export(pipeline, tmp_path / "m").agrees
    expected = pipeline.predict(frame) if estimator else pipeline.transform(frame)
    np.testing.assert_allclose(ask(tmp_path / "m", *as_records(frame))[output].reshape(expected.shape), expected, atol=1e-5)


def test_columns_that_are_dropped_are_not_asked_for(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": RANDOM.normal(0, 1, 50), "id": np.arange(50), "label": RANDOM.normal(0, 1, 50)})
    pipeline = make_pipeline(make_column_transformer((StandardScaler(), ["a", "label"])), LogisticRegression()).fit(table, table["a"] > 0)
    exported = export(pipeline, tmp_path / "model")
    assert [column.name for column in exported.columns] == ["a", "label"]
    assert exported.agrees
    assert len(ask(tmp_path / "model", {"a": 1, "label": 0})) == 2


def test_features_that_pass_through_stay_as_fine_as_they_came(tmp_path: Path) -> None:
    times = 1.7e9 + RANDOM.integers(0, 2000, (100, 2))
    np.savez(tmp_path / "times.npz", X=times)
    features = ColumnTransformer([("a", "passthrough", [0]), ("b", StandardScaler(), [1])]).fit(times)
    assert export(features, tmp_path / "features", sample=tmp_path / "times.npz").agrees
    answers = ask(tmp_path / "features", *({"x0": a, "x1": b} for a, b in times[:20].tolist()))
    np.testing.assert_allclose(answers["features"], features.transform(times[:20]), rtol=1e-12)


def test_outliers_are_told_apart(tmp_path: Path) -> None:
    values = RANDOM.normal(0, 1, (200, 2))
    pipeline = IsolationForest(n_estimators=10, random_state=0).fit(values)  # whose converter knows no newer operators, and says so
    exported = export(pipeline, tmp_path / "model")
    assert [(each.output, each.kept) for each in exported.differences] == [("label", True), ("scores", True)]
    answers = ask(tmp_path / "model", {"x0": 0, "x1": 0}, {"x0": 9, "x1": 9})
    assert answers["label"].reshape(-1).tolist() == [1, -1]
    np.testing.assert_allclose(answers["scores"].reshape(-1), pipeline.decision_function([[0, 0], [9, 9]]), atol=1e-5)


# ---- what cannot be


@pytest.mark.parametrize(
    ("pipeline", "unknown"),
    [
        (LinearRegression(), "'x0', 'x1'"),
        (make_pipeline(ColumnTransformer([("a", StandardScaler(), [0]), ("b", "passthrough", [1])]), LinearRegression()), "'x1'"),
    ],
    ids=["bare", "partly"],
)
def test_of_columns_that_nothing_is_known_of_a_sample_is_asked(pipeline, unknown, tmp_path: Path) -> None:
    values = RANDOM.normal(1.7e9, 500, (60, 2))
    pipeline.fit(values, values[:, 0])
    with pytest.raises(ConfigError, match=f"says what these columns hold: {unknown}; .* give real ones by --sample, or take --guess"):
        export(pipeline, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    np.savez(tmp_path / "real.npz", X=values)
    assert export(pipeline, tmp_path / "model", sample=tmp_path / "real.npz").files
    assert export(pipeline, tmp_path / "guessed", guess=True).sample.guessed


def test_dates_as_categories_are_rejected(tmp_path: Path) -> None:
    table = pd.DataFrame({"day": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"] * 9), "x": RANDOM.normal(0, 1, 27)})
    features = ColumnTransformer([("days", OneHotEncoder(handle_unknown="ignore"), ["day"])], remainder="passthrough")
    pipeline = make_pipeline(features, LogisticRegression()).fit(table, table["x"] > 0)
    with pytest.raises(ConfigError, match=r"column 'day': the pipeline learned dates as its categories.*date_time"):
        export(pipeline, tmp_path / "model")


def test_a_classifier_of_several_answers_is_rejected(tmp_path: Path) -> None:
    values = RANDOM.normal(0, 1, (60, 2))
    pipeline = make_pipeline(StandardScaler(), RandomForestClassifier(3, random_state=0)).fit(values, values > 0)
    with pytest.raises(
        ConfigError, match=r"RandomForestClassifier cannot be exported: it has 2 results for a record, .*: fit one for each"
    ):
        export(pipeline, tmp_path / "model")


def test_a_graph_that_cannot_run_is_told_by_step_and_cure(tmp_path, monkeypatch) -> None:
    from inferd.scikit_learn import conversion

    def rejected(*arguments, **options) -> None:
        raise ConfigError("model 'x' cannot be loaded: Failed to construct locale with name:en_US.UTF-8; check that the file is complete")

    monkeypatch.setattr(conversion.OnnxModel, "load", rejected)
    table = pd.DataFrame({"title": ["red wine", "white wine", "beer"] * 9})
    features = ColumnTransformer([("words", TfidfVectorizer(), "title")])
    pipeline = make_pipeline(features, LogisticRegression()).fit(table, table["title"] == "beer")
    with pytest.raises(
        ConfigError,
        match=r"'columntransformer__words', TfidfVectorizer .* locale with name:en_US.UTF-8\): .* install it, here and",
    ):
        export(pipeline, tmp_path / "model")


def test_nothing_is_written_where_answers_differ(tmp_path: Path) -> None:
    values, target = load_diabetes(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(values, target * 1e3)
    exported = export(pipeline, tmp_path / "model", tolerance=0)
    assert not exported.agrees
    assert exported.differences[0].worst > 0
    assert re.fullmatch(r'\{"x0": .*"x9": .*\} -> prediction \[.*\], and scikit-learn\'s is [\d.-]+', exported.worst)
    assert not exported.files
    assert not (tmp_path / "model").exists()


def test_what_cannot_be_converted_is_told_by_name(tmp_path: Path) -> None:
    values = RANDOM.normal(0, 1, (60, 2))
    pipeline = Pipeline([("scale", StandardScaler()), ("own", FunctionTransformer(np.sinh)), ("model", LogisticRegression())])
    pipeline.fit(values, values[:, 0] > 0)
    with pytest.raises(
        ConfigError, match=rf"step 'own', FunctionTransformer cannot be converted by {VERSIONS}: a function of Python has no graph"
    ):
        export(pipeline, tmp_path / "model")


def texts_and_numbers() -> np.ndarray:
    values = np.empty((120, 2), dtype=object)
    values[:, 0], values[:, 1] = RANDOM.choice(["x", "y", "zz"], 120), RANDOM.normal(0, 1, 120)
    return values


def test_hashes_of_texts_are_those_of_training(tmp_path: Path) -> None:
    values = texts_and_numbers()
    features = make_column_transformer((FeatureHasher(8, input_type="string"), [0]), (StandardScaler(), [1]))
    pipeline = make_pipeline(features, LogisticRegression()).fit(values, (values[:, 0] == "x") | (values[:, 1] > 1))
    with pytest.raises(ConfigError, match=r"no step of the pipeline says what these columns hold: 'x0'; .* give real ones by --sample"):
        export(pipeline, tmp_path / "model")
    frame = pd.DataFrame(values, columns=["x0", "x1"])
    frame.to_csv(tmp_path / "sample.csv", index=False)
    exported = export(pipeline, tmp_path / "model", sample=tmp_path / "sample.csv")
    assert exported.agrees
    assert [column.datatype for column in exported.columns] == ["BYTES", "FP32"]
    unseen = np.array([["never seen", 0.5], ["", -2.0]], dtype=object)
    answers = ask(tmp_path / "model", *({"x0": text, "x1": number} for text, number in unseen))
    np.testing.assert_allclose(answers["probabilities"], pipeline.predict_proba(unseen), atol=1e-6)


@pytest.mark.parametrize(("kind", "change"), [("pair", lambda text: [(text, 1)]), ("dict", lambda text: {text: 1})])
def test_hashes_that_have_no_graph_are_named_with_the_step_that_makes_them(kind, change, tmp_path: Path) -> None:
    values = texts_and_numbers()[:, :1]
    listed = FunctionTransformer(lambda rows: [change(text) for (text,) in rows], check_inverse=False)
    hasher = Pipeline([("listed", listed), ("hash", FeatureHasher(8, input_type=kind))])
    pipeline = Pipeline([("columns", ColumnTransformer([("text", hasher, [0])])), ("model", LogisticRegression())])
    pipeline.fit(values, values[:, 0] == "x")
    inner = pipeline["columns"].named_transformers_["text"]
    inner.steps = inner.steps[1:]  # the function has no graph either
    pd.DataFrame(values, columns=["x0"]).to_csv(tmp_path / "sample.csv", index=False)
    cure = r"hash texts by the step `columns` instead, `hash = \{ buckets = 1024 \}` \(docs/features.md\)"
    with pytest.raises(ConfigError, match=rf"^step 'columns__text__hash', FeatureHasher cannot be converted by {VERSIONS}: {cure}"):
        export(pipeline, tmp_path / "model", sample=tmp_path / "sample.csv")
    with pytest.raises(ConfigError, match=rf"^FeatureHasher takes lists of texts, .*: {cure}"):
        export(
            make_pipeline(FeatureHasher(8, input_type="string"), LogisticRegression()).fit(values, values[:, 0] == "x"), tmp_path / "model"
        )


def test_texts_alone_are_no_records(tmp_path: Path) -> None:
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["a cat sat", "dogs bark"], [0, 1])
    with pytest.raises(
        ConfigError, match=r"^TfidfVectorizer takes a list of texts, .*make_column_transformer\(\(TfidfVectorizer\(\), 'text'\)\)"
    ):
        export(pipeline, tmp_path / "model")
    pipeline.steps[0] = ("own", FunctionTransformer())
    with pytest.raises(ConfigError, match=r"^FunctionTransformer does not say how many columns it takes"):
        export(pipeline, tmp_path / "model")


def test_an_estimator_that_cannot_be_converted_names_its_likes(tmp_path: Path) -> None:
    class OwnClassifier(LogisticRegression):
        pass

    values = RANDOM.normal(0, 1, (60, 2))
    pipeline = Pipeline([("scale", StandardScaler()), ("model", OwnClassifier())]).fit(values, values[:, 0] > 0)
    with pytest.raises(
        ConfigError, match=r"step 'model', OwnClassifier cannot be converted by .*use RandomForestClassifier, .*--features-only"
    ):
        export(pipeline, tmp_path / "model")


def test_categories_of_boosted_histograms_are_no_silent_difference(tmp_path: Path) -> None:
    values = RANDOM.normal(0, 1, (200, 2))
    values[:, 1] = RANDOM.integers(0, 4, 200)
    pipeline = HistGradientBoostingClassifier(max_iter=20, categorical_features=[1]).fit(values, (values[:, 0] > 0) ^ (values[:, 1] == 2))
    exported = None
    with contextlib.suppress(ConfigError):  # which says that it cannot be converted; skl2onnx 1.20 converts it, wrongly
        exported = export(pipeline, tmp_path / "model", guess=True)
    assert (tmp_path / "model").exists() == (exported is not None and exported.agrees)


def test_nothing_is_overwritten_unasked(frame, target, tmp_path: Path) -> None:
    pipeline = mixed(LogisticRegression()).fit(frame, target)
    folder = tmp_path / "flats"
    export(pipeline, folder)
    with pytest.raises(ConfigError, match=r"model\.onnx is there already: choose another --model-version, or overwrite it with --force"):
        export(pipeline, folder)
    assert export(pipeline, folder, version=2).files
    with pytest.raises(ConfigError, match="says something else: all versions share it"):
        export(pipeline, folder, version=3, form="CSV")
    assert export(pipeline, folder, form="CSV", force=True).files
    assert 'format = "CSV"' in (folder / "config.toml").read_text()


def test_what_versions_share_is_not_overwritten_unasked(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1, (300, 2))
    folder = tmp_path / "pets"

    def pipeline(*classes):
        return make_pipeline(StandardScaler(), LogisticRegression()).fit(values, np.array(classes)[np.sum(values > 0, axis=1)])

    first = export(pipeline("ant", "cat", "dog"), folder)
    config, labels = folder / "config.toml", folder / "labels.txt"
    assert first.files == (config, labels, folder / "1" / "model.onnx")
    config.write_text("# Pets of the house.\n" + config.read_text())
    assert export(pipeline("ant", "cat", "dog"), folder, version=2).files == (folder / "2" / "model.onnx",)
    assert config.read_text().startswith("# Pets of the house.\n"), "what says the same stays"
    with pytest.raises(ConfigError, match=r"config\.toml is there and says something else: all versions share it"):
        export(pipeline("ant", "bee", "cat"), folder, version=3)
    labels.write_text("Ameise\nKatze\nHund\n")
    with pytest.raises(ConfigError, match=r"labels\.txt is there and says something else: all versions share it"):
        export(pipeline("ant", "cat", "dog"), folder, version=3)
    assert labels.read_text() == "Ameise\nKatze\nHund\n"
    assert not (folder / "3").exists()
    assert export(pipeline("ant", "bee", "cat"), folder, version=3, force=True).files == (config, labels, folder / "3" / "model.onnx")
    assert labels.read_text() == "ant\nbee\ncat\n"
    (folder / "config.pbtxt").touch()
    for force in (False, True):
        with pytest.raises(ConfigError, match=r"config\.pbtxt is there, and a model has that or a config\.toml, not both: remove it"):
            export(pipeline("ant", "cat", "dog"), folder, version=4, force=force)


def test_files_that_hold_no_pipeline(tmp_path: Path) -> None:
    for name, content, told in [
        ("absent", None, "there is no such file"),
        ("text", b"hello", "cannot be loaded as a pipeline that joblib.dump or pickle.dump saved"),
        ("cut", pickle.dumps(StandardScaler())[:-9], "cannot be loaded as a pipeline that joblib.dump or pickle.dump saved"),
        ("number", pickle.dumps(5), "it holds a int, and a scikit-learn pipeline is needed"),
        ("unfitted", pickle.dumps(StandardScaler()), "StandardScaler is not fitted"),
        ("foreign", b"cno_such_module\nThing\n.", "it needs the module 'no_such_module'"),
    ]:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError, match=told):
            export(path, tmp_path / "model")


def test_a_sample_whose_column_has_another_normal_form(tmp_path: Path) -> None:
    frame = pd.DataFrame({"caf\u00e9": RANDOM.normal(0, 1, 30), "x": RANDOM.normal(0, 1, 30)})
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, frame["x"] > 0)
    (tmp_path / "rows.csv").write_text("cafe\u0301,x\n1,2\n")
    with pytest.raises(ConfigError, match=r"column 'café': its name came in another Unicode normal form, 'cafe.u0301' and not"):
        export(pipeline, tmp_path / "model", sample=tmp_path / "rows.csv")


def test_samples_that_cannot_be_used(frame, target, tmp_path: Path) -> None:
    pipeline = mixed(LogisticRegression()).fit(frame, target)
    for name, text, told in [
        ("a.txt", "age\n1\n", r"expected a file that ends in \.csv, \.npz or \.parquet"),
        ("absent.csv", None, "it cannot be read"),
        ("less.csv", "age,income\n1,2\n", "column 'rooms' of the pipeline is missing; it has age, income"),
        ("uneven.csv", "age,income,rooms,city,job\n1,2\n", "line 2 has another number of fields"),
        ("empty.csv", "age,income,rooms,city,job\n", "hold a row at least"),
        (
            "wrong.csv",
            "age,income,rooms,city,job\nold,2,3,Ulm,a\n",
            "column 'age' holds texts, and the pipeline's SimpleImputer learned numbers",
        ),
    ]:
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        with pytest.raises(ConfigError, match=told):
            export(pipeline, tmp_path / "model", sample=path)
