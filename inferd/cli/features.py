"""`inferd features export`: a trained scikit-learn pipeline becomes a model that inferd serves. inferd.scikit_learn does it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferd.cli.exit_codes import ExitCode
from inferd.cli.number import Fraction, Whole
from inferd.cli.say import aligned, say

if TYPE_CHECKING:
    from inferd.scikit_learn import Exported

SHOWN_COLUMNS = 40


class Verbs(click.Group):
    """A group whose help shows the whole help of each of its commands: there are few."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None:
                formatter.write_paragraph()
                with click.Context(command, info_name=name, parent=ctx) as inner:
                    command.format_help(inner, formatter)


@click.group(cls=Verbs)
def features() -> None:
    """Bring the features of a training pipeline into serving."""


@features.command()
@click.argument("pipeline", type=click.Path(path_type=Path))
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "--sample", type=click.Path(path_type=Path), metavar="FILE", help="Records to compare on: .csv with a header, .npz, .parquet."
)
@click.option("--guess", is_flag=True, help="Without a sample, also where no step says what a column holds: that tests little.")
@click.option("--tolerance", type=Fraction(0), default=1e-5, show_default=True, help="Most that probabilities and predictions may differ.")
@click.option("--allow-differences", is_flag=True, help="Write the model even if its results differ from scikit-learn's.")
@click.option("--features-only", is_flag=True, help="Without the estimator: a model of its own that several share.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["JSON", "CSV", "ARROW", "TENSORS"], case_sensitive=False),
    default="JSON",
    show_default=True,
    help="Format of the records that clients send.",
)
@click.option("--model-version", type=Whole(1), default=1, show_default=True, metavar="N", help="Folder of the version.")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
def export(pipeline: Path, model: Path | None, tolerance: float, form: str, model_version: int, **given: Any) -> int:
    """Write a model of a fitted scikit-learn pipeline: features and estimator as one ONNX graph, and the steps that read records.

    PIPELINE is a joblib or pickle file. RUN IT ON FILES THAT YOU TRUST ONLY: reading one runs whatever code it holds. MODEL is the
    model's folder; by default it has the file's name.

    Both get the same records. Where their results differ, nothing is written (exit code 1), unless --allow-differences is given.
    Without --sample the records are made from values that the pipeline's own steps learned: means, ranges, categories, thresholds of
    trees. A column of which no step knows values needs a sample, or --guess.

    \b
    inferd features export churn.joblib models/churn --sample holdout.csv
    inferd features export churn.joblib models/churn_features --features-only
    """
    from inferd.scikit_learn import export as make

    if pipeline.is_file():
        say(f"note: reading {pipeline} runs whatever code it holds: export files that you trust only", err=True)
    folder = model or Path(pipeline.stem)
    exported = make(pipeline, folder, tolerance=tolerance, form=form.upper(), version=model_version, **given)
    _show(exported, tolerance)
    return ExitCode.OK if exported.files else ExitCode.FAILED


def _show(exported: Exported, tolerance: float) -> None:
    for notice in exported.notices:
        say(f"note: {notice}", err=True)
    sample = exported.sample
    say("compared on records made of what the pipeline's steps learned" if sample.made else "compared on a sample")
    for line in sample.told[:SHOWN_COLUMNS]:
        say(f"  {line}")
    if len(sample.told) > SHOWN_COLUMNS:
        say(f"  and {len(sample.told) - SHOWN_COLUMNS} more")
    rows = [("output", "rows", "max abs difference", "labels flipped", "equal")]
    for each in exported.differences:
        worst = "" if each.worst is None else f"{each.worst:.1e}"
        equal = "NO" if not each.kept else "on guesses" if sample.guessed else "yes"
        output = f"{each.output}, made records" if each.made else each.output
        rows.append((output, str(each.rows), worst, "" if each.flipped is None else str(each.flipped), equal))
    say("\n".join(["", *aligned(rows), ""]))
    if not exported.agrees:
        start = "note" if exported.files else "nothing is written"
        say(f"{start}: the graph's results are not scikit-learn's within {tolerance:g}", err=True)
        say(f"they differ most at {exported.worst}" if exported.worst else "they are of other shapes", err=True)
    if not exported.files:
        say("allow more by --tolerance, or all by --allow-differences; where votes are tied, see docs/features.md", err=True)
        return
    for path in exported.files:
        say(f"wrote {path}")
    if sample.guessed:
        say(f"NOT TESTED: what {', '.join(map(repr, sample.guessed))} hold was guessed; compare on real records by --sample", err=True)
