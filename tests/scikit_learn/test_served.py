"""A model is asked in the format that it is served in: what that cannot say is no response of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from inferd.errors import ConfigError
from inferd.scikit_learn import export
from inferd.scikit_learn.conversion import convert, with_shapes
from inferd.scikit_learn.served import FORMATS, Column, Served
from inferd.scikit_learn.trained import trained

RANDOM = np.random.default_rng(0)


def fitted(table: pd.DataFrame, texts: list[str], numbers: list[str], classes: np.ndarray):
    encode = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    scale = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(make_column_transformer((encode, texts), (scale, numbers)), LogisticRegression()).fit(table, classes)


@pytest.mark.parametrize("form", FORMATS)
def test_records_are_the_same_in_each_format(form, tmp_path: Path) -> None:
    words = np.array(['a "quoted", one', "two\nlines", "drei", " ä ", None], dtype=object)
    table = pd.DataFrame({"word": RANDOM.choice(words, 200), "flag": RANDOM.random(200) < 0.5, "count": RANDOM.integers(-9, 9, 200)})
    table["size"] = np.where(RANDOM.random(200) < 0.2, np.nan, RANDOM.normal(1e6, 1e3, 200))
    pipeline = fitted(table, ["word"], ["flag", "count", "size"], table["word"].isna() ^ table["flag"])
    table.to_parquet(tmp_path / "rows.parquet")
    exported = export(pipeline, tmp_path / "model", sample=tmp_path / "rows.parquet", form=form)
    assert exported.agrees
    assert [column.datatype for column in exported.columns] == ["BYTES", "BOOL", "INT64", "FP32"]
    assert exported.columns[3].missing == "NaN"


@pytest.mark.parametrize(("form", "written"), [("JSON", True), ("ARROW", True), ("CSV", False), ("TENSORS", False)])
def test_a_category_that_a_format_cannot_say(form, written, tmp_path: Path) -> None:
    cities = np.array(["Bern", "Bern", "Oslo", ""] * 75, dtype=object)  # the most frequent stands in for a missing one: not the empty text
    table = pd.DataFrame({"city": cities, "age": RANDOM.normal(40, 9, 300)})
    pipeline = fitted(table, ["city"], ["age"], np.where(table["city"] == "", "none", table["city"]))
    exported = export(pipeline, tmp_path / "model", form=form)
    assert exported.agrees == bool(exported.files) == written
    assert any("learned the text '' as a category" in told and "JSON and ARROW alone" in told for told in exported.notices)


def test_a_whole_number_that_a_tensor_cannot_leave_out_is_told(tmp_path: Path) -> None:
    table = pd.DataFrame({"city": RANDOM.choice(["Bern", "Oslo"], 200), "count": RANDOM.integers(0, 9, 200)})
    pipeline = fitted(table, ["city"], ["count"], table["city"])
    table.to_csv(tmp_path / "rows.csv", index=False)
    by_form = {form: export(pipeline, tmp_path / form, sample=tmp_path / "rows.csv", form=form) for form in ("JSON", "TENSORS")}
    assert by_form["JSON"].columns[1].missing == "NaN"
    assert by_form["TENSORS"].agrees
    assert by_form["TENSORS"].columns[1].missing is None
    (told,) = by_form["TENSORS"].notices
    assert told.startswith("column 'count': scikit-learn gives a result where it is missing, and a tensor of INT64 cannot say so")
    encoded = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["count"])).fit(table)
    exported = export(encoded, tmp_path / "encoded", form="TENSORS")
    assert exported.columns[0].missing == "-987654", "a client may send what stands in"
    assert not exported.notices


def test_an_output_of_another_shape_than_the_graph_says_is_no_answer() -> None:
    """A server rejects its requests."""
    known = trained(RidgeClassifier().fit([[0.0], [1.0]], ["a", "b"]))
    converted = convert(known, "FP32")
    bad = Served(converted.model, [Column("x0")], matrix=True, outputs=converted.outputs, form="JSON")
    with pytest.raises(ConfigError, match=r"output '\w+' is of shape \[1, 1\], and the graph says \['rows', 2\]"):
        bad.results([{"x0": 0.5}])
    good = with_shapes(converted, bad.shapes([{"x0": 0.5}]))
    answers = Served(good.model, [Column("x0")], matrix=True, outputs=good.outputs, form="JSON").results([{"x0": 0.5}, {"x0": 1.5}])
    assert [array.shape for array in answers.values()] == [(2,), (2, 1)]
