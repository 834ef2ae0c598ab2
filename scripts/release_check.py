"""Whether this commit can be released: everything that a publisher would find out too late. Nothing is uploaded.

    python scripts/release_check.py [--dist dist]        (make release-check)

1. The commit has a tag such as v0.1.0, and nothing is changed on top. Without one all else is checked, and the exit code is 1.
2. CHANGELOG.md has a section of that version: it becomes the release notes, dist/RELEASE_NOTES.md.
3. From the sdist, a wheel for each Python of 3.11 to 3.14 on this machine. Each is repaired by auditwheel, installed into a new
   environment and asked (scripts/check_wheel.py), licences included.
4. `twine check --strict` accepts all files.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINORS = (11, 12, 13, 14)
SETUP = "from setuptools import setup; setup()"
PROJECTS = {"inferd": ROOT, "inferd-client": ROOT / "clients" / "python"}


def run(*command: str | Path, folder: Path = ROOT) -> None:
    print("$", *command, flush=True)
    subprocess.run(command, cwd=folder, check=True)


def output_of(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()


def tagged_version() -> str | None:
    """That of the tag on this commit, or None. A change on top makes it another version."""
    if output_of("git", "status", "--porcelain", "--untracked-files=no"):
        return None
    tags = output_of("git", "tag", "--points-at", "HEAD", "--list", "v*").split()
    return tags[-1].removeprefix("v") if tags else None


def release_notes(changes: str, version: str) -> str:
    """The section of a version, `## 0.1.0` with or without a date behind it. Raises SystemExit where there is none."""
    found = re.search(rf"^## \[?{re.escape(version)}\]?(?: [^\n]*)?\n(.*?)(?=^## |\Z)", changes, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise SystemExit(f"CHANGELOG.md: expected a section '## {version}' that says what changed")
    return found[1].strip() + "\n"


def pythons() -> dict[str, Path]:
    """Those on the PATH, and pyenv's, that can compile: by version, 3.11 say."""
    candidates = [*os.environ.get("PATH", "").split(os.pathsep), *map(str, sorted(Path.home().glob(".pyenv/versions/*/bin")))]
    found: dict[str, Path] = {}
    for version in (f"3.{minor}" for minor in MINORS):
        for folder in candidates:
            program = Path(folder, f"python{version}")
            if program.exists() and can_build(program):
                found[version] = program
                break
    return found


def can_build(program: Path) -> bool:
    """Whether it has its header, and can make an environment. A shim of pyenv for another version has neither."""
    asks = "import ensurepip, sysconfig, pathlib, sys; sys.exit(not pathlib.Path(sysconfig.get_path('include'), 'Python.h').exists())"
    return subprocess.run([program, "-c", asks], check=False, capture_output=True).returncode == 0


def sources(dist: Path, folder: Path) -> dict[str, Path]:
    """Both sdists in dist, and by project the folder of what they hold."""
    unpacked = {}
    for name, project in PROJECTS.items():
        run(sys.executable, "-c", SETUP, "--quiet", "sdist", "--dist-dir", dist, folder=project)
        (made,) = dist.glob(f"{name.replace('-', '_')}-[0-9]*.tar.gz")
        with tarfile.open(made) as archive:
            archive.extractall(folder, filter="data")
        unpacked[name] = folder / made.name.removesuffix(".tar.gz")
    return unpacked


def wheels_for(version: str, program: Path, unpacked: dict[str, Path], dist: Path, folder: Path) -> None:
    """inferd's wheel for one Python, in dist, after it has served."""
    environment, raw = folder / f"python{version}", folder / f"wheel{version}"
    run(program, "-m", "venv", environment)
    pip: list[str | Path] = [environment / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", raw, unpacked["inferd"])
    (wheel,) = raw.glob("inferd-*.whl")
    repaired = folder / f"dist{version}"
    run(Path(sys.executable).with_name("auditwheel"), "repair", "--plat", "auto", "--wheel-dir", repaired, wheel)
    for client in dist.glob("inferd_client-*.whl"):
        shutil.copy(client, repaired)
    run(environment / "bin" / "python", ROOT / "scripts" / "check_wheel.py", "--dist", repaired)
    for made in repaired.glob("inferd-*.whl"):
        shutil.copy(made, dist)


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether this commit can be released. Nothing is uploaded.")
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where the files go (default dist)")
    parser.add_argument("--notes", metavar="VERSION", help="print that version's release notes, and check nothing")
    given = parser.parse_args()
    dist: Path = given.dist.resolve()
    if given.notes:
        print(release_notes((ROOT / "CHANGELOG.md").read_text("utf-8"), given.notes), end="")
        return 0
    folder = ROOT / "build" / "release-check"
    for each in (dist, folder):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(parents=True)
    version = tagged_version()
    if version:
        (dist / "RELEASE_NOTES.md").write_text(release_notes((ROOT / "CHANGELOG.md").read_text("utf-8"), version), "utf-8")
    unpacked = sources(dist, folder)
    run(sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--wheel-dir", dist, unpacked["inferd-client"])
    found = pythons()
    for name, program in found.items():
        wheels_for(name, program, unpacked, dist, folder)
    files = sorted(file for file in dist.iterdir() if file.suffix in {".whl", ".gz"})
    run(sys.executable, "-m", "twine", "check", "--strict", *files)
    missing = [f"3.{minor}" for minor in MINORS if f"3.{minor}" not in found]
    print(f"\nbuilt and asked on Python {', '.join(found)}" + (f"; not on this machine: {', '.join(missing)}" if missing else ""))
    print("\n".join(f"  {file.name}" for file in files))
    if version is None:
        print("no release: this commit has no tag such as v0.1.0, or has changes on top of it", file=sys.stderr)
        return 1
    if not all(f"-{version}" in file.name for file in files):
        print(f"no release: expected {version} in the name of each file", file=sys.stderr)
        return 1
    print(f"{version} can be released: dist/RELEASE_NOTES.md says what changed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
