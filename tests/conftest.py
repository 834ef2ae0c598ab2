"""What all tests share: real servers over real models, one body for both transports."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.leak_check import counted, counts, left
from tests.unit_tests import is_unit

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tests.server_fixtures import ServerFixture

TESTS = Path(__file__).parent
TRANSPORTS = ("native", "grpcio")

# Files that take longest, from the longest on. They begin first, so that none is left at the end, when other processes have nothing to do.
LONGEST = (
    "serving/processes/test_workers.py",
    "cli/test_bench.py",
    "cli/test_tune.py",
    "serving/security/test_access.py",
    "bench/test_generator.py",
    "serving/processes/test_process.py",
    "bench/test_scenarios.py",
    "serving/messages/test_message_threads.py",
    "test_docs.py",
    "deploy/test_proxies.py",
    "serving/security/test_tls.py",
    "steps/test_picture.py",
    "test_build.py",
    "engine/runtime/onnx/test_model.py",
    "scikit_learn/test_imputers.py",
    "serving/test_server.py",
    "serving/test_bad_input.py",
    "scikit_learn/test_encoders.py",
    "cli/test_bench_tls.py",
    "cli/test_serve.py",
    "observe/test_scrape.py",
    "serving/test_service.py",
    "clients/test_perf_analyzer.py",
    "scikit_learn/test_export.py",
    "scikit_learn/test_attempts.py",
    "bench/test_candidate.py",
    "serving/memory/test_budget.py",
    "clients/python/test_several_inferds.py",
)

# Speed is measured in benchmarks/; a busy machine is no fault of the code. Fuzzers (make fuzz) look for what fifty examples do not find.
settings.register_profile("inferd", deadline=None, max_examples=50)
settings.register_profile("unit", deadline=None, max_examples=15)
settings.load_profile("inferd")

# As inferd sets it, before a test imports onnxruntime by itself: its wheels keep some KiB of each failed run for a thread that sends them.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Where the suite runs behind `nohup` or `&` these are ignored, which every process that a test starts would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--unit", action="store_true", help="only test files that start no other program: see tests/unit_tests.py")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--unit"):
        settings.load_profile("unit")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if config.getoption("--unit") and collection_path.match("test_*.py") and not is_unit(collection_path):
        return True
    return None  # the other plugins decide


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Tests, and the libraries that they import, stay: Python need not look through them for garbage, again and again while they come."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.fixture(scope="module", autouse=True)
def what_is_there_stays() -> None:
    """No `gc.collect()` of a test, nor of a server that it starts, looks through the tests and the libraries: that takes up to a second."""
    gc.collect()
    gc.freeze()


if counted():

    @pytest.fixture(scope="module", autouse=True)
    def nothing_is_left() -> Iterator[None]:
        """A file's tests leave nothing of what a debug build counts: it is set up before, and looks after all else of them."""
        before = counts()
        yield
        assert left(before) == {}

    @pytest.fixture(autouse=True)
    def nothing_said_is_kept(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        """A record of an exception holds the frames that it went through, until pytest is done with the test."""
        yield
        for phase in ("setup", "call"):
            caplog.get_records(phase).clear()

    @pytest.fixture(scope="session", autouse=True)
    def all_is_zero() -> Iterator[None]:
        """And so does the suite."""
        yield
        assert left() == {}


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the small models of tests/models.py that most tests use."""
    from tests import models

    return models.repository(
        tmp_path_factory.mktemp("models"),
        {
            "identity": models.identity(),
            "add": models.add(),
            "text": models.text(),
            "many": models.many(),
            "every_datatype": models.every_datatype(),
            "sequence_length": models.sequence_length(),
            "pooled_image": models.pooled_image(),
            "fixed_batch": models.fixed_batch(),
            "slow": models.slow(20),
            "versions": {1: models.identity(), 3: models.doubled()},
        },
        {
            "versions": "version_policy { all {} }",
            "pooled_image": f"max_batch_size: 16 {models.listed('image', 'mean', [3, 224, 224], [3])}",
        },
    )


@pytest.fixture(scope="module", params=TRANSPORTS)
def served(request: pytest.FixtureRequest, model_files: Path) -> Iterator[ServerFixture]:
    """A server over `model_files`, once on each transport. Shared by a module's tests: change nothing that lasts."""
    from tests.server_fixtures import ServerFixture

    with ServerFixture(model_files, transport=request.param) as server:
        yield server
