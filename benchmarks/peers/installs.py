"""A virtual environment for each peer under .peers/, with the versions that its requirements.txt and constraints.txt pin.

An installation is made again when one of them changed. What does not install is no failure of the run: `why_not` says why, and
the tables repeat it. Never in here: starting anything of what was installed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from .catalogue import Peer
from .families import ROOT

ENVIRONMENTS = ROOT / ".peers"
STAMP = "installed.sha256"


class Installed(NamedTuple):
    """Where a peer's Python is, and what lies beside it."""

    python: Path
    version: str
    nbytes: int  # of all that was installed for it, Python itself left out


class Missing(NamedTuple):
    """A peer that is not here."""

    why_not: str


def ready(peer: Peer) -> Installed | Missing:
    """Installs the peer where that is still to be done."""
    if peer.program and shutil.which(peer.program) is None:
        return Missing(f"the program {peer.program} is not installed")
    if peer.own or peer.protocol == "none":
        version = "this tree" if peer.own else importlib.metadata.version(peer.package)
        return Installed(Path(sys.executable), version, closure_nbytes("inferd[cpu]" if peer.own else peer.package))
    if peer.requirements is None:
        program = shutil.which(peer.program) or ""
        return Installed(Path(sys.executable), program_version(peer.program), Path(program).resolve().stat().st_size)
    environment = ENVIRONMENTS / peer.home
    stamp = environment / STAMP
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in pins(peer))).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        if missing := install(peer, environment, pins(peer)):
            return missing
        stamp.write_text(wanted)
    python = environment / "bin" / "python"
    return Installed(python, peer.version or version_in(environment, peer.package), tree_nbytes(environment))


def pins(peer: Peer) -> list[Path]:
    """requirements.txt, and constraints.txt where it is there."""
    return [path for path in (peer.requirements, peer.constraints) if path is not None and path.exists()]


def lock(peer: Peer) -> None:
    """Writes what is installed for it into constraints.txt."""
    python = ENVIRONMENTS / peer.home / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "freeze", "--exclude", "pip"]
    peer.constraints.write_text(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def install(peer: Peer, environment: Path, pinned: list[Path]) -> Missing | None:
    base = find_python(peer.python)
    if base is None:
        return Missing(f"needs Python {peer.python}, and none is on the PATH")
    shutil.rmtree(environment, ignore_errors=True)
    ENVIRONMENTS.mkdir(exist_ok=True)
    (ENVIRONMENTS / ".gitignore").write_text("*\n")
    print(f"  installing {peer.title}", flush=True)
    # Without pip of its own: what lies there is the peer and what it needs.
    subprocess.run([base, "-m", "venv", "--without-pip", str(environment)], check=True)
    command = [sys.executable, "-m", "pip", "--python", str(environment / "bin" / "python"), "--disable-pip-version-check"]
    command += ["install", "--quiet", "--only-binary=:all:", "--no-compile", *peer.pip, "-r", str(pinned[0])]
    command += ["-c", str(pinned[1])] if len(pinned) > 1 else []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        return Missing(f"does not install: {lines[-1].removeprefix('ERROR: ') if lines else f'pip ended with {done.returncode}'}")
    return None


def find_python(versions: str) -> str | None:
    """A Python that the peer runs on: the one that measures if it will do, so that all run on the same."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if own in SpecifierSet(versions):
        return str(getattr(sys, "_base_executable", sys.executable))
    for minor in range(13, 8, -1):
        program = shutil.which(f"python3.{minor}")
        if f"3.{minor}" in SpecifierSet(versions) and program and works(program):
            return program
    return None


def works(program: str) -> bool:
    return subprocess.run([program, "-c", "import venv"], capture_output=True, check=False).returncode == 0


def version_in(environment: Path, package: str) -> str:
    folders = [str(path) for path in environment.glob("lib/python*/site-packages")]
    found = importlib.metadata.distributions(name=package, path=folders)
    return next((distribution.version for distribution in found), "?")


def program_version(program: str) -> str:
    for flag in ("--version", "-v"):
        done = subprocess.run([program, flag], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return (done.stdout + done.stderr).strip().split("/")[-1].split()[-1]
    return "?"


def tree_nbytes(folder: Path) -> int:
    """Bytes of all files in it; compiled caches, which depend on what was run, left out."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files if path.suffix != ".pyc")


def closure_nbytes(requirement: str) -> int:
    """Bytes of a package of this environment and of all that it requires."""
    seen: set[str] = set()
    waiting = [Requirement(requirement)]
    total = 0
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in seen:
            continue
        seen.add(name)
        distribution = importlib.metadata.distribution(name)
        total += package_nbytes(distribution)
        for line in distribution.requires or []:
            needed = Requirement(line)
            extras = wanted.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return total


def package_nbytes(distribution: importlib.metadata.Distribution) -> int:
    if canonicalize_name(distribution.metadata["Name"]) == "inferd":  # installed in place: its files are those of the tree
        suffixes = {".py", ".pyi", ".so", ".binpb", ".typed"}
        return sum(path.stat().st_size for path in (ROOT / "inferd").rglob("*") if path.suffix in suffixes)
    paths = (Path(str(distribution.locate_file(file))) for file in distribution.files or [])
    return sum(path.stat().st_size for path in paths if path.suffix != ".pyc" and path.is_file())
