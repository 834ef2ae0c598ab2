"""Whether requests share runs: what the configuration says, what Triton would do, and what trial runs proved."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferd import Engine
from inferd.engine.checks import probe
from inferd.engine.checks.probe import Proof, Rows
from inferd.engine.configuration.batching import Batching, shares_runs
from inferd.engine.configuration.config_sources import Defaults
from inferd.engine.configuration.model_config import complete, read_model_config, settle
from inferd.engine.loading.planner import ThreadPlan
from inferd.engine.running.queues import batching_of
from inferd.engine.runtime.runtime import Graph, TensorInfo
from inferd.errors import ConfigError
from inferd.protocol import inference
from tests import models, pngs

GRAPH = Graph((TensorInfo("x", "FP32", ("N", 16)),), (TensorInfo("y", "FP32", ("N", 16)),))
INPUT = 'input { name: "x" data_type: TYPE_FP32 dims: [16] } '
OUTPUT = 'output { name: "y" data_type: TYPE_FP32 dims: [16] } '
LISTED = "max_batch_size: 8 " + INPUT + OUTPUT
PROOFS = {rows: Proof(rows, f"trials say {rows.value}") for rows in Rows}


@pytest.fixture(autouse=True)
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine leaves no batch out."""
    monkeypatch.setattr(probe, "MOST_S", 1e9)
    monkeypatch.setattr(probe, "ENOUGH_S", 1e9)


def decided(folder: Path, text: str | None, rows: Rows, server: str = "auto") -> tuple[inference.ModelConfig, Batching, int]:
    """The completed configuration, why, and how often a proof was asked for."""
    if text is not None:
        (folder / "config.pbtxt").write_text(text)
    written = read_model_config(folder, "m")
    defaults = Defaults(batching=server)
    config = settle(written, "m", defaults, ThreadPlan(1, 1, False, ""))
    asked: list[int] = []

    def prove(batched: inference.ModelConfig) -> Proof:
        asked.append(batched.max_batch_size)
        assert batched.input[0].dims == [16]
        return PROOFS[rows]

    why = complete(written, config, GRAPH, defaults, prove)
    return config, why, len(asked)


AUTO = [  # configuration; whether requests share runs for each of Rows: independent, influenced, dependent, unknown
    (None, "yes no none no"),
    ("", "yes no none no"),
    ("inferd { max_queue_requests: 9 }", "yes no none no"),
    (INPUT, "yes no no no"),  # dims say that axis 0 is the batch; Triton completes the outputs, and batches
    ("max_batch_size: 8", "yes no no no"),
    ("max_batch_size: 1", "no no no no"),
    (LISTED, "no no no no"),
    (INPUT + OUTPUT, "no no no no"),
    (LISTED + "dynamic_batching {}", "yes yes yes yes"),
    ("dynamic_batching {}", "yes yes none yes"),
    ("max_batch_size: 0", "none none none none"),
]


BY_PROOF = {text for text, expected in AUTO if expected.startswith("yes no") or text is None}


@pytest.mark.parametrize("place", range(4), ids=[rows.value for rows in Rows])
@pytest.mark.parametrize(("text", "expected"), AUTO, ids=[str(text) for text, _ in AUTO])
def test_auto(tmp_path: Path, text: str | None, expected: str, place: int) -> None:
    rows, word = list(Rows)[place], expected.split()[place]
    config, batching, _ = decided(tmp_path, text, rows)
    assert (config.max_batch_size > 0) == (word != "none")
    assert config.HasField("dynamic_batching") == (word == "yes" or "dynamic_batching" in (text or ""))
    assert batching_of(config)["max_rows"] == (config.max_batch_size if word == "yes" else 1)
    reason = config.inferd.batching_reason
    assert reason.startswith({"yes": "requests share runs: ", "no": "requests share no run: ", "none": "no batching: "}[word])
    assert reason in batching.why
    if word == "yes" and rows is not Rows.INDEPENDENT:
        assert batching.doubt == f"requests share runs, but {PROOFS[rows].why}"
    else:
        left_open = word == "no" and rows is Rows.UNKNOWN and text in BY_PROOF
        assert batching.doubt == (reason if left_open else ""), "it is worth a warning that nothing was proven"


ON = {
    None: "yes yes none yes",
    LISTED: "yes yes yes yes",
    "max_batch_size: 8": "yes yes yes yes",
    "max_batch_size: 0": "none none none none",
}


@pytest.mark.parametrize("own", [False, True], ids=["of the server", "of the model"])
@pytest.mark.parametrize("place", range(4), ids=[rows.value for rows in Rows])
@pytest.mark.parametrize("text", ON, ids=str)
def test_on_and_off(tmp_path: Path, text: str | None, place: int, own: bool) -> None:
    """The model's word goes before the server's."""
    rows, word = list(Rows)[place], ON[text].split()[place]
    config, batching, _ = decided(tmp_path, f"{text or ''} inferd {{ batching: ON }}" if own else text, rows, "off" if own else "on")
    assert (config.max_batch_size > 0, shares_runs(config)) == (word != "none", word == "yes")
    assert batching.doubt == (f"requests share runs, but {PROOFS[rows].why}" if word == "yes" and rows is not Rows.INDEPENDENT else "")
    config, batching, _ = decided(tmp_path, f"{text or ''} inferd {{ batching: OFF }}" if own else text, rows, "on" if own else "off")
    assert (config.max_batch_size > 0, shares_runs(config), batching.doubt) == (word != "none", False, "")


def test_off_leaves_the_queue_as_it_is_configured(tmp_path: Path) -> None:
    text = "max_batch_size: 8 dynamic_batching { preferred_batch_size: [4] max_queue_delay_microseconds: 9 priority_levels: 2 "
    config, _, _ = decided(tmp_path, text + "default_priority_level: 1 }", Rows.INDEPENDENT, "off")
    policy = batching_of(config)
    assert (policy["max_rows"], policy["priority_levels"], policy["default_priority"]) == (1, 2, 1)
    assert "max_delay_ns" not in policy
    assert "preferred_rows" not in policy


@pytest.mark.parametrize(
    ("text", "server", "asked"),
    [
        (None, "auto", 1),
        (None, "off", 1),  # it shows whether there is a batch axis
        ("max_batch_size: 8", "auto", 1),
        ("max_batch_size: 8", "off", 0),
        ("max_batch_size: 1", "on", 0),
        ("max_batch_size: 0", "on", 0),
        (LISTED, "auto", 0),
        (LISTED, "on", 1),  # worth a warning
        (LISTED + "dynamic_batching {}", "auto", 1),
    ],
)
def test_trial_runs_are_made_where_they_tell_something(tmp_path: Path, text: str | None, server: str, asked: int) -> None:
    assert decided(tmp_path, text, Rows.INDEPENDENT, server)[2] == asked


def test_a_batching_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batching"):
        decided(tmp_path, "inferd { batching: MAYBE }", Rows.INDEPENDENT)


# ---- the whole way: answers do not change with their neighbours --------------------------------------------------------


def changed(engine: Engine, count: int = 24) -> int:
    """Of so many requests of two rows that come at once, those whose response is another one than alone."""
    rows = np.random.default_rng(1).normal(size=(count, 2, 16)).astype(np.float32)
    alone = [engine.infer("m", {"x": x})["y"] for x in rows]
    together: list[Any] = [None] * count
    gate = threading.Barrier(count)

    def ask(place: int) -> None:
        gate.wait()
        together[place] = engine.infer("m", {"x": rows[place]})["y"]

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(not np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("text", [None, LISTED, "max_batch_size: 8"], ids=["no file", "listed", "max_batch_size alone"])
@pytest.mark.parametrize("share", [0.04, 1.0])
def test_no_answer_changes_with_its_neighbours(tmp_path: Path, text: str | None, share: float) -> None:
    folder = models.repository(tmp_path, {"m": models.leaning(share)}, {"m": text} if text else {})
    with Engine(folder, instances=1) as engine:
        assert max(changed(engine) for _ in range(4)) == 0


def test_what_was_decided_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = models.repository(
        tmp_path,
        {"free": models.identity(), "asked": models.leaning(0.04), "listed": models.identity()},
        {"asked": "dynamic_batching {}", "listed": LISTED},
    )
    with caplog.at_level(logging.DEBUG, "inferd"), Engine(folder) as engine:
        reasons = {model.name: model.config.inferd.batching_reason for model in engine._repository.models()}
    assert reasons["free"] == "requests share runs: rows give the same alone and in batches of 2, 3 and 8"
    assert reasons["asked"] == "requests share runs: dynamic_batching is set"
    assert reasons["listed"].startswith("requests share no run: the configuration lists inputs and outputs without dynamic_batching")
    for name, reason in reasons.items():
        assert any(f"model '{name}' version 1: " in record.message and reason in record.message for record in caplog.records)
    (warning,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert "model 'asked' version 1: requests share runs, but the other rows of a run change output 'y' by up to" in warning


PICTURE = """
[[inferd.preprocess]]
steps = [{ decode_image = {} }, { resize = { height = 10, width = 10 } }, { scale = {} }, { transpose = {} }]
"""


def test_steps_fix_the_sizes_that_the_graph_leaves_free(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The model runs pictures of 10 x 10 pixels alone, which its graph does not say."""
    folder = models.repository(tmp_path, {"m": models.any_picture()})
    (folder / "m" / "config.toml").write_text(PICTURE)
    with caplog.at_level(logging.INFO, "inferd"), Engine(folder) as engine:
        model = engine._repository.lookup("m", "")
        assert model.config.inferd.batching_reason == "requests share runs: rows give the same alone and in batches of 2, 3 and 8"
        assert model.run_signature.input_specs == (("image", "FP32", (-1, 3, 10, 10)),)
        assert not [record.message for record in caplog.records if record.levelname == "WARNING"]  # such as of a warm-up that failed
        file = pngs.png((6, 4), 8, 2, (b"\0" + 12 * b"\xff") * 6)
        assert engine.infer("m", {"image": [[file]] * 2})["y"].shape == (2, 2)
