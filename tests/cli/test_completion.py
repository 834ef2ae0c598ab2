"""`inferd completion`: scripts that the shells take, and the words that they are given."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.command import command, environment


def test_scripts_for_three_shells(call) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert "_INFERD_COMPLETE" in call("completion", shell).stdout
    assert call("completion", "tcsh").returncode == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="this system has no bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [("inferd ser", {"serve"}), ("inferd serve --tls-c", {"--tls-cert", "--tls-client-ca"}), ("inferd serve --inline o", {"on", "off"})],
)
def test_bash_completes(run, tmp_path: Path, words: str, expected: set[str]) -> None:
    (tmp_path / "inferd").write_text(f'#!/bin/sh\nexec {" ".join(command())} "$@"\n')
    (tmp_path / "inferd").chmod(0o755)
    asked = words.split()
    script = (
        f"{run('completion', 'bash').stdout}\nCOMP_WORDS=({words}); COMP_CWORD={len(asked) - 1}\n"
        "_inferd_completion inferd; echo ${COMPREPLY[@]}"
    )
    own = environment()
    own["PATH"] = f"{tmp_path}:{own['PATH']}"
    done = subprocess.run(["bash", "-c", script], env=own, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert set(done.stdout.split()) == expected, done.stderr
