"""Reading h2load's report and the kernel's counters: what the published figures rest on."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

REPORT = """\
starting benchmark...
spawning thread #0: 4 total client(s). 1000 total requests
finished in 123.46ms, 8100.12 req/s, 1.52MB/s
requests: 1000 total, 1000 started, 1000 done, 1000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 1000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 192.38KB (197000) total, 23.44KB (24000) headers (space savings 89.19%), 117.19KB (120000) data
                     min         max         mean         sd        +/- sd
time for request:       50us      9.50ms      1.25ms       640us    70.30%
time for connect:       91us       129us       109us        16us    50.00%
req/s           :    2025.41     2100.00     2050.00       50.00    75.00%
"""


@pytest.fixture(scope="module")
def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_load", Path(__file__).parents[2] / "benchmarks" / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_report_is_read(load) -> None:
    assert load.parse(REPORT) == (1000, 8100.12, 1250.0)


@pytest.mark.parametrize(("unit", "us"), [("1.25ms", 1250.0), ("12us", 12.0), ("2.50s", 2.5e6)])
def test_units(load, unit, us) -> None:
    assert load.parse(REPORT.replace("1.25ms", unit))[2] == us


def test_failed_requests_are_no_figure(load) -> None:
    with pytest.raises(RuntimeError, match="requests fail"):
        load.parse(REPORT.replace("1000 succeeded, 0 failed", "990 succeeded, 10 failed"))


def test_a_strange_report_is_no_figure(load) -> None:
    with pytest.raises(RuntimeError, match="not as expected"):
        load.parse("h2load: no such option")


def test_quantile_of_latencies(load) -> None:
    run = load.Run(100, 1.0, 1.0, 1.0, 0.0, tuple(range(100)))
    assert run.quantile_us(0.99) == 99
    assert run.quantile_us(0.5) == 50


def test_counters_of_another_process(load) -> None:
    program = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass\ninput()"
    busy = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while load.cpu_ns(busy.pid) < 200_000_000 and time.monotonic() < deadline:
            pass
        assert load.cpu_ns(busy.pid) >= 200_000_000
        assert load.minor_faults(busy.pid) > 0
        assert load.rss_bytes(busy.pid) > 1 << 20
        before = os.sched_getaffinity(busy.pid)
        with load.pinned_to(load.pin_core(), busy.pid):
            assert os.sched_getaffinity(busy.pid) == {load.pin_core()}
        assert os.sched_getaffinity(busy.pid) == before
    finally:
        busy.communicate(b"\n", timeout=30)


def test_body_only_for_grpc(load, tmp_path: Path) -> None:
    assert load.Target("http://host/file").arguments() == ["http://host/file"]
    arguments = load.Target("http://host/call", tmp_path / "body").arguments()
    assert arguments[:2] == ["-d", str(tmp_path / "body")]
    assert "content-type: application/grpc" in arguments
