"""What scripts/release_check.py finds before anything is built. The rest of it is `make release-check` itself, which takes minutes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

import release_check  # noqa: E402

CHANGES = """# Changes

## Unreleased

## 0.2.0 (2026-12-24)

- Newer.

## 0.1.0

First version.

### Faster

- A request.
"""


def test_the_notes_are_the_section_of_the_version() -> None:
    assert release_check.release_notes(CHANGES, "0.2.0") == "- Newer.\n"
    assert release_check.release_notes(CHANGES, "0.1.0") == "First version.\n\n### Faster\n\n- A request.\n"


@pytest.mark.parametrize("version", ["0.1", "0.3.0", "Unreleased"])
def test_a_version_without_notes_is_no_release(version) -> None:
    with pytest.raises(SystemExit, match=f"expected a section '## {version}'"):
        release_check.release_notes(CHANGES, version)


def test_the_version_is_that_of_the_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity = {f"GIT_{who}_{what}": "a@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "SETUPTOOLS_SCM"))} | identity

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=tmp_path, env=environment, check=True, capture_output=True)

    def version() -> str:
        command = [sys.executable, "-m", "setuptools_scm"]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setattr(release_check, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    assert version() == "0+unknown"
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    assert version().startswith("0.1.0.dev1+")
    assert release_check.tagged_version() is None
    git("tag", "v0.1.0")
    assert (version(), release_check.tagged_version()) == ("0.1.0", "0.1.0")
    git("commit", "--quiet", "--allow-empty", "--message", "second")
    assert version().startswith("0.2.0.dev1+")
    assert release_check.tagged_version() is None


def test_the_python_that_runs_this_can_build() -> None:
    assert release_check.can_build(Path(sys.executable))
    assert not release_check.can_build(Path("/bin/false"))
