"""A model's config.pbtxt or config.toml: read and completed from a graph, or rejected with ConfigError in one line.

Input: 1 byte for which of the two it is, and its text.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from inferd.engine.configuration.config_sources import Defaults
from inferd.engine.runtime.runtime import Graph, TensorInfo
from inferd.errors import ConfigError
from inferd.protocol import inference
from tests.model_configs import load_model_config

MODULES = ()
LINES = ("inferd.engine.configuration.model_config", "inferd.engine.configuration.toml_faults", "inferd.engine.configuration.unsupported")
NAMES = (*inference.ModelConfig.DESCRIPTOR.fields_by_name, *inference.ModelInput.DESCRIPTOR.fields_by_name)
WORDS = ("TYPE_FP32", "KIND_CPU", "dims: [ -1, 4 ]", "[[input]]", "{ }", "inferd { }")
DICTIONARY = tuple(word.encode() for word in (*NAMES, *WORDS))
GRAPH = Graph((TensorInfo("x", "FP32", ("rows", 4)),), (TensorInfo("y", "FP32", ("rows", 2)), TensorInfo("z", "INT64", ("rows",))))
DEFAULTS = Defaults()
FOLDER = Path(tempfile.mkdtemp(prefix="inferd-fuzz-"))
FILES = (FOLDER / "config.pbtxt", FOLDER / "config.toml")


def check(data: bytes) -> None:
    if not data:
        return
    file = FILES[data[0] & 1]
    file.write_bytes(data[1:])
    try:
        assert load_model_config(file, GRAPH, DEFAULTS, "m").name == "m"
    except ConfigError as error:
        if "\n" in str(error):
            raise AssertionError("more than a line") from error


TEXTS = (
    'name: "m" max_batch_size: 8 input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]\noutput { name: "y" data_type: TYPE_BF16 }',
    "dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 priority_levels: 3 preserve_ordering: true }",
    "dynamic_batching { default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 5 max_queue_size: 3 } }",
    'instance_group [ { count: 2 kind: KIND_CPU } ]\nversion_policy { specific { versions: [ 1, 3 ] } }\nplatform: "onnxruntime_onnx"',
    'parameters { key: "intra_op_thread_count" value { string_value: "2" } }\noptimization { graph { level: 1 } }',
    'model_warmup { name: "w" batch_size: 1 inputs { key: "x" value { data_type: TYPE_FP32 dims: 4 zero_data: true } } }',
    "inferd { intra_op_threads: 2 max_queue_requests: 5 inline: INLINE_NEVER pre { } }\nsequence_batching { }\nensemble_scheduling { }",
)
TOMLS = (
    'name = "m"\nmax_batch_size = 8\n[[input]]\nname = "x"\ndata_type = "TYPE_FP32"\ndims = [-1, 4]\n',
    '[dynamic_batching]\npreferred_batch_size = [4]\n[dynamic_batching.default_queue_policy]\ntimeout_action = "DELAY"\n',
    '[version_policy.latest]\nnum_versions = 2\n[parameters.x]\nstring_value = "1"\n[inferd]\nintra_op_threads = 2\n',
)


def seeds() -> list[bytes]:
    return [b"\0" + text.encode() for text in TEXTS] + [b"\1" + text.encode() for text in TOMLS]
