"""Which step of a pipeline it is by which something goes wrong. Never in here: what goes wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

Part = Callable[[Any], Any]  # another step in place of one -> the part of the whole pipeline that it is the last of


def culprit(pipeline: Any, is_wrong: Callable[[Any], bool]) -> tuple[str, Any]:
    """The step with which the first part of a pipeline ends that is wrong, and its name as scikit-learn has it: prep__numbers__impute.

    A part is the first steps of a pipeline, or one of the steps that stand beside each other in a ColumnTransformer or FeatureUnion
    alone. The name is "" where the pipeline has no steps.
    """
    names: list[str] = []
    step: Any = pipeline
    part: Part = _itself
    while found := next((inner for inner in _inner(step, part) if is_wrong(inner[2](inner[1]))), None):
        name, step, part = found
        names.append(name)
    return "__".join(names), step


def called(name: str, step: Any) -> str:
    """A culprit in words."""
    return f"step {name!r}, {type(step).__name__}" if name else type(step).__name__


def _itself(step: Any) -> Any:
    return step


def _inner(step: Any, part: Part) -> Iterator[tuple[str, Any, Part]]:
    """The steps of a step: name, step, and the part that ends with it."""
    for attribute in ("steps", "transformers_", "transformer_list"):
        for place, (name, inner, *_) in enumerate(getattr(step, attribute, ())):
            if not isinstance(inner, str):
                yield name, inner, partial(_with, part, step, attribute, place)


def _with(part: Part, step: Any, attribute: str, place: int, other: Any) -> Any:
    """The part that ends with a step of which one step is another; those in front of it stay, those beside it do not."""
    changed, steps = copy.copy(step), getattr(step, attribute)
    name, _, *columns = steps[place]
    setattr(changed, attribute, [*(steps[:place] if attribute == "steps" else ()), (name, other, *columns)])
    return part(changed)
