"""The way from a file with a fitted pipeline to a model's folder, and what is found on it.

    load, look at it, convert, find out what missing and unseen values do, compare on a sample, write

Numbers go into the graph as FP32, or as FP64 where FP32 does not answer as scikit-learn does. Nothing is written where neither does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inferd.errors import ConfigError, InvalidArgument
from inferd.features.agreement import Difference, compare, scikit_learn_answers, settle_columns
from inferd.features.conversion import MATRIX, Converted, convert
from inferd.features.samples import Sample, made_sample, read_sample
from inferd.features.served import FORMATS, Column, Served
from inferd.features.trained import Trained, load_pipeline, trained
from inferd.features.writing import config_of, labels_of, refuse_overwriting, write_model

__all__ = ["DEFAULT_TOLERANCE", "Exported", "export"]

DEFAULT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Exported:
    """What came of an export. files: those written, none where answers differ. columns: what clients send. notices: to be read by a person.

    sample: the records that both were asked. worst: the one at which they differ most, in words; "" where they agree.
    """

    role: str
    differences: tuple[Difference, ...]
    columns: tuple[Column, ...]
    files: tuple[Path, ...]
    notices: tuple[str, ...]
    sample: Sample
    worst: str

    @property
    def agrees(self) -> bool:
        return all(difference.kept for difference in self.differences)


def export(
    pipeline: Any,
    folder: Path,
    *,
    sample: Path | None = None,
    guess: bool = False,
    tolerance: float = DEFAULT_TOLERANCE,
    form: str = "JSON",
    version: int = 1,
    features_only: bool = False,
    force: bool = False,
) -> Exported:
    """Writes `folder`/`version`/model.onnx, config.toml and labels.txt of a fitted pipeline, if its answers are scikit-learn's.

    pipeline: a fitted scikit-learn object, or the path of a joblib or pickle file that holds one: **whose code is run**. sample: see
    read_sample; None: made of what the pipeline's steps learned. guess: also where they say nothing of a column. tolerance: of
    probabilities, predictions and features (see Difference); labels must be equal. form: of the records that clients send.
    features_only: without the estimator. force: overwrites.
    Raises ConfigError and StartError.
    """
    if form not in FORMATS:
        raise ConfigError(f"format {form!r} is none; use {', '.join(FORMATS)}")
    if version < 1:
        raise ConfigError(f"version {version} is none; versions count from 1")
    notices: list[str] = []
    source = type(pipeline).__name__
    if isinstance(pipeline, (str, Path)):
        source = Path(pipeline).name
        pipeline, notices = load_pipeline(Path(pipeline))
    known = trained(pipeline, features_only=features_only)
    records = made_sample(known) if sample is None else read_sample(sample, known)
    found = _attempted(known, records, tolerance)
    if records.guessed and not guess:
        raise ConfigError(_unknown(records.guessed))
    written: Sequence[Path] = ()
    if found.agrees:
        labels = labels_of(known)
        config = config_of(
            known,
            found.served.columns,
            form=form,
            matrix=not known.apart,
            source=source,
            labels=labels is not None,
            outputs=found.converted.outputs,
        )
        if not force:
            refuse_overwriting(folder, version, config)
        written = write_model(folder, version, found.converted.content, config, labels)
    told = (*notices, *found.notices)
    return Exported(known.role, found.differences, found.served.columns, tuple(written), told, records, found.worst)


def _unknown(columns: Sequence[str]) -> str:
    shown = ", ".join(map(repr, columns[:5])) + (", ..." if len(columns) > 5 else "")
    return (
        f"no step of the pipeline says what these columns hold: {shown}; records made up for them would test nothing: give real ones by "
        "--sample, or take --guess, and test the model yourself"
    )


@dataclass(frozen=True)
class _Attempt:
    """A conversion, and how it answers beside scikit-learn."""

    converted: Converted
    served: Served
    differences: tuple[Difference, ...]
    notices: tuple[str, ...]
    worst: str

    @property
    def agrees(self) -> bool:
        return all(difference.kept for difference in self.differences)


def _attempted(known: Trained, sample: Sample, tolerance: float) -> _Attempt:
    """The first attempt that agrees, else the first that came to answers. Raises ConfigError where none did."""
    found: _Attempt | None = None
    failed: ConfigError | None = None
    for floats in ("FP32", "FP64"):
        try:
            attempt = _attempt(known, sample, tolerance, floats)
        except ConfigError as error:
            failed = failed or error
            continue
        if attempt.agrees:
            notice = f"numbers are {floats} in the graph, as in scikit-learn: as FP32 they do not give the same answers"
            return replace(attempt, notices=(*attempt.notices, notice)) if floats == "FP64" else attempt
        found = found or attempt
    if found is None:
        raise failed or ConfigError("the pipeline cannot be converted")
    return found


def _attempt(known: Trained, sample: Sample, tolerance: float, floats: str) -> _Attempt:
    converted = convert(known, floats)
    served = Served(converted.model, _columns(known, converted, sample), matrix=not known.apart, outputs=converted.outputs)
    served, told = settle_columns(known, served, _whole(known, sample), tolerance)
    expected, got = _answers(known, served, sample)
    differences = compare(expected, got, tolerance)
    return _Attempt(converted, served, tuple(differences), tuple(told), _worst(differences, expected, got, served, sample))


def _worst(differences: Sequence[Difference], expected: Mapping[str, Any], got: Mapping[str, Any], served: Served, sample: Sample) -> str:
    apart = next((difference for difference in differences if not difference.kept and difference.row is not None), None)
    if apart is None or apart.row is None:
        return ""
    (record,) = sample.part([apart.row]).records([column.name for column in served.columns])
    ours, theirs = (str(np.asarray(answers[apart.output]).tolist()[apart.row])[:200] for answers in (got, expected))
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


def _whole(known: Trained, sample: Sample) -> Sample:
    """Rows of which no value is missing, or all where there are none such."""
    there = [
        row
        for row in range(sample.rows)
        if all(sample.columns[name][row] is not None and sample.columns[name][row] == sample.columns[name][row] for name in known.names)
    ]
    return sample.part(there) if there else sample


def _answers(known: Trained, served: Served, sample: Sample) -> tuple[dict[str, Any], dict[str, Any]]:
    """scikit-learn's, and the graph's."""
    try:
        expected = scikit_learn_answers(known, sample)
    except Exception as error:  # whatever a step of the pipeline raises
        cure = "give others by --sample" if sample.made else "give records that it takes"
        raise ConfigError(f"scikit-learn itself does not answer the sample ({' '.join(str(error).split())[:300]}): {cure}") from None
    try:
        return expected, served.answers(sample.records([column.name for column in served.columns]))
    except InvalidArgument as error:
        raise ConfigError(f"the sample holds a record that scikit-learn answers and the model would refuse: {error}") from None
    except Exception as error:  # onnxruntime's own
        raise ConfigError(f"the converted model does not run over the sample: {' '.join(str(error).split())[:300]}") from None
