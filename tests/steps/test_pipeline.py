"""What pipelines of every kind share: of a request that is rejected, nothing stays behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from inferd.errors import InvalidArgument
from inferd.steps.pipeline import Array, RowPipeline, Value, detached, wrong_row


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Large(RowPipeline):
    """Rejects everything, once it has made something large of it."""

    def __init__(self) -> None:
        self.made: list[weakref.ref[Array]] = []

    def prepare_one(self, values: Sequence[Value], check: Callable[[], None]) -> list[Array]:
        pixels = np.zeros(100)
        self.made.append(weakref.ref(pixels))
        try:
            raise ValueError(f"{len(pixels)} of them")
        except ValueError as why:
            raise wrong_row("x", 0, str(why)) from None


def test_what_was_made_of_a_rejected_request_is_freed_at_once(no_collector: None) -> None:
    pipeline = Large()
    answers: list[Any] = pipeline.prepare([[[]], [[]]], lambda place: None)
    assert [str(answer) for answer in answers] == ["input 'x', row 0: 100 of them"] * 2
    assert [made() for made in pipeline.made] == [None, None]


def test_a_detached_error_says_and_means_the_same() -> None:
    def reject() -> None:
        try:
            raise ValueError("why")
        except ValueError as why:
            raise InvalidArgument("no", reason="bad_content") from why

    with pytest.raises(InvalidArgument) as raised:
        reject()
    assert raised.value.__context__ is not None
    value = detached(raised.value)
    assert value is raised.value
    assert (str(value), value.reason, value.__traceback__, value.__context__, value.__cause__) == ("no", "bad_content", None, None, None)
