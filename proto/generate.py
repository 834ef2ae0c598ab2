"""Makes from proto/*.proto what is committed beside the Python code: descriptor sets and typed stubs. `make proto`.

    python proto/generate.py            writes the files
    python proto/generate.py --check    writes nothing; exit code 1 and a list when a committed file is stale

protoc (from grpcio-tools) is used only to compile to a FileDescriptorSet. No generated Python code is committed:
at import, message classes are made from the descriptors in a private pool, with whatever protobuf is there. The
stubs are written here rather than by a plug-in because they describe exactly those modules.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

sys.path.insert(0, str(Path(__file__).parent))

import stubs

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"


@dataclass(frozen=True)
class Stub:
    """One module of message classes: where its .pyi goes and which packages it holds."""

    path: str
    purpose: str
    packages: tuple[str, ...]


@dataclass(frozen=True)
class Target:
    """One Python package: its descriptor set, the files that it starts from (imports come along) and its stubs."""

    descriptors: str
    roots: tuple[str, ...]
    stubs: tuple[Stub, ...]
    module: str  # dotted prefix under which the stubs import each other
    comments: bool  # whether the stubs repeat the comments of proto/, for readers who have no proto/ at hand


SERVER = Target(
    descriptors="inferd/protocol/descriptors.binpb",
    roots=(
        "inference/grpc_service.proto",
        "inferd/v1/model_control.proto",
        "inferd/v1/feedback.proto",
        "inferd/v1/monitor.proto",
        "inferd/v1/rollouts.proto",
        "grpc/health/v1/health.proto",
        "grpc/reflection/v1/reflection.proto",
        "grpc/reflection/v1alpha/reflection.proto",
        "google/rpc/status.proto",
        "google/rpc/error_details.proto",
        "onnx/graph.proto",
    ),
    stubs=(
        Stub("inferd/protocol/inference.pyi", "The messages and enums of package inference.", ("inference",)),
        Stub("inferd/protocol/health.pyi", "The messages of package grpc.health.v1.", ("grpc.health.v1",)),
        Stub("inferd/protocol/reflection_v1.pyi", "The messages of package grpc.reflection.v1.", ("grpc.reflection.v1",)),
        Stub("inferd/protocol/rpc.pyi", "Error details, Any and Duration.", ("google.rpc", "google.protobuf")),
        Stub(
            "inferd/protocol/options.pyi",
            "ModelOptions, inferd's own part of a ModelConfig, and the messages of ModelControl, Feedback, Monitor and Rollouts.",
            ("inferd.v1",),
        ),
        Stub("inferd/protocol/onnx.pyi", "The part of an ONNX file that inferd changes at load.", ("onnx",)),
    ),
    module="inferd.protocol",
    comments=False,
)

CLIENT = Target(
    descriptors="clients/python/inferd_client/descriptors.binpb",
    roots=(
        "inference/grpc_service.proto",
        "inferd/v1/feedback.proto",
        "inferd/v1/monitor.proto",
        "inferd/v1/rollouts.proto",
        "grpc/health/v1/health.proto",
        "google/rpc/status.proto",
        "google/rpc/error_details.proto",
    ),
    stubs=(
        Stub(
            "clients/python/inferd_client/messages.pyi",
            "The messages that the client speaks: inference, health, feedback, drift, rollouts and error details.",
            ("inference", "grpc.health.v1", "google.rpc", "google.protobuf", "inferd.v1"),
        ),
    ),
    module="inferd_client",
    comments=True,
)

TARGETS = (SERVER, CLIENT)


def compile_protos(roots: Sequence[str], *, comments: bool) -> FileDescriptorSet:
    """The roots and everything that they import, each file after its imports; `comments` keeps source locations."""
    # In a process of its own: beside its compiler the library of onnxruntime-extensions can't be loaded, which a test would do.
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "descriptors.binpb"
        arguments = [f"-I{PROTO}", "--include_imports", f"--descriptor_set_out={out}"]
        if comments:
            arguments.append("--include_source_info")
        if status := subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments, *roots]).returncode:
            raise SystemExit(f"protoc failed with exit code {status}")
        return FileDescriptorSet.FromString(out.read_bytes())


def outputs(target: Target) -> dict[str, bytes]:
    """Path from the project's root -> the bytes that belong there."""
    bare = compile_protos(target.roots, comments=False)
    made = {
        target.descriptors: bare.SerializeToString(deterministic=True),
        f"{Path(target.descriptors).parent}/_enum.pyi": stubs.ENUM.encode(),
    }
    described = compile_protos(target.roots, comments=True) if target.comments else bare
    modules = {package: (f"{target.module}.{Path(stub.path).stem}", stub.path) for stub in target.stubs for package in stub.packages}
    for stub in target.stubs:
        files: list[FileDescriptorProto] = [file for file in described.file if file.package in stub.packages]
        here = f"{target.module}.{Path(stub.path).stem}"
        elsewhere = {package: module for package, (module, _) in modules.items() if module != here}
        made[stub.path] = stubs.module(stub.purpose, files, elsewhere, f"{target.module}._enum").encode()
    return made


def stale(path: Path, content: bytes) -> bool:
    """Whether the committed file says something else. Descriptor sets are compared as messages, stubs as text."""
    if not path.exists():
        return True
    committed = path.read_bytes()
    if path.suffix == ".binpb":
        return FileDescriptorSet.FromString(committed) != FileDescriptorSet.FromString(content)
    return committed != content


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compiles proto/ into descriptor sets and typed stubs.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a committed file is stale")
    check = parser.parse_args(arguments).check
    changed = 0
    for target in TARGETS:
        for name, content in outputs(target).items():
            if stale(ROOT / name, content):
                changed += 1
                print(f"{'stale' if check else 'written'}: {name}")
                if not check:
                    (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
                    (ROOT / name).write_bytes(content)
    if not changed:
        print("proto: everything is up to date")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
