"""The way from a file with a fitted pipeline to a model's folder, and what is found on it.

    load, look at it, convert and compare on a sample (attempts.py), write

Nothing is written where no attempt agrees with scikit-learn, unless that is allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inferd.errors import ConfigError
from inferd.scikit_learn.agreement import Difference
from inferd.scikit_learn.attempts import Attempt, attempted
from inferd.scikit_learn.samples import Sample, made_sample, read_sample
from inferd.scikit_learn.served import FORMATS, Column
from inferd.scikit_learn.trained import Trained, load_pipeline, trained
from inferd.scikit_learn.writing import config_of, labels_of, write_model

DEFAULT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Exported:
    """The result of an export. differences: of each output, on the sample, and on made records where they differ there.
    files: those written. columns: the inputs that clients send. notices: for people.

    sample: the records that both got. worst: the record with the largest difference, in words; "" where they agree.
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
    allow_differences: bool = False,
    force: bool = False,
) -> Exported:
    """Writes `folder`/`version`/model.onnx, config.toml and labels.txt of a fitted pipeline, if its responses are scikit-learn's, or
    differences are allowed.

    pipeline: a fitted scikit-learn object, or the path of a joblib or pickle file that holds one: **whose code is run**. sample: see
    read_sample; None: made of what the pipeline's steps learned. guess: also where they say nothing of a column. tolerance: of
    probabilities, predictions and features (see Tolerance); labels must be equal. form: of the records that clients send.
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
    found = attempted(known, records, tolerance, form)
    if records.guessed and not guess:
        raise ConfigError(_unknown(records.guessed))
    written: Sequence[Path] = ()
    if allow_differences or (found.agrees and not found.unlike):
        labels = labels_of(known)
        config = config_of(
            known,
            found.served.columns,
            form=form,
            matrix=not known.apart,
            source=source,
            outputs=found.converted.outputs,
            by_class=_by_class(known, found),
        )
        written = write_model(folder, version, found.converted.content, config, labels, force=force)
    told = (*notices, *found.notices)
    differences = (*found.differences, *found.differences_unlike)
    return Exported(known.role, differences, found.served.columns, tuple(written), told, records, found.worst or found.unlike)


def _by_class(known: Trained, found: Attempt) -> str:
    """The graph's output that has a value for each class; "" where there is none."""
    public = found.converted.outputs
    by_class = [tensor.name for tensor in found.converted.model.graph.outputs if tensor.shape[1:] == (len(known.classes),)]
    return next((name for name in by_class if public.get(name, name) in ("probabilities", "scores")), "")


def _unknown(columns: Sequence[str]) -> str:
    shown = ", ".join(map(repr, columns[:5])) + (", ..." if len(columns) > 5 else "")
    return (
        f"no step of the pipeline says what these columns hold: {shown}; records made up for them would test nothing: give real ones by "
        "--sample, or take --guess, and test the model yourself"
    )
