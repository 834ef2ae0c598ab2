"""The process that a candidate runs in: it loads one version, runs requests that a server mirrors, and compares the responses.

    python -m inferd.rollout.candidate DESCRIPTOR

It has its own session of ONNX Runtime and its own interpreter. It loads at a low priority, and then gets the processor only when nobody
else wants it. It is the first that the kernel ends when memory is short. So nothing that happens here can hold up the server. It ends with
the server, whose socket it reads. Never in here: which requests are mirrored.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from inferd._core.grpc.call import NO_DEADLINE
from inferd.compare.decisions import ranked_by
from inferd.compare.statistics import rate_band
from inferd.engine.files.places import find_place
from inferd.engine.local_call import LocalCall, submit
from inferd.engine.models.repository import Repository
from inferd.errors import InferdError, RequestError
from inferd.protocol import inference
from inferd.rollout.child_process import refuse_privileges
from inferd.rollout.judge import MAX_WORDS, Judge
from inferd.rollout.messages import Failed, Mirrored, Progress, Ready, Setup
from inferd.rollout.pipe import Closed, Pipe
from inferd.rollout.shift import LEARNED_AFTER, OutputShift, floats_of, worst_of
from inferd.rollout.state import Evidence, Verdict
from inferd.tensors import Array, array_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.compare.outputs import Difference
    from inferd.engine.model import Model
    from inferd.rollout.messages import Found, Tensor

# A shadow's, each with its default limit: a share of requests; of the mean, spreads of the stable output.
GUARDS = {"errors": 0.01, "flips": 0.01, "shapes": 0.01, "mean": 0.1}
ALPHA = 0.05  # of all guards together
AT_ONCE = 8  # requests that wait in the model's queue, so that they can share runs
TOLD_S = 0.025  # between two reports of how far it is
FOUND_S = 0.5  # between two of them that say what was found
MAX_NEEDED = 1_000_000  # requests that a forecast looks ahead
LOADING_NICENESS = 10


def main() -> None:
    refuse_privileges()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")
    os.nice(LOADING_NICENESS)
    pipe = Pipe(socket.socket(fileno=int(sys.argv[1])))
    try:
        setup, _ = pipe.receive(Setup)
        try:
            model = load(setup)
        except InferdError as error:
            pipe.send(Failed(str(error)))
            return
        signature = model.signature
        pipe.send(Ready(list(signature.input_specs), list(signature.output_specs)))
        Work(pipe, model, setup).go_on()
    except Closed:
        pass
    finally:
        os._exit(0)  # a run that does not end would hold up the interpreter's own end


def load(setup: Setup) -> Model:
    """The candidate, warm and started, on one thread that runs when nothing else wants to. Raises ConfigError and StartError."""
    settings = {**setup.settings, "providers": tuple(setup.settings.get("providers", ("cpu",))), "instances": 1, "intra_op_threads": 1}
    repository = Repository(SimpleNamespace(**settings), deliver=lambda batch: batch.deliver())
    place = find_place([Path(setup.folder)], setup.name)
    if place is None or setup.version not in place.files:
        raise InferdError(f"model '{setup.name}' has no version {setup.version} any more")
    selected = repository.loader.select(place, [setup.version])
    wanted = [each for each in selected.versions if each[0] == setup.version]
    model = repository.loader.load(selected._replace(versions=wanted), setup.version)
    with suppress(OSError):
        os.sched_setscheduler(0, setup.policy, os.sched_param(0))  # threads that begin from here on inherit it
    model.start()
    return model


class Work:
    """Two threads: one reads requests and lets them wait for their run, the other compares responses."""

    def __init__(self, pipe: Pipe, model: Model, setup: Setup) -> None:
        self._pipe, self._model, self._setup, self.found = pipe, model, setup, setup.found
        self._words = {name: word for name, word, _ in model.signature.output_specs}
        self._judge = Judge(self.found, self._words, ranked_by(model.config, self._words))
        floats = floats_of(model.signature.output_specs)
        for name in floats:
            shift = self.found.shifts.setdefault(name, OutputShift(setup.alpha))
            shift.share(setup.alpha / len(floats))  # any of them may raise a false alarm
        self._running: queue.Queue[tuple[Mirrored, LocalCall | RequestError, dict[str, Array]] | None] = queue.Queue(AT_ONCE)
        self._done = self._skipped = self._told = 0

    def go_on(self) -> None:
        """Until the server has gone."""
        threading.Thread(target=self._read, name="mirrored", daemon=True).start()
        told_s = found_s = time.monotonic()
        found_at = 0
        began_s = time.process_time()
        while True:
            # With nothing to tell it sleeps: looking for nothing takes a core's time, too.
            timeout_s = TOLD_S if self._done > self._told else FOUND_S if self._done > found_at else None
            try:
                entry = self._running.get(timeout=timeout_s)
                if entry is None:
                    return
                self._take(*entry)
                self._done += 1
            except queue.Empty:
                pass
            now_s = time.monotonic()
            used_s = time.process_time() - began_s
            if self._done > found_at and now_s - found_s >= FOUND_S:
                self.found.evidence = evidence_of(self.found, self._setup.guards, self._setup.alpha)
                self._pipe.send(Progress(self._done, used_s, self._skipped, self.found))
                told_s = found_s = now_s
                found_at = self._told = self._done
            elif self._done > self._told and now_s - told_s >= TOLD_S:
                self._pipe.send(Progress(self._done, used_s, self._skipped))
                told_s, self._told = now_s, self._done

    def _read(self) -> None:
        try:
            while True:
                mirrored, content = self._pipe.receive(Mirrored)
                self._begin(mirrored, memoryview(content))
        except Closed:
            os._exit(0)  # the server has gone, or is done with this process: also where a run does not end

    def _begin(self, mirrored: Mirrored, content: memoryview) -> None:
        inputs, at = arrays_of(mirrored.inputs, content, 0)
        outputs, at = arrays_of(mirrored.outputs, content, at)
        if mirrored.response:
            outputs = outputs_of(bytes(content[at : at + mirrored.response]))
        call: LocalCall | RequestError
        try:
            call = submit(self._model, [(name, word, inputs[name]) for name, word, _, _ in mirrored.inputs], NO_DEADLINE)
        except RequestError as error:
            call = error
        self._running.put((mirrored, call, outputs))

    def _take(self, mirrored: Mirrored, call: LocalCall | RequestError, expected: dict[str, Array]) -> None:
        # A client may have asked for classes in place of numbers: these cannot be compared.
        comparable = {name: array for name, array in expected.items() if (array.dtype == object) == (self._words.get(name) == "BYTES")}
        if expected and not comparable:
            self._skipped += 1
            return
        self.found.compared += 1
        try:
            if isinstance(call, RequestError):
                raise call
            got = call.future.result()
        except RequestError as error:
            self.found.failed += 1
            self.found.error = str(error)[:MAX_WORDS]
            return
        self._judge.add(mirrored.request_id, comparable, {name: array for name, array in got.items() if name in comparable})
        for name, shift in self.found.shifts.items():
            if name in comparable and name in got and comparable[name].shape == got[name].shape:
                shift.add(comparable[name], got[name], self._words[name])


def arrays_of(tensors: Sequence[Tensor], content: memoryview, at: int) -> tuple[dict[str, Array], int]:
    """Arrays by name, and where their bytes end."""
    found: dict[str, Array] = {}
    for name, word, shape, nbytes in tensors:
        found[name] = array_of(word, shape, content[at : at + nbytes])
        at += nbytes
    return found, at


def outputs_of(message: bytes) -> dict[str, Array]:
    """Those of a ModelInferResponse, which has raw contents."""
    response = inference.ModelInferResponse.FromString(message)
    return {
        output.name: array_of(output.datatype, output.shape, content)
        for output, content in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def evidence_of(found: Found, guards: dict[str, float], alpha: float) -> list[Evidence]:
    """The verdict on each guard of a shadow that can tell something, and on each that is asked for. guards: limits that are not the usual
    ones. alpha: of each guard."""
    limits, total = GUARDS | guards, found.total
    counts = {
        "errors": (found.failed, found.compared, found.error),
        "flips": (min(total.flipped, total.decisive), total.decisive, flip_words(found)),
        "shapes": (total.mismatched, total.requests, next(_mismatches(total), "")),
    }
    if total.requests and not total.decisive and "flips" not in guards:
        del counts["flips"]
    evidence = [_rate_evidence(guard, *seen, limits[guard], alpha) for guard, seen in counts.items()]
    if name := worst_of(found.shifts, limits["mean"]):
        evidence.append(_mean_evidence(name, found.shifts[name], limits["mean"]))
    return evidence


def flip_words(found: Found) -> str:
    """The request that differs most, for people, or why there is no decision; '' where none differs."""
    if found.total.requests and not found.total.decisive:
        return "no response has a decision to compare: a class, a label, or a probability from 0 to 1"
    if not found.worst:
        return ""
    worst = found.worst[0]
    return f"worst: {f'request {worst.request_id!r}, ' if worst.request_id else ''}{worst.words}"


def _mismatches(total: Difference) -> Iterator[str]:
    return (f"{name}: {words}" for name, output in total.outputs.items() for words in output.mismatches)


def _rate_evidence(guard: str, events: int, count: int, words: str, limit: float, alpha: float) -> Evidence:
    low, high = rate_band(events, count, alpha)
    verdict = Verdict.BAD if low > limit else Verdict.OK if high < limit else Verdict.OPEN
    if words and not count:
        return Evidence(guard, 0, 0.0, low, high, limit, verdict, words)
    says = [words] if events else []
    if verdict is Verdict.OPEN and (needed := _needed(events, count, limit, alpha)) > count:
        says.append(f"about {needed} requests decide if it goes on like this")
    return Evidence(guard, count, events / count if count else 0.0, low, high, limit, verdict, "; ".join(says))


def _needed(events: int, count: int, limit: float, alpha: float) -> int:
    """Requests, to two digits, after which the band lies on one side of the limit, with events as often as so far. 0: none tells."""
    needed = max(count, 10)
    while needed < MAX_NEEDED:
        low, high = rate_band(round(events * needed / count) if count else 0, needed, alpha)
        if high < limit or low > limit:
            return int(float(f"{needed:.1e}"))
        needed += needed // 10
    return 0


def _mean_evidence(name: str, shift: OutputShift, limit: float) -> Evidence:
    _, mean = shift.worst(limit)
    low, high = mean.band()
    verdict = Verdict.BAD if max(low, -high) > limit else Verdict.OK if max(-low, high) < limit else Verdict.OPEN
    return Evidence("mean", mean.count, mean.estimate, low, high, limit, verdict, mean_words(name, shift, limit))


def mean_words(name: str, shift: OutputShift, limit: float) -> str:
    """The output that shifts most, and where it does, for people."""
    if not shift.places:
        return f"{LEARNED_AFTER - shift.learned} more requests tell how widely output {name!r} is spread"
    place = f"[..., {shift.worst(limit)[0]}]" if len(shift.places) > 1 else ""
    return f"worst: output {name!r}{place}, spread {shift.spread:.4g}"


if __name__ == "__main__":
    main()
