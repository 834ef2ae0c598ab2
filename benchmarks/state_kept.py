"""Are labels and rollouts kept, or is the caller told? A real server, ended in every way.

    python benchmarks/state_kept.py [--sections restart,killed,read_only,full_disk,bucket] [--no-history]

restart: a label and a shadow, then SIGTERM, and a new start.
killed: twenty times a label moves, and the server is killed with SIGKILL as soon as it has answered: the next one has it. And a label
moves without end while the server is killed: the next one has the last label that was answered, or the one after it.
read_only: the models' folder is read-only, and there is no --state-dir.
full_disk: the state lies on a file system of 64 KiB that is full; not measured where nothing may be mounted.
bucket: models from S3 (moto), without --state-dir and with one.
The table is printed, and one line appended to benchmarks/history/state_kept.jsonl.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

import grpc
import sections
import servers
from onnx import TensorProto, helper
from record import Report

from inferd.protocol import inference, options

HISTORY = Path(__file__).resolve().parent / "history" / "state_kept.jsonl"
LIMIT_S = 60.0
KILLS = 20
MODEL = "m"
MOVED = "live"  # a label whose moves end no rollout


class Client:
    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def _ask(self, method: str, request: object, response: type) -> object:
        call = self._channel.unary_unary(
            method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
        )
        return call(request, timeout=LIMIT_S)

    def label(self, version: int, label: str = "stable") -> str:
        """'' or what the server said."""
        request = options.SetLabelRequest(model_name=MODEL, label=label, version=version)
        try:
            self._ask("/inferd.v1.ModelControl/SetLabel", request, options.SetLabelResponse)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return ""

    def stable(self, label: str = "stable") -> int:
        """The version of the label; 0: there is none."""
        request = inference.ModelMetadataRequest(name=MODEL)
        request.properties = True
        found = self._ask("/inference.GRPCInferenceService/ModelMetadata", request, inference.ModelMetadataResponse)
        return int(found.properties.get(f"label.{label}", 0))

    def start(self) -> str:
        """A shadow of the version that is not stable. '' or what the server said."""
        request = options.StartRolloutRequest(model_name=MODEL, kind=options.SHADOW)
        try:
            self._ask("/inferd.v1.Rollouts/Start", request, options.RolloutStatus)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return ""

    def states(self) -> list[str]:
        found = self._ask("/inferd.v1.Rollouts/Status", options.RolloutStatusRequest(), options.RolloutStatusResponse)
        return [options.RolloutState.Name(each.state) for each in found.rollouts]


def made(folder: Path) -> Path:
    """A repository: two versions of a model that return what they get."""
    shape = ["N", 4]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        MODEL,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for version in ("1", "2"):
        (folder / "models" / MODEL / version).mkdir(parents=True)
        (folder / "models" / MODEL / version / "model.onnx").write_bytes(content.SerializeToString())
    (folder / "models" / MODEL / "config.toml").write_text("[version_policy.latest]\nnum_versions = 2\n")
    return folder / "models"


@contextmanager
def served(models: Path | str, folder: Path, *flags: str, python: Sequence[str] = (sys.executable,)) -> Iterator[tuple[int, Client]]:
    with (
        servers.inferd("server", [models], folder, *flags, "--model-control", "poll", python=python) as server,  # type: ignore[list-item]
        Client(server.address) as client,
    ):
        yield server.pid, client


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def restart(report: Report, folder: Path) -> None:
    """a label and a shadow through SIGTERM"""
    models, state = made(folder), folder / "state"
    flags = ("--state-dir", str(state))
    with served(models, folder, *flags) as (_, client):
        told = client.label(1) or client.start()
    with served(models, folder, *flags) as (_, client):
        label, states = client.stable(), client.states()
    report.add(
        "a label and a shadow after SIGTERM", "kept", f"stable={label}, {', '.join(states)} {told}", (label, states) == (1, ["RUNNING"])
    )


def killed(report: Report, folder: Path) -> None:
    """a label through twenty SIGKILLs: each after the response, then each while labels move"""
    models, flags = made(folder), ("--state-dir", str(folder / "state"))
    kept = between = rollouts = 0
    expected = {0}
    for number in range(KILLS):
        with served(models, folder, *flags) as (pid, client):
            kept += client.stable(MOVED) in expected
            rollouts += not number or client.states() == ["RUNNING"]
            if number == 0 and (told := client.label(1) or client.start()):
                raise RuntimeError(told)
            last = 1 + number % 2
            answered = client.label(last, MOVED) == ""
            expected = {last} if answered else expected
            if number % 2:  # and while they move: the last with a response, or the one that was under way
                killer = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep({0.01 * number}); os.kill({pid}, 9)"])
                while not client.label(3 - last, MOVED):
                    last, between = 3 - last, between + 1
                expected = {last, 3 - last}
                killer.wait()
            else:
                kill(pid)
    left = len(list((folder / "state").glob(".*")))
    report.add("starts after SIGKILL that had the label", f"{KILLS} of {KILLS}", f"{kept} of {KILLS}", kept == KILLS)
    report.add("starts after SIGKILL whose shadow went on", f"{KILLS} of {KILLS}", f"{rollouts} of {KILLS}", rollouts == KILLS)
    report.add("labels that moved while it was killed; temporary files left by the last", "", f"{between}; {left}")
    report.numbers["killed"] = {"kills": KILLS, "labels": kept, "rollouts": rollouts, "moved": between}


def confined(*commands: str) -> list[str]:
    """A Python whose mounts are its own, after these commands."""
    return ["unshare", "--mount", "sh", "-c", " && ".join([*commands, 'exec "$@"']), "sh", sys.executable]


def may_mount() -> bool:
    return subprocess.run([*confined("mount -t tmpfs tmpfs /mnt"), "-c", ""], capture_output=True, check=False).returncode == 0


def told_of(report: Report, what: str, told: str, cure: str, stable: int, before: int) -> None:
    report.add(what, "the caller is told", told[:110] or "nothing", cure in told and stable == before)


def read_only(report: Report, folder: Path) -> None:
    """a read-only folder of models, and no --state-dir"""
    if not may_mount():
        report.add("read-only folder", "", "not measured: nothing may be mounted here")
        return
    models = made(folder)
    python = confined(f"mount --bind {models} {models}", f"mount -o remount,bind,ro {models}")
    with served(models, folder, python=python) as (_, client):
        told_of(report, "a label in a read-only folder", client.label(1), "--state-dir", client.stable(), 0)
        told_of(report, "a rollout in a read-only folder", client.start(), "--state-dir", client.stable(), 0)


def full_disk(report: Report, folder: Path) -> None:
    """a file system that is full"""
    if not may_mount():
        report.add("full disk", "", "not measured: nothing may be mounted here")
        return
    models, state = made(folder), folder / "state"
    state.mkdir()
    table = '{"m":{"stable":{"version":1}}}'
    fill = f"(head -c 1000000 /dev/zero > {state}/full 2>/dev/null || true)"
    python = confined(f"mount -t tmpfs -o size=64k tmpfs {state}", f"echo '{table}' > {state}/labels.json", fill)
    with served(models, folder, "--state-dir", str(state), python=python) as (_, client):
        told_of(report, "a label on a full disk", client.label(2), "No space left", client.stable(), 1)
        told_of(report, "a rollout on a full disk", client.start(), "No space left", client.stable(), 1)


def bucket(report: Report, folder: Path) -> None:
    """models from S3, without --state-dir and with one"""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests.engine.remote.stores import S3  # as the suite starts moto

    models = made(folder)
    with S3() as store:
        os.environ.update(store.environment)
        store.make("bucket")
        for path in models.rglob("*"):
            if path.is_file():
                store.put("bucket", f"models/{path.relative_to(models)}", path.read_bytes())
        flags = ("--model-cache", str(folder / "cache"), "--model-poll-s", "60")

        def from_bucket(*more: str) -> AbstractContextManager[tuple[int, Client]]:
            return served("s3://bucket/models", folder, *flags, *more)

        with from_bucket() as (_, client):
            told_of(report, "a label of a bucket's model", client.label(1), "--state-dir", client.stable(), 0)
        state = ("--state-dir", str(folder / "state"))
        with from_bucket(*state) as (_, client):
            told = client.label(1)
        with from_bucket(*state) as (_, client):
            label = client.stable()
        report.add("a label of a bucket's model with --state-dir, after a restart", "kept", f"stable={label} {told}", label == 1)


SECTIONS = {section.__name__: section for section in (restart, killed, read_only, full_disk, bucket)}


if __name__ == "__main__":
    raise SystemExit(sections.checked("Are labels and rollouts kept, or is the caller told?", SECTIONS, HISTORY))
