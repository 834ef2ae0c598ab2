"""Performance that is estimated without labels, held against the labels of real data.

    python benchmarks/estimated_performance.py [--no-history]

Data sets of nannyml's wheel, which pip downloads and nobody installs: car loans, employment in Massachusetts (two classes), credit cards
(three classes) and prices of cars (numbers). Each has a reference, rows of a later time, and a model's predictions of both. The estimate
learns from the reference and sees no later label. Asked: an AUC within 0.01 of the realised one for the first two, over all later rows.
With flipped labels the estimate must stay as it is, and the realised AUC must fall.

The others are reported by halves, for they show limits. The labels of credit cards change their meaning half-way. Prices become easier to
predict for cars that predictions do not tell apart from others. A line is appended to benchmarks/history/estimated_performance.jsonl.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from record import Report, append

from inferd.performance import classification, regression
from inferd.performance.calibration import calibrated
from inferd.performance.estimated import learnt_errors, of_classes, of_numbers
from inferd.performance.figure import Figure, Measure

HISTORY = Path(__file__).resolve().parent / "history" / "estimated_performance.jsonl"
WHEEL = "nannyml==0.13.1"  # Apache-2.0
FOLDER = "nannyml/datasets/data/"
WITHIN = 0.01


class Labelled(NamedTuple):
    """Rows with their labels. truth, predicted: places of classes; probabilities: (rows, classes)."""

    truth: np.ndarray[Any, Any]
    predicted: np.ndarray[Any, Any]
    probabilities: np.ndarray[Any, Any]


def read(wheel: Path, name: str) -> Any:
    import pandas as pd

    with zipfile.ZipFile(wheel) as files:
        data = io.BytesIO(files.read(FOLDER + name))
    return pd.read_parquet(data) if name.endswith(".pq") else pd.read_csv(data)


def two_classes(rows: Any, labels: Any, predicted: str, probability: str) -> Labelled:
    ones = rows[probability].to_numpy(float)
    return Labelled(labels.to_numpy(int), rows[predicted].to_numpy(int), np.column_stack([1 - ones, ones]))


def loans(wheel: Path) -> tuple[Labelled, Labelled]:
    before, later, labels = (read(wheel, f"synthetic_car_loan_{part}.csv") for part in ("reference", "analysis", "analysis_target"))
    names = ("y_pred", "y_pred_proba")
    return two_classes(before, before["repaid"], *names), two_classes(later, labels["repaid"], *names)


def employment(wheel: Path) -> tuple[Labelled, Labelled]:
    before, later, labels = (read(wheel, f"employment_MA_{part}.pq") for part in ("reference", "analysis", "analysis_target"))
    names = ("prediction", "predicted_probability")
    return two_classes(before, before["employed"], *names), two_classes(later, labels["employed"], *names)


CARDS = ["prepaid_card", "highstreet_card", "upmarket_card"]


def cards(wheel: Path) -> tuple[Labelled, Labelled]:
    before, later, labels = (read(wheel, f"mc_{part}.csv") for part in ("reference", "analysis", "analysis_gt"))

    def labelled(rows: Any, truth: Any) -> Labelled:
        truth, predicted = (column.map(CARDS.index).to_numpy(int) for column in (truth, rows["y_pred"]))
        return Labelled(truth, predicted, rows[[f"y_pred_proba_{card}" for card in CARDS]].to_numpy(float))

    return labelled(before, before["y_true"]), labelled(later, labels["y_true"])


def named(found: list[Figure], name: Measure) -> Figure:
    return next(each for each in found if each.name == name)


def shown(figure: Figure) -> str:
    return f"{figure.value:.4f} ({figure.low:.4f} to {figure.high:.4f})"


def compared(report: Report, what: str, classes: list[str], reference: Labelled, later: Labelled, *, asked: bool) -> tuple[Figure, Figure]:
    """The estimated and the realised AUC."""
    learnt = calibrated(reference.truth, reference.probabilities)
    assert learnt is not None
    estimates = of_classes(learnt, later.predicted, later.probabilities, classes)
    realised = classification.figures(*later, classes)
    for name in (Measure.AUC, Measure.ACCURACY):
        one, other = named(estimates, name), named(realised, name)
        report.numbers[f"{what}: {name}"] = {"estimated": round(one.value, 5), "realised": round(other.value, 5)}
        kept = abs(one.value - other.value) <= WITHIN if asked and name == Measure.AUC else None
        text = f"estimated {shown(one)}, realised {shown(other)}"
        report.add(f"{what}: {name}", f"within {WITHIN}" if kept is not None else "", text, kept)
    return named(estimates, Measure.AUC), named(realised, Measure.AUC)


def halves(count: int) -> dict[str, slice]:
    return {"first half": slice(0, count // 2), "second half": slice(count // 2, count)}


def check(wheel: Path, report: Report) -> None:
    for what, load in (("car loans", loans), ("employment", employment)):
        reference, later = load(wheel)
        before = compared(report, what, ["no", "yes"], reference, later, asked=True)
        after = compared(report, f"{what}, labels flipped", ["no", "yes"], reference, later._replace(truth=1 - later.truth), asked=False)
        kept = before[0] == after[0] and after[1].high < before[1].low
        report.add(f"{what}: the estimate sees no flip", "same estimate, realised falls", "as asked" if kept else "not so", kept)
    reference, later = cards(wheel)
    for half, rows in halves(len(later.truth)).items():
        part = Labelled(*(each[rows] for each in later))
        compared(report, f"credit cards, {half}", CARDS, reference, part, asked=False)
    prices(wheel, report)


def prices(wheel: Path, report: Report) -> None:
    before, later, labels = (read(wheel, f"regression_synthetic_{part}.csv") for part in ("reference", "analysis", "analysis_targets"))
    learnt = learnt_errors(before["y_true"].to_numpy(), before["y_pred"].to_numpy())
    assert learnt is not None
    truth, predicted = labels["y_true"].to_numpy(), later["y_pred"].to_numpy()
    for half, rows in halves(len(truth)).items():
        one, other = of_numbers(learnt, predicted[rows])[0], named(regression.figures(truth[rows], predicted[rows]), Measure.MAE)
        report.numbers[f"prices, {half}: mae"] = {"estimated": round(one.value, 1), "realised": round(other.value, 1)}
        report.add(f"prices, {half}: mae", "", f"estimated {one.value:.0f}, realised {other.value:.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-history", action="store_true", help="print only")
    given = parser.parse_args()
    report = Report(rounds=1, seconds=0)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
        subprocess.run(command, check=True)
        check(next(Path(folder).glob("*.whl")), report)
    print(report.table())
    if not given.no_history:
        append(HISTORY, report, {"load_1m": report.load_1m}, packages=("pandas",))
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
