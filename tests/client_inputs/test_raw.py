"""Files and texts as the inputs of a model that makes its own tensors, in the shape that each declares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd.client_inputs import raw
from inferd.client_inputs.inputs import Literal, Spec
from inferd.client_inputs.raw import fit, read, reject_random
from inferd.client_inputs.targets import Description
from inferd.errors import ConfigError
from inferd.protocol import inference

IMAGE = Spec("image", "BYTES", (-1, 1))
TEXT = Spec("text", "BYTES", (-1, 1))
SCALE = Spec("scale", "FP32", (-1, 1))


def model(*specs: Spec, config: inference.ModelConfig | None = None) -> Description:
    return Description("model", "1", specs, (), config)


def test_each_file_is_a_row_of_the_only_input_that_takes_bytes(tmp_path: Path) -> None:
    for name, content in (("a.jpg", b"\xff\xd8a"), ("b.jpg", b"\xff\xd8b")):
        (tmp_path / name).write_bytes(content)
    found = read(model(IMAGE, SCALE), images=[str(tmp_path / "a.jpg")], clips=[str(tmp_path / "b.jpg")])
    assert found == {"image": [b"\xff\xd8a", b"\xff\xd8b"]}


def test_a_name_in_front_chooses_between_inputs(tmp_path: Path) -> None:
    (tmp_path / "a=b.jpg").write_bytes(b"x")
    assert read(model(IMAGE, TEXT), images=[f"image={tmp_path / 'a=b.jpg'}"], texts=["text=y"]) == {"image": [b"x"], "text": [b"y"]}
    assert read(model(IMAGE), images=[str(tmp_path / "a=b.jpg")]) == {"image": [b"x"]}
    with pytest.raises(ConfigError, match="expected NAME="):
        read(model(IMAGE, TEXT), images=[str(tmp_path / "a=b.jpg")])


def test_a_model_of_tensors_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"takes tensors: scale .*preprocessing"):
        read(model(SCALE), images=[str(tmp_path / "a.jpg")])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--audio .*none\.wav: cannot be read: No such file"):
        read(model(IMAGE), clips=[str(tmp_path / "none.wav")])


def test_texts_are_rows() -> None:
    assert read(model(TEXT), texts=["one = two", "Grüße", "@@anna"]) == {"text": [b"one = two", "Grüße".encode(), b"@anna"]}


def test_a_file_of_texts_has_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_bytes("eins\r\n\n zwei \nGrüße".encode())
    expected = [b"zero", b"eins", b" zwei ", "Grüße".encode()]
    assert read(model(TEXT), texts=["zero", f"@{path}"]) == read(model(TEXT), texts=["zero", f"text=@{path}"]) == {"text": expected}
    with pytest.raises(ConfigError, match=r"--text @anna: cannot be read: No such file or directory; of a text that begins with @"):
        read(model(TEXT), texts=["@anna"])


@pytest.mark.parametrize("content", [b"", b"\n \r\n"])
def test_a_file_without_texts(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "empty.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"--text @.*empty\.txt: expected a text a line, got a file without any: write one"):
        read(model(TEXT), texts=["one", f"text=@{path}"])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"images": ["there", "nope=there"]}, "--image nope=there: no input that takes bytes is called 'nope'; "),
        ({"clips": ["nope=absent"]}, "--audio nope=absent: no input that takes bytes is called 'nope'; "),
        ({"images": ["there"], "texts": ["nope=@there"]}, "--text nope=@there: no input that takes bytes is called 'nope'; "),
        ({"images": ["scale=there"]}, "--image scale=there: no input that takes bytes is called 'scale'; "),
        ({"texts": ["scale=@there"]}, "--text scale=@there: no input that takes bytes is called 'scale'; "),
        ({"texts": ["scale=2"]}, "--text scale=2: no input that takes bytes is called 'scale'; "),
    ],
)
def test_a_name_that_no_input_has(given: dict[str, list[str]], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before any file is read."""
    monkeypatch.chdir(tmp_path)
    for name in ("there", "scale=there"):
        Path(name).touch()
    monkeypatch.setattr(raw, "read_whole", None)
    with pytest.raises(ConfigError) as caught:
        read(model(IMAGE, SCALE), **given)
    argument = told.split()[1].removesuffix(":")
    cure = f"{'if all of that is the text' if 'texts' in given else 'for a file of that name'}, write image={argument}"
    assert str(caught.value) == f"{told}the model has image (BYTES [?, 1]), scale (FP32 [?, 1]); {cure}"
    with pytest.raises(ConfigError, match=r": expected NAME=\.\.\. for one of image \(BYTES \[\?, 1\]\), text \(BYTES \[\?, 1\]\)$"):
        read(model(IMAGE, TEXT), **given)


def test_an_equals_sign_is_no_name_where_it_cannot_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.jpg").write_bytes(b"x")
    assert read(model(IMAGE), images=["a=b.jpg", "image=a=b.jpg"]) == {"image": [b"x", b"x"]}
    texts = ["nope=there", "for us=@anna", "nope=@@anna", "=@anna", "text=nope=@there"]
    assert read(model(TEXT), texts=texts)["text"] == [b"nope=there", b"for us=@anna", b"nope=@@anna", b"=@anna", b"nope=@there"]
    for argument in ("none.jpg", "image=none.jpg", "a/b=none.jpg"):
        with pytest.raises(ConfigError, match=r"none\.jpg: cannot be read: No such file or directory$"):
            read(model(IMAGE), images=[argument])


def test_what_no_request_holds_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "MAX_BYTES", 1 << 20)
    (tmp_path / "half").write_bytes(bytes((1 << 19) + 1))
    (tmp_path / "large").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(ConfigError, match="large: expected 1 MiB at most, got 1,048,577 bytes; a request holds no more"):
        read(model(IMAGE), images=[str(tmp_path / "large")])
    with pytest.raises(ConfigError, match="expected 1 MiB at most in all"):
        read(model(IMAGE), images=[str(tmp_path / "half")] * 2)


@pytest.mark.parametrize(
    ("shape", "count", "made"),
    [
        ((-1, 1), 3, (3, 1)),
        ((-1,), 3, (3,)),
        ((-1, -1), 2, (2, 1)),
        ((1,), 1, (1,)),
        ((1, 1), 1, (1, 1)),
        ((), 1, ()),
        ((4, 1), 4, (4, 1)),
        ((1,), 2, None),
        ((4, 1), 1, None),
        ((-1, 2), 2, None),
    ],
)
def test_the_shape_is_the_one_that_the_input_declares(shape: tuple[int, ...], count: int, made: tuple[int, ...] | None) -> None:
    values = [bytes([number]) for number in range(count)]
    spec = Spec("image", "BYTES", shape)
    if made is None:
        with pytest.raises(ConfigError, match=rf"the input 'image' is BYTES .*: expected \d+ a request, got {count}"):
            fit(spec, values)
        return
    array = fit(spec, values)
    assert isinstance(array, np.ndarray)
    assert array.shape == made
    assert array.reshape(-1).tolist() == values
    assert fit(spec._replace(datatype="FP32"), list(range(count))) == Literal(list(range(count)), made)


@pytest.mark.parametrize(
    ("step", "option"), [("decode_image", "--image FILE"), ("decode_audio", "--audio FILE"), ("columns", "--table FILE")]
)
@pytest.mark.parametrize("named", [True, False])
def test_random_bytes_are_no_files(step: str, option: str, named: bool) -> None:
    name = {"columns": "record"}.get(step, "x")
    config = inference.ModelConfig()
    entry = config.inferd.preprocess.add(name=name if named else "")
    getattr(entry.steps.add(), step).SetInParent()
    spec = Spec(name, "BYTES", (-1, 1))
    with pytest.raises(ConfigError, match=f"the input '{name}' is what {step} reads, and no random bytes are that; give {option}"):
        reject_random(model(SCALE, spec, config=config), [SCALE, spec], "--table")
    reject_random(model(SCALE, spec, config=config), [SCALE], "--table")


def test_random_texts_and_tensors_are_what_they_are() -> None:
    config = inference.ModelConfig()
    config.inferd.preprocess.add().steps.add().tokenize.SetInParent()
    columns = config.inferd.preprocess.add().steps.add().columns
    columns.format = columns.TENSORS
    columns.columns.add(name="city", datatype="BYTES")
    specs = [TEXT, Spec("city", "BYTES", (-1, 1))]
    reject_random(model(*specs, config=config), specs)
    reject_random(model(*specs), specs)
