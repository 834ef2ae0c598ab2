"""The memory that the runs of one model take: an arena of ONNX Runtime's for each model, with a limit.

An arena keeps what a run has used for the next one, which saves page faults: they can take longer than the
run itself. Left alone it keeps the most that was ever needed, for good. So each model's arena has three properties:

- It has a limit. A run that needs more fails, and the process lives on.
- It grows by what is asked for, and not by powers of two: it holds what the runs since the last decay needed.
- It decays: every DECAY_S `Upkeep` returns unused memory to the system. The word and the interval are jemalloc's.

Weights are not part of it. ONNX Runtime's Python interface cannot measure an arena, so a second session of one node does. It asks for
more than the limit, and the error names the free bytes. Another run of that session shrinks the arena.

Never in here: which models decay, what clients are told, an import of onnxruntime (onnx/model.py passes it in).
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

log = logging.getLogger("inferd.engine")

DECAY_S = 10.0
KEPT_BYTES = 1 << 20  # an arena that holds no more is not shrunk: filling it again would cost more than the memory is worth
# y = ConstantOfShape(n), INT64 [1] -> FP32 [k]. (onnx.helper made it: IR 8, opset 13.)
_PROBE = bytes.fromhex(
    "08083a3f0a170a016e120179220f436f6e7374616e744f6653686170651201705a0f0a016e120a0a08080712040a02080162100a0179120b0a09080112050a0312016b"
    "42040a00100d"
)
_FULL = re.compile(r"Available memory of (\d+) is smaller than requested bytes of \d+")
_SAME_AS_REQUESTED = 1  # OrtArenaCfg's arena_extend_strategy
_REGISTERING = threading.Lock()  # from registering an allocator until all its sessions are open: they take the newest


class RunArena:
    """One model's arena. Any thread may call its methods. Call `give_back` on the event loop only for a run that found the arena full.
    The model's runs wait while the system unmaps the memory (some 100 ms a GiB)."""

    def __init__(self, ort: Any, limit_bytes: int) -> None:
        """Registers a new allocator with onnxruntime; sessions that are opened next, with `entries`, use it."""
        self.limit_bytes = limit_bytes
        self._peak_bytes = 0
        where = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
        ort.create_and_register_allocator(where, ort.OrtArenaCfg({"max_mem": limit_bytes, "arena_extend_strategy": _SAME_AS_REQUESTED}))
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # else a session keeps 43 KB of optimizers
        options.log_severity_level = 4
        for key, value in self.entries.items():
            options.add_session_config_entry(key, value)
        self._probe = ort.InferenceSession(_PROBE, options, providers=["CPUExecutionProvider"])
        self._quiet, self._shrinking = ort.RunOptions(), ort.RunOptions()
        self._quiet.log_severity_level = self._shrinking.log_severity_level = 4
        self._shrinking.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    # Options of each session that uses the arena. Weights live as long as the model, and would pin regions of the arena.
    entries = {"session.use_env_allocators": "1", "session.use_device_allocator_for_initializers": "1"}

    @classmethod
    @contextmanager
    def opened(cls, ort: Any, limit_bytes: int) -> Iterator[RunArena | None]:
        """An arena for the session that is opened inside the block. None without a limit (0), and where onnxruntime is too old to
        have several arenas: each session then has its own, without a limit."""
        if not limit_bytes:
            yield None
            return
        with _REGISTERING:
            try:
                arena = cls(ort, limit_bytes)
            except Exception as error:  # onnxruntime's own exceptions, or an older interface
                log.info("onnxruntime has no arenas with a limit, so the memory of runs has none: %s", " ".join(str(error).split()))
                yield None
            else:
                yield arena

    def held_bytes(self) -> int:
        """Bytes that the arena holds now, used or not. The number is exact; the call takes about 200 us."""
        try:
            self._probe.run(None, {"n": np.array([self.limit_bytes // 4 + 1], np.int64)}, self._quiet)
        except Exception as error:
            found = _FULL.search(str(error))
            if found:
                held_bytes = self.limit_bytes - int(found[1])
                self._peak_bytes = max(self._peak_bytes, held_bytes)
                return held_bytes
        return 0  # another version of onnxruntime words the error differently

    @property
    def peak_bytes(self) -> int:
        """The most that `held_bytes` has found; each decay calls it."""
        return self._peak_bytes

    def give_back(self, kept_bytes: int = KEPT_BYTES) -> int:
        """Returns unused memory to the system if the arena holds more than `kept_bytes`. Returns the bytes that it held before. A run
        that found the arena full calls it on any thread, the event loop's too: the run would fail otherwise."""
        held_bytes = self.held_bytes()
        if held_bytes > kept_bytes:
            self._shrink()
        return held_bytes

    def needed_by(self, run: Callable[[], object]) -> int:
        """Calls `run` and returns the bytes that it needed, exact while no other run uses the arena. Raises the errors of `run`."""
        self._shrink()
        before_bytes = self.held_bytes()
        run()
        return self.held_bytes() - before_bytes

    def _shrink(self) -> None:
        self._probe.run(None, {"n": np.array([1], np.int64)}, self._shrinking)

    @staticmethod
    def was_full(error: Exception) -> bool:
        """Whether a run failed because it needed more than the limit."""
        return _FULL.search(str(error)) is not None


class Decaying(threading.Thread):
    """Calls `decay` every DECAY_S, from `start` to `stop`."""

    def __init__(self, decay: Callable[[], None]) -> None:
        super().__init__(name="arena decay", daemon=True)
        self._decay = decay
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(DECAY_S):
            try:
                self._decay()
            except Exception:
                log.exception("memory of earlier runs could not be given back")

    def stop(self) -> None:
        """Ends the thread, and waits for a decay that is under way."""
        self._stopped.set()
        if self.is_alive():
            self.join()
