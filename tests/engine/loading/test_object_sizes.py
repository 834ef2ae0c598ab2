"""The memory of Python objects: each counted once, and nothing that belongs to the program."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np

from inferd.engine.loading.object_sizes import held_bytes


def test_what_an_object_refers_to_counts_once() -> None:
    text = "x" * 1000
    assert held_bytes([text, text]) == sys.getsizeof([1, 2]) + sys.getsizeof(text)


def test_values_of_a_table_and_arrays_count() -> None:
    table = {f"value {number}": number for number in range(1000)}
    assert held_bytes(table) > sys.getsizeof(table) + 1000 * 25
    assert held_bytes({"x": np.zeros(10_000)}) > 80_000


def test_what_functions_hold_counts_and_not_their_module() -> None:
    held = "x" * 10_000

    def closure() -> str:
        return held

    assert 10_000 < held_bytes(closure) < 12_000
    assert 10_000 < held_bytes(partial(len, held)) < 12_000
    assert held_bytes(held_bytes) < 1_000
    assert held_bytes(sys) == held_bytes(str) == 0
