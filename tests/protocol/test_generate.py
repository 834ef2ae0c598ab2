"""What is committed is what proto/generate.py makes, and the stubs say what the classes are."""

from __future__ import annotations

import ast
import importlib.util
import keyword
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from inferd.protocol._pool import FILES

PROTO = Path(__file__).resolve().parents[2] / "proto"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    # The script puts its own folder on sys.path for its second half; that must not outlive the import.
    before = list(sys.path)
    specification = importlib.util.spec_from_file_location("generate", PROTO / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["generate"] = module  # dataclasses look their module up there
    try:
        specification.loader.exec_module(module)
    finally:
        sys.path[:] = before
        del sys.modules["generate"]
    return module


def test_committed_files_are_up_to_date(generate: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    status = generate.main(["--check"])
    assert status == 0, f"run `make proto` and commit: {capfd.readouterr().out}"


def test_a_stale_file_is_seen_and_mended(generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main(["--check"]) == 1
    assert not list(tmp_path.iterdir())  # --check writes nothing
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    (tmp_path / "inferd/protocol/health.pyi").write_text("")
    assert generate.main(["--check"]) == 1


def test_every_proto_file_is_compiled() -> None:
    assert {path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto")} == {
        name for name in FILES if not name.startswith("google/protobuf/")
    }


@pytest.mark.parametrize("path", ["inferd/protocol/inference.pyi", "clients/python/inferd_client/messages.pyi"])
def test_a_stub_names_every_message_and_field(path: str) -> None:
    """The descriptors and the stub are two products of one source; here one is held against the other."""
    stub = ast.parse((PROTO.parent / path).read_text())

    def check(classes: dict[str, ast.ClassDef], descriptors: object) -> None:
        for name, descriptor in descriptors.items():  # type: ignore[attr-defined]
            if descriptor.GetOptions().map_entry:
                continue
            body = classes[name].body
            named = {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
            named |= {node.target.id for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)}
            assert {field for field in descriptor.fields_by_name if not keyword.iskeyword(field)} <= named
            assert set(descriptor.enum_types_by_name) <= named
            check({node.name: node for node in body if isinstance(node, ast.ClassDef)}, descriptor.nested_types_by_name)

    top = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    for file in FILES.values():
        if file.package == "inference":
            check(top, file.message_types_by_name)


def test_names_that_would_collide_in_a_module_are_refused(generate: ModuleType) -> None:
    files = [FileDescriptorProto(name="a", package="a"), FileDescriptorProto(name="b", package="b")]
    for file in files:
        file.message_type.add(name="Same")
    with pytest.raises(ValueError, match=r"b\.Same and a\.Same would share a name"):
        generate.stubs.module("Two.", files, {}, "_enum")


def test_descriptor_sets_list_imports_first(generate: ModuleType) -> None:
    for target in generate.TARGETS:
        pool = DescriptorPool()
        for file in generate.compile_protos(target.roots, comments=False).file:
            pool.AddSerializedFile(file.SerializeToString())


def test_other_languages_generate_from_the_files_alone(tmp_path: Path) -> None:
    """Plain protoc, with proto/ as its only folder, takes what clients need; each file says in which package of Go and Java it goes."""
    folders = [PROTO / name for name in ("inference", "inferd", "grpc")]
    names = [path.relative_to(PROTO).as_posix() for folder in folders for path in folder.rglob("*.proto")]
    out = tmp_path / "set"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"--descriptor_set_out={out}", *names]
    assert subprocess.run(protoc, capture_output=True, text=True, check=True).stderr == ""
    files = FileDescriptorSet.FromString(out.read_bytes()).file
    assert {file.name: bool(file.options.go_package and file.options.java_package) for file in files} == dict.fromkeys(names, True)
