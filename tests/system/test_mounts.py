"""The file system of a folder, from what Linux says of its mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferd.system.mounts import remote_type

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:30 / /models rw - nfs4 10.0.0.2:/models rw,vers=4.2
31 30 0:31 / /models/local rw - tmpfs tmpfs rw
32 22 0:32 / /with\040blank rw - fuse.s3fs s3fs rw
33 22 0:33 / /twice rw - nfs server:/a rw
34 33 0:34 / /twice rw - xfs /dev/sdb rw
broken line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", ""),
        ("/home", ""),
        ("/models", "nfs4"),
        ("/models/digits/1", "nfs4"),
        ("/models/local/x", ""),
        ("/modelsother", ""),
        ("/with blank/x", "fuse.s3fs"),
        ("/twice/x", ""),
    ],
)
def test_types_that_machines_share(tmp_path: Path, folder: str, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert remote_type(Path(folder), mounts) == kind


def test_where_it_is_not_known(tmp_path: Path) -> None:
    assert remote_type(tmp_path, tmp_path / "none") == ""
