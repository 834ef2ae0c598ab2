"""Arrays from files: what a file would take is known before it is unpacked, and whatever else a file may hold is rejected in words."""

from __future__ import annotations

import contextlib
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib import format as npy

from inferd.client_inputs import arrays
from inferd.client_inputs.arrays import read_arrays
from inferd.errors import ConfigError


def rejection(path: Path, **options: int) -> str:
    with pytest.raises(ConfigError) as caught:
        read_arrays(str(path), "--npz", **options)
    text = str(caught.value)
    assert text.startswith(f"--npz {path}")
    return text


def header(shape: object, descr: object = "<f4", order: object = False) -> bytes:
    """What stands before the values of a .npy file, true or not."""
    text = repr({"descr": descr, "fortran_order": order, "shape": shape}).encode().ljust(118)
    return npy.magic(1, 0) + struct.pack("<H", len(text)) + text


def archive(path: Path, members: dict[str, bytes], method: int = ZIP_STORED) -> Path:
    with ZipFile(path, "w", method) as written:
        for name, content in members.items():
            written.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_saves_is_read(tmp_path: Path, save) -> None:
    saved = {
        "numbers": np.arange(6, dtype=np.int64).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3)),
        "scalar": np.float16(1.5),
        "nothing": np.zeros((0, 3)),
        "texts": np.array(["a", "é"]),
    }
    save(tmp_path / "all.npz", **saved)
    found = read_arrays(str(tmp_path / "all.npz"), "--npz")
    assert found.keys() == saved.keys()
    for name, array in saved.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
        np.save(tmp_path / "one.npy", array)
        np.testing.assert_array_equal(read_arrays(str(tmp_path / "one.npy"), "--input"), array)


def test_a_bomb_is_rejected_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_BYTES", 32 << 20)
    path, zeros = tmp_path / "bomb.npz", bytes(1 << 20)
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as written, written.open("x.npy", "w") as member:
        member.write(header((9 << 20,)))
        for _ in range(36):
            member.write(zeros)
    assert path.stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        text = rejection(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert text == f"--npz {path}: 'x': expected arrays of 32 MiB at most in all, got 37,748,736 bytes; give smaller ones"
    assert peak < 2 << 20


def test_the_sum_counts_and_nothing_is_unpacked_before_it_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "two.npz", x=np.zeros(1000), y=np.zeros(1000))
    monkeypatch.setattr(arrays, "MAX_BYTES", 16_000)
    assert len(read_arrays(str(tmp_path / "two.npz"), "--npz")) == 2
    monkeypatch.setattr(npy, "read_array", lambda *_, **__: pytest.fail("unpacked"))
    assert ": 'y': expected arrays of" in rejection(tmp_path / "two.npz", held_bytes=1)
    np.save(tmp_path / "one.npy", np.zeros(2001))
    assert "got 16,008 bytes" in rejection(tmp_path / "one.npy")


def test_texts_count_as_the_objects_that_they_become(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "texts.npy", np.zeros(1000, "S1"))
    monkeypatch.setattr(arrays, "MAX_BYTES", 1000 * (1 + arrays.TEXT_BYTES) - 1)
    assert "got 65,000 bytes" in rejection(tmp_path / "texts.npy")


def test_a_size_that_is_not_the_archives_is_rejected(tmp_path: Path) -> None:
    short = archive(tmp_path / "short.npz", {"x.npy": header((3,)) + bytes(8)})
    assert "'x' has a header for 140 bytes, and the archive says 136" in rejection(short)
    more = archive(tmp_path / "more.npz", {"x.npy": header((1,)) + bytes(8)})
    assert "'x' has a header for 132 bytes, and the archive says 136" in rejection(more)


def test_no_more_is_unpacked_than_the_archive_says(tmp_path: Path) -> None:
    path = archive(tmp_path / "lie.npz", {"x.npy": header((1,)) + bytes(1 << 22)}, ZIP_DEFLATED)
    said, true = (struct.pack("<I", size) for size in (128 + 4, 128 + (1 << 22)))
    path.write_bytes(path.read_bytes().replace(true, said))
    tracemalloc.start()
    try:
        text = rejection(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert text.endswith("'x' is damaged")
    assert peak < 1 << 20


@pytest.mark.parametrize(
    ("shape", "descr", "message"),
    [
        ((-1,), "<f4", "sizes of 0 or more"),
        ((1 << 62, 1 << 62), "<f4", "got 10^18 or more bytes"),
        ((0, 1 << 62), "<f4", "1024 MiB at most"),
        ((1,) * 200, "<f4", "is damaged"),
        ((10**9,), "<U0", "values of a byte or more"),
        ((1,), "|O", "holds Python objects"),
        ((1,), [("a", "|O")], "holds Python objects"),
        (("a",), "<f4", "expected a header as numpy.save writes it"),
        ((1,), "no such", "expected a header as numpy.save writes it"),
        (1, "<f4", "expected a header as numpy.save writes it"),
    ],
)
def test_headers_that_cannot_be(tmp_path: Path, shape: object, descr: object, message: str) -> None:
    content = header(shape, descr) + bytes(4)
    (tmp_path / "x.npy").write_bytes(content)
    assert message in rejection(tmp_path / "x.npy")
    text = rejection(archive(tmp_path / "x.npz", {"x.npy": content}))
    assert ": 'x'" in text
    assert message in text or "the archive says" in text


@pytest.mark.parametrize(
    "begin",
    [
        npy.magic(2, 0) + struct.pack("<I", 1 << 31),
        npy.magic(1, 0) + struct.pack("<H", 50_000),
        npy.magic(9, 0),
        npy.magic(1, 0) + struct.pack("<H", 9000) + b"-" * 9000,
        npy.magic(1, 0) + struct.pack("<H", 9000) + b"(" * 9000,
    ],
)
def test_a_header_is_read_no_further_than_it_may_be(tmp_path: Path, begin: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(begin + bytes(60_000))
    assert "expected a header as numpy.save writes it" in rejection(tmp_path / "x.npy")


def test_a_number_that_python_does_not_write(tmp_path: Path) -> None:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (0x1" + b"0" * 8000 + b",)}"
    (tmp_path / "x.npy").write_bytes(npy.magic(1, 0) + struct.pack("<H", len(text)) + text)
    assert "got 10^18 or more bytes" in rejection(tmp_path / "x.npy")


def test_files_that_end_early(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(10))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-1])
    assert "expected 208 bytes, as its header says, got 207" in rejection(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", x=np.zeros(1000))
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:5000])
    assert "expected an archive that numpy.savez wrote; it is damaged" in rejection(tmp_path / "x.npz")


def test_members_that_are_no_arrays(tmp_path: Path) -> None:
    assert "'readme.txt': expected what numpy.save" in rejection(archive(tmp_path / "a.npz", {"readme.txt": b"words"}))
    assert "'empty': expected what numpy.save" in rejection(archive(tmp_path / "b.npz", {"empty.npy": b""}))
    assert "'x' is there twice" in rejection(archive(tmp_path / "c.npz", dict.fromkeys(("x", "x.npy"), header((0,)))))
    packed = archive(tmp_path / "d.npz", {"x.npy": header((0,))}, ZIP_BZIP2)
    assert "'x' is packed in a way that numpy.savez does not" in rejection(packed)


def test_members_have_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MOST_ARRAYS", 2)
    members = {f"{index}.npy": header((0,)) for index in range(3)}
    assert "expected 2 arrays at most, got 3" in rejection(archive(tmp_path / "x.npz", members))


def test_a_directory_is_not_read_beyond_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "x.npz", {f"{index}.npy": header((0,)) for index in range(100)})
    monkeypatch.setattr(arrays, "DIRECTORY_BYTES", 1000)
    monkeypatch.setattr(zipfile.ZipInfo, "__init__", lambda *_, **__: pytest.fail("a member was read"))
    assert "it is damaged" in rejection(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    assert "there is no such file" in rejection(tmp_path / "absent.npz")
    assert "cannot be read: Is a directory" in rejection(tmp_path)
    assert "got something else" in rejection(Path("/dev/zero"))


def whole_archive() -> bytes:
    content = io.BytesIO()
    np.savez(content, x=np.arange(4.0), texts=np.array(["a", "b"]))
    return content.getvalue()


@given(st.sampled_from([whole_archive(), header((4,)) + bytes(16)]), st.data())
def test_whatever_is_damaged_is_read_or_rejected(tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject) -> None:
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with contextlib.suppress(ConfigError):
        read_arrays(str(path), "--npz")
