"""Files, texts and records as the body of .../infer, sent by curl to every server that speaks REST; and the rules of forms."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from native_access import head_of
from PIL import Image

from inferd._core.grpc import message as messages
from inferd._core.grpc.call import Call
from inferd._core.grpc.message import Message
from inferd._core.rest.raw import memory_to_read
from inferd._core.tensor.signature import Signature
from inferd.errors import InvalidArgument, ResourceExhausted
from inferd.protocol import inference
from inferd.serving.rest import raw_body
from inferd.serving.rest.raw_body import MAX_PARTS, parts_of
from inferd.serving.rest.raw_infer import RawInfer
from tests import models
from tests.rest import Asker
from tests.server_fixtures import ServerFixture

EXAMPLES = Path(__file__).parents[3] / "examples"
SEVEN = EXAMPLES / "seven.png"
RECORD = {
    "distance_km": 12.5,
    "weight_kg": 3,
    "value_eur": 40,
    "temperature_c": 3,
    "wind_km_h": 12,
    "stops": 2,
    "ordered.hour": 9,
    "ordered.weekday": 2,
    "carrier": "north",
    "service": "express",
    "region": "alps",
    "weather": "rain",
}
FORM = b"multipart/form-data; boundary=xyz"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFixture]:
    folder = models.repository(tmp_path_factory.mktemp("models"), {"words": models.text(), "identity": models.identity()})
    with ServerFixture(EXAMPLES / "raw", folder, http_port=0) as server:
        yield server


def curl(served: ServerFixture, model: str, *arguments: str | Path) -> Any:
    command = ["curl", "-sS", "--max-time", "30", f"http://{served.http}/v2/models/{model}/infer", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def best(answer: Any, output: str) -> list[str]:
    """The best label of each row."""
    (found,) = (each for each in answer["outputs"] if each["name"] == output)
    return found["data"][:: found["shape"][1]]  # type: ignore[no-any-return]


def jpeg(folder: Path, size: int = 0) -> Path:
    """The seven as a JPEG; size: enlarged to so many pixels."""
    with Image.open(SEVEN) as picture:
        found = picture.convert("RGB")
    path = folder / "seven.jpg"
    (found.resize((size, size)) if size else found).save(path, quality=100)
    return path


# ---- what people have


@pytest.mark.parametrize("content_type", [(), ("-H", "Content-Type: image/png"), ("-H", "Content-Type: application/octet-stream")])
def test_a_picture(served: ServerFixture, content_type: tuple[str, ...]) -> None:
    assert best(curl(served, "written_digits", "--data-binary", f"@{SEVEN}", *content_type), "digit_label") == ["7"]


def test_a_picture_that_a_thread_reads(served: ServerFixture, tmp_path: Path) -> None:
    path = jpeg(tmp_path, 2500)
    assert path.stat().st_size > 300_000
    sent = ("--data-binary", f"@{path}", "-H", "Content-Type: image/jpeg")
    assert best(curl(served, "written_digits/versions/1", *sent), "digit_label") == ["7"]
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"picture": base64.b64encode(path.read_bytes()).decode()}))
    assert best(curl(served, "written_digits", "--data-binary", f"@{body}"), "digit_label") == ["7"]


def test_a_sound(served: ServerFixture) -> None:
    answer = curl(served, "spoken_digits", "--data-binary", f"@{EXAMPLES / 'seven.wav'}", "-H", "Content-Type: audio/wav")
    assert best(answer, "digit_label") == ["seven"]


def test_a_sentence(served: ServerFixture) -> None:
    asked = "what does the compiler do with {braces}"
    by_itself = curl(served, "topics", "-d", asked, "-H", "Content-Type: text/plain; charset=utf-8")
    assert curl(served, "topics", "-d", json.dumps({"text": asked})) == by_itself
    assert curl(served, "topics", "-d", json.dumps({"text": [{"b64": base64.b64encode(asked.encode()).decode()}]})) == by_itself
    sent = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [asked]}]}
    assert curl(served, "topics", "-d", json.dumps(sent)) == by_itself


def test_json_that_is_called_text(served: ServerFixture) -> None:
    """As fetch() in a browser calls every string. A model that takes texts reads it as one."""
    sent = {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1, 2], "data": ["a", "b"]}]}
    answer = curl(served, "words", "-d", json.dumps(sent), "-H", "Content-Type: text/plain;charset=UTF-8")
    assert answer["outputs"][0]["data"] == ["a", "b"]
    numbers = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 16], "data": [1.5] * 16}]}
    answer = curl(served, "identity", "-d", json.dumps(numbers), "-H", "Content-Type: text/plain;charset=UTF-8")
    assert answer["outputs"][0]["data"] == [1.5] * 16
    assert "outputs" in curl(served, "topics", "-d", '{"inputs": [', "-H", "Content-Type: text/plain")


def test_records(served: ServerFixture) -> None:
    (label,) = curl(served, "parcels", "--json", json.dumps(RECORD))["outputs"][0]["data"]
    assert curl(served, "parcels", "--json", json.dumps([RECORD, RECORD]))["outputs"][0]["data"] == [label, label]


def test_base64(served: ServerFixture) -> None:
    text = base64.b64encode(SEVEN.read_bytes()).decode()
    for value in (text, {"b64": text}, f"data:image/png;base64,{text}"):
        assert best(curl(served, "written_digits", "-d", json.dumps({"picture": value})), "digit_label") == ["7"]
    assert best(curl(served, "written_digits", "-d", json.dumps({"picture": [text, text]})), "digit_label") == ["7", "7"]


def test_forms(served: ServerFixture, tmp_path: Path) -> None:
    assert best(curl(served, "written_digits", "-F", f"picture=@{SEVEN}"), "digit_label") == ["7"]
    answer = curl(served, "written_digits", "-F", f"one=@{jpeg(tmp_path)}", "-F", f'other=@{SEVEN};filename=a"b.png')
    assert best(answer, "digit_label") == ["7", "7"]


def test_a_model_that_takes_bytes_as_they_are(served: ServerFixture) -> None:
    with Asker(served.http) as asker:
        form = b"".join(b'--x\r\nContent-Disposition: form-data; name="x"\r\n\r\n%b\r\n' % word for word in (b"one", b"two")) + b"--x--\r\n"
        answer = asker.post("/v2/models/words/infer", form, content_type="multipart/form-data; boundary=x")
        assert answer.json["outputs"][0]["data"] == ["one", "two"]


# ---- what is wrong


@pytest.mark.parametrize(
    ("model", "content_type", "body", "status", "words"),
    [
        (
            "identity",
            "image/png",
            b"\x89PNG",
            415,
            "as model 'identity' has no input that reads a file, got image/png",
        ),
        ("identity", "application/octet-stream", b"\x89PNG", 400, "JSON"),
        ("identity", "application/json", b"{}", 400, "inputs"),
        ("identity", "application/json", b'{"inputs": null}', 400, "inputs"),
        ("identity", "application/json", b"null", 400, "expected"),
        ("parcels", "application/json", b"[" + b"0," * 64 + b"0]", 400, "expected at most 64 values in a request, got 65"),
        ("topics", "application/json", b'{"text": [%b"a"]}' % (b'"a",' * 64), 400, "expected at most 64 values in a request, got 65"),
        (
            "written_digits",
            "application/json",
            json.dumps({str(n): "" for n in range(65)}).encode(),
            400,
            "at most 64 values in a request, got 65",
        ),
        ("parcels", "text/csv", b"1,2", 415, "expected application/json for model 'parcels', got text/csv"),
        ("parcels", "application/json", b'{"stops": NaN}', 400, "NaN at byte 10 is not a JSON value: send null"),
        ("topics", "application/x-www-form-urlencoded", b"{hello}", 400, "a text that begins with { needs Content-Type: text/plain"),
        ("written_digits", "application/octet-stream", b" " * 1025 + b'{"picture": ""}', 400, "that begin like none of them"),
        ("topics", "image/png", b"\x89PNG", 415, "expected text/plain for model 'topics', got image/png"),
        ("topics", "text/plain; charset=latin1", b"x", 400, "expected charset=utf-8, got 'latin1'"),
        ("topics", "text/plain", b"\xff", 400, "input 'text'"),
        ("written_digits", "image/jpeg", b"no picture", 400, "input 'picture'"),
        ("topics", "application/json", b'{"text": {"b64": "?"}}', 400, "input 'text': expected text bytes in base64"),
        ("written_digits", "application/json", b'{"picture": "?"}', 400, "input 'picture': expected image bytes in base64"),
        ("written_digits", "application/json", b'{"picture": 1}', 400, "by the names of inputs"),
        ("written_digits", "application/json", b'{"file": "AAAA"}', 400, "or an object with picture; got 'file'"),
        ("written_digits", "application/json", b"{}", 400, "got an empty object"),
        ("written_digits", "application/json", b'{"picture": []}', 400, "picture"),
        ("parcels", "application/json", b"[" * 50_000, 400, "expected JSON"),
        ("parcels", "application/json", b'{"stops": 1}', 400, "the record lacks it"),
        ("words", "text/plain", b"x", 400, "input 'x': expected 2 a request, got 1"),
        ("nosuch", "image/png", b"x", 404, "nosuch"),
    ],
)
def test_bodies_that_are_wrong(served: ServerFixture, model: str, content_type: str, body: bytes, status: int, words: str) -> None:
    with Asker(served.http) as asker:
        answer = asker.post(f"/v2/models/{model}/infer", body, content_type=content_type)
    assert (answer.status, words in answer.error) == (status, True), answer.error


# ---- what it costs


def raw_model(**kinds: str) -> Any:
    config = inference.ModelConfig(max_batch_size=64)
    for name, step in kinds.items():
        getattr(config.inferd.preprocess.add(name=name).steps.add(), step).SetInParent()
    specs = [(name, "BYTES", (-1, 1)) for name in kinds]
    return SimpleNamespace(name="m", config=config, signature=Signature("m", "1", specs, [("y", "FP32", (-1,))], 64))


@pytest.mark.parametrize(
    ("step", "body"), [("columns", b"[" + b"0," * 70_000 + b"0]"), ("tokenize", b'{"x": [' + b'"a",' * 70_000 + b'"a"]}')]
)
def test_values_are_counted_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch, step: str, body: bytes) -> None:
    monkeypatch.setattr(raw_body.msgspec.json, "decode", None)
    head = head_of("POST", "/v2/models/m/infer", [("content-type", "application/json")])
    with pytest.raises(InvalidArgument, match="at most 64 values in a request, got 70001"):
        raw_body.tensors_of(raw_model(x=step), head, body)


def test_commas_in_texts_and_records_are_no_values() -> None:
    head = head_of("POST", "/v2/models/m/infer", [("content-type", "application/json")])
    record = b'{"a": [%b0], "b": ",\\",[,"}' % (b"0," * 100)
    [(*_, rows)] = raw_body.tensors_of(raw_model(x="columns"), head, b"[%b]" % b",".join([record] * 64))
    assert list(map(bytes, rows)) == [record] * 64
    [(*_, texts)] = raw_body.tensors_of(raw_model(x="tokenize"), head, b'{"x": [%b]}' % b",".join([b'",,[{\\","'] * 64))
    assert texts == [b',,[{",'] * 64


def test_a_file_is_not_copied_before_its_tensor_is_made() -> None:
    head = head_of("POST", "/v2/models/m/infer", [("content-type", "image/png")])
    body = Message(b"\x89PNG")
    [(*_, [content])] = raw_body.tensors_of(raw_model(x="decode_image"), head, body)
    assert content is body


@pytest.mark.parametrize(
    ("content_type", "body", "is_long", "times"),
    [
        ("application/json", b'{"x": "%b"}' % (b"a" * (64 << 10)), True, 5),
        ("application/json", b'{"x": "a"}', False, 5),
        ("text/plain", b"a" * (64 << 10 | 1), False, 0),
        ("text/plain", b"a" * (256 << 10 | 1), True, 0),
    ],
)
def test_long_bodies_go_to_a_thread_and_charge_what_they_take(content_type: str, body: bytes, is_long: bool, times: int) -> None:
    head = head_of("POST", "/v2/models/m/infer", [("content-type", content_type)])
    given: list[Any] = []

    class Kept(Call):
        def run_on_thread(self, work: Any) -> None:
            given.append(work)

    repository: Any = SimpleNamespace(lookup=lambda name, version: raw_model(x="tokenize"))
    raw_infer = RawInfer(repository, lambda call, request: None, lambda call, error: None, None, lambda call, head: None)
    call = Kept("", Message(body))
    assert raw_infer.take(call, head)
    assert len(given) == is_long
    assert raw_body.extra_nbytes(head, body) == times * len(body)
    if given:
        given[0].cancel()


def test_reading_json_is_charged_and_rejected_where_there_is_no_room() -> None:
    before = messages.in_use()
    body = Message(bytes(1 << 20))
    held = memory_to_read(body, 5 << 20)
    assert messages.in_use() - before >= 6 << 20
    del held
    assert messages.in_use() - before < 2 << 20
    with pytest.raises(ResourceExhausted, match="more than this server ever has") as caught:
        memory_to_read(body, 1 << 40)
    assert caught.value.reason == "message_size"


# ---- forms


def field(name: str, content: bytes, more: bytes = b"") -> bytes:
    return b'--xyz\r\nContent-Disposition: form-data; name="%b"\r\n%b\r\n%b\r\n' % (name.encode(), more, content)


def test_fields_are_as_they_were_sent() -> None:
    contents = [b"", b"a", b"\r\n", b"-xyz", b"\r\n--xy\r\n--x", bytes(range(256)), b"\r\n\r\n"]
    form = b"preamble\r\n" + b"".join(field(f"é{n}", content) for n, content in enumerate(contents)) + b"--xyz--\r\nepilogue"
    found = list(parts_of(FORM, form))
    assert [(part.name, part.content) for part in found] == [(f"é{n}", content) for n, content in enumerate(contents)]
    (typed,) = parts_of(
        b'multipart/form-data; charset=x; boundary="xyz"', field("x", b"1", b"Content-Type: Image/PNG; q=1\r\n") + b"--xyz--"
    )
    assert typed.content_type == b"image/png"


@pytest.mark.parametrize(
    ("whole", "form", "words"),
    [
        (b"multipart/form-data", b"", "boundary=... of 1 to 70"),
        (b"multipart/form-data; boundary=" + b"x" * 71, b"", "boundary=... of 1 to 70"),
        (FORM, b"--xy\r\n", "begins with the boundary"),
        (FORM, b"--xyz", "a line end behind each boundary"),
        (FORM, b"--xyz1\r\n\r\n\r\n--xyz--", "a line end behind each boundary"),
        (FORM, b"--xyz\r\n\r\n\r\n--xyz--", "Content-Disposition"),
        (FORM, field("x", b"1")[:-2], "a field without an end"),
        (FORM, field("x", b"1", b"X: " + b"y" * 5000 + b"\r\n") + b"--xyz--", "headers of at most 4096 bytes"),
        (FORM, field("x", b"MQ==", b"Content-Transfer-Encoding: base64\r\n") + b"--xyz--", "without Content-Transfer-Encoding"),
        (FORM, field("x", b"1") * (MAX_PARTS + 1) + b"--xyz--", f"at most {MAX_PARTS} fields"),
        (FORM, b'--xyz\r\nContent-Disposition: form-data; filename="name=x"\r\n\r\n1\r\n--xyz--', "Content-Disposition"),
        (FORM, b'--xyz\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n--xyz--', "names in UTF-8"),
    ],
)
def test_forms_that_are_wrong(whole: bytes, form: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        list(parts_of(whole, form))


def test_a_file_has_its_model_loaded() -> None:
    with ServerFixture(EXAMPLES / "raw", http_port=0, model_memory=1 << 20) as server:
        assert server.server.repository.is_on_demand("written_digits", "")
        assert best(curl(server, "written_digits", "--data-binary", f"@{SEVEN}"), "digit_label") == ["7"]


def test_bytes_of_a_tensor_have_their_model_loaded() -> None:
    with ServerFixture(EXAMPLES / "models", http_port=0, model_memory=64 << 20) as server, Asker(server.http) as client:
        assert server.server.repository.is_on_demand("identity", "")
        answer = client.post("/v2/models/identity/infer", bytes(64), Inference_Header_Content_Length="0")
        assert answer.status == 200, answer.body
