"""What a line of a history says of the machine and of what took part."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import record


def test_only_what_is_there_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"numpy": "2.0", "pillow": "12.0"}

    def version(package: str) -> str:
        if package not in there:
            raise PackageNotFoundError(package)
        return there[package]

    monkeypatch.setattr(record, "version", version)
    found = record.versions({"no-such-program": "--version"}, ("pillow", "torch"))
    assert found.pop("python")
    assert found == {"inferd": "in place", "numpy": "2.0", "pillow": "12.0"}
