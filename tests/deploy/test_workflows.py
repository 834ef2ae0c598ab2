"""The files that GitHub reads: valid by its schemas, of make targets that exist, with actions that nobody can replace."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
SCHEMAS = {
    "github-workflows": WORKFLOWS,
    "github-issue-config": [GITHUB / "ISSUE_TEMPLATE" / "config.yml"],
    "github-issue-forms": [file for file in sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")) if file.stem != "config"],
}


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_of_the_forge_are_valid(schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, SCHEMAS[schema])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_actions_are_pinned_and_say_their_version(file: Path) -> None:
    used = re.findall(r"uses: (.*)", file.read_text())
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v[\d.]+", each)] == []


def test_workflows_call_targets_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (GITHUB / "workflows" / "tests.yml").read_text()
    (tasks,) = re.findall(r"task: \[(.*)\]", text)
    words = {word for task in tasks.replace('"', "").split(", ") for word in task.split() if "=" not in word}
    assert words | {"test"} <= targets
    # The same that .ci/run asks of a change.
    assert set(re.findall(r"^make ([a-z-]+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)) <= words | {"test"}


def test_libraries_of_wheels_are_those_that_setup_wants() -> None:
    built = {each.name.removeprefix("lib"): each for each in loaded(ROOT / "scripts" / "build_libraries.py").LIBRARIES}
    for wanted in loaded(ROOT / "setup.py").LIBRARIES:
        (found,) = (each for name, each in built.items() if name.startswith(wanted.name.removeprefix("lib")))
        assert [int(part) for part in found.version.split(".")] >= [int(part) for part in wanted.minimum.split(".")]
        assert found.version in found.url
        assert all((ROOT / "scripts" / "patches" / f"{found.name}-{found.version}-{hole}.patch").is_file() for hole in found.mended)


def test_the_bill_of_materials_names_each_library() -> None:
    module = loaded(ROOT / "scripts" / "build_libraries.py")
    bill = module.bill_of_materials("0.1.0")
    assert bill["metadata"]["component"]["purl"] == "pkg:pypi/inferd@0.1.0"
    assert [each["name"] for each in bill["components"]] == [each.name for each in module.LIBRARIES]
