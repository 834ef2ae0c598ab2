"""The route of a model whose requests run in batches: rejections, turns on the event loop, and when the model leaves it."""

from __future__ import annotations

import pytest

from inferd._core.inference.inline_policy import InlinePolicy
from inferd.errors import InvalidArgument, ResourceExhausted
from tests._core.inference.test_path import HOUR_NS, Asked, World


def test_rejections_are_counted_by_reason() -> None:
    world = World(max_queue_requests=1)
    with pytest.raises(InvalidArgument):
        world.model_infer(Asked(outputs=[{"name": "nothing"}]))
    world.model_infer(Asked())
    with pytest.raises(ResourceExhausted):
        world.model_infer(Asked())
    assert world.route.rejected == {"REJECTED": 1, "CANCELED": 0, "BACKEND": 0, "OTHER": 1}


def test_a_few_batches_run_in_one_turn_and_the_rest_in_the_next() -> None:
    world = World()
    calls = [Asked() for _ in range(5 * 8)]
    for call in calls:
        world.model_infer(call)
    world.turn()
    assert (world.backend.rows, len(world.scheduled)) == ([8] * 4, 1)
    world.turn()
    assert (world.backend.rows, world.scheduled) == ([8] * 5, [])
    world.backend.rows.clear()
    world.route.turn_ns = 1
    for call in calls:
        world.model_infer(call)
    world.turn()
    assert world.backend.rows == [8], "a batch that takes a whole turn is the last one of it"


def test_a_request_larger_than_any_short_one_takes_the_model_off_the_loop() -> None:
    world = World()
    world.route.policy, world.route.short_nbytes = InlinePolicy(HOUR_NS, 1.0), 4  # four times this is no guess
    world.model_infer(Asked())
    assert world.left == []
    world.route.short_nbytes = 3
    world.model_infer(Asked())
    assert world.left == ["a request of 16 bytes came, and runs are known to be short up to 3"]
    assert world.batcher.depth == 2, "for the thread"


def test_runs_that_are_too_long_take_the_model_off_the_loop() -> None:
    world = World()
    world.route.policy = InlinePolicy(1, 1.0)
    for _ in range(3):
        world.model_infer(Asked())
        world.turn()
    assert world.left == ["its runs take longer than 0 us"]
    assert len(world.backend.rows) == 2


def test_elsewhere_the_first_that_waits_wakes_who_runs() -> None:
    world = World()
    woken: list[int] = []
    world.route.inline, world.route.first_waits = False, lambda: woken.append(world.batcher.depth)
    world.model_infer(Asked())
    world.model_infer(Asked())
    assert (woken, world.scheduled) == ([1], [])
