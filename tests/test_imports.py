"""The walls of the house: which part may import which, and which module is the one door to a foreign library.

The table below is the architecture. A change that needs a new line in it is a change of the architecture.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from inferd.parts import PARTS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "inferd"

# Part: the parts that it may import, beside itself. cli -> serving, ingest, rollout -> observe -> engine -> record -> _core -> errors.
# `protocol` (message classes), `config` (server settings) and the other parts of BESIDE stand beside the line: they import errors only.
# config also imports watched_files, names and parts; threads imports system.
BESIDE = {
    "protocol",
    "config",
    "watched_files",
    "log",
    "names",
    "system",
    "interpreter",
    "threads",
}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "_core": {"errors"},
    "tensors": {"_core"},
    "arrow_messages": set(),
    "protocol": {"errors"},
    "config": {"errors", "watched_files", "names", "parts"},
    "watched_files": {"errors"},
    "names": set(),
    "system": {"errors"},
    "log": {"errors"},
    "interpreter": set(),
    "threads": {"errors", "system"},
    "parts": set(),  # names alone
    "part": {"errors", "_core", "protocol", "config"},
    "steps": {"errors", "_core", "protocol", "arrow_messages"},
    "record": {"errors", "_core", *BESIDE, "part", "tensors", "arrow_messages"},
    "engine": {"errors", "_core", *BESIDE, "steps", "record", "tensors"},
    "observe": {"errors", "_core", *BESIDE, "engine", "part"},
    "compare": {"protocol", "tensors"},  # a leaf: diff, rollout and bench compare alike
    "monitor": {"errors", "_core", *BESIDE, "engine", "part", "tensors", "compare", "record"},
    "performance": {"compare", "tensors"},  # a leaf, too
    "diff": {"errors", "_core", *BESIDE, "engine", "client_inputs", "compare", "bench", "record", "tensors"},
    "feedback": {"errors", "_core", *BESIDE, "engine", "part", "tensors", "compare", "record", "performance", "rollout"},
    "rollout": {"errors", "_core", *BESIDE, "engine", "observe", "compare", "record", "part", "tensors"},
    "ingest": {"errors", "_core", *BESIDE, "engine", "observe"},
    "serving": {"errors", "_core", *BESIDE, "engine", "observe", "record", "rollout", "ingest", "part", "parts"},
    "client_inputs": {"errors", "config", "watched_files", "engine", "steps", "tensors"},
    # For bench a server is only another end of a socket.
    "bench": {
        "errors",
        "_core",
        *BESIDE,
        "engine",
        "client_inputs",
        "compare",
        "record",
        "tensors",
    },
    "scikit_learn": {"errors", "_core", *BESIDE, "engine", "steps", "tensors"},
    "cli": {
        "errors",
        "_core",
        *BESIDE,
        "engine",
        "scikit_learn",
        "observe",
        "record",
        "rollout",
        "ingest",
        "serving",
        "part",  # its form of messages as JSON
        "client_inputs",
        "tensors",
        "compare",
        "monitor",
        "bench",
        "diff",
        "",
    },
    "__main__": {"cli"},
    "_version": set(),  # written by a build
    "": {"_version", "errors", "config", "engine", "serving"},  # inferd/__init__.py: the public names
}

# The same for the packages of _core (inferd/_core/README.md).
CORE: dict[str, set[str]] = {
    "base": set(),
    "metrics": {"base"},
    "grpc": {"base"},
    "tensor": {"base"},
    "batching": {"base", "metrics", "grpc", "tensor"},
    "codec": {"base", "grpc", "tensor", "batching", "media"},
    "http": {"base", "grpc", "net"},
    "rest": {"base", "grpc", "tensor", "batching", "codec", "http"},
    "monitor": {"base", "tensor", "batching"},
    "inference": {"base", "metrics", "grpc", "tensor", "batching", "codec", "http", "rest", "monitor"},
    "http1": {"base", "grpc", "http", "net"},
    "net": {"base", "grpc"},
    "http2": {"base", "grpc", "http", "net"},
    "media": {"base"},
    "load": {"base", "metrics", "tensor", "codec", "rest", "http1", "http2"},
}

# Foreign library: the modules that may import it. Everything not named here may be imported anywhere.
DOORS: dict[str, set[str]] = {
    "onnxruntime": {"inferd.engine.runtime.onnx.library"},
    "grpc": {"inferd.serving.transports.grpcio", "inferd.cli.asking"},
    "aiohttp": set(),
    "cryptography": {"inferd.serving.security.certificate", "inferd.engine.files.signature"},
    "prometheus_client": {"inferd.observe.metrics"},
    "google": {
        "inferd.protocol",
        "inferd.engine.configuration.model_config",
        "inferd.engine.graph.zipmap",
        "inferd.part",
        "inferd.serving",
    },
    "inferd_client": {"inferd.client_inputs"},
    "click": {"inferd.cli"},
    "mlperf_loadgen": {"inferd.bench.loadgen"},
    "rich": {"inferd.bench.terminal", "inferd.cli"},
    "PIL": {"inferd.steps.picture"},
    "soundfile": {"inferd.steps.audio_file"},
    "soxr": {"inferd.steps.audio_file"},
    "tokenizers": {"inferd.steps.text"},
    "pyarrow": {"inferd.steps.records", "inferd.record", "inferd.monitor"},
    "sqlite3": {"inferd.feedback.schema"},
    "sklearn": {"inferd.scikit_learn"},
    "skl2onnx": {"inferd.scikit_learn"},
    "obstore": {"inferd.engine.remote.objects"},
    "model_signing": {"inferd.engine.files.signature"},
    "uvloop": {"inferd.serving", "inferd.cli"},
    "watchfiles": {"inferd.engine.files.watching"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").exists() or place.with_suffix(".pyx").exists()


def reads_only_the_version(tree: ast.Module) -> bool:
    """Whether `inferd.__version__`, which is anyone's to read, is all that a file takes from the package itself."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "inferd"} <= {"__version__"}


def python_imports(path: Path) -> Iterator[str]:
    """Every module that a Python file or a stub imports in full, wherever in it: in a function or for typing only, too."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if not (alias.name == "inferd" and reads_only_the_version(tree)))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            names = {alias.name for alias in node.names} - ({"__version__"} if base == "inferd" else set())
            for name in names:  # `from inferd.bench import report` names a module
                inner = f"{base}.{name}"
                yield inner if base.split(".")[0] == "inferd" and is_module(inner) else base


def cython_imports(path: Path) -> Iterator[str]:
    """The same for a .pyx or .pxd file, which no Python parser reads."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"\s*from\s+([\w.]+)\s+c?import\b|\s*c?import\s+([\w.]+)", line):
            yield match[1] or match[2]


@cache
def imports() -> list[tuple[str, str]]:
    found = []
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]):
        found += [(module_name(path), imported) for imported in python_imports(path)]
    for path in sorted([*PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.pxd")]):
        found += [(module_name(path), imported) for imported in cython_imports(path)]
    return found


def part(module: str) -> str:
    """`inferd.engine.model` -> `engine`; the package itself -> ``."""
    return [*module.split("."), ""][1]


def is_core(module: str) -> bool:
    return module.startswith("inferd._core.")


def inside(module: str, doors: set[str]) -> bool:
    return any(module == door or module.startswith(door + ".") for door in doors)


def test_every_part_is_in_the_table() -> None:
    parts = {part(module_name(path)) for path in PACKAGE.rglob("*.py")}
    assert parts <= set(ALLOWED), "a new part needs its line in ALLOWED"


def test_imports_point_down() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, imported in imports()
        if imported.split(".")[0] == "inferd" and part(imported) not in {part(module), *ALLOWED[part(module)]}
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_of_the_core_point_down() -> None:
    core = [(module.split(".")[2], imported.split(".")[2]) for module, imported in imports() if is_core(module) and is_core(imported)]
    assert {package for package, _ in core} <= set(CORE), "a new package needs its line in CORE"
    wrong = {(package, imported) for package, imported in core if imported not in {package, *CORE[package]}}
    assert not wrong, f"these packages import what they may not: {sorted(wrong)}"


@pytest.mark.parametrize("table", [ALLOWED, CORE], ids=["parts", "core"])
def test_the_table_has_no_cycle(table) -> None:
    done: set[str] = set()
    left = {name: allowed - {""} for name, allowed in table.items()}
    while left:
        ready = [name for name, allowed in left.items() if allowed <= done]
        assert ready, f"these import each other: {sorted(left)}"
        for name in ready:
            done.add(name)
            del left[name]


@cache
def below() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for module, imported in imports():
        found.setdefault(module, set()).update({imported} - {module})
    return found


def reached(module: str) -> set[str]:
    """All that a module imports, through others, too."""
    found, left = set(), [module]
    while left:
        new = below().get(left.pop(), set()) - found
        found |= new
        left += new
    return found


def test_no_modules_import_each_other() -> None:
    """Not through others, and not for typing only."""
    wrong = {
        module: sorted(other for other in below()[module] if module in reached(other)) for module in below() if module in reached(module)
    }
    assert not wrong, f"these import each other: {wrong}"


def test_a_server_needs_no_benchmark():
    reaching = {module: [name for name in reached(module) if part(name) in ("bench", "diff")] for module in below()}
    wrong = {module: sorted(names) for module, names in reaching.items() if names and part(module) in ("serving", "engine")}
    assert not wrong, f"these import bench or diff: {wrong}"


@pytest.mark.parametrize("library", sorted(DOORS))
def test_one_door_for_each_foreign_library(library) -> None:
    wrong = [module for module, imported in imports() if imported.split(".")[0] == library and not inside(module, DOORS[library])]
    assert not wrong, f"{library} is imported by {sorted(set(wrong))}; its door is {sorted(DOORS[library])}"


@pytest.mark.parametrize("foreign", ["grpc", "onnxruntime", "google.protobuf", "numpy", "prometheus_client", "asyncio"])
def test_import_inferd_is_light(foreign) -> None:
    program = f"import sys, inferd; sys.exit({foreign!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0, f"`import inferd` imports {foreign}"


@pytest.mark.parametrize("part", [part for part in PARTS if (ROOT / part.replace(".", "/") / "settings.py").is_file()])
def test_a_part_with_settings_may_be_the_first_import(part: str) -> None:
    """The table of settings imports the part's, whose module imports the table's package."""
    program = f"import {part}.part"
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_client_never_imports_the_server() -> None:
    wrong = [
        f"{path.name} imports {imported}"
        for path in (ROOT / "clients" / "python" / "inferd_client").rglob("*.py")
        for imported in python_imports(path)
        if imported.split(".")[0] == "inferd"
    ]
    assert not wrong
