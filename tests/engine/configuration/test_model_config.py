"""Configurations: from the graph alone, as real Triton repositories write them, in TOML; and everything that is rejected."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inferd.config import Settings
from inferd.engine.configuration import model_config, resources
from inferd.engine.configuration.config_sources import Defaults
from inferd.engine.configuration.ignored_fields import ignored_fields
from inferd.engine.configuration.model_config import complete, read_model_config, settle, signature_of
from inferd.engine.loading.planner import ThreadPlan
from inferd.engine.runtime import devices
from inferd.engine.runtime.onnx.options import Provider, SessionOptions
from inferd.engine.runtime.onnx.session_config import session_options
from inferd.engine.runtime.runtime import Graph, TensorInfo
from inferd.errors import ConfigError
from inferd.protocol import inference, options
from tests.model_configs import load_model_config

Config = inference.ModelConfig
DEFAULTS = Defaults()
PLAN = ThreadPlan(3, 2, False, "because")


def graph(inputs: dict[str, tuple[int | str, ...]], outputs: dict[str, tuple[int | str, ...]], datatype: str = "FP32") -> Graph:
    return Graph(*(tuple(TensorInfo(name, datatype, shape) for name, shape in side.items()) for side in (inputs, outputs)))


@pytest.fixture(autouse=True)
def a_machine_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_there", lambda: True)


BATCHED = graph({"x": ("N", 16)}, {"y": ("N", 4)})
WHOLE = graph({"x": (2, 16)}, {"y": (2, 4)})


def load(tmp_path: Path, text: str, graph: Graph = BATCHED, defaults: Defaults = DEFAULTS, file: str = "config.pbtxt") -> Config:
    (tmp_path / file).write_text(text)
    return load_model_config(tmp_path, graph, defaults, "m")


def rejected(tmp_path: Path, text: str, graph: Graph = BATCHED, file: str = "config.pbtxt", defaults: Defaults = DEFAULTS) -> str:
    """The message of the ConfigError that this configuration ends in, on any step of its path."""
    with pytest.raises(ConfigError) as caught:
        walk(tmp_path, text, graph, file, defaults)
    message = str(caught.value)
    assert "'m'" in message
    assert str(tmp_path) not in message
    assert "\n" not in message
    return message


def walk(
    tmp_path: Path, text: str, graph: Graph = BATCHED, file: str = "config.pbtxt", defaults: Defaults = DEFAULTS
) -> tuple[Config, SessionOptions]:
    """All steps, as the repository takes them."""
    (tmp_path / file).write_text(text)
    written = read_model_config(tmp_path, "m")
    assert resources.wanted_threads(written, defaults) >= 0
    config = settle(written, "m", defaults, PLAN)
    native = session_options(written, config, defaults)
    complete(written, config, graph, defaults)
    signature_of(config, graph, 1)
    return config, native


# ---- from the graph alone ------------------------------------------------------------------------------------------


def test_without_a_file_everything_comes_from_the_graph(tmp_path: Path) -> None:
    config = load_model_config(tmp_path, BATCHED, Defaults(max_batch_size=32), "m")
    assert config.name == "m"
    assert config.max_batch_size == 32
    assert config.HasField("dynamic_batching")
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [("x", inference.TYPE_FP32, [16])]
    assert [(t.name, t.data_type, list(t.dims)) for t in config.output] == [("y", inference.TYPE_FP32, [4])]
    signature = signature_of(config, BATCHED, 7)
    assert signature.input_specs == (("x", "FP32", (-1, 16)),)
    assert signature.output_specs == (("y", "FP32", (-1, 4)),)
    assert (signature.model_name, signature.model_version, signature.max_batch_size) == (b"m", b"7", 32)


@pytest.mark.parametrize(
    ("inputs", "outputs", "why"),
    [
        ({"x": ("N", 16)}, {"y": ("N", 4)}, ""),
        ({"x": ("", 16)}, {"y": ("", 4)}, ""),
        ({"x": ("N", 16)}, {"y": ("", 4)}, ""),
        ({"x": ("N",)}, {"y": ("N",)}, ""),
        ({"x": ("N", "s")}, {"y": ("N", "t")}, ""),
        ({"x": (1, 16)}, {"y": (1, 4)}, "axis 0 of input 'x' is fixed at 1"),
        ({"x": ("N", 16)}, {"y": (1, 4)}, "axis 0 of output 'y' is fixed at 1"),
        ({"x": ("N", 16), "state": (2, "N", 128)}, {"y": ("N", 4)}, "axis 0 of input 'state' is fixed at 2"),
        ({"x": ("N", 16)}, {"y": ("M", 4)}, "'N' in input 'x' and 'M' in output 'y'"),
        ({"x": ("N", 16)}, {"y": ("N", "N")}, "axis 1 of output 'y' is 'N', too"),
        ({"x": ("N", 16), "scale": ()}, {"y": ("N", 4)}, "input 'scale' has no axes"),
        ({}, {"y": ("N", 4)}, "no inputs"),
    ],
)
def test_where_the_batch_axis_is(inputs: dict[str, Any], outputs: dict[str, Any], why: str) -> None:
    written = read_model_config(None, "m")
    config = Config(name="m")
    reason = complete(written, config, graph(inputs, outputs), DEFAULTS).why
    assert config.max_batch_size == (0 if why else 64)
    assert config.HasField("dynamic_batching") == (not why)
    assert why in reason
    assert reason.startswith("no batching" if why else "batches of up to 64 rows")


@pytest.mark.parametrize(
    ("inputs", "warned"),
    [({"x": (1, 16)}, True), ({"x": (1, 16), "state": (2, 128)}, False), ({"x": (1,)}, False), ({"x": ("N", 16)}, False)],
)
def test_an_export_for_one_row_names_its_cure(inputs: dict[str, Any], warned: bool) -> None:
    doubt = complete(read_model_config(None, "m"), Config(name="m"), graph(inputs, {"y": (1, 4)}), DEFAULTS).doubt
    assert ("axis 0 of input 'x' is fixed at 1: export the model with a dynamic first axis" in doubt) == warned


def test_every_datatype_has_its_number() -> None:
    for word in ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16"):
        tensors = graph({"x": ("N", 2)}, {"y": ("N", 2)}, word)
        config = Config(name="m")
        complete(read_model_config(None, "m"), config, tensors, DEFAULTS)
        expected = "TYPE_STRING" if word == "BYTES" else f"TYPE_{word}"
        assert inference.DataType.Name(config.input[0].data_type) == expected
        assert signature_of(config, tensors, 1).input_specs[0][1] == word


def test_settled_resources(tmp_path: Path) -> None:
    config, native = walk(tmp_path, "")
    assert (config.platform, config.backend, config.default_model_filename) == ("onnxruntime_onnx", "onnxruntime", "model.onnx")
    assert config.version_policy.latest.num_versions == 1
    (group,) = config.instance_group
    assert (group.count, group.kind, list(group.gpus)) == (2, group.KIND_CPU, [])
    own = config.inferd
    assert (own.intra_op_threads, own.inter_op_threads, own.spinning) == (3, 1, False)
    assert (own.inline, own.inline_limit_us, own.max_queue_requests) == (options.ModelOptions.AUTO, 100, 4096)
    assert native == SessionOptions(intra_op_threads=3)


def test_defaults_from_settings() -> None:
    settings = Settings(max_batch_size=8, inline="off", providers=("cuda", "cpu"))
    defaults = Defaults.of(settings)
    assert (defaults.max_batch_size, defaults.inline, defaults.providers) == (8, "off", ("cuda", "cpu"))
    assert Defaults.of(None) == Defaults()
    config = settle(read_model_config(None, "m"), "m", defaults, PLAN)
    assert config.inferd.inline == options.ModelOptions.OFF
    assert config.instance_group[0].kind == inference.ModelInstanceGroup.KIND_GPU


# ---- as real repositories write them ---------------------------------------------------------------------------------

DENSENET = """
name: "m"
platform: "onnxruntime_onnx"
max_batch_size : 0
input [
  {
    name: "data_0"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 224, 224 ]
  }
]
output [
  {
    name: "fc6_1"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    label_filename: "densenet_labels.txt"
  }
]
"""
BERT = """
# Three inputs of one length, with a delay.
name: "m"
backend: "onnxruntime"
max_batch_size: 16
input { name: "input_ids" data_type: TYPE_INT64 dims: [ -1 ] }
input { name: "attention_mask" data_type: TYPE_INT64 dims: [ -1 ] }
output { name: "last_hidden_state" data_type: TYPE_INT64 dims: [ -1, 384 ] }
instance_group [ { count: 1 kind: KIND_CPU } ]
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  max_queue_delay_microseconds: 100
  default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 500000 allow_timeout_override: true max_queue_size: 64 }
}
version_policy: { specific: { versions: [1, 3] } }
parameters { key: "intra_op_thread_count" value: { string_value: "4" } }
parameters: { key: "execution_mode", value: { string_value: "1" } }
parameters { key: "inter_op_thread_count" value: { string_value: "2" } }
optimization { graph : { level : 1 } }
metric_tags { key: "team" value: "search" }
model_warmup [ {
  name: "short"
  batch_size: 1
  inputs { key: "input_ids" value: { data_type: TYPE_INT64 dims: [ 8 ] zero_data: true } }
  inputs { key: "attention_mask" value: { data_type: TYPE_INT64 dims: [ 8 ] random_data: true } }
} ]
"""
PRIORITIES = """
max_batch_size: 8
dynamic_batching {
  priority_levels: 3
  default_priority_level: 2
  priority_queue_policy { key: 1 value { default_timeout_microseconds: 1000 } }
  priority_queue_policy { key: 3 value { max_queue_size: 5 } }
}
"""
TENSORRT = """
max_batch_size: 8
instance_group [ { kind: KIND_GPU gpus: [ 1 ] count: 2 } ]
optimization { execution_accelerators {
  gpu_execution_accelerator : [ {
    name : "tensorrt"
    parameters { key: "precision_mode" value: "FP16" }
    parameters { key: "max_workspace_size_bytes" value: "1073741824" }
    parameters { key: "trt_engine_cache_enable" value: "1" }
  }, { name: "cuda" parameters { key: "use_tf32" value: "0" } } ]
}}
parameters { key: "cudnn_conv_algo_search" value: { string_value: "1" } }
parameters { key: "memory.enable_memory_arena_shrinkage" value: { string_value: "gpu:1;cpu:0" } }
"""


def test_densenet(tmp_path: Path) -> None:
    tensors = graph({"data_0": (3, 224, 224)}, {"fc6_1": (1000,)})
    config, _ = walk(tmp_path, DENSENET, tensors)
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert signature_of(config, tensors, 1).input_specs == (("data_0", "FP32", (3, 224, 224)),)


def test_bert(tmp_path: Path) -> None:
    tensors = graph({"input_ids": ("b", "s"), "attention_mask": ("b", "s")}, {"last_hidden_state": ("b", "s", 384)}, "INT64")
    config, native = walk(tmp_path, BERT, tensors)
    assert config.max_batch_size == 16
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 64
    assert list(config.version_policy.specific.versions) == [1, 3]
    assert dict(config.metric_tags) == {"team": "search"}
    assert native.graph_optimization == "extended"
    assert (native.execution_mode, native.inter_op_threads) == ("parallel", 2)
    written = read_model_config(tmp_path, "m")
    assert resources.wanted_threads(written, DEFAULTS) == 4
    assert resources.wanted_instances(written, Defaults(instances=9)) == 1
    assert signature_of(config, tensors, 3).input_specs[1] == ("attention_mask", "INT64", (-1, -1))


def test_priorities(tmp_path: Path) -> None:
    config, _ = walk(tmp_path, PRIORITIES)
    assert config.dynamic_batching.priority_queue_policy[3].max_queue_size == 5


def test_tensorrt_and_cuda_options(tmp_path: Path) -> None:
    config, native = walk(tmp_path, TENSORRT)
    assert native.run_entries == {"memory.enable_memory_arena_shrinkage": "gpu:1;cpu:0"}
    assert config.instance_group[0].kind == inference.ModelInstanceGroup.KIND_GPU
    assert native.providers == (
        Provider(
            "tensorrt", {"device_id": "1", "trt_fp16_enable": "1", "trt_max_workspace_size": "1073741824", "trt_engine_cache_enable": "1"}
        ),
        Provider("cuda", {"device_id": "1", "cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}),
    )


def test_the_group_decides_where_the_model_runs(tmp_path: Path) -> None:
    on_gpu = Defaults(providers=("tensorrt", "cuda", "cpu"))
    _, native = walk(tmp_path, "instance_group { kind: KIND_CPU }", defaults=on_gpu)
    assert native.providers == ()
    _, native = walk(tmp_path, "", defaults=on_gpu)
    assert [provider.name for provider in native.providers] == ["tensorrt", "cuda"]
    _, native = walk(tmp_path, "", defaults=Defaults(providers=("tensorrt", "cpu")))
    assert [provider.name for provider in native.providers] == ["tensorrt"]
    _, native = walk(tmp_path, "", defaults=Defaults(providers=("cpu", "cuda")))  # the CPU runs everything, and is preferred
    assert native.providers == ()
    _, native = walk(tmp_path, "instance_group { kind: KIND_GPU }")
    assert native.providers == (Provider("cuda", {"device_id": "0"}),)


@pytest.mark.parametrize(("level", "word"), [(-1, "basic"), (0, "all"), (1, "extended"), (2, "disable")])
def test_graph_levels_are_tritons(tmp_path: Path, level: int, word: str) -> None:
    assert walk(tmp_path, f"optimization {{ graph {{ level: {level} }} }}")[1].graph_optimization == word


def test_ordering_needs_one_instance(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text("dynamic_batching { preserve_ordering: true }")
    written = read_model_config(tmp_path, "m")
    complete(written, settle(written, "m", DEFAULTS, ThreadPlan(1, 1, False, "")), BATCHED, DEFAULTS)
    with pytest.raises(ConfigError, match="preserve_ordering needs a single instance"):
        complete(written, settle(written, "m", DEFAULTS, ThreadPlan(1, 2, False, "")), BATCHED, DEFAULTS)


def test_our_own_options(tmp_path: Path) -> None:
    text = """inferd { inline: OFF inline_limit_us: 50 intra_op_threads: 2 inter_op_threads: 4 spinning: true max_queue_requests: 9 }
    parameters { key: "enable_mem_arena" value: { string_value: "0" } }
    parameters { key: "enable_mem_pattern" value: { string_value: "0" } }
    parameters { key: "session.set_denormal_as_zero" value: { string_value: "1" } }"""
    config, native = walk(tmp_path, text)
    assert config.inferd.inline == options.ModelOptions.OFF
    assert (config.inferd.inline_limit_us, config.inferd.max_queue_requests) == (50, 9)
    assert (native.memory_arena, native.memory_pattern, native.execution_mode) == (False, False, "parallel")
    assert native.entries == {"session.set_denormal_as_zero": "1"}
    written = read_model_config(tmp_path, "m")
    assert resources.wanted_threads(written, Defaults(intra_op_threads=8)) == 2
    assert resources.wants_spinning(written, DEFAULTS)


# ---- batching, where a file says something about it --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", 64),
        ("max_batch_size: 8", 8),
        ("max_batch_size: 0", 0),
        ("max_batch_size: 1", 1),
        ("# max_batch_size: 0", 64),
        ('metric_tags { key: "max_batch_size: 0" value: "" }', 64),
        ('input { name: "x" dims: [16] }', 64),
        ('input { name: "x" dims: [-1, 16] }', 0),
        ('input { name: "x" } output { name: "y" dims: [-1, 4] }', 0),
        ("dynamic_batching { }", 64),
    ],
)
def test_max_batch_size(tmp_path: Path, text: str, rows: int) -> None:
    assert load(tmp_path, text).max_batch_size == rows


def test_toml_says_no_batching(tmp_path: Path) -> None:
    assert load(tmp_path, "max_batch_size = 0", file="config.toml").max_batch_size == 0


def test_dims_may_narrow_the_graph(tmp_path: Path) -> None:
    tensors = graph({"x": ("N", "s")}, {"y": ("N", "s")})
    config = load(tmp_path, 'max_batch_size: 4 input { name: "x" dims: [128] } output { name: "y" dims: [128] }', tensors)
    signature = signature_of(config, tensors, 1)
    assert signature.input_specs == (("x", "FP32", (-1, 128)),)
    assert signature.fixed


def test_some_outputs_in_the_graphs_order(tmp_path: Path) -> None:
    tensors = graph({"x": ("N", 2)}, {"a": ("N", 2), "b": ("N", 2), "c": ("N", 2)})
    config = load(tmp_path, 'output { name: "c" } output { name: "a" }', tensors)
    assert signature_of(config, tensors, 1).output_names == ("a", "c")


def test_a_scalar_or_unknown_rank_takes_the_files_word(tmp_path: Path) -> None:
    tensors = graph({"x": (2,)}, {"y": ()})
    config = load(tmp_path, 'output { name: "y" dims: [-1, 7] }', tensors)
    assert signature_of(config, tensors, 1).output_specs == (("y", "FP32", (-1, 7)),)


@pytest.mark.parametrize(
    ("text", "tensors", "words"),
    [
        ('input { name: "z" }', BATCHED, ["input 'z' is not in the graph", "'x' FP32[N, 16]"]),
        ('output { name: "z" }', BATCHED, ["output 'z' is not in the graph", "'y' FP32[N, 4]"]),
        ('input { name: "x" data_type: TYPE_INT64 }', BATCHED, ["input 'x'", "TYPE_INT64", "TYPE_FP32"]),
        (
            'max_batch_size: 4 input { name: "x" dims: [17] }',
            BATCHED,
            ["input 'x'", "[17]", "batch axis, as max_batch_size is over 0): write `dims: [ 16 ]`"],
        ),
        ('max_batch_size: 4 input { name: "x" dims: [-1, 16] }', BATCHED, ["[-1, 16]", "[16]", "without the batch axis"]),
        ('max_batch_size: 4 input { name: "x" dims: [-1] }', BATCHED, ["[-1]", "[16]"]),
        (
            'max_batch_size: 4 output { name: "y" dims: [1] }',
            graph({"x": ("N", 1)}, {"y": ("N",)}),
            ["dims are [1], and the graph says []", ": write `dims: [ ]`, or add `reshape { shape: [ ] }`"],
        ),
        ('input { name: "x" dims: [2, 15] }', WHOLE, ["[2, 15]", "[2, 16]"]),
        ("max_batch_size: 8", WHOLE, ["max_batch_size is 8", "axis 0 of input 'x' is fixed at 2", "dynamic first axis"]),
        ('input { name: "a" }', graph({"a": ("N", 1), "b": ("N", 1)}, {"y": ("N", 1)}), ["input 'b' FP32[N, 1]", "missing"]),
    ],
)
def test_disagreement_names_both_sides(tmp_path: Path, text: str, tensors: Graph, words: list[str]) -> None:
    message = rejected(tmp_path, text, tensors)
    for word in words:
        assert word in message


# ---- what is not done, and what cannot be ------------------------------------------------------------------------------

UNSUPPORTED = {
    "runtime": 'runtime: "x.so"',
    "sequence_batching": "sequence_batching { }",
    "ensemble_scheduling": "ensemble_scheduling { }",
    "ensemble_scheduling ": 'platform: "ensemble"',
    "cc_model_filenames": 'cc_model_filenames { key: "7.5" value: "x.onnx" }',
    "batch_input": "batch_input { kind: BATCH_ELEMENT_COUNT }",
    "batch_output": "batch_output { }",
    "model_operations": 'model_operations { op_library_filename: "x.so" }',
    "model_repository_agents": "model_repository_agents { agents { } }",
    "model_metrics": "model_metrics { metric_control { } }",
    "response_cache.enable": "response_cache { enable: true }",
    "model_transaction_policy.decoupled": "model_transaction_policy { decoupled: true }",
    "optimization.priority": "optimization { priority: PRIORITY_MAX }",
    "optimization.cuda.graphs": "instance_group { kind: KIND_GPU } optimization { cuda { graphs: true } }",
    "optimization.cuda.graph_spec": "instance_group { kind: KIND_GPU } optimization { cuda { graph_spec { batch_size: 1 } } }",
    "optimization.cuda.busy_wait_events": "instance_group { kind: KIND_GPU } optimization { cuda { busy_wait_events: true } }",
    "optimization.cuda.output_copy_stream": "instance_group { kind: KIND_GPU } optimization { cuda { output_copy_stream: true } }",
    "optimization.gather_kernel_buffer_threshold": "instance_group { kind: KIND_GPU } optimization { gather_kernel_buffer_threshold: 1 }",
    "optimization.eager_batching": "optimization { eager_batching: true }",
    "optimization.input_pinned_memory.enable": "instance_group { kind: KIND_GPU } optimization { input_pinned_memory { enable: true } }",
    "instance_group.rate_limiter": "instance_group { rate_limiter { priority: 1 } }",
    "instance_group.secondary_devices": "instance_group { kind: KIND_GPU secondary_devices { } }",
    "instance_group.profile": 'instance_group { kind: KIND_GPU profile: "1" }',
    "instance_group.passive": "instance_group { passive: true }",
    "instance_group.host_policy": 'instance_group { host_policy: "numa" }',
    "instance_group.kind": "instance_group { kind: KIND_MODEL }",
    "instance_group.count": "instance_group { count: -1 }",
    "instance_group.gpus": "instance_group { gpus: [0, 1] kind: KIND_GPU }",
    "instance_group": "instance_group [ { kind: KIND_CPU }, { kind: KIND_GPU } ]",
    "input 'x': reshape": 'input { name: "x" dims: [16] reshape { shape: [4, 5] } }',
    "input 'x': reshape ": 'input { name: "x" dims: [-1, 4] reshape { shape: [4, -1] } }',
    "input 'x': reshape.shape": 'input { name: "x" dims: [4] reshape { shape: [4, 0] } }',
    "input 'x': is_shape_tensor": 'input { name: "x" is_shape_tensor: true }',
    "input 'x': allow_ragged_batch": 'input { name: "x" allow_ragged_batch: true }',
    "input 'x': is_non_linear_format_io": 'input { name: "x" is_non_linear_format_io: true }',
    "input 'x': format": 'input { name: "x" dims: [16] format: FORMAT_NHWC }',
    "input 'x': dims": 'input { name: "x" dims: [0] }',
    "input": 'input { name: "x" } input { name: "x" }',
    "output": "output { }",
    "output 'y': reshape": 'output { name: "y" dims: [5] reshape { shape: [2, 2] } }',
    "version_policy.specific.versions": "version_policy { specific { } }",
    "platform": 'platform: "tensorflow_savedmodel"',
    "backend": 'backend: "python"',
    "max_batch_size": "max_batch_size: -1",
    "max_batch_size ": "max_batch_size: 2147483647",
    "inferd.intra_op_threads": "inferd { intra_op_threads: 100000 }",
    "inferd.inter_op_threads": "inferd { inter_op_threads: 4000000000 }",
    "inferd.max_queue_requests": "inferd { max_queue_requests: 4000000000 }",
    "inferd.max_queue_bytes": "inferd { max_queue_bytes: 18446744073709551615 }",
    "inferd.max_queue_wait_us": "inferd { max_queue_wait_us: 3600000001 }",
    "inferd.max_run_s": "inferd { max_run_s: 86401 }",
    "dynamic_batching.max_queue_delay_microseconds": "dynamic_batching { max_queue_delay_microseconds: 60000001 }",
    "inferd.inline_limit_us": "inferd { inline_limit_us: 4294967295 }",
    "input[0].data_type": 'input { name: "x" data_type: 999 }',
    "model_warmup[0].inputs['x'].data_type": 'model_warmup { inputs { key: "x" value { data_type: 999 } } }',
    "instance_group[0].kind": "instance_group { kind: 77 }",
    "inferd.inline": "inferd { inline: 9 }",
    "dynamic_batching.preferred_batch_size  ": "max_batch_size: 0 dynamic_batching { preferred_batch_size: [ 4 ] }",
    "instance_group.count ": "instance_group { count: 100000 }",
    "name": 'name: "other"',
    "dynamic_batching.preferred_batch_size": "max_batch_size: 8 dynamic_batching { preferred_batch_size: [ 16 ] }",
    "dynamic_batching.preferred_batch_size ": "dynamic_batching { preferred_batch_size: [ 65 ] }",
    "dynamic_batching.preserve_ordering": "dynamic_batching { preserve_ordering: true } instance_group { count: 2 }",
    "dynamic_batching.default_queue_policy.timeout_action": "dynamic_batching { default_queue_policy { timeout_action: DELAY } }",
    "dynamic_batching.priority_queue_policy[1].timeout_action": "dynamic_batching { priority_levels: 1 default_priority_level: 1 "
    "priority_queue_policy { key: 1 value { timeout_action: DELAY } } }",
    "dynamic_batching.default_priority_level": "dynamic_batching { priority_levels: 2 }",
    "dynamic_batching.priority_queue_policy": "dynamic_batching { priority_queue_policy { key: 1 value { } } }",
    "parameters 'EXECUTION_ENV_PATH'": "instance_group { kind: KIND_GPU } "
    'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "x" } }',
    "parameters 'memory.enable_memory_arena_shrinkage'": "instance_group { kind: KIND_GPU } "
    'parameters { key: "memory.enable_memory_arena_shrinkage" value { string_value: "gpu" } }',
    "parameters 'intra_op_thread_count'": 'parameters { key: "intra_op_thread_count" value { string_value: "many" } }',
    "parameters 'session.bogus'": 'parameters { key: "session.bogus" value { string_value: "1" } }',
    "parameters 'execution_mode'": 'parameters { key: "execution_mode" value { string_value: "2" } }',
    "optimization.graph.level": "optimization { graph { level: 3 } }",
    "gpu_execution_accelerator 'tvm'": "instance_group { kind: KIND_GPU } optimization { execution_accelerators { "
    'gpu_execution_accelerator { name: "tvm" } } }',
    "tensorrt precision_mode": "instance_group { kind: KIND_GPU } optimization { execution_accelerators { gpu_execution_accelerator "
    '{ name: "tensorrt" parameters { key: "precision_mode" value: "FP4" } } } }',
    "tensorrt parameter 'x'": "instance_group { kind: KIND_GPU } optimization { execution_accelerators { gpu_execution_accelerator "
    '{ name: "tensorrt" parameters { key: "x" value: "1" } } } }',
    "inferd.inline_busy_percent": "inferd { inline_busy_percent: 101 }",
    "model_warmup 'w': inputs 'x': dims": 'model_warmup { name: "w" inputs { key: "x" value { dims: [-1] } } }',
    "model_warmup 'w': inputs 'x': dims ": 'model_warmup { name: "w" inputs { key: "x" value { dims: [999999999] } } }',
    "model_warmup 'w': inputs 'x': dims  ": 'model_warmup { name: "w" batch_size: 64 inputs { key: "x" value { dims: [9999999] } } }',
    "model_warmup 'w': batch_size": 'max_batch_size: 2 model_warmup { name: "w" batch_size: 3 }',
    "model_warmup 'w': count": 'model_warmup { name: "w" batch_size: 1 count: 100000 }',
}


@pytest.mark.parametrize("field", UNSUPPORTED)
def test_what_is_not_done_is_rejected_by_name(tmp_path: Path, field: str) -> None:
    message = rejected(tmp_path, UNSUPPORTED[field])
    assert f"config.pbtxt of model 'm': {field.strip()} " in message


def test_another_backend_is_told_to_export(tmp_path: Path) -> None:
    assert rejected(tmp_path, 'backend: "python"') == (
        "config.pbtxt of model 'm': backend is 'python'; inferd runs ONNX models only: export the model to ONNX as 1/model.onnx, then "
        "leave it out"
    )


def test_all_that_is_not_done_is_told_at_once(tmp_path: Path) -> None:
    message = rejected(tmp_path, 'sequence_batching { } response_cache { enable: true } input { name: "x" is_shape_tensor: true }')
    assert message == (
        "config.pbtxt of model 'm': (1) sequence_batching asks for stateful sequences, which inferd does not do: keep the model where it "
        "is, or export its state as inputs and outputs: without the field its responses are wrong; "
        "(2) response_cache.enable asks for a response cache, which inferd does not do: remove the field; "
        "(3) input 'x': is_shape_tensor asks for a TensorRT shape tensor, which inferd does not do: remove the field"
    )


ON_A_CPU = {
    "instance_group.kind": "instance_group { kind: KIND_GPU }",
    "instance_group.gpus": "instance_group { kind: KIND_GPU gpus: [0, 1] }",
    "instance_group.profile": 'instance_group { profile: "1" }',
    "optimization.cuda.graphs": "optimization { cuda { graphs: true } }",
    "optimization.input_pinned_memory.enable": "optimization { input_pinned_memory { enable: true } }",
    "optimization.execution_accelerators.gpu_execution_accelerator": "instance_group { kind: KIND_GPU } optimization { "
    'execution_accelerators { gpu_execution_accelerator { name: "tvm" } } }',
    "optimization.execution_accelerators.cpu_execution_accelerator": "optimization { execution_accelerators { "
    'cpu_execution_accelerator { name: "openvino" } } }',
    "parameters['gpu_mem_limit']": 'parameters { key: "gpu_mem_limit" value { string_value: "1" } }',
    "parameters['memory.enable_memory_arena_shrinkage']": 'parameters { key: "memory.enable_memory_arena_shrinkage" value { } }',
    "parameters['EXECUTION_ENV_PATH']": 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "x" } }',
}


@pytest.mark.parametrize("field", ON_A_CPU)
def test_what_concerns_a_gpu_alone_has_no_effect_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setattr(devices, "gpu_there", lambda: False)
    plain = walk(tmp_path, "instance_group { kind: KIND_CPU }")[1]
    config, native = walk(tmp_path, ON_A_CPU[field])
    assert native == plain
    assert config.instance_group[0].kind == inference.ModelInstanceGroup.KIND_CPU
    told = dict(ignored_fields(read_model_config(tmp_path, "m"), DEFAULTS))
    assert "no effect" in told[field]


@pytest.mark.parametrize("where", ["default_queue_policy", "priority_queue_policy[2]"])
def test_an_override_of_no_timeout_is_told(tmp_path: Path, where: str) -> None:
    level = "priority_levels: 2 default_priority_level: 1 priority_queue_policy { key: 2 value"
    for timeout, told in (("", True), ("default_timeout_microseconds: 5", False)):
        policy = f"{{ allow_timeout_override: true {timeout} }}"
        text = f"default_queue_policy {policy}" if where == "default_queue_policy" else f"{level} {policy} }}"
        walk(tmp_path, f"max_batch_size: 8 dynamic_batching {{ {text} }}")
        fields = dict(ignored_fields(read_model_config(tmp_path, "m"), DEFAULTS))
        assert (f"dynamic_batching.{where}.allow_timeout_override" in fields) == told


def test_a_server_that_asks_for_a_gpu_gets_no_cpu_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_there", lambda: False)
    _, native = walk(tmp_path, "instance_group { kind: KIND_GPU }", defaults=Defaults(providers=("cuda", "cpu")))
    assert [provider.name for provider in native.providers] == ["cuda"]


@pytest.mark.parametrize("gpu", [True, False])
def test_the_counts_of_groups_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool) -> None:
    monkeypatch.setattr(devices, "gpu_there", lambda: gpu)
    kind = "KIND_CPU" if gpu else "KIND_GPU"
    config, _ = walk(tmp_path, f"instance_group [ {{ count: 2 kind: {kind} }}, {{ count: 3 kind: KIND_CPU }}, {{ kind: KIND_CPU }} ]")
    assert resources.wanted_instances(read_model_config(tmp_path, "m"), DEFAULTS) == 6
    assert [group.count for group in config.instance_group] == [PLAN.instances]
    assert "instance_group.count is more than 1024 in all groups" in rejected(tmp_path, "instance_group [ { count: 1000 }, { count: 25 } ]")


def test_one_row_may_be_a_fixed_axis(tmp_path: Path) -> None:
    config, _ = walk(tmp_path, "max_batch_size: 1", graph({"x": (1, 16)}, {"y": (1, 4)}))
    assert (config.max_batch_size, list(config.input[0].dims)) == (1, [16])
    assert "no batch axis" in rejected(tmp_path, "max_batch_size: 2", graph({"x": (1, 16)}, {"y": (1, 4)}))


def test_a_parameter_that_is_misspelt(tmp_path: Path) -> None:
    text = 'parameters { key: "intra_op_thread_cuont" value { string_value: "1" } }'
    assert "did you mean 'intra_op_thread_count'?" in rejected(tmp_path, text)


def test_a_session_option_that_is_misspelled(tmp_path: Path) -> None:
    text = 'parameters { key: "session.set_denormal_as_zeros" value { string_value: "1" } }'
    assert "did you mean 'session.set_denormal_as_zero'?" in rejected(tmp_path, text)


def test_a_datatype_without_a_name_in_toml(tmp_path: Path) -> None:
    message = rejected(tmp_path, '[[input]]\nname = "x"\ndata_type = 999\ndims = [16]\n', file="config.toml")
    assert "input[0].data_type is 999; it must be one of TYPE_INVALID, TYPE_BOOL" in message


@pytest.mark.parametrize(
    "text",
    [
        "response_cache { enable: false }",
        "model_transaction_policy { decoupled: false }",
        "optimization { priority: PRIORITY_DEFAULT cuda { graphs: false } input_pinned_memory { enable: true } }",
        'input { name: "x" optional: false }',
        "instance_group [ { count: 0 kind: KIND_AUTO } ]",
        "model_warmup [ ]",
        "dynamic_batching { preferred_batch_size: [ 64 ] }",
    ],
)
def test_saying_no_is_allowed(tmp_path: Path, text: str) -> None:
    walk(tmp_path, text)


WARM = "data_type: TYPE_FP32 dims: [16] zero_data: true"


@pytest.mark.parametrize(
    ("warmup", "words"),
    [
        (f'batch_size: 1 inputs {{ key: "x" value {{ {WARM} }} }}', []),
        (f'inputs {{ key: "x" value {{ {WARM} }} }}', ["batch_size is 0"]),
        ("batch_size: 1", ["inputs are []", "['x']"]),
        (f'batch_size: 1 inputs {{ key: "z" value {{ {WARM} }} }}', ["inputs are ['z']", "['x']"]),
        ('batch_size: 1 inputs { key: "x" value { data_type: TYPE_INT8 dims: [16] } }', ["TYPE_INT8", "TYPE_FP32"]),
        ('batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: [15] } }', ["[15]", "[16]"]),
    ],
)
def test_warmup_fits_the_model(tmp_path: Path, warmup: str, words: list[str]) -> None:
    text = f'model_warmup {{ name: "w" {warmup} }}'
    if not words:
        walk(tmp_path, text)
        return
    message = rejected(tmp_path, text)
    for word in words:
        assert word in message


# ---- syntax --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("inferd { preprocess { steps { resize { heigth: 3 } } } }", ["unknown field 'heigth'", "in Resize", "did you mean 'height'"]),
        ("inferd { inlin: ON }", ["unknown field 'inlin'", "in ModelOptions", "did you mean 'inline'"]),
        ('name: "m"\nmax_batchsize: 4', ["line 2", "unknown field 'max_batchsize'", "did you mean 'max_batch_size'"]),
        ("dynamic_batching {\n  max_queue_delay: 5\n}", ["line 2", "'max_queue_delay'", "max_queue_delay_microseconds"]),
        ("\n\ninferd { inlin: ON }", ["line 3", "'inlin'", "'inline'"]),
        ("max_batch_size: four", ["line 1", "four"]),
        ("input {", ["line 1"]),
        ("max_batch_size: 99999999999999", ["line 1: max_batch_size: expected a whole number from -2147483648 to 2147483647, got 999"]),
        ("\ninput { data_type: TYPE_FP31 }", ["line 2: input[0].data_type: expected one of TYPE_INVALID, TYPE_BOOL, ", "got TYPE_FP31"]),
        ("max_batch_size: 1 max_batch_size: 2", ["max_batch_size"]),
        ("[some.extension] { }", ["line 1"]),
    ],
)
def test_syntax_of_pbtxt(tmp_path: Path, text: str, words: list[str]) -> None:
    message = rejected(tmp_path, text)
    assert message.startswith("config.pbtxt of model 'm'")
    for word in words:
        assert word in message


TOML = """
max_batch_size = 16
[[input]]
name = "x"
data_type = "TYPE_FP32"
dims = [16]
[dynamic_batching]
max_queue_delay_microseconds = 100
preferred_batch_size = [4, 8]
priority_levels = 2
default_priority_level = 1
[dynamic_batching.priority_queue_policy.2]
max_queue_size = 5
[parameters.intra_op_thread_count]
string_value = "4"
[inferd]
inline = "ON"
"""
SAME_IN_PBTXT = """
max_batch_size: 16
input { name: "x" data_type: TYPE_FP32 dims: [16] }
dynamic_batching {
  max_queue_delay_microseconds: 100 preferred_batch_size: [4, 8] priority_levels: 2 default_priority_level: 1
  priority_queue_policy { key: 2 value { max_queue_size: 5 } }
}
parameters { key: "intra_op_thread_count" value { string_value: "4" } }
inferd { inline: ON }
"""


def test_toml_and_pbtxt_are_one_schema(tmp_path: Path) -> None:
    (tmp_path / "toml").mkdir()
    (tmp_path / "pbtxt").mkdir()
    toml, _ = walk(tmp_path / "toml", TOML, file="config.toml")
    pbtxt, _ = walk(tmp_path / "pbtxt", SAME_IN_PBTXT)
    assert toml == pbtxt


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batchsize = 4", ["unknown field 'max_batchsize'", "'max_batch_size'"]),
        ("maxBatchSize = 4", ["unknown field 'maxBatchSize'"]),
        ("[dynamic_batching]\nmax_delay = 1", ["in dynamic_batching"]),
        ('[input]\nname = "x"', ["input: expected a list of tables ([[input]]), got a table"]),
        ('input = ["x"]', ["input[0]: expected a table", "got a text"]),
        ('[[input]]\nname = "x"\ndim = [1]', ["unknown field 'dim' in input[0]", "'dims'"]),
        ("dynamic_batching = true", ["dynamic_batching: expected a table", "got true or false"]),
        ("parameters = 3", ["parameters: expected a table, got a number"]),
        ("[parameters]\nx = 3", ["parameters.x: expected a table"]),
        ('max_batch_size = "four"', ["max_batch_size: expected a whole number from -2147483648 to 2147483647, got 'four'"]),
        ("max_batch_size = 2020-01-01", ["max_batch_size: expected a whole number", "got date"]),
        (
            "[[inferd.preprocess]]\nsteps = [{ resize = { height = -8, width = 8 } }]",
            ["inferd.preprocess[0].steps[0].resize.height: expected a whole number from 0 to 4294967295, got -8"],
        ),
        ("[dynamic_batching.priority_queue_policy.high]", ["a key of dynamic_batching.priority_queue_policy: ", "got 'high'"]),
        ("max_batch_size = ?", ["wrong TOML", "line 1"]),
        ("dynamic_batching = {}\n[sequence_batching]", ["expected one of dynamic_batching, sequence_batching, got all of them"]),
        ('[inferd]\ninline = "SOMETIMES"', ["SOMETIMES"]),
    ],
)
def test_syntax_of_toml(tmp_path: Path, text: str, words: list[str]) -> None:
    message = rejected(tmp_path, text, file="config.toml")
    assert message.startswith("config.toml of model 'm'")
    for word in words:
        assert word in message
    assert "Failed to parse" not in message


def test_numbers_of_toml_that_json_does_not_have(tmp_path: Path) -> None:
    text = "[[inferd.preprocess]]\nsteps = [{ normalize = { mean = [nan, -inf], std = [inf] } }]"
    config, _ = walk(tmp_path, text, file="config.toml")
    step = config.inferd.preprocess[0].steps[0].normalize
    assert [str(number) for number in (*step.mean, *step.std)] == ["nan", "-inf", "inf"]


def test_two_files(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    assert "remove one" in rejected(tmp_path, "")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_bytes(b'name: "m"\n\xff\xfe')
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        read_model_config(tmp_path, "m")
    (tmp_path / "config.pbtxt").write_bytes(b"#" * (model_config.MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read_model_config(tmp_path, "m")


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_bytes(b"\xef\xbb\xbfmax_batch_size: 4\r\n")
    assert read_model_config(tmp_path, "m").config.max_batch_size == 4


# ---- accepted, or rejected with ConfigError -----------------------------------------------------------------------------

FRAGMENTS = [
    *UNSUPPORTED.values(),
    DENSENET,
    BERT,
    PRIORITIES,
    TENSORRT,
    SAME_IN_PBTXT,
    "{",
    "}",
    "[",
    "]",
    ":",
    '"',
    "#",
    "\n",
    "-1",
    "1e9",
    "\x00",
]
words = st.sampled_from(sorted({word for fragment in FRAGMENTS for word in fragment.split()}))


def tried(tmp_path: Path, text: str, file: str) -> None:
    try:
        walk(tmp_path, text, file=file)
    except ConfigError as error:
        if "'m'" not in str(error):
            raise AssertionError("an error does not name its model") from error


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=4).map("\n".join) | st.lists(words, max_size=30).map(" ".join) | st.text(max_size=60))
@example("name: '\\xff'")
@example("input { dims: 99999999999999999999 }")
@example("parameters { key: 1 }")
def test_any_pbtxt(folder: Path, text: str) -> None:
    if "\ud800" <= max(text, default="") <= "\udfff":
        return
    (folder / "a").mkdir(exist_ok=True)
    try:
        tried(folder / "a", text, "config.pbtxt")
    except UnicodeEncodeError:
        return


def test_cut_anywhere(folder: Path) -> None:
    (folder / "b").mkdir(exist_ok=True)
    for end in range(len(BERT)):
        tried(folder / "b", BERT[:end], "config.pbtxt")


KEYS = sorted(
    {field.name for field in Config.DESCRIPTOR.fields} | {f.name for f in Config.DESCRIPTOR.fields_by_name["input"].message_type.fields}
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 1 << 70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["TYPE_FP32", "x", "KIND_GPU"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*KEYS, "1", "x"]), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=5))
def test_any_toml_tree(folder: Path, tree: dict[str, Any]) -> None:
    """Through the parser of TOML's values, as TOML has no way to write some of them."""
    (folder / "c").mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tomllib, "loads", lambda text: tree)
        tried(folder / "c", "", "config.toml")


@given(st.text(max_size=80) | st.sampled_from([TOML, TOML[:100], TOML[50:]]))
def test_any_toml_text(folder: Path, text: str) -> None:
    (folder / "d").mkdir(exist_ok=True)
    try:
        tried(folder / "d", text, "config.toml")
    except UnicodeEncodeError:
        return
