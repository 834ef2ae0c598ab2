"""The step by which something goes wrong is found in pipelines within pipelines, and beside others."""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from inferd.scikit_learn.learned import inner_steps
from inferd.scikit_learn.parts import called, culprit

RECORDS = [[0.0, 1.0], [1.0, 3.0], [2.0, 2.0], [3.0, 5.0]]


@pytest.fixture
def pipeline() -> Pipeline:
    beside = FeatureUnion([("none", "passthrough"), ("most", MaxAbsScaler()), ("least", MinMaxScaler())])
    columns = ColumnTransformer([("whole", "passthrough", [1]), ("first", Pipeline([("beside", beside), ("robust", RobustScaler())]), [0])])
    return Pipeline([("columns", columns), ("scale", StandardScaler()), ("model", LogisticRegression())]).fit(RECORDS, [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (MaxAbsScaler, "columns__first__beside__most"),
        (MinMaxScaler, "columns__first__beside__least"),
        (RobustScaler, "columns__first__robust"),
        (StandardScaler, "scale"),
        (LogisticRegression, "model"),
    ],
)
def test_a_step_is_found_by_the_parts_that_hold_it(pipeline, kind, name) -> None:
    parts: list[Any] = []

    def has_it(part: Any) -> bool:
        parts.append(part)
        return any(type(step) is kind for step in inner_steps(part))

    found, step = culprit(pipeline, has_it)
    assert (found, type(step)) == (name, kind)
    assert called(found, step) == f"step '{name}', {kind.__name__}"
    for part in parts:  # each of which works alone, and none is the pipeline's own
        assert part is not pipeline
        assert len((part.predict if hasattr(part, "predict") else part.transform)(RECORDS)) == len(RECORDS)
    assert [len(each.transformers_) for each in inner_steps(pipeline) if hasattr(each, "transformers_")] == [2]


def test_what_is_no_pipeline_is_itself(pipeline) -> None:
    step = StandardScaler().fit(RECORDS)
    assert culprit(step, lambda part: True) == ("", step)
    assert called("", step) == "StandardScaler"
    assert culprit(pipeline, lambda part: False) == ("", pipeline)
