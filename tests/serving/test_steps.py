"""Models with steps behind a real server: what clients see of them, what they get, and what bad input does to the others in the batch."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import tritonclient.grpc
from inferd_client import Client, InferenceError, arrow_records, csv_records, files, records, texts
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from tests import models
from tests.server_fixtures import TRANSPORTS, ServerFixture

MEAN_COLOR = """
max_batch_size = 8

[[inferd.preprocess]]
name = "picture"
steps = [
    { decode_image = {} },
    { resize = { height = 224, width = 224 } },
    { scale = {} },
    { transpose = {} },
]

[[inferd.postprocess]]
output = "mean"
name = "color"
steps = [{ top_k = { k = 2, labels = "labels.txt" } }]
"""
TOTAL = """
max_batch_size = 8

[[inferd.preprocess]]
name = "text"
steps = [{ tokenize = {} }]
"""
SUM = """
max_batch_size = 8

[[inferd.preprocess]]
name = "record"
input = "a"
steps = [{ columns = { columns = [{ name = "one" }, { name = "two", missing = "7" }] } }]
"""
SCALED = """
max_batch_size = 8

[[inferd.preprocess]]
name = "level"
input = "a"
datatype = "UINT8"
steps = [{ scale = { factor = 0.5, offset = 1 } }]
"""


ALONE = """
[[inferd.preprocess]]
steps = [{ decode_image = {} }, { resize = { height = 8, width = 8 } }, { scale = {} }, { transpose = {} }]
"""
FORM = """
[[inferd.preprocess]]
steps = [{{ columns = {{ format = "{}", columns = [{{ name = "one" }}, {{ name = "two", missing = "7" }}] }} }}]
"""


def png(color: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, color).save(content, "PNG")
    return content.getvalue()


def column(*elements: bytes) -> Any:
    array = np.empty((len(elements), 1), object)
    array[:, 0] = elements
    return array


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    for name, model, config in (
        ("color", models.pooled_image(), MEAN_COLOR),
        ("total", models.sum_of_ids(), TOTAL),
        ("sum", models.add((2,)), SUM),
        ("scaled", models.add((2,)), SCALED),
        ("alone", models.identity("FP32", (3, 8, 8), batch=1), ALONE),
        ("lines", models.identity("FP32", (2,)), FORM.format("CSV")),
        ("arrow", models.identity("FP32", (2,)), FORM.format("ARROW")),
    ):
        (folder / name / "1").mkdir(parents=True)
        (folder / name / "1" / "model.onnx").write_bytes(model)
        (folder / name / "config.toml").write_text(config)
    (folder / "color" / "labels.txt").write_text("red\ngreen\nblue\n")
    words = Tokenizer(WordLevel({"[UNK]": 0, "one": 1, "two": 2, "three": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()  # type: ignore[assignment]
    words.save(str(folder / "total" / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module", params=TRANSPORTS)
def served(request: pytest.FixtureRequest, repository: Path) -> Iterator[ServerFixture]:
    with ServerFixture(repository, transport=request.param) as running:
        yield running


@pytest.fixture
def client(served: ServerFixture) -> Iterator[Client]:
    with Client(served.address, timeout=30) as made:
        yield made


def test_metadata_and_configuration_are_those_that_clients_need(client: Client) -> None:
    metadata = client.model_metadata("color")
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [("picture", "BYTES", [-1, 1])]
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.outputs] == [
        ("color", "FP32", [-1, 2]),
        ("color_index", "INT64", [-1, 2]),
        ("color_label", "BYTES", [-1, 2]),
    ]
    config = client.model_config("color")
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [("picture", 13, [1])]
    assert config.inferd.preprocess[0].steps[1].resize.width == 224
    assert config.inferd.preprocess_threads >= 1


def test_a_picture_becomes_labels(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png((10, 20, 200)))
    (tmp_path / "b.jpg").write_bytes(png((250, 5, 100)))
    answer = client.infer("color", {"picture": files(tmp_path / "a.png", tmp_path / "b.jpg")})
    assert answer["color_label"].tolist() == [[b"blue", b"green"], [b"red", b"blue"]]
    np.testing.assert_allclose(answer["color"], [[200 / 255, 20 / 255], [250 / 255, 100 / 255]], atol=2 / 255)
    assert answer.ranked("color")[1] == [("red", pytest.approx(250 / 255, abs=2 / 255)), ("blue", pytest.approx(100 / 255, abs=2 / 255))]


def test_a_model_without_a_batch_axis_takes_one_picture(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png((255, 0, 51)))
    assert [list(each.shape) for each in client.model_metadata("alone").inputs] == [[1]]
    np.testing.assert_allclose(client.infer("alone", {"x": files(tmp_path / "a.png")})["y"].mean(axis=(0, 2, 3)), [1, 0, 0.2], atol=1 / 255)
    with pytest.raises(ValueError, match=r"input 'x': the model takes BYTES\[1\]: expected 1 a request, got 2"):
        client.infer("alone", {"x": files(tmp_path / "a.png", tmp_path / "a.png")})


def test_records_in_the_form_that_each_model_takes(client: Client) -> None:
    expected = [[1.5, 7], [3, 2]]
    assert client.infer("lines", {"record": csv_records([1.5, None], [3, 2])})["y"].tolist() == expected
    assert client.infer("arrow", {"record": arrow_records({"one": 1.5, "two": None}, {"one": 3, "two": 2})})["y"].tolist() == expected


def test_texts_of_different_lengths_share_a_batch(client: Client) -> None:
    asked = [" ".join(["one", "two", "three"][number % 3] for number in range(length)) for length in range(1, 30)]
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(lambda text: client.infer("total", {"text": texts(text)})["total"][0, 0], asked))
    wanted = [sum({"one": 1, "two": 2, "three": 3}[word] for word in text.split()) for text in asked]
    assert answers == wanted


def test_rows_of_one_request_may_differ_in_length(client: Client) -> None:
    answer = client.infer("total", {"text": texts("one", "two three two", "what one")})
    assert answer["total"][:, 0].tolist() == [1, 7, 1]


def test_numbers_that_are_scaled_beside_an_ordinary_input(client: Client) -> None:
    metadata = client.model_metadata("scaled")
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [
        ("level", "UINT8", [-1, 2]),
        ("b", "FP32", [-1, 2]),
    ]
    answer = client.infer("scaled", {"level": np.array([[0, 2], [3, 255]], np.uint8), "b": np.ones((2, 2), np.float32)})
    np.testing.assert_array_equal(answer["sum"], [[2, 3], [3.5, 129.5]])


def test_a_record_beside_an_ordinary_input(client: Client) -> None:
    answer = client.infer("sum", {"record": records({"one": 1, "two": None}, {"two": 3, "one": 2.5}), "b": np.ones((2, 2), np.float32)})
    np.testing.assert_array_equal(answer["sum"], [[2, 8], [3.5, 4]])


def test_a_request_that_cannot_be_prepared_fails_alone(client: Client) -> None:
    good, bad = png((1, 2, 3)), png((1, 2, 3))[:40]

    def ask(content: bytes) -> str:
        try:
            return str(client.infer("color", {"picture": column(content)})["color_label"][0, 0])
        except InferenceError as error:
            return f"{error.code.name}: {error}"

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, [good, bad, b"nothing", good] * 8))
    assert answers[0::4] == answers[3::4] == ["b'blue'"] * 8
    assert all(answer.startswith("INVALID_ARGUMENT: ") and "input 'picture', row 0: " in answer for answer in answers[1::4] + answers[2::4])


@pytest.mark.parametrize(
    ("model", "inputs", "said"),
    [
        ("color", {"picture": column(png((1, 2, 3)), b"\x89PNG")}, "input 'picture', row 1: "),
        ("total", {"text": column(b"one", b"\xff\xfe")}, r"input 'text', row 1: .*UTF-8"),
        ("total", {"text": column(b"")}, "input 'text', row 0: "),
        ("sum", {"record": column(b"{"), "b": np.ones((1, 2), np.float32)}, "input 'record', row 0: "),
        ("sum", {"record": column(b'{"two": 1}'), "b": np.ones((1, 2), np.float32)}, r"input 'record', row 0: .*one"),
        ("sum", {"record": column(b'{"one": 1}'), "b": np.ones((2, 2), np.float32)}, "2 rows"),
    ],
)
def test_bad_input_names_the_input_and_the_row(client: Client, model: str, inputs: Any, said: str) -> None:
    with pytest.raises(InferenceError, match=said) as caught:
        client.infer(model, inputs)
    assert caught.value.code.name == "INVALID_ARGUMENT"
    assert "Traceback" not in str(caught.value)
    assert "/" not in str(caught.value).replace("and/or", "")


def test_an_array_of_another_type_is_rejected_by_the_sdk(client: Client) -> None:
    with pytest.raises(TypeError, match="input 'picture': expected an array of BYTES, got numpy's float32"):
        client.infer("color", {"picture": np.zeros((1, 3, 224, 224), np.float32)})


def test_tritonclient_sends_pictures(served: ServerFixture) -> None:
    with tritonclient.grpc.InferenceServerClient(served.address) as triton:
        asked = tritonclient.grpc.InferInput("picture", [1, 1], "BYTES")
        asked.set_data_from_numpy(column(png((0, 255, 0))))
        answer = triton.infer("color", [asked], outputs=[tritonclient.grpc.InferRequestedOutput("color_label")])
        assert answer.as_numpy("color_label").tolist() == [[b"green", b"red"]]
        assert triton.get_model_metadata("color", as_json=True)["inputs"][0]["datatype"] == "BYTES"


def test_the_preprocess_stage_holds_what_the_steps_take(served: ServerFixture, client: Client) -> None:
    for _ in range(4):
        client.infer("color", {"picture": column(png((1, 2, 3), (900, 700)))})
    with urlopen(f"http://{served.metrics}/metrics") as page:
        lines = [line for line in page.read().decode().splitlines() if line.startswith("inferd_stage_duration_seconds_sum{")]
    took_s = {
        stage: float(next(line for line in lines if 'model="color"' in line and f'stage="{stage}"' in line).split()[-1])
        for stage in ("preprocess", "encode")
    }
    assert took_s["preprocess"] > took_s["encode"]


def test_json_records_are_written_by_the_sdk() -> None:
    assert json.loads(records({"a": np.float32(1.5), "b": None, "c": "x"})[0, 0]) == {"a": 1.5, "b": None, "c": "x"}
    with pytest.raises(TypeError, match="numbers, truth values, texts and None, not set"):
        records({"a": {1}})
