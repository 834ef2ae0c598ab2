"""The way from a file with a fitted pipeline to a model's folder, and what is found on it.

    load, look at it, convert, find out what missing and unseen values do, compare on a sample, write

Nothing is written where the answers differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferd.errors import ConfigError, InvalidArgument
from inferd.features.agreement import Difference, compare, scikit_learn_answers, settle_columns
from inferd.features.conversion import Converted, convert
from inferd.features.samples import Sample, made_sample, read_sample
from inferd.features.served import FORMATS, Column, Served
from inferd.features.trained import Trained, load_pipeline, trained
from inferd.features.writing import config_of, labels_of, refuse_overwriting, write_model

__all__ = ["DEFAULT_TOLERANCE", "Exported", "export"]

DEFAULT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Exported:
    """What came of an export. files: those written, none where answers differ. columns: what clients send. notices: to be read by a person.

    sampled: what the records were that both were asked, in words.
    """

    role: str
    differences: tuple[Difference, ...]
    columns: tuple[Column, ...]
    files: tuple[Path, ...]
    notices: tuple[str, ...]
    sampled: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        return all(difference.kept for difference in self.differences)


def export(
    pipeline: Any,
    folder: Path,
    *,
    sample: Path | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    form: str = "JSON",
    version: int = 1,
    features_only: bool = False,
    force: bool = False,
) -> Exported:
    """Writes `folder`/`version`/model.onnx, config.toml and labels.txt of a fitted pipeline, if its answers are scikit-learn's.

    pipeline: a fitted scikit-learn object, or the path of a joblib or pickle file that holds one: **whose code is run**. sample: see
    read_sample; None: made of the pipeline's statistics. tolerance: of probabilities and predictions, those over 1 relative to their
    size; labels must be equal. form: of the records that clients send. features_only: without the estimator. force: overwrites.
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
    converted = convert(known)
    served = Served.load(converted.content, _columns(known, converted, records), matrix=not known.apart)
    served, told = settle_columns(known, served, _whole(known, records), tolerance)
    differences = _differences(known, served, records, tolerance)
    written: Sequence[Path] = ()
    if all(difference.kept for difference in differences):
        config = config_of(known, served.columns, form=form, matrix=not known.apart, source=source)
        if not force:
            refuse_overwriting(folder, version, config)
        written = write_model(folder, version, converted.content, config, labels_of(known))
    return Exported(known.role, tuple(differences), served.columns, tuple(written), (*notices, *told), records.told)


def _columns(known: Trained, converted: Converted, sample: Sample) -> list[Column]:
    """Names and datatypes of what clients send; what they are in the sample where one was given."""
    columns = []
    for place in known.used:
        name, learned = known.names[place], known.learned[place]
        datatype = converted.inputs.get(name, "FP32")
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


def _differences(known: Trained, served: Served, sample: Sample, tolerance: float) -> list[Difference]:
    try:
        expected = scikit_learn_answers(known, sample)
    except Exception as error:  # whatever a step of the pipeline raises
        cure = "give others by --sample" if len(sample.told) > 1 else "give records that it takes"
        raise ConfigError(f"scikit-learn itself does not answer the sample ({' '.join(str(error).split())[:300]}): {cure}") from None
    try:
        got = served.answers(sample.records([column.name for column in served.columns]))
    except InvalidArgument as error:
        raise ConfigError(f"the sample holds a record that scikit-learn answers and the model would refuse: {error}") from None
    except Exception as error:  # onnxruntime's own
        raise ConfigError(f"the converted model does not run over the sample: {' '.join(str(error).split())[:300]}") from None
    return compare(expected, got, tolerance)
