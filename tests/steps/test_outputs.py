"""Steps after the graph against numpy: what each gives, what follows what, and every rejection with its cure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.tensor import Tensors
from inferd.errors import ConfigError
from inferd.protocol import options
from inferd.steps.numbers import CASTS
from inferd.steps.outputs import OutputSteps, compile_output
from inferd.steps.pipeline import Array, EntryPlace, TensorType

SCORES = TensorType("FP32", (10,))
TOKENS = TensorType("FP32", (-1, 6))
MASK = {"input_ids": TensorType("INT64", (-1,)), "attention_mask": TensorType("INT64", (-1,))}


def compiled(steps: str, kind: TensorType = SCORES, folder: Path | None = None, inputs: Any = MASK, name: str = "") -> OutputSteps:
    """steps: those of Postprocess, as protobuf text without `steps { }` around each, by `;`."""
    text = " ".join(f"steps {{ {step} }}" for step in steps.split(";") if step.strip())
    entry = text_format.Parse(f'output: "scores" name: "{name}" {text}', options.Postprocess())
    return compile_output(entry, EntryPlace("config of model 'm'", {"scores": kind}, (folder,) if folder else (), inputs))


def finish(steps: OutputSteps, array: Array, **inputs: Array) -> list[Array]:
    """What clients get, which fits what was promised and can be encoded; the graph's own array stays as it was."""
    array.flags.writeable = False
    before = array.copy()
    results = steps.finish(array, inputs)
    np.testing.assert_array_equal(array, before)
    for result, (_, kind) in zip(results, steps.outputs, strict=True):
        assert result.dtype == DATATYPES[kind.datatype][2]
        assert result.ndim == len(kind.shape) + 1
        assert all(want in (-1, got) for want, got in zip(kind.shape, result.shape[1:], strict=True))
    Tensors(results, [kind.datatype for _, kind in steps.outputs], True, len(array))
    return results


def rejected(steps: str, kind: TensorType = SCORES, folder: Path | None = None, inputs: Any = MASK) -> str:
    with pytest.raises(ConfigError) as caught:
        compiled(steps, kind, folder, inputs)
    message = str(caught.value)
    assert message.startswith("config of model 'm': steps[")
    return message.removeprefix("config of model 'm': ")


def softmax(array: Array) -> Array:
    powers = np.exp(array.astype(np.float64) - array.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("".join(f"thing {number}\n" for number in range(10)))
    return tmp_path


def test_as_many_classes_as_the_last_axis_has() -> None:
    entry = options.Postprocess(output="scores", classes=["a", "b", "c"])
    for kind, fits in [((3,), True), ((5, 3), True), ((-1,), True), ((2,), False), ((3, 5), False), ((), False)]:
        place = EntryPlace("config of model 'm'", {"scores": TensorType("FP32", kind)})
        if fits:
            array = np.ones((2, *(size % 7 for size in kind)), np.float32)
            assert compile_output(entry, place).finish(array, {})[0] is array
            continue
        with pytest.raises(ConfigError, match=r"^config of model 'm': classes names 3, and the output is FP32.*: name as many as its last"):
            compile_output(entry, place)


# ---- single steps ---------------------------------------------------------------------------------------------------


def test_no_steps_give_the_output_another_name() -> None:
    steps = compiled("", name="probabilities")
    assert steps.outputs == (("probabilities", SCORES),)
    array = random(3, 10)
    assert finish(steps, array)[0] is array


def test_the_only_output_needs_no_name() -> None:
    entry = options.Postprocess(steps=[options.OutputStep(softmax=options.Softmax())])
    assert compile_output(entry, EntryPlace("m", {"y": SCORES})).outputs == (("y", SCORES),)
    with pytest.raises(ConfigError, match=r"m: say which of the graph's tensors it is for: 'y' FP32\[10\], 'z' FP32\[10\]"):
        compile_output(entry, EntryPlace("m", {"y": SCORES, "z": SCORES}))
    with pytest.raises(ConfigError, match=r"'x' is none of the graph's tensors: name one of 'y' FP32\[10\]"):
        compile_output(options.Postprocess(output="x"), EntryPlace("m", {"y": SCORES}))


@pytest.mark.parametrize("word", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("shape", [(10,), (-1,), (3, 7), (-1, -1)])
def test_softmax_is_computed_in_fp32(word: str, shape: tuple[int, ...]) -> None:
    steps = compiled("softmax { axis: -1 }", TensorType(word, shape))
    assert steps.outputs == (("scores", TensorType("FP32", shape)),)
    array = random(4, *(5 if size < 0 else size for size in shape)).astype(DATATYPES[word][2])
    np.testing.assert_allclose(finish(steps, array)[0], softmax(array), rtol=2e-6)


def test_sigmoid_of_numbers_with_and_without_axes() -> None:
    for shape in ((), (10,), (-1, 2)):
        array = random(6, *(4 if size < 0 else size for size in shape))
        (got,) = finish(compiled("sigmoid {}", TensorType("FP32", shape)), array)
        np.testing.assert_allclose(got, 1 / (1 + np.exp(-array.astype(np.float64))), rtol=1e-6)


def test_l2_normalize() -> None:
    array = random(6, 10)
    array[3] = 0
    (got,) = finish(compiled("l2_normalize {}"), array)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), [1, 1, 1, 0, 1, 1], rtol=1e-6)


def test_an_array_of_any_layout_is_taken() -> None:
    array = np.asfortranarray(random(4, 10))
    for steps in ("softmax {}", "l2_normalize {}", 'cast { datatype: "FP16" }', "top_k {}"):
        assert all(result.flags.c_contiguous for result in finish(compiled(steps), array))


def test_drop_gives_nothing() -> None:
    for kind in (SCORES, TensorType("BYTES", (1,)), TensorType("BF16", ())):
        steps = compiled("drop {}", kind)
        assert steps.outputs == ()
        assert steps.finish(np.zeros((2, 1)), {}) == []


# ---- the best -------------------------------------------------------------------------------------------------------


def test_top_k_of_softmax_with_labels(folder: Path) -> None:
    steps = compiled('softmax {}; top_k { k: 3 labels: "labels.txt" }', folder=folder, name="best")
    assert steps.outputs == (
        ("best", TensorType("FP32", (3,))),
        ("best_index", TensorType("INT64", (3,))),
        ("best_label", TensorType("BYTES", (3,))),
    )
    array = random(5, 10)
    values, places, labels = finish(steps, array)
    expected = np.argsort(-softmax(array), kind="stable")[:, :3]
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_allclose(values, np.take_along_axis(softmax(array), expected, 1), rtol=2e-6)
    assert labels.tolist() == [[f"thing {place}" for place in row] for row in expected]


def test_top_k_is_of_5_and_needs_no_labels() -> None:
    values, places = finish(compiled("top_k {}"), random(2, 10))
    assert values.shape == places.shape == (2, 5)


def test_top_k_of_the_last_axis_of_several() -> None:
    array = random(2, 3, 10)
    values, places = finish(compiled("top_k { k: 10 axis: 1 }", TensorType("FP32", (-1, 10))), array)
    np.testing.assert_array_equal(values, -np.sort(-array, axis=-1))
    np.testing.assert_array_equal(np.take_along_axis(array, places, -1), values)


@given(arrays.arrays(np.float16, (3, 10), elements=st.floats(width=16)))
def test_nan_is_the_worst_and_equals_keep_their_order(array: Array) -> None:
    _, places = finish(compiled("top_k { k: 10 }", TensorType("FP16", (10,))), array)
    (best,) = finish(compiled("argmax {}", TensorType("FP16", (10,))), array)
    for row, got in zip(array.tolist(), places.tolist(), strict=True):
        assert got == sorted(range(10), key=lambda place: (row[place] != row[place], -row[place] if row[place] == row[place] else 0))
    np.testing.assert_array_equal(best, places[:, :1])


def test_argmax_as_a_number_and_as_a_label(folder: Path) -> None:
    array = random(4, 10)
    steps = compiled("argmax {}")
    assert steps.outputs == (("scores", TensorType("INT64", (1,))),)
    (got,) = finish(steps, array)
    np.testing.assert_array_equal(got, array.argmax(axis=1)[:, None])
    steps = compiled('argmax { labels: "labels.txt" }', folder=folder)
    assert steps.outputs == (("scores", TensorType("BYTES", (1,))),)
    assert finish(steps, array)[0].tolist() == [[f"thing {place}"] for place in array.argmax(axis=1)]
    (small,) = finish(compiled('argmax {}; cast { datatype: "INT8" }'), array)
    np.testing.assert_array_equal(small, got)


# ---- mean over tokens -----------------------------------------------------------------------------------------------


def mean(array: Array, mask: Array) -> Array:
    """Sentence-transformers' own, with zeros for rows without tokens."""
    weights = (mask != 0)[:, :, None].astype(np.float64)
    return (np.where(weights != 0, array, 0) * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-9)


@pytest.mark.parametrize("word", ["INT64", "INT32", "BOOL", "FP32", "UINT8"])
def test_mean_pool_and_l2_make_embeddings(word: str) -> None:
    steps = compiled("mean_pool {}; l2_normalize {}", TOKENS, inputs={"attention_mask": TensorType(word, (-1,))})
    assert steps.outputs == (("scores", TensorType("FP32", (6,))),)
    array = random(4, 9, 6)
    mask = (np.arange(9) < [[9], [4], [1], [0]]).astype(DATATYPES[word][2])
    array[mask == 0] = np.nan
    expected = mean(array, mask)
    expected[:3] /= np.linalg.norm(expected[:3], axis=1, keepdims=True)
    (got,) = finish(steps, array, attention_mask=mask)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert got[3].tolist() == [0] * 6


def test_mean_pool_takes_the_mask_that_it_is_told() -> None:
    array, mask = random(2, 3, 6).astype(np.float16), np.array([[1, 0, 1], [0, 0, 1]], np.int32)
    steps = compiled('mean_pool { mask: "real" }', TensorType("FP16", (3, 6)), inputs={"real": TensorType("INT32", (3,))})
    np.testing.assert_allclose(finish(steps, array, real=mask)[0], mean(array, mask), rtol=1e-5)
    bare = finish(steps, array[:1].copy(), real=mask[0])  # a graph without a batch axis
    np.testing.assert_allclose(bare[0], mean(array[:1], mask[:1]), rtol=1e-5)


def test_mean_pool_is_rejected_where_it_has_no_tokens_or_no_mask() -> None:
    assert "it takes [tokens, size], and is given FP32[10]: leave it out" in rejected("mean_pool {}")
    assert "mask is 'attention_mask', and the graph has no such input: name one of its inputs: none" in rejected(
        "mean_pool {}", TOKENS, inputs={}
    )
    assert "name one of its inputs: 'input_ids', 'attention_mask'" in rejected('mean_pool { mask: "mask" }', TOKENS)
    for kind in (TensorType("BYTES", (-1,)), TensorType("INT64", ()), TensorType("INT64", (-1, 1)), TensorType("INT64", (8,))):
        message = rejected("mean_pool {}", TensorType("FP32", (9, 6)), inputs={"attention_mask": kind})
        assert f"mask 'attention_mask' is {kind}; it must hold a number for each token of FP32[9,6]" in message


# ---- another datatype -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "traps"), [("FP32", np.uint32(0x7F800001)), ("FP64", np.uint64(0x7FF0000000000001))])
@pytest.mark.parametrize(("target", "value"), [("FP16", math.nan), ("FP32", math.nan), ("FP64", math.nan), ("INT8", 0), ("UINT64", 0)])
def test_cast_says_nothing_of_a_nan_that_traps(source: str, traps: np.generic, target: str, value: float) -> None:
    """Warnings are errors here. Clients can send one, and a graph may let it through."""
    array = np.full((1, 2), traps).view(DATATYPES[source][2])
    (got,) = finish(compiled(f'cast {{ datatype: "{target}" }}', TensorType(source, (2,))), array)
    np.testing.assert_array_equal(got, np.full((1, 2), value).astype(got.dtype))


def test_cast_after_scores_and_of_integers() -> None:
    array = random(3, 10)
    (got,) = finish(compiled('softmax {}; cast { datatype: "FP64" }'), array)
    np.testing.assert_allclose(got, softmax(array), rtol=2e-6)
    (got,) = finish(compiled('cast { datatype: "UINT8" }', TensorType("INT64", (2,))), np.array([[-5, 300]]))
    assert got.tolist() == [[0, 255]]
    (got,) = finish(compiled('cast { datatype: "FP32" }; top_k { k: 1 }', TensorType("INT64", (2,))), np.array([[-5, 300]]))[:1]
    assert got.tolist() == [[300.0]]


ENDS = [0, 0.5, 0.99, 1, 2.5, 127, 127.5, 128, 128.9, 129, 255, 255.9, 256, 65504, 65519, 65520, 70000, 3.4e38, 1e300]
ENDS += [2.0**31 - 1, 2.0**31, 2.0**31 + 1, 2.0**53, 2.0**63 - 1024, 2.0**63, 2.0**64]


def limited(value: Any, target: str) -> Any:
    """A Python number as the datatype has it."""
    dtype = DATATYPES[target][2]
    if dtype.kind == "b":
        return value != 0
    if dtype.kind == "f":
        most = float(np.finfo(dtype).max)
        return value if value != value else float(dtype.type(max(-most, min(most, value))))
    if value != value:
        return 0
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return high if value > high else low if value < low else int(value)


@pytest.mark.parametrize("source", CASTS)
def test_cast_limits_what_does_not_fit(source: str) -> None:
    dtype = DATATYPES[source][2]
    if dtype.kind == "f":
        array = np.array([*(sign * end for end in ENDS if end <= float(np.finfo(dtype).max) for sign in (1.0, -1.0)), math.nan], dtype)
    elif dtype.kind == "b":
        array = np.array([False, True])
    else:
        low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        around = [sign * 2**bits + more for bits in range(65) for sign in (-1, 1) for more in (-1, 0, 1)]
        array = np.array([value for value in [0, low, high, 65504, 65505, 70000, *around] if low <= value <= high], dtype)
    for target in CASTS:
        (got,) = finish(compiled(f'cast {{ datatype: "{target}" }}', TensorType(source, ())), array)
        np.testing.assert_array_equal(got, np.array([limited(value, target) for value in array.tolist()], got.dtype), target)


@pytest.mark.parametrize("word", ["", "BYTES", "float32", "BF16"])
def test_cast_names_what_it_can_give(word: str) -> None:
    assert f"steps[0] (cast): datatype is {word!r}; it must be one of FP16, FP32, " in rejected(f'cast {{ datatype: "{word}" }}')


# ---- lists that make no sense ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step", ["softmax {}", "top_k {}", "argmax {}", "mean_pool {}", "l2_normalize {}", "detect_boxes {}", "sigmoid {}"]
)
@pytest.mark.parametrize(
    ("word", "cure"), [("INT64", "put a cast to FP32 before it"), ("BYTES", "export"), ("BF16", "export"), ("BOOL", "cast")]
)
def test_scores_are_floats(step: str, word: str, cure: str) -> None:
    message = rejected(step, TensorType(word, (10,)))
    assert f"({step.split()[0]}): it takes FP16, FP32 or FP64, and is given {word}[10]: " in message
    assert cure in message


def test_a_step_over_labels_is_led_to_the_scores() -> None:
    outputs = {"label": TensorType("INT64", ()), "probabilities": SCORES}
    with pytest.raises(ConfigError, match=r"is given INT64\[\]: name the output that has a score for each class: 'probabilities' \(FP32\["):
        compile_output(options.Postprocess(output="label", steps=[options.OutputStep(argmax={})]), EntryPlace("m", outputs))


def test_what_is_over_is_over() -> None:
    assert rejected("top_k {}; softmax {}") == "steps[1] (softmax): nothing can follow top_k: make that the last step"
    assert "leave drop alone in its list" in rejected("drop {}; drop {}")
    assert "steps[1] (drop): an output that clients do not get needs no other step" in rejected("softmax {}; drop {}")
    assert "steps[0] (drop)" in rejected("drop {}; softmax {}")
    assert "steps[1] (softmax): it takes FP16, FP32 or FP64, and is given INT64[1]: leave it out" in rejected("argmax {}; softmax {}")
    with pytest.raises(ConfigError, match=r"steps\[0\] \(empty\): it names no step: remove it, or name one of softmax, .*drop"):
        compile_output(options.Postprocess(steps=[options.OutputStep()]), EntryPlace("m", {"scores": SCORES}))


def test_axes_that_are_needed_are_there() -> None:
    for step in ("softmax {}", "l2_normalize {}", "top_k {}", "argmax {}"):
        assert "it works along an axis, and is given FP32[], one number a row: leave it out" in rejected(step, TensorType("FP32", ()))
    for step in ("top_k {}", "argmax {}"):
        free = rejected(step, TensorType("FP32", (-1,)))
        assert "it is given FP32[-1], whose last axis has no fixed size" in free
        assert "write the size into the output's dims in the configuration, or export the graph with it" in free
        assert "which is empty: leave it out" in rejected(step, TensorType("FP32", (0,)))


@pytest.mark.parametrize("axis", [0, 1, 2, -3])
def test_each_step_works_along_the_axis_that_it_is_told(axis: int, folder: Path) -> None:
    array, kind = random(2, 10, 10, 10), TensorType("FP32", (10, 10, 10))
    along = axis + 1 if axis >= 0 else axis
    by_axis = np.moveaxis(array, along, -1)
    (best,) = finish(compiled(f"argmax {{ axis: {axis} }}", kind), array)
    np.testing.assert_array_equal(best, array.argmax(axis=along, keepdims=True))
    values, places, labels = finish(compiled(f'top_k {{ k: 3 labels: "labels.txt" axis: {axis} }}', kind, folder), array)
    np.testing.assert_array_equal(places, np.argsort(-array, axis=along, kind="stable").take(range(3), along))
    np.testing.assert_array_equal(values, np.take_along_axis(array, places, along))
    assert labels[0, 0, 0, 0] == f"thing {places[0, 0, 0, 0]}"
    (shares,) = finish(compiled(f"softmax {{ axis: {axis} }}", kind), array)
    np.testing.assert_allclose(shares, np.moveaxis(softmax(by_axis), -1, along), rtol=2e-6)
    (unit,) = finish(compiled(f"l2_normalize {{ axis: {axis} }}", kind), array)
    np.testing.assert_allclose(unit, array / np.linalg.norm(array, axis=along, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("step", ["softmax", "l2_normalize", "top_k", "argmax"])
def test_an_axis_that_may_be_another_is_asked_for(step: str) -> None:
    segments = TensorType("FP32", (21, -1, 520))
    choices = "write axis = 0 (of 21) or axis = 1 (of any size) or axis = 2 (of 520)"
    assert rejected(f"{step} {{}}", segments).endswith(
        f"it works along one axis, and is given FP32[21,-1,520], which has several: {choices}"
    )
    assert rejected(f"{step} {{ axis: 3 }}", segments).endswith(f"axis is 3, and it is given FP32[21,-1,520]: {choices}")
    assert rejected(f"{step} {{ axis: -4 }}", segments).endswith(choices)


def test_an_axis_of_size_1_is_no_choice() -> None:
    """As of classifiers that end with a pool: the largest of one number would always be the first."""
    array = random(2, 10)
    for shape in ((10, 1, 1), (1, 10)):
        (best,) = finish(compiled("argmax {}", TensorType("FP32", shape)), array.reshape(2, *shape))
        assert best.reshape(-1).tolist() == array.argmax(axis=1).tolist()


def test_k_is_at_most_the_classes() -> None:
    assert rejected("top_k { k: 11 }") == "steps[0] (top_k): k is 11, and the last axis of FP32[10] has 10: write k = 10, or less"
    assert "k is 5, the default, and the last axis of FP32[3] has 3: write k = 3, or less" in rejected("top_k {}", TensorType("FP32", (3,)))


@pytest.mark.parametrize("lines", [9, 11])
@pytest.mark.parametrize("step", ["top_k", "argmax"])
def test_labels_are_as_many_as_classes(step: str, lines: int, tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("\n".join(f"thing {number}" for number in range(lines)))
    message = rejected(f'{step} {{ labels: "some.txt" }}', folder=tmp_path)
    assert f"labels 'some.txt' has {lines} lines, from 'thing 0' to 'thing {lines - 1}', and the last axis of FP32[10] has 10" in message


def test_labels_that_cannot_be_read_are_an_error_of_the_step(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"one\n\xff\n")
    assert "steps[1] (top_k): labels 'bad.txt', line 2: not UTF-8" in rejected('softmax {}; top_k { labels: "bad.txt" }', folder=tmp_path)
    assert "steps[0] (argmax): there is no file 'gone.txt'" in rejected('argmax { labels: "gone.txt" }', folder=tmp_path)
    assert "steps[0] (argmax): '../bad.txt' must lie in the model's folder" in rejected('argmax { labels: "../bad.txt" }', folder=tmp_path)
