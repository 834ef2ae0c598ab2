"""What the checks of a load find, and when they are made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from onnx import helper

from inferd._core.batching.batch import Batch
from inferd.engine.checks import contract
from inferd.engine.checks.contract import Contract, Contracts, key_of
from inferd.engine.checks.probe import Rows
from inferd.engine.configuration.config_sources import Defaults
from inferd.engine.files.content import Digests
from inferd.engine.files.places import find_places
from inferd.engine.loading import loader
from inferd.engine.loading.loader import Loader
from inferd.engine.loading.planner import Host
from tests import models

Load = Callable[..., Contract]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Loads a model in a server that has just been started, and says what is known of it."""
    loaded = []

    def load(model: bytes, config: str = "", **defaults: object) -> Contract:
        models.repository(tmp_path / "models", {"m": model}, {"m": config} if config else {})
        ((place,), _) = find_places([tmp_path / "models"])
        made = Loader(Defaults(**defaults), deliver=Batch.deliver, host=Host(1, 1))  # type: ignore[arg-type]
        made.digests, made.contracts = Digests(), Contracts(tmp_path / "state" / contract.FILE)
        loaded.append(made.load(made.select(place), 1))
        found = loaded[-1].origin.contract
        assert found is not None
        return found

    yield load
    for model in loaded:
        model.close()


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models of which rows were tried."""
    made, prove = list[str](), loader.prove_rows

    def counted(onnx, *args, **kwargs):
        made.append(onnx.name)
        return prove(onnx, *args, **kwargs)

    monkeypatch.setattr(loader, "prove_rows", counted)
    return made


def test_what_is_found(load: Load) -> None:
    found = load(models.identity())
    assert (found.batch_axis, found.rows, found.deterministic) == (True, Rows.INDEPENDENT, True)
    assert found.run_bytes >= 2 * 64 * 16 * 4, "input and output of the largest batch"
    assert found.properties() == {
        "batch_axis": "yes",
        "rows": "independent",
        "deterministic": "yes",
        "run_bytes": str(found.run_bytes),
    }
    fixed = load(models.fixed_batch(), 'parameters { key: "enable_mem_arena" value { string_value: "0" } }')
    assert (fixed.batch_axis, fixed.rows, fixed.deterministic, fixed.run_bytes) == (False, None, True, 0)
    assert fixed.properties() == {"batch_axis": "no", "rows": "unchecked", "deterministic": "yes"}


@pytest.mark.parametrize("axis", ["N", 1])
def test_a_model_that_draws_random_numbers_is_not_deterministic(load: Load, axis: str | int) -> None:
    """With a batch axis, where trial runs of rows see it, and without one."""
    nodes = [helper.make_node("RandomNormalLike", ["x"], ["noise"]), helper.make_node("Mul", ["x", "noise"], ["y"])]
    assert load(models.model(nodes, [("x", "FP32", (axis, 4))], [("y", "FP32", (axis, 4))])).deterministic is False


def test_the_same_bytes_are_checked_once(load: Load, proofs: list[str]) -> None:
    first = load(models.identity())
    assert (load(models.identity()), proofs) == (first, ["m"])
    load(models.doubled())
    load(models.doubled(), "max_batch_size: 8 dynamic_batching {}")
    load(models.doubled(), max_batch_size=4)
    assert proofs == ["m"] * 4, "other bytes, another configuration, other settings"


def test_a_result_that_cannot_be_read_is_made_anew(load: Load, proofs: list[str], tmp_path: Path) -> None:
    first = load(models.identity())
    path = tmp_path / "state" / contract.FILE
    (line,) = path.read_bytes().splitlines()
    for broken in (line[:-9], b"\xff\xfe" + line, line.replace(b'"independent"', b'"other"'), line.replace(b'"why"', b'"old"'), b"[]"):
        path.write_bytes(broken + b"\n")
        before = len(proofs)
        assert load(models.identity()) == first
        assert len(proofs) == before + 1
        assert len(path.read_bytes().splitlines()) == 2, "the new result is behind the broken one"


def test_a_folder_that_cannot_be_written_to_costs_the_memory_of_results_alone(load: Load, proofs: list[str], tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"a file")
    assert load(models.identity()) == load(models.identity())
    assert proofs == ["m", "m"]


def test_what_could_not_be_shown_is_not_kept(tmp_path: Path) -> None:
    kept = Contracts(tmp_path / "results")
    kept.keep("a", Contract(True, Rows.UNKNOWN, "not proven"))
    kept.keep("", Contract(True))
    assert (kept.find("a"), kept.find(""), list(tmp_path.iterdir())) == (None, None, [])


def test_the_file_and_the_memory_of_results_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MAX_KEPT", 2)
    path = tmp_path / "results"
    kept = Contracts(path)
    for key in "abc":
        kept.keep(key, Contract(key == "c"))
    for each in (kept, Contracts(path)):
        assert [each.find(key) for key in "abc"] == [None, Contract(False), Contract(True)]
    monkeypatch.setattr(contract, "MAX_FILE_BYTES", 10)
    assert Contracts(path).find("c") is None
    assert path.read_bytes() == b""


VERSIONS = {"onnxruntime": "1.32.0", "build": "ORT Build Info"}


def test_a_key_covers_all_that_checks_depend_on() -> None:
    content = {"config.pbtxt": "1", "1/model.onnx": "2"}
    key = key_of(content, Defaults(), VERSIONS)
    assert key == key_of(dict(reversed(content.items())), Defaults(max_queue_requests=1), VERSIONS)
    others = [key_of(content | {"config.pbtxt": "3"}, Defaults(), VERSIONS), key_of(content, Defaults(batching="on"), VERSIONS)]
    others.append(key_of(content, Defaults(), VERSIONS | {"onnxruntime": "0"}))
    assert len({key, *others}) == 4
    assert key_of({}, Defaults(), VERSIONS) == key_of({"config.pbtxt": ""}, Defaults(), VERSIONS) == ""


def test_why_is_short_whatever_a_client_calls_its_outputs(load: Load) -> None:
    proto = onnx.load_from_string(models.running_total("N"))
    proto.graph.output[0].name = proto.graph.node[-1].output[0] = "y" * 10_000
    found = load(proto.SerializeToString())
    assert found.rows is Rows.DEPENDENT
    assert len(found.why) == contract.MAX_WHY
