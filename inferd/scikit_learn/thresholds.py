"""Classifiers whose label is a threshold's (FixedThresholdClassifier, TunedThresholdClassifierCV): skl2onnx converts the estimator within
and leaves the threshold out. Never in here: other thresholds, of trees say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_WORDS = frozenset({"FixedThresholdClassifier", "TunedThresholdClassifierCV"})


@dataclass(frozen=True)
class Threshold:
    """least: the probability of the class at `place` from which on it is the label; else the other one of two is."""

    least: float
    place: int


def estimator_of(step: Any) -> Any:
    """The fitted estimator of which such a step is made; None of other steps."""
    if type(step).__name__ not in _WORDS:
        return None
    found = getattr(step, "estimator_", step.estimator)
    while type(found).__name__ == "FrozenEstimator":
        found = found.estimator
    return found


def threshold_of(step: Any) -> Threshold | None:
    """None of other steps, and of one whose threshold is of no probability."""
    if estimator_of(step) is None or step.response_method == "decision_function" or not hasattr(step, "predict_proba"):
        return None
    is_tuned = hasattr(step, "best_threshold_")
    least = step.best_threshold_ if is_tuned else 0.5 if step.threshold == "auto" else step.threshold
    positive = step._curve_scorer._get_pos_label() if is_tuned else step.pos_label
    return Threshold(float(least), 1 if positive is None else int(np.flatnonzero(np.asarray(step.classes_) == positive)[0]))


def without_threshold(pipeline: Any) -> Any:
    """The pipeline, changed, with the estimator alone as its last step."""
    if (found := estimator_of(pipeline)) is not None:
        return found
    if hasattr(pipeline, "steps"):
        name, last = pipeline.steps[-1]
        pipeline.steps = [*pipeline.steps[:-1], (name, without_threshold(last))]
    return pipeline
