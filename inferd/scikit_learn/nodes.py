"""The nodes that a step becomes where skl2onnx has none for it, or wrong ones. It asks a step for `onnx_converter` before it looks for
its own. Never in here: which steps these are (imputers.py, encoders.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from inferd.scikit_learn.trained import library
from inferd.tensors import Array


def become(step: Any, write: Callable[[Nodes], str], width: int) -> None:
    """Has skl2onnx convert a step so. write: adds the nodes, and gives the name of their result, [rows, `width`] of `Nodes.floats`."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        container.add_node("Identity", write(Nodes(scope, operator, container)), operator.outputs[0].full_name)

    def settle_shape(operator: Any) -> None:
        types = library("skl2onnx.common.data_types")
        kind = types.DoubleTensorType if takes_fp64(operator) else types.FloatTensorType
        operator.outputs[0].type = kind([None, width])

    step.onnx_converter = lambda: convert
    step.onnx_shape_calculator = lambda: settle_shape


def takes_fp64(operator: Any) -> bool:
    """Whether any of what comes into a step is FP64."""
    types = library("skl2onnx.common.data_types")
    return any(isinstance(each.type, types.DoubleTensorType) for each in operator.inputs)


class Nodes:
    """Adds the nodes that one step becomes. floats: NumPy's type of its numbers."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self._scope, self._operator, self._container = scope, operator, container
        self.floats: Any = np.float64 if takes_fp64(operator) else np.float32

    def add(self, operator: str, *inputs: str | Array, domain: str = "", **attributes: Any) -> str:
        """The name of a node's output; an array among the inputs is a constant."""
        (found,) = self.add_several(operator, *inputs, outputs=1, domain=domain, **attributes)
        return found

    def add_several(self, operator: str, *inputs: str | Array, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """The names of a node's outputs."""
        names = [each if isinstance(each, str) else self._constant(each) for each in inputs]
        found = [self._scope.get_unique_variable_name(operator.lower()) for _ in range(outputs)]
        name = self._scope.get_unique_operator_name(operator)
        self._container.add_node(operator, names, found, op_domain=domain, name=name, **attributes)
        return found

    def _constant(self, values: Array) -> str:
        name: str = self._scope.get_unique_variable_name("constant")
        self._container.add_initializer(name, None, None, library("onnx.numpy_helper").from_array(values, name))
        return name

    def cast(self, name: str, dtype: Any) -> str:
        return self.add("Cast", name, to=library("onnx.helper").np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def side_by_side(self, names: list[str]) -> str:
        return names[0] if len(names) == 1 else self.add("Concat", *names, axis=1)

    def numbers(self) -> str:
        """All that comes into the step, [rows, columns] of `floats`. Raises NotImplementedError where texts do."""
        types = library("skl2onnx.common.data_types")
        if any(isinstance(each.type, types.StringTensorType) for each in self._operator.inputs):
            raise NotImplementedError("it is given texts, and has a graph for numbers alone")
        is_one = types.DoubleTensorType if self.floats is np.float64 else types.FloatTensorType
        names = [(each.full_name, isinstance(each.type, is_one)) for each in self._operator.inputs]
        return self.side_by_side([name if is_there else self.cast(name, self.floats) for name, is_there in names])

    def columns(self) -> Iterator[tuple[str, bool]]:
        """Each column that comes into the step, [rows, 1], as it comes, and whether it is of texts."""
        types = library("skl2onnx.common.data_types")
        for each in self._operator.inputs:
            is_text, width = isinstance(each.type, types.StringTensorType), each.type.shape[1]
            for place in range(width):
                yield each.full_name if width == 1 else self.picked(each.full_name, [place]), is_text

    def picked(self, name: str, places: Any) -> str:
        """These columns of [rows, columns]."""
        return self.add("Gather", name, np.asarray(places, dtype=np.int64), axis=1)

    def over_columns(self, reduce: str, name: str) -> str:
        """ReduceSum or ReduceMax of each row, [rows, 1]."""
        return self.add(reduce, name, np.array([1]), keepdims=1)
