"""Attempts at a graph that agrees with scikit-learn: numbers go in as FP32, or as FP64 where FP32 does not agree.

Steps that decide by thresholds are FP64 at once. A threshold lies halfway between values of training, and so exactly on some later values.
No sample tells on which side of it rounding puts those. Never in here: files that are written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inferd.errors import ConfigError, InvalidArgument
from inferd.scikit_learn.agreement import (
    TRIAL_ROWS,
    Difference,
    Tolerance,
    agrees,
    compare,
    scikit_learn_results,
    settle_columns,
    stand_ins,
)
from inferd.scikit_learn.conversion import MATRIX, Converted, convert, with_shapes
from inferd.scikit_learn.learned import inner_steps
from inferd.scikit_learn.parts import called, culprit
from inferd.scikit_learn.samples import Sample, varied
from inferd.scikit_learn.served import Column, Served
from inferd.scikit_learn.trained import Trained, as_features, last_of

# Steps, and members of such, that give another result on either side of a threshold.
_DECIDE_AT = re.compile(r"(?:DecisionTree|ExtraTree|HistGradientBoosting)(?:Classifier|Regressor)|KBinsDiscretizer|Binarizer")
# Steps that take the nearest records of training, of which some may be equally near.
_NEAR = re.compile(r"KNeighbors(?:Classifier|Regressor)|KNNImputer|LocalOutlierFactor")
# Steps whose result is not determined where values are missing.
_NEIGHBOURS = "rounding decides which of several equally near records it takes: use a random forest in its place"
_CURES = {
    "KNNImputer": "rounding decides which of several equally near records it takes, and how near a record is to itself: put SimpleImputer "
    "in its place",
    "KNeighborsClassifier": _NEIGHBOURS,
    "KNeighborsRegressor": _NEIGHBOURS,
}


@dataclass(frozen=True)
class Attempt:
    """A conversion, and how its results compare with scikit-learn's. worst: the record of the sample with the largest difference, in words.

    unlike: the same of records that are not in the sample, and `differences_unlike` how they differ; empty where they do not.
    rejected: the columns whose missing values it rejects, and scikit-learn does not.
    """

    floats: str
    converted: Converted
    served: Served
    differences: tuple[Difference, ...]
    worst: str
    unlike: str
    differences_unlike: tuple[Difference, ...]
    rejected: tuple[str, ...]
    notices: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        return all(difference.kept for difference in self.differences)


def attempted(known: Trained, sample: Sample, share: float, form: str) -> Attempt:
    """The attempt that agrees best with scikit-learn; the likeliest one is made first. share: see Tolerance.

    Raises ConfigError where none gives results.
    """
    attempts: list[Attempt] = []
    failed: dict[str, ConfigError] = {}
    thresholds = any(_DECIDE_AT.fullmatch(type(step).__name__) for step in inner_steps(known.pipeline))
    for floats in ("FP64", "FP32") if thresholds else ("FP32", "FP64"):
        try:
            attempts.append(_attempt(known, sample, share, floats, form))
        except ConfigError as error:
            failed[floats] = error
            continue
        if attempts[-1].agrees and (thresholds or not (attempts[-1].unlike or attempts[-1].rejected)):
            break
    if not attempts:
        raise failed["FP32"]
    best = max(attempts, key=lambda attempt: (attempt.agrees, not attempt.unlike, -len(attempt.rejected)))
    others = [difference.output for difference in best.differences if not difference.kept]
    # Scores by which a label is chosen are of the same kind as scikit-learn's, or the label is wrong, too, on some record.
    if others == ["scores"] and type(last_of(known.pipeline)).__name__ == "OneVsOneClassifier" and len(known.classes) == 2:
        labels = attempted(replace(known, outputs={"label": known.outputs["label"]}), sample, share, form)
        told = f"the model gives labels alone: its scores would not be scikit-learn's {known.outputs['scores']}"
        return replace(labels, notices=(*labels.notices, told))
    notices = list(best.notices)
    if near := next((step for step in inner_steps(known.pipeline) if _NEAR.fullmatch(type(step).__name__)), None):
        notices.append(
            f"{type(near).__name__}: where records of training are equally near, rounding decides which of them count, here and in "
            "scikit-learn: compare on records of your own (--sample)"
        )
    sides = "rounded to FP32, one that lies at a threshold may come on the other side of it"
    if best.floats == "FP64":
        why = sides if thresholds else "as FP32 they do not give the same results"
        notices.append(f"numbers are FP64 in the graph, as in scikit-learn: {why}")
    elif "FP64" in failed and (thresholds or not best.agrees):
        notices.append(f"numbers were tried as FP32 alone{f', and {sides}' if thresholds else ''}: as FP64, {failed['FP64']}")
    return replace(best, notices=tuple(notices))


def _attempt(known: Trained, sample: Sample, share: float, floats: str, form: str) -> Attempt:
    converted = convert(known, floats)
    whole = sample.whole_rows()
    converted, served = _served(known, converted, _columns(known, converted, sample), whole, form)
    served, rejected, notices = settle_columns(known, served, whole, share)
    if rejected:
        notices.append(_why_rejected(known, served, rejected, whole, share, floats))
    try:
        expected, got = _both_results(known, served, sample)
    except InvalidArgument as error:
        why = "; ".join([str(error), *notices])
        raise ConfigError(f"the sample holds a record that scikit-learn takes and the model would reject: {why}") from None
    differences = compare(expected, got, Tolerance.of(expected, share))
    worst = _worst(differences, expected, got, served, sample)
    beside, unlike = ((), "") if sample.made else _unlike(known, served, sample, share)
    return Attempt(floats, converted, served, tuple(differences), worst, unlike, beside, tuple(rejected), tuple(notices))


def _served(known: Trained, converted: Converted, columns: Sequence[Column], sample: Sample, form: str) -> tuple[Converted, Served]:
    """A graph that says the shapes that it gives to records of the sample. Raises ConfigError."""

    def serve() -> Served:
        return Served(converted.model, columns, matrix=not known.apart, outputs=converted.outputs, form=form)

    served = serve()
    for row in range(min(TRIAL_ROWS, sample.rows)):
        try:
            shapes = served.shapes(sample.part([row]).records([column.name for column in columns]))
        except Exception:  # onnxruntime's own, at a record with a value that is to be rejected
            continue
        converted = with_shapes(converted, shapes)
        return converted, serve()
    return converted, served


def _unlike(known: Trained, served: Served, sample: Sample, share: float) -> tuple[tuple[Difference, ...], str]:
    """Differences of records that are not in the sample, and the record with the largest; nothing where none differs, or scikit-learn
    rejects them."""
    others = varied(sample, known)
    try:
        expected, got = _both_results(known, served, others)
    except (ConfigError, InvalidArgument):
        return (), ""
    differences = compare(expected, got, Tolerance.of(expected, share))
    worst = _worst(differences, expected, got, served, others)
    return tuple(replace(each, made=True) for each in differences) if worst else (), worst


def _worst(differences: Sequence[Difference], expected: Mapping[str, Any], got: Mapping[str, Any], served: Served, sample: Sample) -> str:
    apart = next((difference for difference in differences if not difference.kept and difference.row is not None), None)
    if apart is None or apart.row is None:
        return ""
    (record,) = sample.part([apart.row]).records([column.name for column in served.columns])
    ours, theirs = (str(np.asarray(results[apart.output]).tolist()[apart.row])[:200] for results in (got, expected))
    return f"{json.dumps(record)[:1000]} -> {apart.output} {ours}, and scikit-learn's is {theirs}"


def _columns(known: Trained, converted: Converted, sample: Sample) -> list[Column]:
    """Names and datatypes of what clients send; what they are in the sample where one was given."""
    columns = []
    for place in known.used:
        name, learned = known.names[place], known.learned[place]
        datatype = converted.inputs.get(name) or converted.inputs[MATRIX]
        if datatype == "BYTES" or sample.columns[name].dtype == object:
            datatype = "BYTES"
        elif name in sample.flags:
            datatype = "BOOL"
        elif name in sample.whole or learned.kind == "whole":
            datatype = "INT64"
        columns.append(Column(name, datatype))
    return columns


def _both_results(known: Trained, served: Served, sample: Sample) -> tuple[dict[str, Any], dict[str, Any]]:
    """scikit-learn's, and the graph's. Raises ConfigError, InvalidArgument where the model rejects a record."""
    try:
        expected = scikit_learn_results(known, sample)
    except Exception as error:  # whatever a step of the pipeline raises
        cure = "give others by --sample" if sample.made else "give records that it takes"
        raise ConfigError(f"scikit-learn itself does not take the sample ({' '.join(str(error).split())[:300]}): {cure}") from None
    try:
        return expected, served.results(sample.records([column.name for column in served.columns]))
    except (InvalidArgument, ConfigError):
        raise
    except Exception as error:  # onnxruntime's own
        raise ConfigError(f"the converted model does not run over the sample: {' '.join(str(error).split())[:300]}") from None


# ---- values that may not be missing


def _why_rejected(known: Trained, served: Served, names: Sequence[str], sample: Sample, share: float, floats: str) -> str:
    """That values of these columns may not be missing, by which step that is so, and what to do."""
    columns = _standing_in(known, served, names)
    lacking = sample.lacking([column.name for column in columns if column.name in names and column.missing is not None])

    def is_otherwise(part: Any) -> bool:
        some = replace(known, pipeline=part) if last_of(part) is last_of(known.pipeline) else as_features(known, part)
        try:
            expected, tolerance = scikit_learn_results(some, lacking), Tolerance.of(scikit_learn_results(some, sample), share)
            _, trial = _served(some, convert(some, floats), columns, sample, served.form)
        except Exception:  # a part that scikit-learn, or skl2onnx, does not take alone
            return False
        return not agrees(trial, lacking.records([column.name for column in columns]), expected, tolerance)

    name, step = culprit(known.pipeline, is_otherwise)
    by = f", by {called(name, step)}" if name or step is last_of(known.pipeline) else ""
    cure = "put a SimpleImputer in front; of categories by strategy='constant', which makes missing ones a category of their own"
    ending, subject = ("s", "they are") if len(names) > 1 else ("", "it is")
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    why = f"scikit-learn gives a result where {subject} missing, and the graph otherwise{by}: such records are rejected"
    return f"column{ending} {shown}: {why}; {_CURES.get(type(step).__name__, cure)}"


def _standing_in(known: Trained, served: Served, names: Sequence[str]) -> tuple[Column, ...]:
    """The columns, of which these have something that stands in for missing values, be it right or not, where there is any such."""
    learned = dict(zip(known.names, known.learned, strict=True))
    for column in served.columns:
        for text in stand_ins(column, learned[column.name]) if column.name in names else ():
            with suppress(ConfigError):
                served = served.changed(replace(column, missing=text))
                break
    return served.columns
