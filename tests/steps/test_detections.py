"""The step detect_boxes: which axis is which, what clients get, labels, and every rejection. The boxes: tests/_core/media/test_boxes.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.tensor import Tensors
from inferd.errors import ConfigError
from inferd.protocol import options
from inferd.steps.detections import MAX_BOXES
from inferd.steps.outputs import OutputSteps, compile_output
from inferd.steps.pipeline import Array, EntryPlace, TensorType

OBJECT = [10.0, 20.0, 4.0, 8.0]  # centre and size
CORNERS = [8.0, 16.0, 12.0, 24.0]


def compiled(step: str, shape: tuple[int, ...], folder: Path | None = None, datatype: str = "FP32", before: str = "") -> OutputSteps:
    entry = text_format.Parse(f'output: "y" name: "found" {before} steps {{ detect_boxes {{ {step} }} }}', options.Postprocess())
    return compile_output(entry, EntryPlace("m", {"y": TensorType(datatype, shape)}, (folder,) if folder else ()))


def finish(steps: OutputSteps, array: Array) -> dict[str, Array]:
    results = steps.finish(array, {})
    for result, (_, kind) in zip(results, steps.outputs, strict=True):
        assert result.dtype == DATATYPES[kind.datatype][2]
        assert result.shape == (len(array), *kind.shape)
    Tensors(results, [kind.datatype for _, kind in steps.outputs], True, len(array))
    return {name.removeprefix("found"): result for result, (name, _) in zip(results, steps.outputs, strict=True)}


def rejected(step: str, shape: tuple[int, ...], folder: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        compiled(step, shape, folder)
    message = str(caught.value)
    assert message.startswith("m: steps[0] (detect_boxes): ")
    return message.removeprefix("m: steps[0] (detect_boxes): ")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "three.txt").write_text("cat\ndog\ncow\n")
    return tmp_path


# ---- what clients get -----------------------------------------------------------------------------------------------


def test_what_is_promised(folder: Path) -> None:
    assert compiled("", (84, 8400)).outputs == (
        ("found", TensorType("FP32", (100, 4))),
        ("found_score", TensorType("FP32", (100,))),
        ("found_class", TensorType("INT64", (100,))),
        ("found_count", TensorType("INT32", (1,))),
    )
    with_labels = compiled('max_boxes: 7 labels: "three.txt"', (7, 50), folder).outputs
    assert with_labels[-1] == ("found_label", TensorType("BYTES", (7,)))
    assert with_labels[0] == ("found", TensorType("FP32", (7, 4)))


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_center_classes_as_it_lies_and_transposed(datatype: str, folder: Path) -> None:
    array = np.zeros((2, 50, 7), DATATYPES[datatype][2])
    array[0, 11] = [*OBJECT, 0.25, 0.75, 0]
    array[0, 12] = [*OBJECT, 0.25, 0.5, 0]
    array[1, 49] = [*OBJECT, 0, 0, 0.5]
    step = 'labels: "three.txt" max_boxes: 3'
    for got in (
        finish(compiled(step, (50, 7), folder, datatype), array),
        finish(compiled(step, (7, 50), folder, datatype), array.transpose(0, 2, 1)),
        finish(compiled(step, (-1, 7), folder, datatype), array),
        finish(compiled(step, (7, -1), folder, datatype), array.transpose(0, 2, 1)),
    ):
        assert got["_count"].tolist() == [[1], [1]]
        assert got[""].tolist() == [[CORNERS, [0] * 4, [0] * 4], [CORNERS, [0] * 4, [0] * 4]]
        assert got["_score"].tolist() == [[0.75, 0, 0], [0.5, 0, 0]]
        assert got["_class"].tolist() == [[1, 0, 0], [2, 0, 0]]
        assert got["_label"].tolist() == [["dog", "", ""], ["cow", "", ""]]


@pytest.mark.parametrize(
    ("shape", "transposed"), [((84, 8400), True), ((8400, 84), False), ((84, -1), True), ((-1, 84), False), ((9, 9), False)]
)
def test_without_labels_the_fixed_or_the_smaller_axis_is_of_the_classes(shape: tuple[int, int], transposed: bool) -> None:
    sizes = tuple(60 if size < 0 else size for size in shape)
    array = np.zeros((1, *sizes), np.float32)
    rows = array.transpose(0, 2, 1) if transposed else array
    rows[0, 3, :5] = [*OBJECT, 0.5]
    got = finish(compiled("", shape), array)
    assert got["_count"].tolist() == [[1]]
    assert got[""][0, 0].tolist() == CORNERS


def test_objectness_and_corners(folder: Path) -> None:
    array = np.zeros((1, 4, 8), np.float32)
    array[0, 2] = [*OBJECT, 0.5, 0, 0, 0.75]
    got = finish(compiled('layout: CENTER_OBJECTNESS_CLASSES labels: "three.txt"', (4, 8), folder), array)
    assert (got["_score"][0, 0], got["_label"][0, 0]) == (0.375, "cow")
    array = np.zeros((1, 2, 6), np.float32)
    array[0] = [[*CORNERS, 0.5, 1], [*CORNERS, 0.75, 3]]
    got = finish(compiled('layout: CORNERS_SCORE_CLASS labels: "three.txt"', (2, 6), folder), array)
    assert got["_class"][0, :3].tolist() == [3, 1, 0]
    assert got["_label"][0, :3].tolist() == ["", "dog", ""]  # no line for class 3


def test_thresholds_and_their_defaults() -> None:
    array = np.zeros((1, 3, 6), np.float32)
    array[0] = [[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 5, 0.8, 0], [50, 50, 60, 60, 0.25, 0]]
    layout = "layout: CORNERS_SCORE_CLASS "
    assert finish(compiled(layout, (3, 6)), array)["_count"].tolist() == [[1]]  # they overlap by a half, and that scores no more
    assert finish(compiled(layout + "overlap_threshold: 0.5", (3, 6)), array)["_count"].tolist() == [[2]]
    assert finish(compiled(layout + "overlap_threshold: 1 score_threshold: 0.2", (3, 6)), array)["_count"].tolist() == [[3]]
    assert finish(compiled(layout + "score_threshold: 0.85", (3, 6)), array)["_count"].tolist() == [[1]]
    assert finish(compiled(layout + "overlap_threshold: 1 max_boxes: 1", (3, 6)), array)["_score"].tolist() == [[np.float32(0.9)]]


def test_scores_may_be_made_by_a_step_before() -> None:
    array = np.full((1, 30, 6), -20, np.float32)
    array[0, 0] = 20
    got = finish(compiled("", (30, 6), before="steps { sigmoid {} }"), array)
    assert got["_count"].tolist() == [[1]]


def test_a_threshold_above_1_is_for_scores_that_can_be_larger() -> None:
    assert compiled("score_threshold: 2", (30, 6)).outputs
    assert compiled("score_threshold: 1", (30, 6), before="steps { sigmoid {} }").outputs
    for before in ("sigmoid {}", "softmax { axis: 1 }"):
        with pytest.raises(ConfigError, match=r"score_threshold is 2; it must be a number above 0 and at most 1, or 0 for 0.25"):
            compiled("score_threshold: 2", (30, 6), before=f"steps {{ {before} }}")


# ---- rejections -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(84,), (1, 84, 8400)])
@pytest.mark.parametrize("layout", options.DetectBoxes.Layout.keys())
def test_a_rank_that_is_wrong(shape: tuple[int, ...], layout: str) -> None:
    shown = ",".join(map(str, shape))
    assert f"layout {layout} is [boxes, values], and it is given FP32[{shown}]: export" in rejected(f"layout: {layout}", shape)


@pytest.mark.parametrize(
    ("step", "shape", "why"),
    [
        ("", (4, 100), "layout CENTER_CLASSES is [boxes, 4 + classes], or its transpose, and it is given FP32[4,100]: name another layout"),
        ("", (-1, 4), "layout CENTER_CLASSES is [boxes, 4 + classes]"),
        ("", (-1, -1), "one axis must have a fixed size, to know the classes"),
        (
            "layout: CENTER_OBJECTNESS_CLASSES",
            (100, 5),
            "layout CENTER_OBJECTNESS_CLASSES is [boxes, 5 + classes], and it is given FP32[100,5]",
        ),
        ("layout: CENTER_OBJECTNESS_CLASSES", (100, -1), "whose last axis has no fixed size, and needs it to know what a box's values are"),
        ("layout: CORNERS_SCORE_CLASS", (100, 7), "is [boxes, 6] (x1, y1, x2, y2, score, class), and it is given FP32[100,7]"),
        ("layout: CORNERS_SCORE_CLASS", (6, 100), "is [boxes, 6] (x1, y1, x2, y2, score, class), and it is given FP32[6,100]"),
        (
            'labels: "three.txt"',
            (84, 8400),
            "it has 3 labels, so that layout CENTER_CLASSES is [boxes, 7], or its transpose, and it is given",
        ),
        ('labels: "three.txt" layout: CENTER_OBJECTNESS_CLASSES', (9, 85), "labels 'three.txt' has 3 lines, and FP32[9,85] has 80 classes"),
        ('labels: "none.txt"', (84, 8400), "there is no file 'none.txt' in the model's folder"),
        ("score_threshold: -0.1", (84, 8400), "score_threshold is -0.1; it must be a number above 0, or 0 for 0.25"),
        ("score_threshold: nan", (84, 8400), "score_threshold is nan"),
        ("score_threshold: inf", (84, 8400), "score_threshold is inf"),
        ("overlap_threshold: 1.5", (84, 8400), "overlap_threshold is 1.5; it must be a number above 0 and at most 1, or 0 for 0.45"),
        ("overlap_threshold: nan", (84, 8400), "overlap_threshold is nan"),
        (f"max_boxes: {MAX_BOXES + 1}", (84, 8400), f"max_boxes is {MAX_BOXES + 1}; the most is {MAX_BOXES}"),
        ("max_boxes: 4294967295", (84, 8400), f"the most is {MAX_BOXES}"),
    ],
)
def test_what_cannot_be(step: str, shape: tuple[int, ...], why: str, folder: Path) -> None:
    assert why in rejected(step, shape, folder)


def test_a_layout_of_a_later_version() -> None:
    entry = options.Postprocess(output="y")
    entry.steps.add().detect_boxes.layout = 9  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="layout 9 is none: name one of CENTER_CLASSES, "):
        compile_output(entry, EntryPlace("m", {"y": TensorType("FP32", (84, 8400))}))
