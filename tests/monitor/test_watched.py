"""Which features of a version are watched."""

from __future__ import annotations

from inferd._core.monitor.feature_counts import Reading, Side
from inferd._core.tensor.signature import Signature
from inferd.monitor.watched import MAX_FEATURES, Spec, features_of


def names(inputs: list[Spec], outputs: list[Spec] = [("y", "FP32", (-1, 1))]) -> list[str]:  # noqa: B006
    signature = Signature("m", "1", inputs, outputs, 8)
    return [feature.name for feature in features_of(signature, signature)]


def test_elements_of_short_rows() -> None:
    assert names([("x", "FP32", (-1, 3)), ("n", "INT64", (-1, 1))]) == ["x[0]", "x[1]", "x[2]", "n", "y", "repeated rows", "outliers"]


def test_summaries_of_long_rows_and_of_rows_of_any_length() -> None:
    found = names([("image", "FP32", (-1, 3, 32, 32)), ("ids", "INT64", (-1, -1))])
    assert found[:6] == ["mean of image", "spread of image", "pattern of image", "length of ids", "mean of ids", "spread of ids"]


def test_texts_and_their_lengths() -> None:
    assert names([("name", "BYTES", (-1, 1))])[:2] == ["name", "length of name"]


def test_probabilities_have_a_class() -> None:
    assert names([("x", "FP32", (-1, 1))], [("p", "FP32", (-1, 2))])[1:4] == ["class of p", "p[0]", "p[1]"]


def test_what_clients_send_and_what_the_graph_takes() -> None:
    clients = Signature("m", "1", [("file", "BYTES", (-1, 1))], [("y", "FP32", (-1, 1))], 8)
    graph = Signature("m", "1", [("pixels", "FP32", (-1, 100))], [("y", "FP32", (-1, 1))], 8)
    found = [(feature.side, feature.reading, feature.name) for feature in features_of(clients, graph)]
    assert found[:3] == [
        (Side.SENT, Reading.TEXT, "file"),
        (Side.SENT, Reading.LENGTH, "length of file"),
        (Side.TAKEN, Reading.MEAN, "mean of pixels"),
    ]


def test_they_are_bounded_and_outputs_keep_their_place() -> None:
    found = names([(f"x{number}", "FP32", (-1, 64)) for number in range(9)], [("p", "FP32", (-1, 60))])
    assert len(found) == MAX_FEATURES
    assert found[-3:] == ["p[59]", "repeated rows", "outliers"]
