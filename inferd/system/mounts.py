"""Which file system a folder lies on. Never in here: what that means for a server."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
# Another machine may remove a file of these, and memory that is mapped from it then ends the process.
REMOTE = re.compile(r"nfs\d*|cifs|smb\d*|smbfs|ceph|glusterfs|lustre|gpfs|beegfs|afs|9p|virtiofs|fuse\..*|fuse")
_ESCAPE = re.compile(r"\\([0-7]{3})")


def remote_type(folder: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system, where it is one that other machines share; '' for a local one, and where that is not known."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
        real = folder.resolve()
    except OSError:
        return ""
    found = "", ""  # the longest mount point above the folder, and its type: the last line of those that are equal counts
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")[0]
        if len(fields) > 4:
            point = _ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[4])
            if real.is_relative_to(point) and len(point) >= len(found[0]):
                found = point, kind
    return found[1] if REMOTE.fullmatch(found[1]) else ""
