"""The public names, and what importing the package must not cost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import inferd
import inferd.errors

HEAVY = ("grpc", "cryptography", "onnxruntime", "google.protobuf", "numpy", "click", "uvloop", "prometheus_client")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_all_names_what_the_package_offers() -> None:
    assert set(inferd.__all__) == {"__version__", "Engine", "Server", "Settings", *inferd.errors.__all__}
    assert set(inferd.__all__) <= set(dir(inferd))
    for name in inferd.__all__:
        assert getattr(inferd, name) is not None


def test_errors_are_the_ones_of_the_leaf() -> None:
    for name in inferd.errors.__all__:
        assert getattr(inferd, name) is getattr(inferd.errors, name)


@pytest.mark.parametrize("module", ["inferd", "inferd.errors", "inferd.config", "inferd.log"])
def test_importing_costs_no_heavy_library(module: str) -> None:
    loaded = python(f"import {module}, sys; print(*(name for name in {HEAVY!r} if name in sys.modules))")
    assert loaded == ""


def test_help_imports_no_verb_and_no_heavy_library() -> None:
    code = "import inferd.cli, sys; inferd.cli.run(['--help']); print('LOADED', *(n for n in sys.modules if n.startswith('inferd.')))"
    small = {"inferd.errors", "inferd.cli.exit_codes", "inferd.cli.say", "inferd.cli.verbs", "inferd.cli"}
    assert {*python(code).split("LOADED")[1].split()} - {"inferd._version"} == small  # the one that a build writes
    loaded = python(f"import inferd.cli.serve, sys; print(*(name for name in {HEAVY!r} if name in sys.modules))")
    assert loaded == "click"


def test_unknown_attributes_are_rejected_as_usual() -> None:
    with pytest.raises(AttributeError, match="module 'inferd' has no attribute 'Enigne'"):
        inferd.Enigne  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_has_one_place() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "inferd", "--version"], capture_output=True, text=True, timeout=60, check=True, env={**os.environ}
    )
    assert shown.stdout.split()[-1] == inferd.__version__
