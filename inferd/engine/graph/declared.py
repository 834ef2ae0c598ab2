"""Corrects the output shapes that a graph declares by those that trial runs have.

Some exporters declare wrong shapes: [1] for a label of each row, [N] for [N, 1]. Where onnxruntime knows no shape at all, it reports (), as
for a scalar. In both cases the runs are right.

Never in here: whether rows are independent (checks/probe.py), configurations.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from inferd.engine.checks.probe import made_rows
from inferd.engine.loading.load_faults import without_source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inferd.engine.runtime.runtime import LoadedModel, TensorInfo

log = logging.getLogger("inferd.engine")

TRIED_ROWS = (1, 2)  # rows of the trial runs
MAX_WORDS = 600  # characters of onnxruntime's text
_NO_FAULT = re.compile("Failed to allocate memory|bad_alloc|bad_array_new_length|terminate flag")  # the model is not at fault

Shape = tuple[int | str, ...]


def trust_runs(model: LoadedModel, which: str, *, tell: bool = True) -> None:
    """Changes outputs of `model.graph` whose declared shapes differ from those of trial runs. Does nothing where no made-up row runs.
    which: the model, for the log. tell: log each change."""
    graph = model.graph
    batched = bool(graph.inputs) and all(each.shape and isinstance(each.shape[0], str) for each in graph.inputs)
    seen = _seen(model, TRIED_ROWS if batched else TRIED_ROWS[:1])
    if not seen:
        return
    rows_name = graph.inputs[0].shape[0] if batched else ""
    sized = all(isinstance(size, int) for each in graph.inputs for size in each.shape[1 if batched else 0 :])
    outputs = []
    for output in graph.outputs:
        shapes = [shapes[output.name] for shapes in seen]
        is_trusted = bool(output.shape) or (batched and sized)  # an unknown rank may depend on sizes that no trial has
        if is_trusted and not all(_fits(output.shape, shape) for shape in shapes):
            shape = _settled(output, shapes, rows_name, sized=sized)
            if tell:
                log.warning(
                    "%s: its graph declares shape %s for output %r, and its runs give %s: it is served as %s; export it so",
                    *(which, _listed(output.shape), output.name, " and ".join(map(_listed, shapes)), _listed(shape)),
                )
            output = replace(output, shape=shape)
        outputs.append(output)
    model.graph = replace(graph, outputs=tuple(outputs))


def why_nothing_runs(model: LoadedModel) -> str:
    """onnxruntime's error on the first made-up rows, where the model runs none of them; '' where it runs some."""
    first = ""
    for rows in made_rows(model.graph.inputs, 1):
        try:
            model.trial(rows)
        except Exception as error:  # onnxruntime's own
            if _NO_FAULT.search(str(error)):
                return ""
            words = without_source(str(error))
            first = first or (words if len(words) <= MAX_WORDS else words[:MAX_WORDS] + "...")
        else:
            return ""
    return first


def _seen(model: LoadedModel, counts: Sequence[int]) -> list[dict[str, tuple[int, ...]]]:
    """The shapes of outputs in a run of each count of rows. There is a second run only if the first is suspicious."""
    runs = [made_rows(model.graph.inputs, count) for count in counts]
    for trials in zip(*runs, strict=True):
        seen: list[dict[str, tuple[int, ...]]] = []
        try:
            for rows in trials:
                seen.append({name: tuple(array.shape) for name, array in model.trial(rows).items()})
                if not _is_suspicious(model, seen[0]):
                    break
        except Exception as error:  # onnxruntime's own: the model does not take these sizes or values
            log.debug("model %r: a trial run failed: %s", model.name, error)
            continue
        return seen
    return []


def _is_suspicious(model: LoadedModel, seen: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether more rows may show other shapes than the graph declares: one row fits an axis that is declared as 1."""
    outputs = model.graph.outputs
    return any(isinstance(size, int) for output in outputs for size in output.shape[:1]) or not all(
        _fits(output.shape, seen[output.name]) for output in outputs
    )


def _fits(declared: Shape, seen: tuple[int, ...]) -> bool:
    return len(declared) == len(seen) and all(isinstance(size, str) or size == real for size, real in zip(declared, seen, strict=True))


def _settled(output: TensorInfo, seen: Sequence[tuple[int, ...]], rows_name: int | str, *, sized: bool) -> Shape:
    """The shape that fits all runs. Axis 0 has the rows' name if it follows the rows; other axes keep their size if inputs have fixed
    sizes."""
    first, last = seen[0], seen[-1]
    if len(first) != len(last):
        return output.shape
    shape: list[int | str] = [size if sized and size == last[axis] else "" for axis, size in enumerate(first)]
    if first and len(seen) == len(TRIED_ROWS):
        is_rows = (first[0], last[0]) == TRIED_ROWS
        shape[0] = rows_name if is_rows else shape[0]
    return tuple(shape)


def _listed(shape: Sequence[int | str]) -> str:
    return "[" + ", ".join(str(size) or "?" for size in shape) + "]"
