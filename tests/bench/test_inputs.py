"""Bodies of requests: real servers answer them, files give what they hold, and nothing is guessed silently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from native_access import fault_of

from inferd.bench import inputs
from inferd.bench.inputs import Requests, make
from inferd.bench.worker import Expected
from inferd.client_inputs.inputs import Spec
from inferd.client_inputs.targets import Description, open_target
from inferd.errors import ConfigError, InferdError
from inferd.protocol import inference
from tests.wire import Caller

X = Spec("x", "FP32", (-1, 2))
TOKENS = Spec("tokens", "INT64", (-1, -1))
MASK = Spec("mask", "INT64", (-1, -1))
IMAGE = Spec("image", "BYTES", (-1, 1))
TEXT = Spec("text", "BYTES", (-1, 1))


def description(*specs: Spec) -> Description:
    return Description("model", "7", specs, ())


def refusal(*specs: Spec, **options: object) -> str:
    with pytest.raises(ConfigError) as caught:
        make(description(*specs), **options)
    return str(caught.value)


def shapes(requests: Requests, name: str) -> list[tuple[int, ...]]:
    return [arrays[name].shape for arrays in requests.inputs]


def test_a_body_is_a_request_with_raw_contents() -> None:
    made = make(description(X), files=["x=[[1, 2], [3, 4]]"])
    message = inference.ModelInferRequest.FromString(made.bodies[0])
    assert (message.model_name, message.model_version) == ("model", "7")
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in message.inputs] == [("x", "FP32", [2, 2])]
    assert list(message.raw_input_contents) == [np.float32([[1, 2], [3, 4]]).tobytes()]
    assert (made.rows, made.notices) == (2, [])


@pytest.mark.parametrize("model", ["identity", "add", "text", "many", "every_datatype", "pooled_image", "fixed_batch"])
def test_random_bodies_are_answered(served, model: str) -> None:
    with open_target(served.address, None, 30, ()) as target, Caller(served.address) as caller:
        made = make(target.describe(model, ""), count=2, seed=3)
        responses = [caller.start(body).result() for body in made.bodies]
    assert len({*made.bodies}) == len(responses) == 2
    models, outputs, versions = ([name.encode() for name in names] for names in made.expected)
    assert (models, versions) == ([model.encode()], [])
    assert [fault_of(answer, models, outputs) for answer in responses] == [None, None]


def test_responses_may_have_the_names_of_the_metadata() -> None:
    """The model's own, too, which behind a proxy is not the one that it is asked by."""
    takes, gives = (Spec("x", "FP32", (-1, 2)),), (Spec("y", "FP32", (-1, 2)), Spec("z", "FP32", (-1,)))
    assert make(Description("m", "", takes, gives, own_name="inner")).expected == Expected(("m", "inner"), ("y", "z"))
    assert make(Description("m", "", takes, gives, own_name="m")).expected == Expected(("m",), ("y", "z"))
    assert make(Description("m", "", takes, ())).expected == Expected(("m",), ()), "it does not say what it gives"


def test_a_datatype_that_nobody_knows_is_told_with_its_input() -> None:
    for options in ({}, {"files": ["x=[1]"]}):
        assert "the input 'x' is FOO [1]: expected one of the datatypes BOOL, " in refusal(Spec("x", "FOO", (1,)), **options)


def test_the_same_seed_makes_the_same_bodies() -> None:
    one, same, other = (make(description(X, TOKENS), sizes=["tokens:1=uniform:1..9"], seed=seed) for seed in (1, 1, 2))
    assert one.bodies == same.bodies != other.bodies
    assert len(one.bodies) == inputs.DRAWN_COUNT


def test_inputs_named_together_share_each_draw() -> None:
    for sizes in ("tokens,mask:1=uniform:1..99", "*:1=uniform:1..99"):
        made = make(description(TOKENS, MASK), sizes=[sizes], count=20, rows=3)
        assert shapes(made, "tokens") == shapes(made, "mask")
        assert len({*shapes(made, "tokens")}) > 10
        assert made.rows == 3


def test_rows_that_are_drawn_have_a_mean() -> None:
    made = make(description(X), sizes=["x:0=choice:1,5"], count=30, seed=4)
    assert made.rows == pytest.approx(np.mean([shape[0] for shape in shapes(made, "x")]))
    assert 1 < made.rows < 5


def test_shapes_that_are_given() -> None:
    made = make(description(TOKENS, X), shapes=["tokens:4,32"], rows=4)
    assert made.inputs[0]["tokens"].shape == (4, 32)
    assert made.inputs[0]["x"].shape == (4, 2)
    assert "--shape or --sizes say otherwise" in refusal(TOKENS, shapes=["tokens:4,32"], rows=3)
    assert "is for random inputs" in refusal(X, files=["x=[[1,2]]"], shapes=["x:1,2"])
    assert "MiB; give fewer or smaller ones" in refusal(X, shapes=["x:99999999,2"], count=9)


def test_an_open_size_is_one_only_where_the_target_answers(served) -> None:
    with open_target(served.address, None, 30, ()) as target:
        described = target.describe("sequence_length", "")
        made = make(described, probe=lambda arrays: target.infer(described, arrays, ()))
    assert made.inputs[0]["tokens"].shape == (1, 1)
    assert "tokens: open sizes are 1" in made.notices[0]


def test_a_shape_that_cannot_be_guessed() -> None:
    def refuse(arrays: object) -> None:
        raise InferdError("three at least")

    assert "cannot be guessed; give --shape tokens:1,SIZE, or --sizes tokens:1=" in refusal(TOKENS)
    assert "does not answer (three at least); give --shape" in refusal(TOKENS, probe=refuse)


def test_files_are_cut_into_requests(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(14, dtype=np.float32).reshape(7, 2))
    made = make(description(X), files=[str(tmp_path / "x.npy")], rows=2)
    assert [arrays["x"][0, 0] for arrays in made.inputs] == [0, 4, 8]
    assert made.notices == ["the last 1 of 7 rows are left out: requests have 2 rows each"]
    assert len(make(description(X), files=[str(tmp_path / "x.npy")], rows=2, count=2).bodies) == 2
    assert make(description(X), files=[str(tmp_path / "x.npy")]).rows == 7
    assert "got 7" in refusal(X, files=[str(tmp_path / "x.npy")], rows=8)
    assert "no open batch axis" in refusal(Spec("x", "FP32", (7, 2)), files=[str(tmp_path / "x.npy")], rows=2)


def test_each_npz_and_json_is_a_request(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.float32([[1, 2]]))
    (tmp_path / "b.json").write_text('{"x": [[3, 4]]}')
    made = make(description(X, TOKENS), npz=[str(tmp_path / "a.npz")], json=[str(tmp_path / "b.json")], files=["tokens=[[5]]"])
    assert [arrays["x"].tolist() for arrays in made.inputs] == [[[1, 2]], [[3, 4]]]
    assert [arrays["tokens"].tolist() for arrays in made.inputs] == [[[5]], [[5]]]


def test_all_bodies_together_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(tmp_path / f"{index}.npz") for index in range(3)]
    for name in names:
        np.savez_compressed(name, x=np.zeros((4, 2), np.float32))
    monkeypatch.setattr(inputs, "MAX_BYTES", 3 * 32)
    assert len(make(description(X), npz=names).bodies) == 3
    monkeypatch.setattr(inputs, "MAX_BYTES", 3 * 32 - 1)
    assert len(make(description(X), npz=names, count=2).bodies) == 2
    monkeypatch.setattr(inputs, "_encode", lambda *_: pytest.fail("encoded"))
    for options in ({"npz": names}, {"npz": names, "rows": 1}):
        assert "the requests would take more than" in refusal(X, **options)
    (tmp_path / "b.json").write_text('{"text": [["four"]]}')
    text, common = Spec("text", "BYTES", (-1, 1)), f"x={np.zeros((11, 2)).tolist()}"
    assert "the requests would take more than" in refusal(text, X, json=[str(tmp_path / "b.json")], files=[common])


def test_what_files_and_lot_make_together_has_that_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_BYTES", 8 + 8)
    monkeypatch.setattr(inputs, "_encode", lambda *_: b"")
    assert make(description(X, TOKENS), files=["x=[[1, 2]]"], random=True, shapes=["tokens:1,1"]).bodies == [b""]
    assert "the requests would take more than" in refusal(X, TOKENS, files=["x=[[1, 2]]"], random=True, shapes=["tokens:1,2"])


def test_a_fault_in_a_file_beyond_the_count_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.float32([[1, 2]]))
    assert "there is no such file" in refusal(X, npz=[str(tmp_path / "a.npz"), "absent.npz"], count=1)


def test_what_files_leave_out_is_random_only_if_that_is_asked() -> None:
    made = make(description(X, TOKENS), files=["x=[[1, 2], [3, 4]]"], random=True, sizes=["tokens:1=choice:3"])
    assert made.inputs[0]["tokens"].shape == (2, 3)
    assert "the input 'tokens' (INT64 [?, ?]) is missing" in refusal(X, TOKENS, files=["x=[[1, 2]]"])
    assert "no input 'y'" in refusal(X, TOKENS, files=["y=[[1, 2]]"], random=True)


def test_other_shapes_are_sent_and_said(tmp_path: Path) -> None:
    assert "x: the model takes FP32 [?, 2], and requests with [1, 3] are sent" in make(description(X), files=["x=[[1,2,3]]"]).notices
    np.save(tmp_path / "x.npy", np.arange(2.0) + 0.1)  # FP64 that FP32 does not hold
    assert "0.1 would be rounded" in refusal(X, files=[str(tmp_path / "x.npy")])
    made = make(description(X), files=[str(tmp_path / "x.npy")], cast=True)
    assert made.notices == ["x: the batch axis is added: [2] -> [1, 2]"]


def test_a_server_that_does_not_say_what_a_model_takes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.float32([[1, 2]]))
    made = make(description(), files=[f"x={tmp_path / 'x.npy'}"])
    assert inference.ModelInferRequest.FromString(made.bodies[0]).inputs[0].datatype == "FP32"
    assert "each request counts as one row" in made.notices[0]
    assert "does not say which inputs 'model' has; give --npz" in refusal()
    assert "expected 'x' from a .npy or .npz file" in refusal(files=["x=[[1]]"])


def test_numbers_that_are_none() -> None:
    assert "--count 0: expected 1 or more" in refusal(X, count=0)
    assert "--rows -1: expected 1 or more" in refusal(X, rows=-1)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures, sounds, texts and records


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(bytes([number]))
    return [str(tmp_path / f"{number}.png") for number in range(5)]


def test_each_file_is_a_request(pictures: list[str]) -> None:
    made = make(description(IMAGE, X), images=pictures[:3], files=["x=[[1, 2]]"])
    assert [arrays["image"].tolist() for arrays in made.inputs] == [[[b"\0"]], [[b"\1"]], [[b"\2"]]]
    assert [arrays["x"].tolist() for arrays in made.inputs] == [[[1, 2]]] * 3
    assert list(inference.ModelInferRequest.FromString(made.bodies[2]).raw_input_contents) == [
        b"\1\0\0\0\2",
        np.float32([[1, 2]]).tobytes(),
    ]
    assert len(make(description(IMAGE), images=pictures, count=2).bodies) == 2
    assert make(description(IMAGE, X), images=pictures, random=True).inputs[4]["x"].shape == (1, 2)


def test_files_share_requests_of_several_rows(pictures: list[str]) -> None:
    made = make(description(IMAGE), images=pictures, rows=2)
    assert [arrays["image"].tolist() for arrays in made.inputs] == [[[b"\0"], [b"\1"]], [[b"\2"], [b"\3"]]]
    assert (made.rows, made.notices) == (2, ["the last 1 of 5 rows are left out: requests have 2 rows each"])
    assert "--rows 6: expected so many files, texts or records, got 5" in refusal(IMAGE, images=pictures, rows=6)


def test_a_model_without_a_batch_axis_gets_one_at_a_time(pictures: list[str]) -> None:
    made = make(description(IMAGE._replace(shape=(1,))), images=pictures)
    assert [arrays["image"].tolist() for arrays in made.inputs] == [[bytes([number])] for number in range(5)]
    assert made.notices == []
    assert "the input 'image' is BYTES [1]: expected 1 a request, got 2" in refusal(IMAGE._replace(shape=(1,)), images=pictures, rows=2)


def test_inputs_go_side_by_side_and_one_alone_with_all(pictures: list[str]) -> None:
    texts = ["text=a", "text=b"]
    named = [f"image={path}" for path in pictures]
    made = make(description(IMAGE, TEXT), images=named[:2], texts=texts)
    assert [(arrays["image"][0, 0], arrays["text"][0, 0]) for arrays in made.inputs] == [(b"\0", b"a"), (b"\1", b"b")]
    made = make(description(IMAGE, TEXT), images=named[:1], texts=texts)
    assert [(arrays["image"][0, 0], arrays["text"][0, 0]) for arrays in made.inputs] == [(b"\0", b"a"), (b"\0", b"b")]
    said = refusal(IMAGE, TEXT, images=named[:3], texts=texts)
    assert "expected as many files, texts or records for each input, or one, got image 3, text 2" in said


def test_lines_of_a_table_are_requests(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("b,a\nx,1.5\ny,\n")
    made = make(description(Spec("a", "FP32", (-1, 1)), Spec("b", "BYTES", (-1, 1))), table=str(tmp_path / "rows.csv"))
    np.testing.assert_array_equal([arrays["a"] for arrays in made.inputs], [[[1.5]], [[np.nan]]])
    assert [arrays["b"].tolist() for arrays in made.inputs] == [[[b"x"]], [[b"y"]]]
    assert "--csv-input none.csv: cannot be read" in refusal(X, table="none.csv")


def test_a_model_that_takes_files_is_not_asked_with_random_bytes(pictures: list[str]) -> None:
    config = inference.ModelConfig()
    config.inferd.preprocess.add(name="image").steps.add().decode_image.SetInParent()
    asked = Description("model", "7", (IMAGE, X), (), config)
    for options in ({}, {"files": ["x=[[1, 2]]"], "random": True}):
        with pytest.raises(
            ConfigError, match="the input 'image' is what decode_image reads, and no random bytes are that; give --image FILE"
        ):
            make(asked, **options)
    assert len(make(asked, images=pictures, random=True).bodies) == 5


def test_a_recording_is_sent_as_it_is() -> None:
    assert "leave --text out" in refusal(TEXT, recorded="r", texts=["a"])
    assert "leave --csv-input out" in refusal(TEXT, recorded="r", table="a.csv")
