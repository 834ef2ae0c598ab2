"""`inferd protos`: files that plain protoc takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_files_that_other_languages_need(run, tmp_path: Path) -> None:
    folder = tmp_path / "proto"
    names = run("protos", folder).stdout.split()
    expected = {
        "feedback.proto",
        "monitor.proto",
        "grpc_service.proto",
        "model_config.proto",
        "model_control.proto",
        "model_options.proto",
        "rollouts.proto",
        "steps.proto",
    }
    assert {Path(name).name for name in names} == expected
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"--descriptor_set_out={tmp_path / 'set'}", *names], check=True
    )


def test_a_folder_that_cannot_be_written(call, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = call("protos", tmp_path / "file" / "proto")
    assert done.returncode == 2
    assert "FOLDER" in done.stderr
