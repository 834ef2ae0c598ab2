"""Records that are made lie where the pipeline's own did, on both sides of all that it decides by; of what nothing is known is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from inferd.scikit_learn.samples import MADE_ROWS, Sample, made_sample, read_sample, varied
from inferd.scikit_learn.trained import trained

RANDOM = np.random.default_rng(0)


def test_made_records_straddle_every_split() -> None:
    values = np.column_stack([1.7e9 + RANDOM.integers(0, 90, 500) * 20, RANDOM.normal(0, 1, 500)])
    pipeline = HistGradientBoostingClassifier(max_iter=3).fit(values, values[:, 0] // 40 % 2)
    made = made_sample(trained(pipeline))
    splits = pipeline._bin_mapper.bin_thresholds_[0]
    assert len(splits) == 89
    assert len(set(np.searchsorted(splits, made.columns["x0"]))) == 90
    assert made.made
    assert not made.guessed
    assert made.told[0].startswith("x0: on both sides of 89 points from 17000000")


def test_made_numbers_are_as_fine_as_clients_send_them() -> None:
    values = RANDOM.normal(1.7e9, 500, (50, 1))
    made = made_sample(trained(make_pipeline(StandardScaler(), LogisticRegression()).fit(values, values[:, 0] > 1.7e9)))
    assert len(np.unique(made.columns["x0"])) == MADE_ROWS
    assert np.any(made.columns["x0"] != made.columns["x0"].astype(np.float32))
    assert np.mean(made.columns["x0"]) == pytest.approx(1.7e9, abs=500)


def test_where_only_a_mean_is_known_numbers_lie_near_and_far() -> None:
    made = made_sample(trained(SimpleImputer().fit([[1000.0], [1002.0]]))).columns["x0"]
    apart = np.abs(made - 1001)
    assert np.min(apart) < 1e-3
    assert np.max(apart) > 100


def test_columns_of_which_nothing_is_known_are_named() -> None:
    table = pd.DataFrame({"a\x1b[2J": RANDOM.normal(0, 1, 40), "flag": RANDOM.random(40) < 0.5, "unused": 1.0})
    features = make_column_transformer((StandardScaler(), ["a\x1b[2J"]), ("passthrough", ["flag"]))
    made = made_sample(trained(make_pipeline(features, LogisticRegression()).fit(table, table["flag"])))
    assert made.guessed == ("flag",)
    assert [line.partition(":")[0] for line in made.told] == ["'a\\x1b[2J'", "flag"]
    assert "a guess: no step says more" in made.told[1]
    assert len(made.columns) == 3


def test_texts_are_made_of_words_that_were_learned() -> None:
    table = pd.DataFrame({"title": ["red wine", "white wine", "beer"]})
    made = made_sample(trained(make_column_transformer((CountVectorizer(), "title")).fit(table)))
    assert {word for text in made.columns["title"] for word in text.split()} == {"red", "wine", "white", "beer"}


def test_a_file_of_one_column_is_not_made(tmp_path: Path) -> None:
    known = trained(StandardScaler().fit([[1.0], [2.0]]))
    (tmp_path / "a.csv").write_text("x0\n1\n")
    read = read_sample(tmp_path / "a.csv", known)
    assert not read.made
    assert made_sample(known).made


def test_a_file_is_read_as_pandas_reads_it(tmp_path: Path) -> None:
    table = pd.DataFrame({"land": ["AT", "NA", "CH", "007"], "city": ["Bern", "Oslo", "Bern", "Oslo"], "age": [1.0, 2.0, 3.0, 4.0]})
    known = trained(make_column_transformer((OneHotEncoder(), ["land", "city"]), (StandardScaler(), ["age"])).fit(table))
    (tmp_path / "a.csv").write_text("land,city,age\nNA,NA,NA\n#N/A,NULL,<NA>\n007,None,4\n")
    read = {name: column.tolist() for name, column in read_sample(tmp_path / "a.csv", known).columns.items()}
    assert read["land"] == ["NA", None, "007"], "a category is what it was in training"
    assert read["city"] == [None, None, None]
    assert np.isnan(read["age"]).tolist() == [True, True, False]


def test_numbers_and_truth_values_that_pandas_has_as_objects(tmp_path: Path) -> None:
    table = pd.DataFrame({"flag": [True, False, True], "own": [True, False, True], "number": [1, 2, 3], "age": [1.0, 2.0, 3.0]})
    known = trained(make_column_transformer((OneHotEncoder(), ["flag", "own", "number"]), (StandardScaler(), ["age"])).fit(table))
    lacking = pd.DataFrame(
        {
            "flag": pd.Series([True, None, False], dtype=object),
            "own": pd.Series([True, pd.NA, False], dtype="boolean"),
            "number": pd.Series([1, pd.NA, 3], dtype="Int64"),
            "age": pd.Series([1, 2, 3], dtype="Int64"),
        }
    )
    lacking.to_parquet(tmp_path / "a.parquet")
    lacking.to_csv(tmp_path / "a.csv", index=False)
    for name in ("a.parquet", "a.csv"):
        read = read_sample(tmp_path / name, known)
        assert (read.flags, read.whole) == ({"flag", "own"}, {"number", "age"})
        assert read.records(list(table)) == [
            {"flag": True, "own": True, "number": 1, "age": 1},
            {"age": 2},
            {"flag": False, "own": False, "number": 3, "age": 3},
        ]
        frame = read.as_input(known)
        assert frame["flag"].tolist()[0] is True
        assert frame["flag"].isna().tolist() == [False, True, False]


def test_rows_without_gaps_are_picked_or_made() -> None:
    text = np.array(["a", None, "c"], dtype=object)
    some = Sample({"x": np.array([1.0, 2.0, np.nan]), "text": text}, frozenset(), frozenset(), ())
    assert {name: column.tolist() for name, column in some.whole_rows().columns.items()} == {"x": [1.0], "text": ["a"]}
    none = Sample({"x": np.array([1.0, 2.0, np.nan]), "text": text, "never": np.full(3, np.nan)}, frozenset(), frozenset(), ())
    filled = {name: column.tolist() for name, column in none.whole_rows().columns.items()}
    assert filled == {"x": [1.0, 2.0, 1.0], "text": ["a", "c", "c"], "never": [0.0] * 3}


def test_numbers_that_fp64_does_not_hold_stay_whole() -> None:
    names = np.array([(1 << 53) + 1, 5])
    sample = Sample({"id": names, "age": np.array([1.0, np.nan])}, frozenset({"id"}), frozenset(), ())
    assert sample.records(["id"]) == [{"id": (1 << 53) + 1}, {"id": 5}]
    assert sample.whole_rows().records(["id", "age"]) == [{"id": (1 << 53) + 1, "age": 1.0}]
    assert sample.holding("id", np.nan).records(["id"]) == [{}, {}]
    assert sample.lacking(["id"]).records(["id"]) == sample.records(["id"]), "beside missing values a frame would have rounded them"


def test_rows_of_a_sample_are_varied_where_steps_say_how() -> None:
    table = pd.DataFrame({"time": 1.7e9 + RANDOM.integers(0, 900, 40), "x": RANDOM.normal(0, 1, 40), "kind": ["a", "b"] * 20})
    features = make_column_transformer((StandardScaler(), ["time"]), ("passthrough", ["x"]), (OneHotEncoder(), ["kind"]))
    known = trained(features.fit(table))
    columns = {"time": np.array([5.0, 6.0]), "x": np.array([0.5, 7.0]), "kind": np.array(["b", "a"], dtype=object)}
    sample = Sample(columns, frozenset({"time"}), frozenset(), ())
    other = varied(sample, known).columns
    assert other["x"][:4].tolist() == [0.5, 7.0, 0.5, 7.0]
    assert other["kind"][:4].tolist() == ["b", "a", "b", "a"]
    assert np.array_equal(other["time"], np.rint(other["time"]))
    assert len(np.unique(other["time"])) > 100
    assert np.mean(other["time"]) == pytest.approx(1.7e9 + 450, abs=200)


@pytest.mark.parametrize("scaler", ["passthrough", StandardScaler()], ids=str)
def test_of_neighbors_that_are_whole_numbers_half_is_whole(scaler) -> None:
    table = pd.DataFrame({"visits": RANDOM.integers(0, 12, 90), "tenths": RANDOM.integers(0, 120, 90) / 10})
    made = made_sample(trained(make_pipeline(scaler, KNeighborsRegressor()).fit(table, table["visits"])))
    visits, tenths = made.columns["visits"], made.columns["tenths"]
    assert (0.15 if scaler != "passthrough" else 0.3) < np.mean(visits == np.rint(visits)) < 0.7
    assert not np.any(tenths == np.rint(tenths))
