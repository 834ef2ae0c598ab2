"""Records that are none, of a newer format, of another model or damaged: each says what is wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pytest

from inferd.errors import ConfigError
from inferd.record import form
from inferd.record.export import merge
from inferd.record.reader import Segments, read
from tests.record.records import columns, record, tapped


def rejection(path: Path, **options: str) -> str:
    with pytest.raises(ConfigError) as caught:
        list(read(path, **options))
    return str(caught.value)


def test_a_newer_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(form, "FORMAT", 2)
        patch.setattr("inferd.__version__", "9.1")
        file = record(tmp_path, columns(tapped()))
    said = rejection(file)
    assert "expected a record of format 1 or older, got format 2, made by inferd 9.1" in said
    assert said.endswith("upgrade it to read this record")


def test_a_record_of_another_model(tmp_path: Path) -> None:
    record(tmp_path, columns(tapped(), tapped(model="digits"), tapped(model="digits", version="2")))
    assert rejection(tmp_path, model="resnet") == "record: expected requests of the model 'resnet', got a record of: digits (2), double (1)"
    assert "requests of the model 'double' version 4" in rejection(tmp_path, model="double", version="4")
    assert [request.version for request in read(tmp_path, "digits")] == ["1", "2"]


def test_a_folder_without_segments(tmp_path: Path) -> None:
    assert "expected a record, got a folder without .arrow files" in rejection(tmp_path)
    assert "cannot be read: " in rejection(tmp_path / "nothing.arrow")


def test_files_that_are_no_record(tmp_path: Path) -> None:
    text = tmp_path / "text.arrow"
    text.write_bytes(b"a text, of more than eight bytes")
    assert "expected an Arrow IPC stream, as `inferd serve --record` writes it" in rejection(text)
    other = tmp_path / "other.arrow"
    with pa.ipc.new_stream(str(other), pa.schema([("x", pa.int64())])) as stream:
        stream.write_batch(pa.record_batch({"x": [1]}))
    assert "expected a record of inferd, got another file" in rejection(other)
    schema = form.schema_of()
    with pa.ipc.new_stream(str(other), pa.schema([("code", pa.string())], schema.metadata)):
        pass
    assert "expected the column id of type string, got None" in rejection(other)


def test_a_tensor_whose_bytes_are_not_those_of_its_shape(tmp_path: Path) -> None:
    file = record(tmp_path, columns(tapped()))
    with pa.ipc.open_stream(str(file)) as stream:
        schema, (row,) = stream.schema, stream.read_all().to_pylist()
    for change in ({"shape": [3]}, {"datatype": "FP31"}, {"shape": [-1, 4]}, {"datatype": "BYTES", "data": b"\xff\xff\0\0a"}):
        row["inputs"][0] |= {"shape": [1, 4], "datatype": "FP32", "data": bytes(16)} | change
        with pa.ipc.new_stream(str(file), schema) as made:
            made.write_batch(pa.RecordBatch.from_pylist([row], schema))
        (request,) = read(file)
        with pytest.raises(ConfigError, match=r"row 0 of a batch: the tensor 'x' of .* holds other bytes"):
            _ = request.inputs


def test_nulls_and_too_many_sizes_are_damage(tmp_path: Path) -> None:
    file = record(tmp_path, columns(tapped()))
    with pa.ipc.open_stream(str(file)) as stream:
        schema, (row,) = stream.schema, stream.read_all().to_pylist()
    (tensor,) = row["inputs"]
    lax = pa.schema([field.with_nullable(True) for field in schema], schema.metadata)
    most = [1] * (form.MAX_RANK - 1) + [4]
    for change, is_sound in (
        ({"inputs": [tensor | {"shape": most}], "outputs": []}, True),
        ({"inputs": [tensor | {"shape": [1, *most]}], "outputs": []}, False),
        ({"model": None}, False),
        ({"inputs": None}, False),
        ({"outputs": [None]}, False),
        ({"inputs": [tensor | {"shape": None}]}, False),
        ({"inputs": [tensor | {"shape": [None]}]}, False),
    ):
        with pa.ipc.new_stream(str(file), lax) as made:
            made.write_batch(pa.RecordBatch.from_pylist([row | change], lax))
        segments = Segments([file])
        assert [list(request.inputs["x"].shape) for request in segments.requests()] == [most] * is_sound
        assert segments.faults == ({} if is_sound else {file: "damaged at batch 1; only the batches before it are read"})


@pytest.mark.parametrize("part", ["metadata", "body"])
def test_a_damaged_batch_is_named_and_is_no_missing_end(tmp_path: Path, part: str) -> None:
    file = record(tmp_path, *(columns(tapped(str(number))) for number in range(3)))
    content = bytearray(file.read_bytes())
    with pa.memory_map(str(file)) as opened:
        messages = pa.ipc.MessageReader.open_stream(opened)
        for _ in ("schema", "first", "second"):
            second, end = messages.read_next_message(), opened.tell()
    body = end - second.body.size
    begin, end = (body, end) if part == "body" else (body - second.metadata.size, body)
    content[begin:end] = b"\xff" * (end - begin)
    file.write_bytes(content)
    segments = Segments([tmp_path])
    assert [request.id for request in segments.requests()] == ["0"]
    assert segments.faults == {file: "damaged at batch 2; only the batches before it are read"}


def test_a_packed_batch_has_a_limit_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path / "plain", columns(tapped("a", rows=8), tapped("b")))
    packed = tmp_path / "packed.arrow"
    merge(Segments([str(tmp_path / "plain")]), str(packed))
    ((_, batch),) = Segments([packed]).batches()
    nbytes = sum(buffer.size for column in batch.columns for buffer in column.buffers() if buffer is not None)
    monkeypatch.setattr("inferd.record.reader.MAX_BATCH_NBYTES", nbytes)
    assert [request.id for request in read(packed)] == ["a", "b"]
    monkeypatch.setattr("inferd.record.reader.MAX_BATCH_NBYTES", nbytes - 1)
    assert f"packed.arrow: expected batches of 0 MiB at most, got {nbytes:,} bytes in batch 1" in rejection(packed)
    assert [request.id for request in read(tmp_path / "plain")] == ["a", "b"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_segment_is_rejected_or_ends_early(tmp_path: Path, packed: bool) -> None:
    whole = record(tmp_path / "whole", *(columns(tapped(str(number))) for number in range(2)))
    if packed:
        merge(Segments([str(whole)]), str(whole := tmp_path / "packed.arrow"))
    content = whole.read_bytes()
    file, chance = tmp_path / "damaged.arrow", random.Random(23)
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(content))] = chance.randrange(256)
        file.write_bytes(damaged)
        try:
            for request in Segments([file]).requests():
                _ = request.inputs, request.outputs
        except ConfigError:
            pass
