"""The closed loop without a server: threads that call one ONNX Runtime session. Prints its figures as one JSON object.

python loop.py MODEL.onnx IN_FLIGHT SECONDS THREADS BEGUN_NS ENOUGH < npz with input0, input1, ... and expected
"""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from typing import Any

import numpy as np
import onnxruntime


def main() -> None:
    path, seconds = sys.argv[1], float(sys.argv[3])
    in_flight, threads, begun_ns, enough = (int(sys.argv[at]) for at in (2, 4, 5, 6))
    options = onnxruntime.SessionOptions()
    # A run at a time wants all cores; several at a time take one each.
    options.intra_op_num_threads = threads if in_flight == 1 else 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    with np.load(io.BytesIO(sys.stdin.buffer.read())) as given:
        feed = {value.name: given[f"input{at}"] for at, value in enumerate(session.get_inputs())}
        expected = given["expected"]
    names = [session.get_outputs()[0].name]
    answer = session.run(names, feed)[0]
    start_s = (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - begun_ns) / 1e9
    np.testing.assert_allclose(answer, expected, rtol=1e-3, atol=1e-4)
    taken = loop(session, names, feed, in_flight, seconds, -(-enough // in_flight))
    print(json.dumps({**taken, "start_s": start_s, "memory_bytes": memory_bytes()}))


def loop(session: Any, names: list[str], feed: dict[str, Any], in_flight: int, seconds: float, enough: int) -> dict[str, float]:
    """Figures of all threads together; each runs four times at least, and for twice the time until it has `enough`."""
    durations: list[list[int]] = [[] for _ in range(in_flight)]
    cpu, begun = time.process_time_ns(), time.perf_counter_ns()
    end, latest = begun + int(seconds * 1e9), begun + int(2 * seconds * 1e9)

    def ask(own: list[int]) -> None:
        before = time.perf_counter_ns()
        while before < end or len(own) < 4 or (before < latest and len(own) < enough):
            session.run(names, feed)
            now = time.perf_counter_ns()
            own.append(now - before)
            before = now

    threads = [threading.Thread(target=ask, args=(own,)) for own in durations]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - begun
    every = np.concatenate([np.array(own) for own in durations]) / 1e3
    count = len(every)
    p50, p99 = np.percentile(every, [50, 99])
    return {"requests": count, "requests_s": count / wall * 1e9, "p50_us": p50, "p99_us": p99, "cpu_us": cpu / count / 1e3}


def memory_bytes() -> int:
    with open("/proc/self/smaps_rollup") as lines:
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
