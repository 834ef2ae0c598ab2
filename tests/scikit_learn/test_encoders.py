"""Encoders of numbers, of which NaN may be one, and bins answer as scikit-learn's do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

from inferd.errors import ConfigError, InvalidArgument
from inferd.scikit_learn import export
from tests.scikit_learn.test_export import as_records, ask

RANDOM = np.random.default_rng(0)
VALUES = {
    "fractions": [0.1, 2.5, 3.0],
    "fractions and NaN": [0.1, 2.5, 3.0, np.nan],
    "whole and NaN": [1.0, 2.0, 3.0, np.nan],
    "large and NaN": [70_000_001.0, 70_000_002.0, 70_000_003.0, np.nan],
}


def table_of(values) -> pd.DataFrame:
    return pd.DataFrame({"kind": RANDOM.choice(values, 90), "x": RANDOM.normal(0, 1, 90)})


@pytest.mark.parametrize(
    ("kind", "sampled"),
    [("fractions", True), ("fractions and NaN", False), ("whole and NaN", True), ("whole and NaN", False), ("large and NaN", True)],
)
@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(),
        OneHotEncoder(drop="first"),
        OneHotEncoder(handle_unknown="ignore"),
        OrdinalEncoder(),
        OrdinalEncoder(encoded_missing_value=-1),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-2, encoded_missing_value=-1),
    ],
    ids=str,
)
def test_numbers_are_categories(encoder, kind, sampled, tmp_path: Path) -> None:
    values = VALUES[kind]
    table = table_of(values)
    features = make_column_transformer((encoder, ["kind"]), (StandardScaler(), ["x"])).fit(table)
    table.to_csv(tmp_path / "sample.csv", index=False)
    exported = export(features, tmp_path / "m", sample=tmp_path / "sample.csv" if sampled else None)
    assert exported.agrees
    assert not [notice for notice in exported.notices if "FP64" not in notice]
    column, _ = exported.columns
    assert column.missing == ("NaN" if np.isnan(values).any() or encoder.handle_unknown != "error" else None)
    if encoder.handle_unknown == "error":
        assert [float(value) for value in column.allowed] == sorted(value for value in values if value == value)
        with pytest.raises(InvalidArgument, match="is none of the 3 values that the model knows"):
            ask(tmp_path / "m", {"kind": 7, "x": 0})
    else:
        unseen = pd.DataFrame({"kind": [7.0], "x": [0.0]})
        np.testing.assert_allclose(ask(tmp_path / "m", *as_records(unseen))["features"], features.transform(unseen), atol=1e-6)
    np.testing.assert_allclose(ask(tmp_path / "m", *as_records(table[:60]))["features"], features.transform(table[:60]), atol=1e-6)


def test_texts_beside_numbers_stay_texts(tmp_path: Path) -> None:
    table = table_of(VALUES["fractions and NaN"]).assign(text=pd.Series(RANDOM.choice(["a", "b"], 90), dtype=object))
    for encoder in (OneHotEncoder(drop=["a", 0.1]), OrdinalEncoder()):
        features = make_column_transformer((encoder, ["text", "kind"]), (StandardScaler(), ["x"])).fit(table)
        folder = tmp_path / type(encoder).__name__
        assert export(features, folder).agrees
        np.testing.assert_allclose(ask(folder, *as_records(table[:60]))["features"], features.transform(table[:60]), atol=1e-6)


def test_ordinals_leave_missing_values_to_trees(tmp_path: Path) -> None:
    table = table_of(VALUES["fractions and NaN"])
    features = make_column_transformer((OrdinalEncoder(), ["kind"]), ("passthrough", ["x"]))
    pipeline = make_pipeline(features, HistGradientBoostingClassifier(max_iter=5)).fit(table, table["kind"].isna() | (table["x"] > 0))
    exported = export(pipeline, tmp_path / "m")
    assert [column.missing for column in exported.columns] == ["NaN", "NaN"]
    answers = ask(tmp_path / "m", *as_records(table[:60]))
    np.testing.assert_allclose(answers["probabilities"], pipeline.predict_proba(table[:60]), atol=1e-6)


@pytest.mark.parametrize("missing", [None, np.nan], ids=["None", "NaN"])
@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(),
        OneHotEncoder(handle_unknown="ignore"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-2, encoded_missing_value=-1),
        TargetEncoder(cv=3),
    ],
    ids=str,
)
def test_the_text_nan_is_not_a_missing_value(encoder, missing, tmp_path: Path) -> None:
    """Both are known, or only the missing value is, and then the text is as unknown as scikit-learn has it."""
    for number, texts in enumerate((["a", "b", missing], ["a", str(missing), missing])):
        table = pd.DataFrame({"text": pd.Series(texts * 30, dtype=object), "x": RANDOM.normal(0, 1, 90)})
        features = make_column_transformer((encoder, ["text"]), (StandardScaler(), ["x"])).fit(table, np.arange(90) % 4)
        folder = tmp_path / str(number)
        exported = export(features, folder)
        assert exported.agrees
        assert exported.columns[0].missing is not None
        asked = [*texts, str(missing)]
        if getattr(encoder, "handle_unknown", "") == "error" and str(missing) not in texts:
            asked.remove(str(missing))
            with pytest.raises(InvalidArgument, match=f"'{missing}' is none of the 2 values that the model knows"):
                ask(folder, {"text": str(missing), "x": 0})
        frame = pd.DataFrame({"text": pd.Series(asked, dtype=object), "x": 0.0})
        records = [{"text": text if isinstance(text, str) else None, "x": 0.0} for text in asked]
        np.testing.assert_allclose(ask(folder, *records)["features"], features.transform(frame), atol=1e-6)


@pytest.mark.parametrize("encode", ["onehot", "onehot-dense", "ordinal"])
@pytest.mark.parametrize("shift", [0, 1.7e9], ids=["FP32", "FP64"])
def test_bins_are_those_of_training(encode, shift, tmp_path: Path) -> None:
    table = pd.DataFrame({"a": shift + RANDOM.integers(0, 2000, 200), "b": RANDOM.normal(0, 1, 200)})
    bins = KBinsDiscretizer(7, encode=encode, quantile_method="averaged_inverted_cdf")
    pipeline = make_pipeline(SimpleImputer(), bins, LogisticRegression()).fit(table, (table["a"] - shift) // 500 % 2)
    exported = export(pipeline, tmp_path / "m")
    assert exported.agrees
    answers = ask(tmp_path / "m", *as_records(table[:60]))
    np.testing.assert_allclose(answers["probabilities"], pipeline.predict_proba(table[:60]), atol=1e-6)


def test_a_missing_whole_number_is_one_that_was_never_seen(tmp_path: Path) -> None:
    """Whole numbers go into the graph as such, and there is no NaN among them."""
    table = pd.DataFrame({"kind": RANDOM.integers(1, 4, 90), "x": RANDOM.normal(0, 1, 90)})
    features = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["kind"]), (StandardScaler(), ["x"])).fit(table)
    exported = export(features, tmp_path / "m")
    assert exported.agrees
    assert not exported.notices
    missing = pd.DataFrame({"kind": [np.nan, 2.0], "x": [0.5, np.nan]})
    np.testing.assert_allclose(ask(tmp_path / "m", *as_records(missing[:1]))["features"], features.transform(missing[:1]), atol=1e-6)


FLAGS = RANDOM.random(90) < 0.5


# Each encoder with each way to learn, and each with both formats.
@pytest.mark.parametrize(("learned", "ending"), [("flags", "csv"), ("None", "parquet"), ("NaN", "csv")])
@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(),
        OneHotEncoder(drop="first"),
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(min_frequency=50),
        OrdinalEncoder(encoded_missing_value=-7),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-2, encoded_missing_value=-1),
        TargetEncoder(cv=3),
    ],
    ids=str,
)
def test_truth_values_of_which_some_are_missing(encoder, ending, learned, tmp_path: Path) -> None:
    table = pd.DataFrame({"flag": FLAGS, "x": RANDOM.normal(0, 1, 90)})
    lacking = table.astype({"flag": object})
    lacking.loc[::7, "flag"] = np.nan if learned == "NaN" else None
    features = make_column_transformer((encoder, ["flag"]), (StandardScaler(), ["x"]))
    features.fit(table if learned == "flags" else lacking, table["x"])
    rejects = learned == "flags" and getattr(encoder, "handle_unknown", "") == "error"
    sample = tmp_path / f"sample.{ending}"
    (lacking.to_csv if ending == "csv" else lacking.to_parquet)(sample, index=False)
    if rejects:
        with pytest.raises(ConfigError, match="scikit-learn itself does not take the sample"):
            export(features, tmp_path / "m", sample=sample)
    exported = export(features, tmp_path / "m", sample=None if rejects else sample)
    assert exported.agrees
    assert not exported.notices
    flag = exported.columns[0]
    assert (flag.datatype, flag.missing, flag.allowed) == ("BOOL", None if rejects else "NaN", ())
    asked = (table if rejects else lacking)[:60]
    np.testing.assert_allclose(ask(tmp_path / "m", *as_records(asked))["features"], features.transform(asked), atol=1e-6)


def test_a_tensor_of_truth_values_cannot_lack_one(tmp_path: Path) -> None:
    table = pd.DataFrame({"flag": FLAGS, "x": RANDOM.normal(0, 1, 90)})
    features = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["flag"]), (StandardScaler(), ["x"])).fit(table)
    exported = export(features, tmp_path / "m", form="TENSORS")
    assert exported.columns[0].missing is None
    assert "a tensor of BOOL cannot say so: such records need another --format" in exported.notices[0]


@pytest.mark.filterwarnings("ignore:Found unknown categories")  # which scikit-learn takes, and says so
@pytest.mark.parametrize("columns", [["city"], ["city", "kind", "size"]], ids="-".join)
@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(min_frequency=15),
        OneHotEncoder(max_categories=2, handle_unknown="infrequent_if_exist"),
        OneHotEncoder(max_categories=3, handle_unknown="ignore", drop="first"),
        OneHotEncoder(min_frequency=15, handle_unknown="infrequent_if_exist", drop="first"),
        OneHotEncoder(min_frequency=1, handle_unknown="infrequent_if_exist"),
        OneHotEncoder(max_categories=1, handle_unknown="infrequent_if_exist", sparse_output=False),
        OrdinalEncoder(min_frequency=15),
        OrdinalEncoder(max_categories=3, handle_unknown="use_encoded_value", unknown_value=-2, encoded_missing_value=-1),
    ],
    ids=str,
)
def test_rare_categories_are_put_together(encoder, columns, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    often = [0.5, 0.3, 0.1, 0.1]
    table = pd.DataFrame({"city": random.choice(["Bern", "Oslo", "Rom", "Zug"], 100, p=often), "kind": random.choice(4, 100, p=often)})
    table["size"], table["x"] = random.choice([0.5, 1.0, 2.5, np.nan], 100, p=often), random.normal(0, 1, 100)
    features = make_column_transformer((encoder, columns), (StandardScaler(), ["x"])).fit(table)
    exported = export(features, tmp_path / "m")
    assert exported.agrees
    np.testing.assert_allclose(ask(tmp_path / "m", *as_records(table[:60]))["features"], features.transform(table[:60]), atol=1e-6)
    if encoder.handle_unknown != "error":
        unseen = pd.DataFrame({"city": ["Ulm"], "kind": [7], "size": [7.0], "x": [0.0]})
        np.testing.assert_allclose(ask(tmp_path / "m", *as_records(unseen))["features"], features.transform(unseen), atol=1e-6)
