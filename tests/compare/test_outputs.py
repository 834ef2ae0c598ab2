"""What two responses differ in: values, decisions, ranks; and that parts add up to the whole."""

from __future__ import annotations

from functools import reduce

import msgspec
import numpy as np
import pytest

from inferd.compare.outputs import ARGMAX, MOST, MOST_MISMATCHES, NONE, RANKED, Difference, Rule, compare

RNG = np.random.default_rng(23)


def one(expected, got, rule=None, word="", **options):
    """The difference of the only output."""
    arrays = ({"y": np.asarray(expected)}, {"y": np.asarray(got)})
    return compare(*arrays, {"y": rule or Rule()}, {"y": word}, **options).outputs["y"]


def floats(values):
    return np.asarray(values, np.float32)


def test_values_against_numpy() -> None:
    expected = RNG.normal(size=(50, 7)).astype(np.float32)
    got = (expected * RNG.choice([1, 1 + 1e-3], p=[0.9, 0.1], size=expected.shape)).astype(np.float32)
    found = one(expected, got, Rule(absolute=1e-5, relative=1e-4))
    difference = np.abs(got.astype(np.float64) - expected)
    assert found.changed_rows == np.count_nonzero(~np.isclose(got, expected, 1e-4, 1e-5).all(axis=1)) > 0
    assert (found.max_absolute, found.mean_absolute) == pytest.approx((difference.max(), difference.mean()))
    assert found.max_relative == pytest.approx(1e-3, rel=1e-2)
    assert found.relative_rms == pytest.approx(np.sqrt((difference**2).mean() / (expected.astype(np.float64) ** 2).mean()))


@pytest.mark.parametrize(
    ("expected", "got", "rule", "decisions", "flips", "margin"),
    [
        pytest.param([[0.6, 0.4], [0.1, 0.9]], [[0.4, 0.6], [0.2, 0.8]], Rule(), 2, 1, 0.2, id="argmax"),
        pytest.param([[0.50001, 0.5]], [[0.5, 0.50001]], Rule(), 1, 0, 0.0, id="a tie"),
        pytest.param([0.7, 0.2], [0.4, 0.3], Rule(), 2, 1, 0.2, id="a probability"),
        pytest.param([7.0, 0.2], [0.4, 0.3], Rule(), 2, 0, 6.5, id="numbers that are no probabilities decide nothing"),
        pytest.param([7.0, 2.0], [4.0, 3.0], Rule(decide=5), 2, 1, 2.0, id="a threshold"),
        pytest.param([[0.6, 0.4]], [[0.4, 0.6]], Rule(decide=NONE), 0, 0, 0.0, id="an embedding"),
        pytest.param([0.1, 0.9], [0.9, 0.1], Rule(decide=ARGMAX), 1, 1, 0.8, id="classes without a batch axis"),
    ],
)
def test_decisions(expected, got, rule, decisions, flips, margin) -> None:
    found = one(floats(expected), floats(got), rule)
    assert (found.decisions, found.flips, found.max_flip_margin) == (decisions, flips, pytest.approx(margin))


@pytest.mark.parametrize("labels", [np.array([1, 2, 3]), np.array([True, False, True]), np.array([b"a", b"b", b"c"], object)])
def test_a_label_is_a_decision(labels) -> None:
    got = labels.copy()
    got[1] = labels[2] if labels.dtype.kind == "O" else not labels[1]
    found = one(labels, got)
    assert (found.decisions, found.flips, found.changed_rows, found.values) == (3, 1, 1, 0)


@pytest.mark.parametrize("classes", [6, 100])
def test_ranks_are_of_the_first_five(classes) -> None:
    expected = RNG.permuted(np.tile(np.arange(classes, dtype=np.float32), (30, 1)), axis=1)
    got = expected.copy()
    got[0][expected[0] == classes - 2] = classes - 4.5  # the second becomes the fourth
    got[1][expected[1] == classes - 6] -= 0.25  # the sixth stays so
    found = one(expected, got)
    assert (found.rankings, found.rank_changes, found.flips, found.changed_rows) == (30, 1, 0, 2)


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        (floats([[1, 2]]), floats([[1, 2, 3]]), "shape [1, 2] became [1, 3]"),
        (floats([1]), np.array([1]), "datatype FP32 became INT64"),
    ],
)
def test_what_cannot_be_compared_says_why(expected, got, words) -> None:
    found = compare({"y": expected}, {"y": got})
    assert (found.outputs["y"].mismatches, found.mismatched, found.changed, found.excess) == ({words: 1}, 1, 1, MOST)


def test_an_output_that_one_side_lacks() -> None:
    found = compare({"a": floats([1])}, {"b": floats([1])})
    assert [list(output.mismatches) for output in found.outputs.values()] == [["only OLD has it"], ["only NEW has it"]]


def test_what_is_not_finite_must_be_the_same() -> None:
    nan, inf = float("nan"), float("inf")
    found = one(floats([[nan], [inf], [-inf], [nan], [1], [1]]), floats([[nan], [inf], [inf], [0], [inf], [1]]))
    assert (found.not_finite, found.changed_rows, found.values, found.max_absolute) == (3, 3, 1, 0.0)


def test_bfloat16_is_compared_as_numbers() -> None:
    expected = floats([1.0, -2.0, 3.0]).view(np.uint32) >> 16
    got = floats([1.0, -2.0, 4.0]).view(np.uint32) >> 16
    found = one(expected.astype(np.uint16), got.astype(np.uint16), word="BF16")
    assert (found.max_absolute, found.changed_rows) == (1.0, 1)


def test_half_precision_has_a_tolerance_of_its_own_rounding() -> None:
    expected = np.array([[1.0], [2.0]], np.float16)
    assert one(expected, np.nextafter(expected, np.float16(9))).changed_rows == 0
    assert one(floats([[1.0]]), floats([[1.001]])).changed_rows == 1


@pytest.mark.parametrize("shape", [(0, 3), (1,), (), (2, 3, 4)])
def test_any_shape(shape) -> None:
    values = RNG.random(shape, np.float32)
    found = one(values, values.copy())
    assert (found.changed_rows, found.flips, found.rank_changes, found.not_finite) == (0, 0, 0, 0)
    assert one(values, values, batched=False).rows == 1


def test_parts_add_up_to_the_whole() -> None:
    expected = {"p": RNG.random((40, 3), np.float32), "label": RNG.integers(0, 3, 40)}
    got = {"p": expected["p"] + RNG.choice([0, 0.2], p=[0.8, 0.2], size=(40, 3)).astype(np.float32), "label": expected["label"] ^ 1}
    parts = [({n: a[i : i + 5] for n, a in expected.items()}, {n: a[i : i + 5] for n, a in got.items()}) for i in range(0, 40, 5)]
    whole, total = compare(expected, got), Difference()
    reduce(lambda _, part: total.merge(compare(*part)), parts, None)
    assert (total.requests, total.changed, total.flipped) == (8, 8, 8)
    for name, output in whole.outputs.items():
        for field in output.__struct_fields__:
            if field != "requests":
                assert getattr(total.outputs[name], field) == pytest.approx(getattr(output, field)), field
    assert msgspec.json.decode(msgspec.json.encode(total), type=Difference) == total


def test_mismatches_are_counted_beyond_the_texts_that_are_kept() -> None:
    total = Difference()
    for length in [*range(1000), 0]:
        total.merge(compare({"y": floats([])}, {"y": np.zeros((1, length))}))
    twice = Difference()
    for _ in range(2):
        twice.merge(total)
    for found, times in (total, 1), (twice, 2):
        output = found.outputs["y"]
        assert (len(output.mismatches), sum(output.mismatches.values())) == (MOST_MISMATCHES, times * (MOST_MISMATCHES + 1))
        assert (output.mismatched, found.mismatched) == (1001 * times, 1001 * times)


def test_values_at_the_end_of_the_scale_stay_numbers_in_json() -> None:
    total = compare({"y": np.array([[1e308], [-1e308]])}, {"y": np.array([[-1e308], [1e308]])})
    total.merge(total)
    assert msgspec.json.decode(msgspec.json.encode(total), type=Difference) == total


def test_the_worst_request_is_last() -> None:
    old = floats([[0.9, 0.1]])
    responses = {
        "same": old,
        "a value": floats([[0.8, 0.2]]),
        "an unsure flip": floats([[0.1, 0.2]]),
        "another shape": floats([[1]]),
    }
    found = [(compare({"y": old}, {"y": new}).badness, name) for name, new in responses.items()]
    assert [name for _, name in sorted(found)] == list(responses)


TEXTS = ["cat", "däg", "cat"]
FORMS = {
    "bytes": np.array([each.encode() for each in TEXTS], object),
    "str": np.array(TEXTS, object),
    "numpy's text": np.array(TEXTS),
    "numpy's bytes": np.array([each.encode() for each in TEXTS]),
}


@pytest.mark.parametrize("got", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("expected", FORMS.values(), ids=FORMS)
def test_text_is_the_same_in_each_form(expected, got) -> None:
    found = one(expected, got)
    assert (found.decisions, found.flips, found.changed_rows, found.mismatches) == (3, 0, 0, {})
    assert one(expected, got[::-1]).flips == 0
    assert one(expected, np.array(["cat", "dog", "cat"], object)).flips == 1


def test_text_and_numbers_cannot_be_compared() -> None:
    found = one(np.array([b"1"], object), np.array([1]))
    assert found.mismatches == {"datatype BYTES became INT64": 1}


def test_ranks_are_one_decision() -> None:
    expected, got = (np.array(rows, object) for rows in ([["a", "b", "c"]] * 4, [["a", "c", "b"]] * 3 + [["b", "a", "c"]]))
    found = compare({"y": expected}, {"y": got}, {"y": Rule(decide=RANKED)})
    output = found.outputs["y"]
    assert (output.decisions, output.flips, output.rankings, output.rank_changes) == (4, 1, 4, 4)
    reordered = compare({"y": expected[:3]}, {"y": got[:3]}, {"y": Rule(decide=RANKED)})
    assert (reordered.changed, reordered.flipped) == (0, 0)


def test_a_label_and_its_scores_are_one_decision() -> None:
    """Rows: the same; both flip; only the label does; only the scores do; a tie, which flips nothing."""
    expected = {"label": np.array([0, 0, 0, 0, 0]), "p": floats([[0.9, 0.1]] * 4 + [[0.5, 0.5]])}
    got = {"label": np.array([0, 1, 1, 0, 1]), "p": floats([[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])}
    found = compare(expected, got, {"p": Rule(of="label")})
    label, scores = found.outputs.values()
    assert (label.decisions, label.flips, label.max_flip_margin) == (5, 3, pytest.approx(0.8))
    assert (scores.decisions, scores.flips, scores.joined, scores.rank_changes) == (0, 0, True, 2)
    apart = compare(expected, got)
    assert [each.flips for each in apart.outputs.values()] == [3, 2]
