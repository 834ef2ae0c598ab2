"""Does a rollout decide rightly, and how fast? Simulated streams for the evidence, a real server for keys and the rollback.

    python benchmarks/rollout_check.py [--sections streams,flips,errors,clusters,same,identical,pairs,live] [--no-history]

streams: 200 streams of 20,000 requests of a candidate that is as good as the stable version, with a decision every 100 requests. None of
them should be rolled back, and at most 5 % are. Errors, slow requests, flips and mean shifts are tried.
flips: 1 % of decisions differ, the limit is 0.1 %: after how many requests is it found?
errors: at a split of 10 % the candidate's errors go from 1 % to 5 %, and at one of 50 % from 5 % to 10 %: after how many requests, of
both arms, is it rolled back? And how often is a candidate without a fault rolled back?
clusters: faults that come together (rollout_clusters.py), 60 streams each, at an excess of 0, half the limit, the limit and twice it.
same: a real server with the same model as both versions, ten canaries of five seconds under load: is one rolled back?
identical: models with outputs of all kinds (tests/kinds_of_models.py), each as both versions: 100 canaries with guards of flips and mean,
100 shadows, 100 runs of `inferd diff`. Does any of them find a difference?
pairs: a canary of a real server with a guard of flips, limit 0.5 %: a candidate with 1 % flips is never promoted, and one without any is
not rolled back.
live: two workers, keys over a ramp and a restart; and a candidate that fails half of its requests under load: how long after the
decision does the last client get its response?
The table is printed, and one line appended to benchmarks/history/rollout_check.jsonl.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import rollout_clusters
import sections
import servers
from onnx import TensorProto, helper, numpy_helper
from record import Report

from inferd.compare.statistics import MeanShift, rate_evidence
from inferd.protocol import inference, options
from inferd.rollout.policy import CanaryPlan, Counts, Decision, Guard, GuardKind, Policy

HISTORY = Path(__file__).resolve().parent / "history" / "rollout_check.jsonl"
STREAMS, REQUESTS, EVERY = 200, 20_000, 100
WITHIN = 8000  # requests: the limit of 1 % takes part in it
CLUSTERED = 60  # streams of a kind
LIMIT_S = 60.0
KEYS = [f"user {i}" for i in range(400)]
FALSE = 0.05
ROUNDS, ROUND_S = 10, 5.0
CLIENTS = 4
RUNS, RUN_REQUESTS = 100, 30  # of canaries, of shadows and of diffs; of each of them
AT_ONCE = 6  # candidates, each a process of its own
PAIR_ROWS, PAIR_S = 200, 50.0


# ---- simulated ----------------------------------------------------------------------------------------------------


def run_stream(rng: np.random.Generator, plan: CanaryPlan, rates: tuple[float, float], requests: int, every: int = EVERY) -> int | None:
    """After how many requests of both arms a canary is rolled back; None: it is not. rates: of errors, of the stable arm and the
    candidate's. Both arms are as slow as each other, flip 0.5 % of decisions and differ in outputs by noise alone."""
    policy = Policy(plan)
    mean, flipped = MeanShift(plan.alpha(GuardKind.MEAN)), 0
    policy.freeze(list(range(1000)))
    for done in range(every, requests + 1, every):
        of_candidate = int(rng.binomial(every, policy.share))
        counts = []
        for count, rate in ((every - of_candidate, rates[0]), (of_candidate, rates[1])):
            counts.append(Counts.of(count, int(rng.binomial(count, rate)), int(rng.binomial(count, 0.01))))
        policy.count(counts[1], counts[0], 1.0)
        if plan.is_paired:
            for shift in rng.normal(0, 0.2, every - of_candidate):
                mean.add(float(shift))
            flipped += int(rng.binomial(every - of_candidate, 0.005))
            policy.compare(mean.count, flipped, mean)
        if policy.decide().decision is Decision.ROLL_BACK:
            return done
    return None


def streams(report: Report, folder: Path) -> None:
    """a candidate as good as the stable version, looked at all the time"""
    rng = np.random.default_rng(23)
    usual = CanaryPlan(steps=(0.5, 1.0)).guards
    for name, guards in (
        ("errors and p99", usual),
        ("errors, p99, flips, mean", (*usual, Guard(GuardKind.FLIPS, 0.01), Guard(GuardKind.MEAN, 0.1))),
    ):
        plan = CanaryPlan(steps=(0.5, 1.0), guards=guards)
        wrong = sum(run_stream(rng, plan, (0.01, 0.01), REQUESTS) is not None for _ in range(STREAMS))
        share = wrong / STREAMS
        report.add(f"A/A, {STREAMS} streams of {REQUESTS:,}, {name}: rolled back", "<= 5 %", f"{share:.1%}", share <= FALSE)
        report.numbers[f"aa_{len(guards)}_guards"] = share


def flips(report: Report, folder: Path) -> None:
    """1 % of decisions differ, the limit is 0.1 %"""
    rng = np.random.default_rng(24)
    alpha = CanaryPlan(guards=(Guard(GuardKind.FLIPS, 0.001),)).alpha(GuardKind.FLIPS)

    def found(rate: float, requests: int) -> float:
        events = np.cumsum(rng.random(requests) < rate)
        looks = (n for n in range(10, requests + 1, 10) if rate_evidence(int(events[n - 1]), n, 0.001) >= -np.log(alpha))
        return next(looks, np.inf)

    after = np.array([found(0.01, 1000) for _ in range(1000)])
    share = float(np.isfinite(after).mean())
    report.add("1 % flips: found within 1,000 requests", ">= 90 %", f"{share:.1%}, median {np.median(after):.0f}", share >= 0.9)
    wrong = float(np.isfinite([found(0.001, REQUESTS) for _ in range(STREAMS)]).mean())
    report.add(f"0.1 % flips, the limit, {STREAMS} streams of {REQUESTS:,}: rejected", "<= 5 %", f"{wrong:.1%}", wrong <= FALSE)
    report.numbers["flips"] = {"found": share, "median": float(np.median(after)), "false": wrong}


def errors(report: Report, folder: Path) -> None:
    """a split of 10 %, errors of the candidate from 1 % to 5 %"""
    rng = np.random.default_rng(25)
    plan = CanaryPlan(steps=(0.1, 1.0))
    after = np.array([run_stream(rng, plan, (0.01, 0.05), REQUESTS) or np.inf for _ in range(200)])
    share = float((after <= WITHIN).mean())
    said = f"{share:.1%}, median {np.median(after):.0f}, p90 {(late := np.quantile(after, 0.9, method='higher')):.0f}"
    report.add(f"errors 1 % to 5 %: rolled back within {WITHIN:,} requests", ">= 90 %", said, share >= 0.9)
    wrong = sum(run_stream(rng, plan, (0.01, 0.01), REQUESTS) is not None for _ in range(100))
    report.add("the same without a fault: rolled back", "<= 5 of 100", f"{wrong} of 100", wrong <= 5)
    small = CanaryPlan(steps=(0.5, 1.0), guards=(Guard(GuardKind.ERRORS, 0.001), CanaryPlan().guards[1]))
    of_twice = np.array([run_stream(rng, small, (0.05, 0.1), 10_000, 20) or np.inf for _ in range(200)])
    report.add("errors 5 % to 10 %, limit 0.1 %, share 50 %: rolled back after", "", f"median {np.median(of_twice):.0f} requests")
    report.numbers["errors_twice"] = float(np.median(of_twice))
    report.numbers["errors"] = {"found": share, "median": float(np.median(after)), "p90": float(late), "false": wrong}


def clusters(report: Report, folder: Path) -> None:
    """faults that come in clusters: how often is a candidate rolled back?"""
    with Pool(2) as pool:
        found = dict(row for stream in rollout_clusters.STREAMS for row in clustered(report, stream, pool))
    report.numbers["clusters"] = found


def clustered(report: Report, stream: rollout_clusters.Stream, pool: Any) -> Iterator[tuple[str, list[float]]]:
    for limit in (0.01, 0.05):
        shares, p90 = [], np.inf
        for times in (0.0, 0.5, 1.0, 2.0):
            asked = [(seed, stream, limit, times) for seed in range(CLUSTERED)]
            after = np.array(pool.map(rollout_clusters.found_after, asked, chunksize=10))
            shares.append(float(np.isfinite(after).mean()))
            p90 = float(np.quantile(after, 0.9, method="higher"))
        name = f"{stream.kind}, share {stream.share:.0%}, limit {limit:.0%}"
        most = stream.turns * rollout_clusters.PATIENCE * stream.requests
        later = f"at twice found in 90 % within {p90:,.0f}" if np.isfinite(p90) else f"at twice found in {shares[3]:.0%} within {most:,}"
        said = f"{shares[0]:.0%}, {shares[1]:.0%}, {shares[2]:.0%}; {later} requests"
        report.add(f"{name}: rolled back at 0, half the limit, the limit", "<= 5 %", said, max(shares[:3]) <= FALSE)
        yield name, [*shares, p90 if np.isfinite(p90) else -1.0]


# ---- live ---------------------------------------------------------------------------------------------------------


def lookup(rows: int, changed: int = 0) -> bytes:
    """x INT64[N,1] -> y INT64[N,4], a row of a table; a number behind its end makes the run fail. changed: rows that are another label."""
    labels = np.arange(4 * rows, dtype=np.int64).reshape(rows, 4)
    labels[:changed] += 1
    table = numpy_helper.from_array(labels, "table")
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    nodes = [helper.make_node("Gather", ["table", "x"], ["rows"], axis=0), helper.make_node("Squeeze", ["rows", "axes"], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in (("x", ["N", 1]), ("y", ["N", 4]))]
    graph = helper.make_graph(nodes, "lookup", ends[:1], ends[1:], [table, axes])
    made: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    onnx.checker.check_model(made)
    return made


class Client:
    """One connection."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._infer = self.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

    def infer(self, value: int, key: str = "") -> str:
        """The version that answered."""
        request = inference.ModelInferRequest(model_name="lookup", raw_input_contents=[np.int64(value).tobytes()])
        request.inputs.add(name="x", datatype="INT64", shape=[1, 1])
        metadata = (("inferd-key", key),) if key else ()
        answer = self._infer(request.SerializeToString(), timeout=LIMIT_S, metadata=metadata)
        return inference.ModelInferResponse.FromString(answer).model_version

    def call(self, service: str, method: str, request: object, response: type) -> object:
        call = self.channel.unary_unary(f"/inferd.v1.{service}/{method}", lambda each: each.SerializeToString(), response.FromString)
        return call(request, timeout=LIMIT_S)

    def infer_rows(self, model: str, rows: np.ndarray) -> None:
        """By version 1, with rows for x."""
        request = inference.ModelInferRequest(model_name=model, model_version="1", raw_input_contents=[rows.tobytes()])
        request.inputs.add(name="x", datatype="FP32", shape=rows.shape)
        self._infer(request.SerializeToString(), timeout=LIMIT_S)

    def label(self, version: int, model: str = "lookup") -> None:
        request = options.SetLabelRequest(model_name=model, label="stable", version=version)
        self.call("ModelControl", "SetLabel", request, options.SetLabelResponse)

    def start(self, steps: tuple[float, ...], dwell_s: float = 1e6, **guards: float) -> None:
        """A canary, which takes no step by default."""
        request = options.StartRolloutRequest(
            model_name="lookup",
            kind=options.CANARY,
            candidate_version=2,
            steps=steps,
            guards=guards,
            dwell_s=dwell_s,
            promote_unjudged=not guards,
        )
        self.call("Rollouts", "Start", request, options.RolloutStatus)

    def status(self, model: str = "lookup") -> options.RolloutStatus:
        found = self.call("Rollouts", "Status", options.RolloutStatusRequest(model_name=model), options.RolloutStatusResponse)
        return found.rollouts[0]


def assigned(address: str, connections: int) -> list[set[str]]:
    """Of each key, the versions that answered it, over so many connections."""
    clients = [Client(address) for _ in range(connections)]
    return [{client.infer(0, key) for client in clients} for key in KEYS]


@contextmanager
def asking(address: str, rows: int) -> Iterator[list[int]]:
    """Four clients that ask for any of so many rows, each with a pause of 2 ms. Yields the number of responses of each."""
    over, answered = threading.Event(), [0] * CLIENTS

    def ask(number: int) -> None:
        client, rng = Client(address), np.random.default_rng(number)
        while not over.is_set():
            client.infer(int(rng.integers(rows)))
            answered[number] += 1
            time.sleep(0.002)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        over.set()
        for thread in threads:
            thread.join()


def two_versions(folder: Path, stable: bytes, candidate: bytes) -> Path:
    """A repository of `lookup`."""
    for version, content in ((1, stable), (2, candidate)):
        place = folder / "models" / "lookup" / str(version)
        place.mkdir(parents=True)
        (place / "model.onnx").write_bytes(content)
    (folder / "state").mkdir()
    return folder / "models"


def same(report: Report, folder: Path) -> None:
    """ten canaries of the same model under load"""
    repository = two_versions(folder, lookup(4), lookup(4))
    rolled_back: list[str] = []
    with servers.inferd("same", [repository], folder, "--state-dir", str(folder / "state")) as server:
        client = Client(server.address)
        client.label(1)
        with asking(server.address, 1) as answered:
            for round_ in range(ROUNDS):
                client.start((0.1 if round_ % 2 else 0.5, 1.0))
                time.sleep(ROUND_S)
                found = client.status()
                if found.state == options.ROLLED_BACK:
                    rolled_back.append(found.reason)
                else:
                    client.call("Rollouts", "Stop", options.RolloutRequest(model_name="lookup"), options.RolloutStatus)
    said = f"{len(rolled_back)} of {ROUNDS}" + (f": {rolled_back}" if rolled_back else "")
    report.add(f"the same model twice, {sum(answered):,} requests: rolled back", "0", said, not rolled_back)
    report.numbers["same"] = {"rolled_back": rolled_back, "requests": sum(answered)}


def identical(report: Report, folder: Path) -> None:
    """the same model as both versions, with outputs of all kinds: canaries, shadows and diffs"""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from tests import kinds_of_models

    repository, kinds = folder / "models", kinds_of_models.KINDS
    kinds_of_models.repository(repository)
    (folder / "state").mkdir()
    deciding = [kind for kind in kinds if kind != "regressor"]  # nothing in it decides
    with servers.inferd("identical", [repository], folder, "--state-dir", str(folder / "state")) as server:
        client = Client(server.address)
        for kind in kinds:
            client.label(1, kind)
        for rollout, models in ((options.CANARY, deciding), (options.SHADOW, kinds)):
            runs = [models[run % len(models)] for run in range(RUNS)]
            identical_rollouts(report, client, rollout, runs, kinds_of_models.X)
    identical_diffs(report, repository, kinds, kinds_of_models.X[:60])


def identical_rollouts(report: Report, client: Client, rollout: int, runs: list[str], rows: np.ndarray) -> None:
    ended = []
    for first in range(0, len(runs), AT_ONCE):
        models = runs[first : first + AT_ONCE]
        for model in models:
            ask_identical(client, rollout, model, rows)
        ended += [ended_rollout(client, model) for model in models]
    name = options.RolloutKind.Name(rollout).lower()
    judged = sum(map(is_judged, ended))
    differs = [
        f"{found.model_name}: {each.guard}" for found in ended for each in found.evidence if each.estimate > 0 and each.guard != "p99"
    ]
    rolled_back = [found.reason for found in ended if found.state == options.ROLLED_BACK]
    kept = judged == len(ended) and not differs and not rolled_back
    said = f"{judged} with all requests compared, {len(differs)} with a difference, {len(rolled_back)} rolled back"
    report.add(
        f"identical versions, {len(set(runs))} kinds of outputs, {len(ended)} runs of a {name}", "0 flips, 0 rolled back", said, kept
    )
    report.numbers[f"identical_{name}"] = {"runs": len(ended), "judged": judged, "differs": differs, "rolled_back": rolled_back}


def ask_identical(client: Client, rollout: int, model: str, rows: np.ndarray) -> None:
    """Begins one, and asks the stable version, so that all requests are compared."""
    request = options.StartRolloutRequest(model_name=model, kind=rollout, candidate_version=2)
    if rollout == options.CANARY:
        request.steps.extend((0.5, 1.0))
        request.dwell_s, request.sample = 1e6, 1.0
        request.guards["flips"] = 0.01
        if model in ("embeddings", "half", "top_k", "zipmap", "text_labels", "not_a_number"):  # which have floats
            request.guards["mean"] = 0.05
    client.call("Rollouts", "Start", request, options.RolloutStatus)
    for number in range(RUN_REQUESTS):
        client.infer_rows(model, rows[number : number + 1 + number % 3])


def ended_rollout(client: Client, model: str) -> options.RolloutStatus:
    until_s = time.monotonic() + LIMIT_S
    while not is_judged(found := client.status(model)) and time.monotonic() < until_s:
        time.sleep(0.05)
    if found.state != options.ROLLED_BACK:
        client.call("Rollouts", "Stop", options.RolloutRequest(model_name=model), options.RolloutStatus)
    return found


def is_judged(found: options.RolloutStatus) -> bool:
    """Whether its evidence is made of all requests, which comes later than the counts."""
    return any(each.count == RUN_REQUESTS for each in found.evidence if each.guard in ("flips", "shapes"))


def identical_diffs(report: Report, repository: Path, kinds: Sequence[str], rows: np.ndarray) -> None:
    requests = repository.parent / "requests"
    requests.mkdir()
    np.savez(requests / "rows.npz", x=rows)
    same, codes = 0, Counter[int]()
    for run in range(RUNS):
        model = repository / kinds[run % len(kinds)]
        command = [sys.executable, "-m", "inferd", "diff", str(model / "1"), str(model / "2"), "--on", str(requests)]
        done = subprocess.run([*command, "--no-performance"], capture_output=True, text=True, check=False, timeout=LIMIT_S)
        codes[done.returncode] += 1
        same += not done.returncode and "SAME" in done.stdout
        if done.returncode:
            print(f"  {model.name}: exit {done.returncode}: {(done.stdout + done.stderr)[:300]}", flush=True)
    said = f"{same} of {RUNS}; exit codes {dict(codes)}"
    report.add(f"identical versions, {len(kinds)} kinds of outputs, {RUNS} runs of inferd diff", "SAME in all", said, same == RUNS)
    report.numbers["identical_diff"] = {"same": same, "codes": {str(code): count for code, count in codes.items()}}


def pairs(report: Report, folder: Path) -> None:
    """a canary that compares decisions, with a limit of 0.5 %: a candidate with 1 % flips, and one without"""
    for name, changed, wrong in (("1 % flips", PAIR_ROWS // 100, options.PROMOTED), ("the same model", 0, options.ROLLED_BACK)):
        place = folder / str(changed)
        repository = two_versions(place, lookup(PAIR_ROWS), lookup(PAIR_ROWS, changed))
        with servers.inferd("pairs", [repository], place, "--state-dir", str(place / "state")) as server:
            client = Client(server.address)
            client.label(1)
            with asking(server.address, PAIR_ROWS):
                client.start((0.5, 1.0), dwell_s=0.0, flips=0.005)
                began = time.monotonic()
                while (found := client.status()).state == options.RUNNING and time.monotonic() - began < PAIR_S:
                    time.sleep(0.1)
                took_s = time.monotonic() - began
        state = options.RolloutState.Name(found.state).lower().replace("_", " ")
        said = f"{state} after {took_s:.0f} s, {found.counts['compared']:,} compared: {found.reason.partition(':')[0]}"
        expected = f"not {options.RolloutState.Name(wrong).lower().replace('_', ' ')}"
        report.add(f"a canary with a guard of flips, limit 0.5 %, {name}", expected, said, found.state != wrong)
        report.numbers[f"pairs_{changed}"] = {"state": state, "s": round(took_s, 1), "compared": found.counts["compared"]}


def live(report: Report, folder: Path) -> None:
    """keys over two workers, a ramp and a restart; a rollback under load"""
    repository, state = two_versions(folder, lookup(4), lookup(2)), folder / "state"
    stickiness(report, repository, state, folder)
    for path in state.iterdir():
        path.unlink()
    rollback(report, repository, state, folder)


def stickiness(report: Report, repository: Path, state: Path, folder: Path) -> None:
    flags = ("--state-dir", str(state), "--model-poll-s", "1")
    with servers.inferd("first", [repository], folder, *flags) as server:
        client = Client(server.address)
        client.label(1)
        client.start((0.2, 0.6))
        before = assigned(server.address, 1)
        while client.status().share != 0.2:
            time.sleep(0.05)
    path = state / "rollouts.json"
    with servers.inferd("second", [repository], folder, *flags, "--workers", "2") as server:
        time.sleep(3)  # a worker follows the files
        restarted = assigned(server.address, 8)
        kept = json.loads(path.read_text())
        kept["lookup"] |= {"step": 1, "share": 0.6}
        path.write_text(json.dumps(kept))
        time.sleep(3)
        ramped = assigned(server.address, 8)
    stayed = sum(one == other for one, other in zip(before, restarted, strict=True)) / len(KEYS)
    back = sum("1" in later for earlier, later in zip(before, ramped, strict=True) if earlier == {"2"})
    split = [sum(each == {"2"} for each in found) / len(KEYS) for found in (before, restarted, ramped)]
    one = sum(len(each) == 1 for each in ramped) / len(KEYS)
    report.add("keys at the same version after a restart, in two workers", "100 %", f"{stayed:.1%}", stayed == 1)
    report.add("keys that two workers agree on after the ramp", "100 %", f"{one:.1%}", one == 1)
    report.add("keys that flip back as the share grows", "0", f"{back}", back == 0)
    report.add(f"share of {len(KEYS)} keys: asked 20 %, 20 %, 60 %", "", ", ".join(f"{share:.1%}" for share in split))
    report.numbers["sticky"] = {"restart": stayed, "workers": one, "back": back, "split": split}


def rollback(report: Report, repository: Path, state: Path, folder: Path) -> None:
    over = threading.Event()
    done: list[tuple[float, str]] = []  # when a response came, by the wall clock, and what it was

    def ask(address: str, seed: int) -> None:
        client, rng = Client(address), np.random.default_rng(seed)
        while not over.is_set():
            try:
                version = client.infer(int(rng.integers(4)))
            except grpc.RpcError:
                version = "failed"
            done.append((time.time(), version))

    with servers.inferd("rollback", [repository], folder, "--state-dir", str(state)) as server:
        client = Client(server.address)
        client.label(1)
        threads = [threading.Thread(target=ask, args=(server.address, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        began = time.time()
        client.start((0.1, 1.0))
        while client.status().state != options.ROLLED_BACK:
            time.sleep(0.02)
        time.sleep(2)
        over.set()
        for thread in threads:
            thread.join()
    lines = [json.loads(line) for line in (state / "rollouts.audit.jsonl").read_text().splitlines()]
    decided = lines[-1]
    at = time.mktime(time.strptime(decided["time"][:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float(decided["time"][19:23])
    by_candidate = [when for when, version in done if version in ("2", "failed")]
    last_s, after = max(by_candidate) - at, sum(when > at + 1 and version != "1" for when, version in done)
    counts = decided["counts"]
    report.add("rolled back after the start of the canary", "", f"{at - began:.2f} s, {counts['canary']} requests of the candidate's")
    report.add("from the line in the audit log to the last response of the candidate", "<= 1 s", f"{last_s:.3f} s", last_s <= 1)
    report.add("requests that failed later", "0", f"{after} of {sum(when > at + 1 for when, _ in done):,}", after == 0)
    report.numbers["rollback"] = {"after_s": round(at - began, 3), "last_s": round(last_s, 4), "failed_later": after, "counts": counts}


SECTIONS = {section.__name__: section for section in (streams, flips, errors, clusters, same, identical, pairs, live)}


if __name__ == "__main__":
    raise SystemExit(sections.checked("Checks the decisions of rollouts.", SECTIONS, HISTORY))
