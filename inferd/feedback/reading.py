"""The prediction in a response: which of its outputs has it, and what it says of each row.

    label      an output of text, or else of whole numbers, with one element a row: the class
    classes    else the only output of floats, with several a row: the class is the place of the highest one
    number     else the same output with one a row: a number, or the probability of one of two classes
    ranks      an output of a step `top_k`: the first label

A class has the name that the model's label file has for its place, or else its place as text. Floats beside a label are its probabilities
where no other output has the same form. They are kept if all of them lie from 0 to 1. Never in here: files, which responses are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inferd.compare.decisions import ranked_by
from inferd.compare.outputs import LABEL, NUMBER, RANKED, TEXT, Rule, decisions_of
from inferd.feedback.label import MAX_CHARS
from inferd.feedback.prediction import MAX_NBYTES, Prediction
from inferd.record.decoded import Tensor, outputs_of
from inferd.tensors import Array, as_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd._core.batching.tap import Tapped
    from inferd.protocol.inference import ModelConfig

MAX_ROWS = 4096  # of a request
MAX_CLASSES = 1000  # whose probabilities are kept
FLOATS = ("FP16", "FP32", "FP64", "BF16")
SLICED = ("BYTES", "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
NO_SLICE = "\N{EM DASH}"  # the value of a row that has none


class Output(NamedTuple):
    """An output that has the prediction. classes: the names of places, from the model's label file."""

    name: str
    word: str
    rule: Rule
    classes: Sequence[str] = ()


class Reading:
    """Reads the responses of one version. outputs: name, datatype and shape of each. classes: the lines of each output's label file.
    slices: names of inputs. main: None: the model has no prediction that a label could be compared with."""

    def __init__(
        self,
        outputs: Sequence[tuple[str, str, tuple[int, ...]]],
        config: ModelConfig | None = None,
        classes: Mapping[str, Sequence[str]] | None = None,
        slices: Sequence[str] = (),
    ) -> None:
        rules = ranked_by(config, [name for name, _, _ in outputs])
        self._slices = slices
        self._names: tuple[str, ...] = ()  # of the classes in the last response
        self.main = _main_of(outputs, rules, classes or {})
        self._beside = self._probabilities_of(outputs, rules)

    def _probabilities_of(self, outputs: Sequence[tuple[str, str, tuple[int, ...]]], rules: Mapping[str, Rule]) -> Output | None:
        """Floats beside a label."""
        if self.main is None or self.main.word in FLOATS or self.main.rule.decide == RANKED:
            return None
        found = [(name, word) for name, word, shape in outputs if word in FLOATS and name not in rules and len(shape) <= 2]
        return Output(*found[0], Rule()) if len(found) == 1 else None

    def read(self, tapped: Tapped, request_id: str, model: str, version: int, time_ns: int) -> Prediction | None:
        """None: the response has no prediction, or one that is too large."""
        rows = tapped.request.rows
        given = {tensor.name: tensor for tensor in outputs_of(tapped)[0]}
        if self.main is None or self.main.name not in given or not 0 < rows <= MAX_ROWS:
            return None
        found = self._of(given[self.main.name], rows)
        if found is None:
            return None
        predicted, probabilities, classes = found
        if self._beside is not None and self._beside.name in given:
            probabilities = _shares(_by_row(given[self._beside.name], rows))
        if isinstance(predicted, list) and (max(map(len, predicted)) > MAX_CHARS or 4 * sum(map(len, predicted)) > MAX_NBYTES):
            return None
        if probabilities is not None and (probabilities.shape[1] > MAX_CLASSES or 4 * probabilities.size > MAX_NBYTES):
            probabilities = None
        if probabilities is None:
            classes = ()
        return Prediction(request_id, model, version, time_ns, predicted, probabilities, classes, self._sliced(tapped, rows))

    def _of(self, tensor: Tensor, rows: int) -> tuple[list[str] | Array, Array | None, tuple[str, ...]] | None:
        """The prediction of each row, the probabilities of classes, and their names."""
        assert self.main is not None
        if tensor.datatype == "BYTES" and self.main.word != "BYTES":  # the client asked for classes, the highest one first
            ranks = tensor.array().reshape(rows, -1)[:, :1]
            return [_class_of(bytes(each[0])) for each in ranks], None, ()
        if self.main.word in FLOATS:
            return self._of_floats(_by_row(tensor, rows))
        array = tensor.array()
        if array.size == rows:
            array = array.reshape(rows)
        elif self.main.rule.decide == RANKED and array.size % rows == 0:
            array = array.reshape(rows, -1)
        else:
            return None
        return decisions_of(array, self.main.rule, tensor.datatype), None, ()

    def _of_floats(self, values: Array) -> tuple[list[str] | Array, Array | None, tuple[str, ...]] | None:
        assert self.main is not None
        width = values.shape[1]
        if width == 1:
            return values[:, 0], None, ()
        if not width:
            return None
        if len(self._names) != width:
            self._names = tuple(self.main.classes[:width]) if len(self.main.classes) >= width else tuple(map(str, range(width)))
        return [self._names[place] for place in values.argmax(axis=1).tolist()], _shares(values), self._names

    def _sliced(self, tapped: Tapped, rows: int) -> dict[str, list[str]]:
        if not self._slices:
            return {}
        found = {}
        for name, word, shape, data in tapped.request.sent():
            if name in self._slices and word in SLICED:
                values = Tensor(name, word, shape, data).array().reshape(-1)
                if len(values) == rows:
                    found[name] = [each[:MAX_CHARS] or NO_SLICE for each in decisions_of(values, Rule(), word)]
        return found


def _main_of(
    outputs: Sequence[tuple[str, str, tuple[int, ...]]], rules: Mapping[str, Rule], classes: Mapping[str, Sequence[str]]
) -> Output | None:
    for name, word, _ in outputs:
        if (rule := rules.get(name, Rule())).decide == RANKED and word == "BYTES":
            return Output(name, word, rule)
    for name, word, _ in outputs:
        if (rule := rules.get(name, Rule())).decide == RANKED:
            return Output(name, word, rule)
    by_kind: dict[str, list[Output]] = {TEXT: [], LABEL: [], NUMBER: []}
    for name, word, shape in outputs:
        if name not in rules and len(shape) <= 2:
            kind = TEXT if word == "BYTES" else NUMBER if word in FLOATS else LABEL
            by_kind[kind].append(Output(name, word, Rule(), classes.get(name, ())))
    first = next(filter(None, by_kind.values()), [])
    return first[0] if len(first) == 1 else None


def _by_row(tensor: Tensor, rows: int) -> Array:
    """float64 of shape (rows, width)."""
    numbers = as_numbers(tensor.array(), tensor.datatype)
    return numbers.reshape(rows, -1) if numbers.size % rows == 0 else numbers.reshape(rows, 0)


def _shares(values: Array) -> Array | None:
    """The values, if they can be probabilities."""
    possible = values.shape[1] > 1 and values.min() >= 0 and values.max() <= 1  # NaN is neither
    return values.astype(np.float32) if possible else None


def _class_of(rank: bytes) -> str:
    """The name, or else the place, in SCORE:PLACE:NAME."""
    _, place, *name = rank.decode(errors="replace").split(":", 2)
    return name[0] if name else place
