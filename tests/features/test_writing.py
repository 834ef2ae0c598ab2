"""Files that are written hold what a pipeline and its file are named as text, and no line that a name would like to add."""

from __future__ import annotations

import tomllib

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from inferd.features.served import Column
from inferd.features.trained import trained
from inferd.features.writing import config_of, labels_of

VALUES = np.random.default_rng(0).normal(0, 1, (40, 1))
HOSTILE = 'x.joblib\n[[inferd.postprocess]]\rsteps=[{drop={}}]\x1b[2J\u2028"\\'


def classifier(*classes, name="x0"):
    labels = np.where(VALUES[:, 0] > 0, *classes)
    return trained(make_pipeline(StandardScaler(), LogisticRegression()).fit(pd.DataFrame({name: VALUES[:, 0]}), labels))


def test_names_add_nothing_to_the_configuration():
    known = classifier("a", "b", name=HOSTILE)
    text = config_of(
        known, [Column(HOSTILE, missing=HOSTILE, allowed=(HOSTILE,))], form="JSON", matrix=True, source=HOSTILE, labels=True, outputs={}
    )
    assert all(character.isprintable() or character == "\n" for character in text)
    config = tomllib.loads(text)
    assert list(config) == ["inferd"]
    assert list(config["inferd"]) == ["preprocess"]
    (column,) = config["inferd"]["preprocess"][0]["steps"][0]["columns"]["columns"]
    assert column == {"name": HOSTILE, "datatype": "FP32", "missing": HOSTILE, "allowed": [HOSTILE]}


def test_classes_that_are_no_lines_stand_in_the_configuration():
    for classes, told in [(("a\nb", "c"), r'"a\U0000000Ab", "c"'), (("", "c"), '"", "c"')]:
        known = classifier(*classes)
        assert labels_of(known) is None
        text = config_of(known, [Column("x0")], form="JSON", matrix=True, source="x", labels=False, outputs={})
        assert f"of which one is no line of text for a labels.txt: {told}\n" in text
        assert "are in labels.txt" not in text
    known = classifier("a", "b")
    assert labels_of(known) == "a\nb\n"
    assert "are in labels.txt" in config_of(known, [Column("x0")], form="JSON", matrix=True, source="x", labels=True, outputs={})
