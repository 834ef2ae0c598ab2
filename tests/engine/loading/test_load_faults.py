"""Files that ONNX Runtime does not load: each reason, as it really comes, has its cure and none of the library's source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import skl2onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import RandomForestRegressor

from inferd.engine.loading.load_faults import explained
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.errors import ConfigError
from tests import models


def newer(path: Path) -> None:
    proto = onnx.load_from_string(models.identity())
    proto.ir_version = 99
    onnx.save(proto, path)


def from_the_future(path: Path) -> None:
    proto = onnx.load_from_string(models.identity())
    proto.opset_import[0].version = 99
    onnx.save(proto, path)


def of_another_library(path: Path) -> None:
    proto = onnx.load_from_string(models.identity())
    proto.graph.node[0].domain = "my.own"
    proto.opset_import.append(helper.make_opsetid("my.own", 1))
    onnx.save(proto, path)


def without_weights(path: Path) -> None:
    """As torch.onnx.export saves a large model, with one of its two files."""
    weights = numpy_helper.from_array(np.ones((4, 1000), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1000])],
        [weights],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    onnx.save(proto, path, save_as_external_data=True, location="weights.data")
    (path.parent / "weights.data").unlink()


def with_weights_elsewhere(path: Path) -> None:
    path.write_bytes(models.with_weights_in("../weights.bin"))
    (path.parents[1] / "weights.bin").write_bytes(bytes(4))


def of_float64(path: Path) -> None:
    x = np.arange(20.0).reshape(10, 2)
    path.write_bytes(skl2onnx.to_onnx(RandomForestRegressor(2).fit(x, x[:, 0]), x).SerializeToString())


@pytest.mark.parametrize(
    ("write", "cure"),
    [
        (newer, "this onnxruntime is older than the file: upgrade it, or export for a lower opset"),
        (from_the_future, "this onnxruntime is older than the file: upgrade it, or export for a lower opset"),
        (of_another_library, "onnxruntime has no operator my.own:Identity: export the model with operators of ONNX"),
        (without_weights, "its weights are in a file of their own: put weights.data beside it"),
        (with_weights_elsewhere, "its weights must lie in the folder of the .onnx file: put them beside it"),
        (of_float64, "the exporter declared variable as FP64, and its operator gives FP32: export with float32 data, X.astype('float32')"),
    ],
)
def test_a_known_reason_has_a_cure(tmp_path: Path, write: Callable[[Path], None], cure: str) -> None:
    write(tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match="model 'm' cannot be loaded: ") as caught:
        OnnxModel.load(tmp_path / "m.onnx")
    assert cure in str(caught.value)
    assert "onnxruntime/core" not in str(caught.value)


def test_a_locale_that_is_missing() -> None:
    """As onnxruntime says it on a machine without locales."""
    told = explained(
        "Exception during initialization: /onnxruntime_src/onnxruntime/core/providers/cpu/text/string_normalizer.cc:235 "
        "onnxruntime::StringNormalizer::Locale::Locale(const std::string&)::<lambda()> Failed to construct locale with "
        "name:en_US.UTF-8:locale::facet::_S_create_c_locale name not valid"
    )
    assert told.startswith("Exception during initialization: Failed to construct locale")
    assert told.endswith("need the locale en_US.UTF-8, which this machine lacks: install it (Debian: apt install locales-all)")
