"""Every fault of a configuration at once, and what is obeyed beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferd.engine.configuration.checkup import Finding, check_config
from inferd.engine.files.places import find_places
from tests import models

IDENTITY = models.identity()


def findings(folder: Path, text: str, versions: tuple[int, ...] = (1,), name: str = "config.pbtxt") -> list[tuple[str, str, str]]:
    models.repository(folder, {"m": dict.fromkeys(versions, IDENTITY)})
    (folder / "m" / name).write_text(text)
    (place,), failures = find_places([folder])
    assert not failures
    found = check_config(place)
    assert all(isinstance(one, Finding) and one.model == "m" for one in found)
    return [one[1:] for one in found]


def test_all_faults_are_found_and_each_has_a_cure(tmp_path: Path) -> None:
    text = """
        name: "n" max_batch_size: 8 max_queue: 3
        instance_group { count: two passive: true }
        sequence_batching { }
        input { name: "x" dims: [16] data_type: TYPE_FP32 reshape { shape: [4, 5] } }
        metric_tags { key: "a" value: "b" }
        parameters { key: "intra_op_thread_count" value { string_value: "1" } }
        parameters { key: "EXECUTION_ENV_PATH" value { string_value: "1" } }
        dynamic_batching { max_queue_delay_microseconds: 5 }"""
    found = findings(tmp_path, text, (1, 2))
    rejected = [f"{field} {text}".strip() for kind, field, text in found if kind == "rejected"]
    for said in (
        "line 2: unknown field 'max_queue' in ModelConfig",
        "line 3: instance_group[0].count: expected a whole number",
        "line 9: dynamic_batching and sequence_batching cannot both be set: remove one",
        "name is 'n', and the model's folder or file says 'm': make them equal",
        "sequence_batching asks for stateful sequences, which inferd does not do: keep the model where it is, or export its state",
        "instance_group.passive asks for passive instances",
        "input 'x': reshape has the shape [4, 5], and dims are [16]: write as many elements into both",
    ):
        assert any(one.startswith(said) for one in rejected), (said, rejected)
    assert len(rejected) == 7
    assert [field for kind, field, _ in found if kind == "ignored"] == ["version 1", "metric_tags", "parameters['EXECUTION_ENV_PATH']"]
    assert [field for kind, field, _ in found if kind == "obeyed"] == [
        *("max_batch_size", "input", "instance_group", "parameters['intra_op_thread_count']")
    ]


def test_what_a_machine_with_a_gpu_rejects_is_told_on_one_without(tmp_path: Path) -> None:
    text = "instance_group { kind: KIND_GPU gpus: [0, 1] } optimization { cuda { graphs: true } }"
    warned = {field: said for kind, field, said in findings(tmp_path / "gpu", text) if kind == "warning"}
    assert warned.keys() == {"instance_group.gpus", "optimization.cuda.graphs"}
    assert warned["instance_group.gpus"].startswith("names 2 devices; a model runs on one: name one")
    assert all(said.endswith("(a machine with a GPU rejects this)") for said in warned.values())
    for harmless in ("instance_group { kind: KIND_CPU }", "instance_group { kind: KIND_GPU gpus: [0] }", "max_batch_size: 8"):
        assert not [kind for kind, *_ in findings(tmp_path / harmless.replace(" ", ""), harmless) if kind == "warning"]


def test_a_folder_that_looks_like_a_version(tmp_path: Path) -> None:
    models.repository(tmp_path, {"m": {2: IDENTITY}}).joinpath("m/2").rename(tmp_path / "m" / "02")
    (kind, _, text), *_ = findings(tmp_path, "max_batch_size: 8")
    assert (kind, text.partition(":")[0]) == ("ignored", "'02' is not served")


def test_an_empty_version_is_told_once_and_not_of_an_ensemble(tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    cases = (
        ("", [("rejected", "", "model 'm': folder '1' is empty: put the model at m/1/model.onnx")]),
        ('platform: "ensemble"', [("rejected", "ensemble_scheduling")]),
        ('backend: "python"', [("rejected", "backend")]),
    )
    for text, expected in cases:
        (tmp_path / "m" / "config.pbtxt").write_text(text)
        (place,), _ = find_places([tmp_path])
        found = [one[1:] for one in check_config(place) if one.kind != "obeyed"]
        assert [one[: len(want)] for one, want in zip(found, expected, strict=True)] == expected


def test_faults_of_toml(tmp_path: Path) -> None:
    found = findings(tmp_path, 'max_batch_size = "8"\nmaxx = 3\n[inferd]\ninline = "maybe"', name="config.toml")
    assert [text.partition(":")[0] for _, _, text in found] == ["max_batch_size", "unknown field 'maxx'", "inferd.inline"]
    assert "wrong TOML" in findings(tmp_path, "max_batch_size = ", name="config.toml")[0][2]


def test_a_configuration_that_is_right_is_obeyed(tmp_path: Path) -> None:
    text = "max_batch_size: 8 version_policy { all { } } dynamic_batching { preferred_batch_size: [4, 8] }"
    assert findings(tmp_path, text, (1, 2)) == [
        ("obeyed", "version_policy.all", ""),
        ("obeyed", "max_batch_size", ""),
        ("obeyed", "dynamic_batching.preferred_batch_size", ""),
    ]


@pytest.mark.parametrize(
    ("text", "said"), [("max_batch_size: {", "line 1"), ("\0", "line 1"), ("}" * 200, "line 1"), ("a" * (2 << 20), "larger")]
)
def test_what_cannot_be_read_at_all(tmp_path: Path, text: str, said: str) -> None:
    found = findings(tmp_path, text)
    assert found
    assert said in found[0][2]
