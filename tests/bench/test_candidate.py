"""Finding a model, writing its configuration and serving it with that: what was written is what the server then runs with."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inferd_client import Client
from msgspec.structs import replace

from inferd.bench import candidate
from inferd.bench.candidate import Subject, as_dict, configuration, in_force, locate, serving, toml
from inferd.bench.climb import Settings
from inferd.engine.configuration.model_config import CONFIG_FILES, read_model_config
from inferd.errors import ConfigError, StartError
from tests import models
from tests.command import EXAMPLES, TIMEOUT_S, environment

DIGITS = EXAMPLES / "models" / "digits"
TRIED = Settings("cpu", 2, 1, 16)
PBTXT = """
# a comment
max_batch_size: 8
dynamic_batching { max_queue_delay_microseconds: 500 }
instance_group { count: 3 kind: KIND_CPU }
parameters { key: "intra_op_thread_count" value { string_value: "2" } }
inferd { spinning: true }
"""

PADDED = """
max_batch_size: 8
inferd { preprocess { steps { tokenize { max_tokens: 64 buckets: [9] } } } padding { input: "frames" mask: "real" buckets: [9] } }
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """digits, with versions; flat/model.onnx with weights in a file of their own; single.onnx."""
    folder = tmp_path / "models"
    shutil.copytree(DIGITS, folder / "digits")
    (folder / "flat").mkdir()
    weights = onnx.load_from_string(models.many(1))
    onnx.save_model(weights, folder / "flat" / "model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    (folder / "single.onnx").write_bytes(models.doubled())
    (folder / ".hidden").mkdir()
    return folder


def running(subject: Subject, settings: Settings | None) -> Settings:
    with serving(subject, settings) as server, Client(server.address, timeout=30) as client:
        return in_force(client.model_config(subject.name))


# ---- the model ----


def test_a_model_is_found_where_serve_finds_it(repository: Path) -> None:
    assert locate(repository, "digits") == locate(repository / "digits", None) == locate(repository / "digits", "digits")
    assert locate(repository, "flat").path == repository / "flat"
    single = locate(repository, "single")
    assert single == locate(repository / "single.onnx", None)
    assert single.single
    assert single.output == repository / "single.inferd.toml"
    assert locate(repository, "digits").output == repository / "digits" / "config.toml"
    (repository / "digits" / "config.pbtxt").write_text(PBTXT)
    assert locate(repository, "digits").output == repository / "digits" / "config.pbtxt"


@pytest.mark.parametrize(
    ("path", "model", "said"),
    [
        ("", None, "several models; name one of them as MODEL: digits, flat, single"),
        ("", "other", "has no such model; it has digits, flat, single"),
        ("digits", "other", "has no such model; it has digits"),
        ("none.onnx", None, "expected an .onnx file"),
        (".hidden", None, "no model in it"),
    ],
)
def test_what_is_no_model_is_told(repository: Path, path: str, model: str | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        locate(repository / path, model)


# ---- its configuration ----


def test_a_configuration_keeps_what_it_says_of_other_things(repository: Path) -> None:
    folder = repository / "digits"
    (folder / "config.pbtxt").write_text(PBTXT)
    subject = locate(folder, None)
    texts = {name: configuration(subject, TRIED, folder / name) for name in ("config.pbtxt", "config.toml")}
    (folder / "config.pbtxt").unlink()
    for name, text in texts.items():
        (folder / name).write_text(text)
        config = read_model_config(folder, "digits").config
        assert config.dynamic_batching.max_queue_delay_microseconds == 500
        assert config.inferd.spinning
        assert not config.parameters
        assert in_force(config) == TRIED
        (folder / name).unlink()


@pytest.mark.parametrize("buckets", [(16, 32), ()])
def test_buckets_go_where_the_configuration_pads(repository: Path, buckets: tuple[int, ...]) -> None:
    """Into every entry and step that pads, and taken out again; the rest of them is kept."""
    folder = repository / "digits"
    (folder / "config.pbtxt").write_text(PADDED)
    texts = {name: configuration(locate(folder, None), replace(TRIED, buckets=buckets), folder / name) for name in CONFIG_FILES}
    (folder / "config.pbtxt").unlink()
    for name, text in texts.items():
        (folder / name).write_text(text)
        config = read_model_config(folder, "digits").config
        assert in_force(config) == replace(TRIED, buckets=buckets)
        assert config.inferd.preprocess[0].steps[0].tokenize.max_tokens == 64
        assert [(entry.input, entry.mask, tuple(entry.buckets)) for entry in config.inferd.padding] == [("frames", "real", buckets)]
        (folder / name).unlink()


def test_a_model_that_shall_not_batch_still_does_not(repository: Path) -> None:
    folder = repository / "digits"
    for name, text in {"config.pbtxt": "max_batch_size: 0", "config.toml": "max_batch_size = 0"}.items():
        (folder / name).write_text(text)
        (folder / name).write_text(configuration(locate(folder, None), Settings("cpu", 2, 1, 0), folder / name))
        written = read_model_config(folder, "digits")
        assert "max_batch_size" in written.fields
        assert in_force(written.config) == Settings("cpu", 2, 1, 0)
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("before", "provider", "accelerators"),
    [
        ("", "cuda", []),
        ("", "tensorrt", ["tensorrt"]),
        ('name: "tensorrt"', "tensorrt", ["tensorrt"]),
        ('name: "tensorrt"', "cuda", []),
        ('name: "cuda"', "cpu", []),
    ],
)
def test_providers_are_instance_groups_and_accelerators(repository: Path, before: str, provider: str, accelerators: list[str]) -> None:
    file = repository / "digits" / "config.pbtxt"
    optimization = f"optimization {{ execution_accelerators {{ gpu_execution_accelerator {{ {before} }} }} }}" if before else ""
    file.write_text(f"instance_group {{ kind: KIND_GPU gpus: 0 }} {optimization}")
    settings = Settings(provider, 1, 2, 8)
    file.write_text(configuration(locate(repository, "digits"), settings, file))
    config = read_model_config(file.parent, "digits").config
    assert in_force(config) == settings
    assert [each.name for each in config.optimization.execution_accelerators.gpu_execution_accelerator] == accelerators
    assert list(config.instance_group[0].gpus) == ([] if provider == "cpu" else [0])


def test_the_settings_of_a_single_file_name_it_from_where_they_stand(repository: Path, tmp_path: Path) -> None:
    subject = locate(repository / "single.onnx", None)
    beside = tomllib.loads(configuration(subject, TRIED, subject.output))
    assert beside == {"models": ["single.onnx"], "providers": ["cpu"], "instances": 2, "intra_op_threads": 1, "max_batch_size": 16}
    assert tomllib.loads(configuration(subject, TRIED, tmp_path / "best.toml"))["models"] == ["models/single.onnx"]
    gpu = tomllib.loads(configuration(subject, Settings("tensorrt", 1, 2, 0), subject.output))
    assert (gpu["providers"], "max_batch_size" in gpu) == (["tensorrt", "cuda"], False)


plain = st.recursive(
    st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=("Cs",))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), plain, max_size=4))
def test_toml_is_read_back(values: dict[str, object]) -> None:
    assert tomllib.loads(toml(values)) == values


def test_every_kind_of_field_becomes_plain(repository: Path) -> None:
    file = repository / "digits" / "config.pbtxt"
    file.write_text(
        'version_policy { specific { versions: [1] } } parameters { key: "session.disable_prepacking" value { string_value: "1" } }'
        'model_warmup { name: "w" batch_size: 1 inputs { key: "image" value { data_type: TYPE_FP32 dims: [8, 8] zero_data: true } } }'
    )
    assert as_dict(read_model_config(file.parent, "digits").config) == {
        "version_policy": {"specific": {"versions": [1]}},
        "parameters": {"session.disable_prepacking": {"string_value": "1"}},
        "model_warmup": [
            {"name": "w", "batch_size": 1, "inputs": {"image": {"data_type": "TYPE_FP32", "dims": [8, 8], "zero_data": True}}}
        ],
    }


# ---- the server ----


@pytest.mark.parametrize("model", ["digits", "flat", "single"])
def test_a_server_runs_with_what_was_asked(repository: Path, model: str) -> None:
    assert (repository / "flat" / "weights").exists()
    assert running(locate(repository, model), TRIED) == TRIED
    assert not [path for path in repository.rglob("*") if path.suffix in (".toml", ".pbtxt")], "a trial leaves nothing behind"


def test_a_server_runs_with_the_buckets_that_were_asked(tmp_path: Path) -> None:
    subject = locate(models.tokenized(tmp_path, "total"), None)
    assert running(subject, None).buckets == ()
    tried = replace(TRIED, rows=8, buckets=(16, 512))
    assert running(subject, tried) == tried
    with pytest.raises(StartError, match="1024 is more than max_tokens, 512"), serving(subject, replace(tried, buckets=(1024,))):
        pass


def test_a_configuration_is_tried_and_left_as_it_is(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INFERD_INSTANCES", "5")  # a server for a trial has no settings but those of the trial
    file = repository / "digits" / "config.pbtxt"
    file.write_text(PBTXT)
    subject = locate(repository, "digits")
    assert running(subject, None) == Settings("cpu", 3, 2, 8)
    assert running(subject, TRIED) == TRIED
    assert file.read_text() == PBTXT


def test_a_server_that_does_not_start_says_why(repository: Path) -> None:
    (repository / "flat" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(StartError, match="flat"), serving(locate(repository, "flat"), None):
        pass


@pytest.mark.parametrize(("where", "what"), [(tempfile, "mkdtemp"), (subprocess, "Popen"), (candidate, "_stop")])
def test_ctrl_c_while_a_server_comes_or_goes_leaves_nothing_of_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, what: str
) -> None:
    (tmp_path / "folders").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "folders"))
    real, started = getattr(where, what), []

    def interrupted(*given: Any, **named: Any) -> Any:
        made = real(*given, **named)
        started.extend([made] if what == "Popen" else given if what == "_stop" else [])
        signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(where, what, interrupted)
    with pytest.raises(KeyboardInterrupt), serving(locate(repository, "single"), None):
        assert what == "_stop"
    assert not list((tmp_path / "folders").iterdir())
    assert [process.poll() is not None for process in started] == [True] * (what != "mkdtemp")


TRIES = """
import sys
from pathlib import Path
from inferd.bench.candidate import locate, serving

with serving(locate(Path(sys.argv[1]), None), None) as running:
    print(running.pid, flush=True)
    input()
"""


def test_a_server_ends_with_whoever_tries_it(repository: Path, tmp_path: Path) -> None:
    """However that ends."""
    words = [sys.executable, "-c", TRIES, str(repository / "single.onnx")]
    with subprocess.Popen(words, env=environment(TMPDIR=str(tmp_path)), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as trying:
        assert trying.stdout is not None
        server = os.pidfd_open(int(trying.stdout.readline()))
        trying.kill()
        trying.wait()
        ended = select.select([server], [], [], TIMEOUT_S)[0]
        os.close(server)
    assert ended
