"""A record in, its class out: `inferd serve` beside scikit-learn's own transform and predict_proba behind grpc.aio, in turns.

    python benchmarks/table_cost.py [--rounds 5] [--seconds 2] [--no-history]

The pipeline is that of examples/train_parcels.py: 12 columns, impute, scale, one-hot, logistic regression. inferd serves what
`inferd features export` makes of it, asked with JSON and with typed columns; the other server unpickles it, makes a DataFrame of the
JSON record and asks scikit-learn, as services in Python do. One row a request, from h2load, on the same cores. Both must answer held-out
records, some with values missing, as scikit-learn does: equal labels, probabilities within 1e-5.
A line goes to benchmarks/history/table_cost.jsonl.
"""

from __future__ import annotations

import argparse
import json
import statistics
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dev_packages  # noqa: F401
import joblib
import numpy as np
import record
import servers
from load import Load, Run, Target, drive, requests_for

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))

import train_parcels  # noqa: E402

HISTORY = ROOT / "benchmarks" / "history" / "table_cost.jsonl"
INFER_PATH = "/inference.GRPCInferenceService/ModelInfer"
MODEL = "parcels"
ASKED = 10.0
IN_FLIGHT = Load(4, 8)
CHECKED_ROWS = 100
TOLERANCE = 1e-5

# A service as it is written around a pipeline. Messages are Triton's; nothing of inferd is in the process.
SERVICE = """
import asyncio, json, sys, warnings
import grpc, joblib, pandas as pd
from tritonclient.grpc import service_pb2 as pb
pipeline = joblib.load(sys.argv[1])
names, nan = list(pipeline.feature_names_in_), float("nan")  # None is no missing value to its imputer
async def infer(request, context):
    content = request.raw_input_contents[0]
    record = json.loads(content[4:])
    frame = pd.DataFrame({name: [nan if record[name] is None else record[name]] for name in names})
    probabilities = pipeline.predict_proba(frame)
    label = pipeline.classes_[probabilities.argmax(axis=1)]
    answer = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    answer.outputs.add(name="label", datatype="BYTES", shape=[1])
    answer.outputs.add(name="probabilities", datatype="FP32", shape=list(probabilities.shape))
    text = label[0].encode()
    answer.raw_output_contents.append(len(text).to_bytes(4, "little") + text)
    answer.raw_output_contents.append(probabilities.astype("float32").tobytes())
    return answer
async def main():
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(infer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString)
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": method})
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(sys.argv[2])
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""


@contextmanager
def scikit_learn(pipeline: Path, folder: Path) -> Iterator[servers.Running]:
    """The pipeline behind grpc.aio, once it answers."""
    port = servers.free_port()
    command = [sys.executable, "-c", SERVICE, str(pipeline), f"127.0.0.1:{port}"]
    with (
        servers.process(command, folder / "scikit_learn.log") as started,
        servers.answering("scikit-learn", started, port) as running,
    ):
        yield running


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A record as a client sends it: with null for what is missing."""
    return {name: value if value == value else None for name, value in row.items()}


def json_message(row: dict[str, Any]) -> bytes:
    from inferd.protocol import inference

    request = inference.ModelInferRequest(model_name=MODEL)
    content = json.dumps(plain(row)).encode()
    request.inputs.add(name="record", datatype="BYTES", shape=[1, 1])
    request.raw_input_contents.append(struct.pack("<I", len(content)) + content)
    return bytes(request.SerializeToString())


def typed_message(row: dict[str, Any], datatypes: dict[str, str]) -> bytes:
    """Each column an input of its own; NaN, or an empty text, where nothing is."""
    from inferd.protocol import inference

    request = inference.ModelInferRequest(model_name=MODEL)
    for name, datatype in datatypes.items():
        value = row[name]
        request.inputs.add(name=name, datatype=datatype, shape=[1, 1])
        if datatype == "BYTES":
            text = value.encode() if isinstance(value, str) else b""
            request.raw_input_contents.append(struct.pack("<I", len(text)) + text)
        else:
            request.raw_input_contents.append(struct.pack("<q" if datatype == "INT64" else "<f", value))
    return bytes(request.SerializeToString())


def asked(address: str, messages: list[bytes]) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Labels and probabilities that a server answers."""
    import grpc

    from inferd.protocol import inference

    labels, probabilities = [], []
    with grpc.insecure_channel(address) as channel:
        infer: Any = channel.unary_unary(INFER_PATH, response_deserializer=inference.ModelInferResponse.FromString)
        for message in messages:
            answer = infer(message, timeout=60, wait_for_ready=True)
            found = {output.name: content for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)}
            labels.append(found["label"][4:].decode())
            probabilities.append(np.frombuffer(found["probabilities"], np.float32))
    return labels, np.array(probabilities)


def check(name: str, address: str, messages: list[bytes], expected: tuple[list[str], Any]) -> float:
    """The largest difference of a probability. Raises RuntimeError where answers are not scikit-learn's."""
    labels, probabilities = asked(address, messages)
    worst = float(np.abs(probabilities - expected[1]).max())
    flipped = sum(ours != theirs for ours, theirs in zip(labels, expected[0], strict=True))
    if flipped or worst > TOLERANCE:
        raise RuntimeError(f"{name}: {flipped} labels of {len(labels)} differ, and probabilities by {worst:.1e}")
    return worst


def body(folder: Path, name: str, message: bytes) -> Path:
    path = folder / f"{name}.body"
    path.write_bytes(struct.pack(">BI", 0, len(message)) + message)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each server in each round")
    parser.add_argument("--no-history", action="store_true")
    given = parser.parse_args()
    report = record.Report(given.rounds, given.seconds)
    with tempfile.TemporaryDirectory() as name:
        measure(report, Path(name))
    print(report.table())
    if not given.no_history:
        settings = {"rounds": given.rounds, "seconds": given.seconds, "load": str(IN_FLIGHT)}
        record.append(HISTORY, report, settings, {"h2load": "--version"})
    return 0 if report.kept else 1


def measure(report: record.Report, folder: Path) -> None:
    from inferd.scikit_learn import export

    frame, late = train_parcels.parcels(train_parcels.ROWS, seed=0)
    pipeline = train_parcels.fitted(frame[:4000], late[:4000])
    joblib.dump(pipeline, folder / "parcels.joblib")
    frame[4000:].to_csv(folder / "sample.csv", index=False)
    datatypes: dict[str, str] = {}
    for form in ("JSON", "TENSORS"):
        exported = export(pipeline, folder / form / MODEL, sample=folder / "sample.csv", form=form)
        datatypes = {column.name: column.datatype for column in exported.columns}
    held_out = frame[4000 : 4000 + CHECKED_ROWS]
    rows = held_out.to_dict("records")
    expected = pipeline.predict(held_out).tolist(), pipeline.predict_proba(held_out)
    as_json = [json_message(row) for row in rows]
    as_typed = [typed_message(row, datatypes) for row in rows]
    with (
        servers.inferd("inferd JSON", [folder / "JSON" / MODEL], folder) as ours,
        servers.inferd("inferd typed", [folder / "TENSORS" / MODEL], folder) as typed,
        scikit_learn(folder / "parcels.joblib", folder) as theirs,
    ):
        running = {"inferd, JSON": ours, "inferd, typed columns": typed, "scikit-learn behind grpc.aio": theirs}
        messages = {"inferd, JSON": as_json, "inferd, typed columns": as_typed, "scikit-learn behind grpc.aio": as_json}
        targets: dict[str, Target] = {}
        for which, server in running.items():
            worst = check(which, server.address, messages[which], expected)
            report.add(
                f"{which}: probabilities of {CHECKED_ROWS} records", f"<= {TOLERANCE:g}", f"{worst:.1e}, labels equal", worst <= TOLERANCE
            )
            url = f"http://{server.address}{INFER_PATH}"
            targets[which] = Target(url, body(folder, which.replace(" ", "_"), messages[which][0]))
        compare(report, running, targets)
        for which, server in running.items():
            check(which, server.address, messages[which], expected)


def compare(report: record.Report, running: dict[str, servers.Running], targets: dict[str, Target]) -> None:
    """Rounds in which every server has its turn."""
    counts = {which: requests_for(server.pid, targets[which], IN_FLIGHT, report.seconds) for which, server in running.items()}
    runs: dict[str, list[Run]] = {which: [] for which in running}
    for _ in range(report.rounds):
        for which, server in running.items():
            runs[which].append(drive(server.pid, targets[which], IN_FLIGHT, counts[which]))
    base = runs["scikit-learn behind grpc.aio"]
    for which, found in runs.items():
        rate, cpu_us = statistics.median(run.requests_s for run in found), statistics.median(run.cpu_us for run in found)
        report.numbers[which] = {"requests_s": round(rate, 1), "cpu_us": round(cpu_us, 2)}
        if found is base:
            report.add(f"{which}, requests/s", "", f"{rate:,.0f}, {cpu_us:,.0f} us CPU each")
            continue
        ratio = statistics.median(mine.requests_s / other.requests_s for mine, other in zip(found, base, strict=True))
        report.numbers[which]["ratio"] = round(ratio, 2)
        report.add(
            f"{which}, requests/s against scikit-learn behind grpc.aio",
            f">= {ASKED:g} x",
            f"{ratio:.1f} x ({rate:,.0f}, {cpu_us:.1f} us CPU each)",
            ratio >= ASKED,
        )


if __name__ == "__main__":
    raise SystemExit(main())
