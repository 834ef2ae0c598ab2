"""Which files make a version, and whether they have changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from inferd.engine.files.content import Digests, files_of, sha256_of, stamps_of
from inferd.engine.files.places import Place, find_place
from tests import models


def placed(folder: Path, name: str = "m") -> Place:
    found = find_place([folder], name)
    assert found is not None
    return found


def test_the_files_of_a_version(tmp_path: Path) -> None:
    for name in (
        "m/config.pbtxt",
        "m/labels.txt",
        "m/1/model.onnx",
        "m/1/w/weights",
        "m/2/model.onnx",
        "m/.git/x",
        "m/1/.part",
        "m/warmup/row",
        "m/latest/model.onnx",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    os.mkfifo(tmp_path / "m" / "1" / "pipe")
    place = placed(tmp_path)
    assert sorted(files_of(place, 1)) == ["1/model.onnx", "1/pipe", "1/w/weights", "config.pbtxt", "labels.txt", "warmup/row"]
    content = Digests().of(place, 1)
    assert content["1/pipe"] == ""
    assert content["1/model.onnx"] != Digests().of(place, 2)["2/model.onnx"]


def test_weights_beside_a_single_file(tmp_path: Path) -> None:
    for name in ("m.onnx", "m.onnx.data", "other.onnx"):
        (tmp_path / name).write_text(name)
    assert sorted(files_of(placed(tmp_path), 1)) == ["m.onnx", "m.onnx.data"]


def test_weights_of_another_name_are_found_from_the_graph(tmp_path: Path) -> None:
    """Those in the file's own folder, as ONNX Runtime takes them; bytes of a text that look like such a name are none."""
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("weights.bin", "other.bin"):
        (folder / name).write_bytes(b"weights")
    (folder / "link.bin").symlink_to("../secret")
    models.write(folder, "m", models.with_weights_in("weights.bin", "../secret", str(tmp_path / "secret"), "link.bin", "none", "x\0y"))
    models.write(folder, "n", models.described("\n\x08location\x12\x09other.bin"))
    assert sorted(files_of(placed(folder), 1)) == ["m.onnx", "weights.bin"]
    assert sorted(files_of(placed(folder, "n"), 1)) == ["n.onnx"]


def test_folders_that_are_to_be_told_are_a_change(tmp_path: Path) -> None:
    models.repository(tmp_path, {"m": {1: b"", 2: b""}})
    (tmp_path / "m" / "2").rename(tmp_path / "m" / "02")
    stamps = stamps_of(placed(tmp_path))
    (tmp_path / "m" / "3").mkdir()  # a version is about to be written
    assert stamps_of(placed(tmp_path)) == stamps
    (tmp_path / "m" / "02").rename(tmp_path / "m" / "03")
    assert stamps_of(placed(tmp_path)) != stamps


def test_a_file_that_fits_into_no_memory_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "m.onnx").open("wb") as file:
        file.truncate(10 << 40)
    assert Digests().of(placed(tmp_path), 1) == {"m.onnx": ""}


def test_a_file_without_an_end_is_read_as_far_as_the_system_says(tmp_path: Path) -> None:
    assert sha256_of(Path("/proc/self/pagemap")) == hashlib.sha256().hexdigest()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        sha256_of(tmp_path / "pipe")


def test_content_changes_with_bytes_alone_and_stamps_with_any_write(tmp_path: Path) -> None:
    """By a link that points elsewhere, too, as Kubernetes swaps those of a ConfigMap."""
    for name in ("..one", "..two", "..three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.onnx").write_text("other" if name == "..three" else "model")
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "m.onnx").symlink_to("..data/m.onnx")
    place, digests = placed(tmp_path), Digests()
    stamps, content = stamps_of(place), digests.of(place, 1)
    for target, same in (("..two", True), ("..three", False)):
        (tmp_path / "..new").symlink_to(target)
        (tmp_path / "..new").rename(tmp_path / "..data")
        assert stamps_of(place) != stamps
        assert (digests.of(place, 1) == content) is same


def test_a_file_is_read_once_until_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_text("model")
    place, digests = placed(tmp_path), Digests()
    content = digests.of(place, 1)
    known = dict(digests._known)
    assert digests.of(place, 1) == content
    assert digests._known == known
    file.unlink()
    assert digests.of(Place("m", None, {1: file}), 1) == {}
