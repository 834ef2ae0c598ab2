"""What a fitted pipeline says of itself: its columns with what was learned of each, its estimator, its classes.

scikit-learn keeps names (feature_names_in_) but no types. What a column holds is read off the first step that learned something of it:
categories, means, ranges. Never in here: values of records, ONNX.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from inferd.errors import ConfigError, StartError

__all__ = ["Learned", "Trained", "library", "load_pipeline", "trained"]

CURE = "pip install 'inferd[features]'"
# Steps that give a column for each that they take, so that what follows is still about the same ones.
_ONE_TO_ONE = frozenset(
    {"SimpleImputer", "StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler", "PowerTransformer", "QuantileTransformer"}
)


def library(name: str) -> Any:
    """A library that only exports need. Raises StartError with the cure where it is missing."""
    try:
        return import_module(name)
    except ImportError:
        package = {"sklearn": "scikit-learn"}.get(name.partition(".")[0], name.partition(".")[0])
        cure = "pip install pandas" if package == "pandas" else CURE
        raise StartError(f"features: {package} is not installed: {cure}") from None


@dataclass
class Learned:
    """What a pipeline knows of one column. kind: "number", "whole" or "text"; `source`: the steps that said so, in words.

    middle and spread: of numbers, about the mean and the standard deviation. categories: every value it was trained on.
    stand_in: what its imputer puts in place of a missing value.
    """

    kind: str = ""
    source: list[str] = field(default_factory=list)
    middle: float | None = None
    spread: float | None = None
    categories: list[Any] | None = None
    stand_in: Any = None
    thresholds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """A fitted pipeline. names: of the columns that it takes, in order; named: whether it takes a DataFrame of them.

    used: the places of those that anything is done with. picks: whether its first step picks columns by name.
    role: "classifier", "regressor", "transformer", or "other".
    """

    pipeline: Any
    names: tuple[str, ...]
    named: bool
    learned: tuple[Learned, ...]
    used: tuple[int, ...]
    picks: bool
    role: str
    classes: tuple[Any, ...]

    @property
    def apart(self) -> bool:
        """Whether columns are taken apart, so that each is an input of its own; else all are one matrix."""
        return self.picks or any(learned.kind == "text" for learned in self.learned)


def load_pipeline(path: Path) -> tuple[Any, list[str]]:
    """What a joblib or pickle file holds, and what was said while it was read. **Runs whatever code the file says.**

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
            raise ConfigError(f"{path}: it cannot be loaded as a joblib or pickle file: {_told(error)}") from None
    if not hasattr(pipeline, "fit") and not hasattr(pipeline, "steps"):
        raise ConfigError(f"{path}: it holds a {type(pipeline).__name__}, and a scikit-learn pipeline is needed")
    return pipeline, [f"{path.name}: {' '.join(str(each.message).split())}" for each in told]


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]


def trained(pipeline: Any, *, features_only: bool = False) -> Trained:
    """What is known of a fitted pipeline; features_only: of all in front of its last step. Raises ConfigError."""
    pipeline = unwrapped(pipeline)
    if features_only:
        pipeline = features_of(pipeline)
    names, named = _names(pipeline)
    learned = [Learned() for _ in names]
    used: set[int] = set()
    _walk(pipeline, list(range(len(names))), learned, used, names)
    for each in learned:
        _conclude(each)
    used = used if named else set(range(len(names)))
    picks = named and _takes_names(pipeline)
    classes = tuple(np.asarray(getattr(last_of(pipeline), "classes_", ())).tolist())
    return Trained(pipeline, names, named, tuple(learned), tuple(sorted(used)), picks, _role(pipeline), classes)


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
    if last == "passthrough" or (hasattr(last, "transform") and not hasattr(last, "predict")):
        return pipeline
    if len(pipeline.steps) == 1:
        raise ConfigError("--features-only: the pipeline has nothing in front of its estimator: export the whole of it")
    return pipeline[:-1]


def last_of(pipeline: Any) -> Any:
    """The last step of pipelines within pipelines."""
    while hasattr(pipeline, "steps"):
        pipeline = pipeline.steps[-1][1]
    return pipeline


def _role(pipeline: Any) -> str:
    base = library("sklearn.base")
    if base.is_classifier(pipeline):
        return "classifier"
    if base.is_regressor(pipeline):
        return "regressor"
    return "transformer" if hasattr(pipeline, "transform") and not hasattr(pipeline, "predict") else "other"


def _names(pipeline: Any) -> tuple[tuple[str, ...], bool]:
    try:
        library("sklearn.utils.validation").check_is_fitted(pipeline)
        count = int(pipeline.n_features_in_)
    except (AttributeError, TypeError, ValueError):
        raise ConfigError(
            f"{type(pipeline).__name__} is not fitted, or does not say how many columns it takes: fit it before it is saved"
        ) from None
    names = getattr(pipeline, "feature_names_in_", None)
    if names is None:
        return tuple(f"x{place}" for place in range(count)), False
    return tuple(map(str, names)), True


def _takes_names(pipeline: Any) -> bool:
    first = pipeline
    while hasattr(first, "steps"):
        first = first.steps[0][1]
    return hasattr(first, "transformers_")


def _walk(step: Any, places: list[int], learned: list[Learned], used: set[int], names: Sequence[str]) -> bool:
    """Takes note of what a step learned of the columns at `places`. Whether it gives as many columns, of the same order, as it takes."""
    if isinstance(step, str):
        used.update(places if step != "drop" else ())
        return step == "passthrough"
    if hasattr(step, "steps"):
        return all(_walk(inner, places, learned, used, names) for _, inner in step.steps)
    if hasattr(step, "transformers_"):
        for _, inner, columns in step.transformers_:
            _walk(inner, [places[place] for place in _chosen(columns, names, len(places))], learned, used, names)
        return False
    if hasattr(step, "transformer_list"):
        for _, inner in step.transformer_list:
            _walk(inner, places, learned, used, names)
        return False
    used.update(places)
    _note(step, [learned[place] for place in places])
    return type(step).__name__ in _ONE_TO_ONE and not getattr(step, "add_indicator", False)


def _chosen(columns: Any, names: Sequence[str], count: int) -> list[int]:
    if isinstance(columns, slice):
        return list(range(count))[columns]
    if isinstance(columns, (str, int, np.integer)):
        columns = [columns]
    columns = list(columns)
    if columns and all(isinstance(column, (bool, np.bool_)) for column in columns):
        return [place for place, chosen in enumerate(columns) if chosen]
    return [names.index(column) if isinstance(column, str) else int(column) for column in columns]


def _note(step: Any, columns: Sequence[Learned]) -> None:
    """What one fitted step says of each of its columns; attributes of other lengths are about something else."""
    word = type(step).__name__

    def each(attribute: str) -> list[Any] | None:
        values = getattr(step, attribute, None)
        return list(values) if values is not None and len(values) == len(columns) else None

    def say(column: Learned, **found: Any) -> None:
        news = {key: value for key, value in found.items() if getattr(column, key) is None}
        for key, value in news.items():
            setattr(column, key, value)
        if news and word not in column.source:
            column.source.append(word)

    for column, values in zip(columns, each("categories_") or (), strict=False):
        say(column, categories=np.asarray(values).tolist())
    for column, value in zip(columns, each("statistics_") or (), strict=False):
        say(column, stand_in=value.item() if isinstance(value, np.generic) else value)
    pairs = (("mean_", "scale_"), ("center_", "scale_"))
    for middle, spread in pairs:
        for column, at, by in zip(columns, each(middle) or (), each(spread) or (), strict=False):
            say(column, middle=float(at), spread=float(by))
    for column, low, high in zip(columns, each("data_min_") or (), each("data_max_") or (), strict=False):
        say(column, middle=float(low + high) / 2, spread=float(high - low) / 4)
    for column, edges in zip(columns, each("bin_edges_") or (), strict=False):
        say(column, middle=float(np.mean(edges)), spread=float(np.ptp(edges)) / 4)
    quantiles = getattr(step, "quantiles_", None)
    if quantiles is not None and quantiles.shape[1:] == (len(columns),):
        for column, values in zip(columns, quantiles.T, strict=True):
            say(column, middle=float(np.mean(values)), spread=float(np.std(values)))
    for tree in _trees(step):
        for column, place in ((columns[place], place) for place in set(tree.feature.tolist()) if 0 <= place < len(columns)):
            column.thresholds.extend(tree.threshold[tree.feature == place].tolist()[:100])


def _trees(step: Any) -> list[Any]:
    members = [step] if hasattr(step, "tree_") else np.asarray(getattr(step, "estimators_", []), dtype=object).reshape(-1).tolist()
    return [member.tree_ for member in members if hasattr(member, "tree_")][:50]


def _conclude(column: Learned) -> None:
    values = [value for value in column.categories or () if value == value and value is not None]
    if any(isinstance(value, str) for value in values) or isinstance(column.stand_in, str):
        column.kind = "text"
    elif values and all(isinstance(value, (bool, int)) or float(value).is_integer() for value in values):
        column.kind = "whole"
    else:
        column.kind = "number"
    if column.middle is None and column.thresholds:
        column.middle, column.spread = float(np.mean(column.thresholds)), float(np.std(column.thresholds)) or 1.0
        column.source.append("the trees' thresholds")


def without_text_imputers(pipeline: Any) -> Any:
    """A copy in which nothing stands in for missing texts: skl2onnx has no graph for that, and the server does it."""
    pipeline = copy.deepcopy(pipeline)
    _drop_text_imputers(pipeline)
    return pipeline


def _drop_text_imputers(step: Any) -> None:
    if hasattr(step, "steps"):
        kept = [(name, inner) for name, inner in step.steps if not _imputes_text(inner)]
        step.steps = kept or [("passthrough", "passthrough")]
        for _, inner in step.steps:
            _drop_text_imputers(inner)
    elif hasattr(step, "transformers_"):
        for _, inner, _ in step.transformers_:
            _drop_text_imputers(inner)
    elif hasattr(step, "transformer_list"):
        for _, inner in step.transformer_list:
            _drop_text_imputers(inner)


def _imputes_text(step: Any) -> bool:
    statistics = getattr(step, "statistics_", None)
    return statistics is not None and any(isinstance(value, str) for value in statistics) and not getattr(step, "add_indicator", False)
