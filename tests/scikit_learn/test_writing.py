"""Files that are written hold what a pipeline and its file are named as text, and no line that a name would like to add."""

from __future__ import annotations

import tomllib

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from inferd.scikit_learn.served import Column
from inferd.scikit_learn.trained import trained
from inferd.scikit_learn.writing import config_of, labels_of

VALUES = np.random.default_rng(0).normal(0, 1, (40, 1))
HOSTILE = 'x.joblib\n[[inferd.postprocess]]\rsteps=[{drop={}}]\x1b[2J\u2028"\\'


def classifier(*classes, name="x0"):
    labels = np.where(VALUES[:, 0] > 0, *classes)
    return trained(make_pipeline(StandardScaler(), LogisticRegression()).fit(pd.DataFrame({name: VALUES[:, 0]}), labels))


def test_names_add_nothing_to_the_configuration() -> None:
    known = classifier("a", HOSTILE, name=HOSTILE)
    columns = [Column(HOSTILE, missing=HOSTILE, allowed=(HOSTILE,))]
    text = config_of(known, columns, form="JSON", matrix=True, source=HOSTILE, outputs={}, by_class="probabilities")
    assert all(character.isprintable() or character == "\n" for character in text)
    config = tomllib.loads(text)
    assert list(config) == ["inferd"]
    assert config["inferd"].pop("postprocess") == [{"output": "probabilities", "classes": ["a", HOSTILE]}]
    assert list(config["inferd"]) == ["preprocess"]
    (column,) = config["inferd"]["preprocess"][0]["steps"][0]["columns"]["columns"]
    assert column == {"name": HOSTILE, "datatype": "FP32", "missing": HOSTILE, "allowed": [HOSTILE]}


def postprocess_of(text):
    return tomllib.loads(text)["inferd"].get("postprocess", [])


def test_classes_are_told_be_they_lines_or_not() -> None:
    for classes, lines in [(("a\nb", "c"), None), (("", "c"), None), (("a", "b"), "a\nb\n")]:
        known = classifier(*classes)
        assert labels_of(known) == lines
        text = config_of(known, [Column("x0")], form="JSON", matrix=True, source="x", outputs={}, by_class="probabilities")
        assert postprocess_of(text) == [{"output": "probabilities", "classes": sorted(classes)}]
        assert ("labels.txt" in text) == (lines is not None)


def test_outputs_that_have_a_columns_name_get_theirs_back() -> None:
    outputs = {"label_1": "label", "probabilities_1": "probabilities"}
    text = config_of(
        classifier("a", "b"), [Column("x0")], form="JSON", matrix=True, source="x", outputs=outputs, by_class="probabilities_1"
    )
    assert postprocess_of(text) == [
        {"output": "label_1", "name": "label"},
        {"output": "probabilities_1", "name": "probabilities", "classes": ["a", "b"]},
    ]
    text = config_of(classifier("a", "b"), [Column("x0")], form="JSON", matrix=True, source="x", outputs={})
    assert postprocess_of(text) == []
