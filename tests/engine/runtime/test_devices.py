"""A GPU is there where its device is."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferd.engine.runtime.devices import gpu_there


@pytest.mark.parametrize(("names", "there"), [([], False), (["nvidiactl", "null"], False), (["nvidia0"], True), (["dxg"], True)])
def test_devices(tmp_path: Path, names: list[str], there: bool) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert gpu_there(tmp_path) == there
