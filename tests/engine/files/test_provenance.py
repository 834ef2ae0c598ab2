"""What made a response: digests that the tools of everyday give as well."""

from __future__ import annotations

import hashlib
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import onnx

from inferd.engine.files.provenance import provenance_of
from inferd.protocol.inference import ModelConfig
from tests import models

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_has_the_digest_that_sha256sum_gives(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(models.add())
    config = ModelConfig(name="add", max_batch_size=8)
    found = provenance_of(file, config, "onnxruntime 1", "CPUExecutionProvider")
    said = subprocess.run(["sha256sum", file], capture_output=True, text=True, check=True).stdout
    assert found.properties() == {
        "model_sha256": said.split()[0],
        "runtime": "onnxruntime 1",
        "provider": "CPUExecutionProvider",
        "config_sha256": hashlib.sha256(config.SerializeToString()).hexdigest(),
    }
    config.max_batch_size = 9
    assert provenance_of(file, config, "onnxruntime 1", "CPUExecutionProvider").config_sha256 != found.config_sha256


def test_weights_in_other_files_count(tmp_path: Path) -> None:
    model = onnx.load_from_string(models.add())
    for name in ("b", "a"):
        weights = onnx.numpy_helper.from_array(np.arange(1000, dtype=np.float32), name)
        onnx.external_data_helper.set_external_data(weights, f"{name}.bin")
        (tmp_path / f"{name}.bin").write_bytes(weights.raw_data)
        weights.ClearField("raw_data")
        model.graph.initializer.append(weights)
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    found = provenance_of(file, ModelConfig(), "onnxruntime 1", "").external_data_sha256
    said = subprocess.run("sha256sum a.bin b.bin | sha256sum", shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert found == said.split()[0]
    (tmp_path / "a.bin").write_bytes(b"other weights")
    assert provenance_of(file, ModelConfig(), "onnxruntime 1", "").external_data_sha256 != found


def test_a_model_tells_the_digest_of_no_file_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "m").mkdir()
    file = models.write(tmp_path / "m", "m", models.with_weights_in("../secret", str(tmp_path / "secret"), "/proc/self/pagemap"))
    assert provenance_of(file, ModelConfig(), "onnxruntime 1", "").external_data_sha256 == ""
