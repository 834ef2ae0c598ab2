"""A fitted pipeline's own facts: the names of its columns, its estimator, its classes; and the file that it is read from.

scikit-learn keeps names (feature_names_in_) but no types: learned.py. Never in here: values of records, ONNX.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from inferd.errors import ConfigError, StartError
from inferd.scikit_learn.learned import Learned, inner_steps, learn
from inferd.scikit_learn.thresholds import estimator_of

CURE = "pip install 'inferd[features]'"


def library(name: str) -> Any:
    """A library that only exports need. Raises StartError with the cure where it is missing."""
    try:
        return import_module(name)
    except ImportError:
        package = {"sklearn": "scikit-learn"}.get(name.partition(".")[0], name.partition(".")[0])
        cure = "pip install pandas" if package == "pandas" else CURE
        raise StartError(f"features: {package} is not installed: {cure}") from None


@dataclass(frozen=True)
class Trained:
    """A fitted pipeline. names: of the columns that it takes, in order; named: whether it takes a DataFrame of them.

    used: the places of those that anything is done with. picks: whether its first step picks columns by name.
    role: "classifier", "regressor", "transformer", or "other". `outputs`: its model's outputs, each with the method that computes it here.
    """

    pipeline: Any
    names: tuple[str, ...]
    named: bool
    learned: tuple[Learned, ...]
    used: tuple[int, ...]
    picks: bool
    role: str
    outputs: Mapping[str, str]
    classes: tuple[Any, ...]

    @property
    def apart(self) -> bool:
        """Whether columns are taken apart, so that each is an input of its own; else all are one matrix."""
        return self.picks or any(learned.kind == "text" for learned in self.learned)


def load_pipeline(path: Path) -> tuple[Any, list[str]]:
    """The object in a joblib or pickle file, and the warnings while it was read. **Runs whatever code the file says.**

    Raises ConfigError where it cannot be read, or is no fitted scikit-learn object.
    """
    joblib = library("joblib")
    library("sklearn")
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file: name a pipeline saved by joblib.dump or pickle.dump")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            pipeline = joblib.load(path)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{path}: it needs the module {error.name!r}, which is not here: install it, or run from the folder it lies in"
            ) from None
        except Exception as error:  # whatever the file's own code raises
            raise ConfigError(f"{path}: it cannot be loaded as a pipeline that joblib.dump or pickle.dump saved: {_told(error)}") from None
    if not hasattr(pipeline, "fit") and not hasattr(pipeline, "steps"):
        raise ConfigError(f"{path}: it holds a {type(pipeline).__name__}, and a scikit-learn pipeline is needed")
    return pipeline, [f"{path.name}: {' '.join(str(each.message).split())}" for each in told]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def trained(pipeline: Any, *, features_only: bool = False) -> Trained:
    """The facts of a fitted pipeline; features_only: of all in front of its last step. Raises ConfigError."""
    pipeline = _without_steps(unwrapped(pipeline), _does_nothing)
    if features_only:
        pipeline = features_of(pipeline)
    names, named = _names(pipeline)
    learned = learn(pipeline, len(names))
    for name, column in zip(names, learned, strict=True):
        if any(isinstance(value, (date, np.datetime64)) for value in column.categories or ()):
            raise ConfigError(
                f"column {name!r}: the pipeline learned dates as its categories, which no graph takes: make texts or numbers of them in "
                "front of it, or parts of dates, which the step of a served model makes, too (date_time)"
            )
    used = tuple(place for place, column in enumerate(learned) if column.used or not named)
    picks = named and hasattr(_first_of(pipeline), "transformers_")
    classes = getattr(last_of(pipeline), "classes_", ())
    if isinstance(classes, list):
        why = f"it has {len(classes)} results for a record, each with classes of its own, and a model has one: fit one for each"
        raise ConfigError(f"{type(last_of(pipeline)).__name__} cannot be exported: {why}")
    classes = tuple(np.asarray(classes).tolist())
    role = "transformer" if features_only else _role_of(pipeline)
    return Trained(pipeline, names, named, tuple(learned), used, picks, role, _outputs_of(pipeline, role), classes)


def as_features(known: Trained, part: Any) -> Trained:
    """The facts of the first steps of a pipeline, whose results other steps take."""
    return replace(known, pipeline=part, role="transformer", outputs=_outputs_of(part, "transformer"))


def unwrapped(pipeline: Any) -> Any:
    """The best pipeline of a search, for which alone the rest of it was run."""
    while hasattr(pipeline, "best_estimator_"):
        pipeline = pipeline.best_estimator_
    return pipeline


def features_of(pipeline: Any) -> Any:
    """All but the estimator."""
    if not hasattr(pipeline, "steps"):
        if hasattr(pipeline, "transform"):
            return pipeline
        raise ConfigError(f"--features-only: {type(pipeline).__name__} has no features in front of it: export the whole of it")
    last = pipeline.steps[-1][1]
    if hasattr(last, "transform") and (not hasattr(last, "predict") or hasattr(last, "get_support")):
        return pipeline
    if len(pipeline.steps) == 1:
        raise ConfigError("--features-only: the pipeline has nothing in front of its estimator: export the whole of it")
    return pipeline[:-1]


def last_of(pipeline: Any) -> Any:
    """The last step of pipelines within pipelines."""
    while hasattr(pipeline, "steps"):
        pipeline = pipeline.steps[-1][1]
    return pipeline


def _role_of(pipeline: Any) -> str:
    """See Trained. Raises ConfigError where it has none."""
    base, last = library("sklearn.base"), last_of(pipeline)
    role = "classifier" if base.is_classifier(pipeline) else "regressor" if base.is_regressor(pipeline) else ""
    if role and hasattr(last, "get_support"):
        raise ConfigError(
            f"{type(last).__name__} cannot be exported as the last step: it predicts by the estimator within it, and has a graph of the "
            "columns that it picks alone: fit an estimator behind it, as a step of its own, or export the columns by --features-only"
        )
    return role or ("transformer" if hasattr(pipeline, "transform") and not hasattr(pipeline, "predict") else "other")


def _outputs_of(pipeline: Any, role: str) -> dict[str, str]:
    """See Trained. Scores are whatever a label is chosen by that is no probability; of clusters, how far each is."""
    if role in ("regressor", "transformer"):
        return {"prediction": "predict"} if role == "regressor" else {"features": "transform"}
    scores = {"predict_proba": "probabilities", "decision_function": "scores"} | ({"transform": "scores"} if role == "other" else {})
    beside = [(name, method) for method, name in scores.items() if hasattr(pipeline, method)]
    return dict([("label", "predict"), *beside[:1]]) if hasattr(pipeline, "predict") else {}


def _names(pipeline: Any) -> tuple[tuple[str, ...], bool]:
    word = type(pipeline).__name__
    try:
        library("sklearn.utils.validation").check_is_fitted(pipeline)
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(f"{word} is not fitted: fit it before it is saved") from None
    try:
        count = int(pipeline.n_features_in_)
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(_no_columns(pipeline)) from None
    names = getattr(pipeline, "feature_names_in_", None)
    if names is None:
        return tuple(f"x{place}" for place in range(count)), False
    return tuple(map(str, names)), True


def _no_columns(pipeline: Any) -> str:
    """Why a fitted pipeline cannot be exported that does not say how many columns it takes."""
    first = type(_first_of(pipeline)).__name__
    if hasattr(_first_of(pipeline), "vocabulary_"):
        return (
            f"{first} takes a list of texts, and a model takes records of columns: put it into a ColumnTransformer, such as "
            f"make_column_transformer(({first}(), 'text')), and fit that on a DataFrame"
        )
    if first == "FeatureHasher":
        return (
            "FeatureHasher takes lists of texts, and a model takes records of columns: hash texts by the step `columns` instead, "
            "`hash = { buckets = 1024 }` (docs/features.md), and fit on what comes of it"
        )
    return f"{first} does not say how many columns it takes (n_features_in_): put one in front of it that does, or fit it anew"


def _first_of(pipeline: Any) -> Any:
    """The first step of pipelines within pipelines, and within a classifier with a threshold."""
    while hasattr(pipeline, "steps") or estimator_of(pipeline) is not None:
        pipeline = pipeline.steps[0][1] if hasattr(pipeline, "steps") else estimator_of(pipeline)
    return pipeline


def _without_steps(pipeline: Any, is_one: Callable[[Any], bool]) -> Any:
    """A copy of a pipeline, and of those within it, without some steps."""
    pipeline = copy.deepcopy(pipeline)
    nothing = library("sklearn.preprocessing").FunctionTransformer()
    for step in inner_steps(pipeline):
        if hasattr(step, "steps"):
            step.steps = [each for each in step.steps if not is_one(each[1])] or [("nothing", nothing)]
    return pipeline


def _does_nothing(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def without_text_imputers(pipeline: Any) -> Any:
    """A copy in which nothing stands in for missing texts: skl2onnx has no graph for that, and the server does it."""
    return _without_steps(pipeline, _imputes_text)


def _imputes_text(step: Any) -> bool:
    statistics = getattr(step, "statistics_", None)
    return statistics is not None and any(isinstance(value, str) for value in statistics) and not getattr(step, "add_indicator", False)
