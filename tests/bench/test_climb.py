"""The search against plain functions of settings: it finds the best where there is one hill, and asks for nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from inferd.bench.climb import Settings, Space, climb, splits

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT = Settings("cpu", 1, 4, 64)
SPACE = Space(("cpu",), (1, 2, 4, 8), (1, 2, 4), (1, 2, 4, 8, 16, 32, 64, 128, 256), 4)


def search(space: Space, default: Settings, score: Callable[[Settings], float]) -> tuple[Settings, list[Settings]]:
    """The best of all that was asked, and all of it."""
    asked = [default]
    policy = climb(space, default, score(default))
    try:
        settings = next(policy)
        while True:
            asked.append(settings)
            settings = policy.send(score(settings))
    except StopIteration:
        return max(asked, key=score), asked


def hill(top: Settings) -> Callable[[Settings], float]:
    """A server that is best at `top`, and worse by each factor of two away from it."""

    def score(settings: Settings) -> float:
        away = 1.0
        for axis in ("instances", "threads", "rows"):
            ratio = getattr(settings, axis) / max(getattr(top, axis), 1)
            away *= max(ratio, 1 / ratio) if ratio else 1.0
        return 1000 / away if settings.provider == top.provider else 1.0

    return score


@given(st.sampled_from(SPACE.instances), st.sampled_from(SPACE.threads), st.sampled_from(SPACE.rows))
def test_the_top_of_one_hill_is_found_with_a_part_of_the_space(instances, threads, rows) -> None:
    top = Settings("cpu", instances, threads, rows)
    best, asked = search(SPACE, DEFAULT, hill(top))
    assert best == top
    assert len(asked) == len(set(asked)) < len(SPACE.instances) * len(SPACE.threads) * len(SPACE.rows) / 3


def test_a_plain_asks_for_the_neighbours_only() -> None:
    _, asked = search(SPACE, DEFAULT, lambda settings: 100 + settings.instances / 10 + settings.threads / 100 + settings.rows / 1e4)
    assert set(asked) == {
        DEFAULT,
        *(Settings("cpu", *split, 64) for split in ((2, 2), (4, 1), (2, 4))),
        Settings("cpu", 1, 2, 64),
        *(Settings("cpu", 1, 4, rows) for rows in (32, 128)),
    }


def test_a_gain_that_may_be_noise_is_none() -> None:
    _, asked = search(SPACE, DEFAULT, lambda settings: 100 + settings.rows / 128)
    assert max(settings.rows for settings in asked) == 128


def test_settings_that_are_the_same_in_effect_are_stepped_over() -> None:
    best, _ = search(SPACE, DEFAULT, lambda settings: 100.0 if settings.rows > 8 else 100 + 100 / settings.rows)
    assert best.rows == 1


def test_each_provider_has_its_climb_and_one_that_is_not_usable_none() -> None:
    space = SPACE._replace(providers=("cuda", "cpu", "tensorrt"))
    top = Settings("cuda", 2, 4, 256)
    best, asked = search(space, DEFAULT, lambda settings: 0 if settings.provider == "tensorrt" else hill(top)(settings))
    assert best == top
    assert [settings.provider for settings in asked if settings.provider == "tensorrt"] == ["tensorrt"]
    assert {settings.threads for settings in asked if settings.provider == "cuda"} == {4}


def test_a_model_that_does_not_batch_has_no_rows() -> None:
    _, asked = search(SPACE, Settings("cpu", 1, 4, 0), lambda settings: settings.instances)
    assert {settings.rows for settings in asked} == {0}


def test_every_set_of_buckets_is_asked_at_the_best_rows() -> None:
    space, default = SPACE._replace(buckets=((), (32, 64), (64,))), replace(DEFAULT, buckets=())
    top = Settings("cpu", 1, 4, 128, (64,))
    best, asked = search(space, default, lambda settings: hill(top)(settings) * (1 + len(settings.buckets or ()) % 2))
    assert best == top
    assert {settings.buckets for settings in asked if settings.rows == 128} == {(), (32, 64), (64,)}


def test_buckets_stay_where_none_are_to_be_tried() -> None:
    _, asked = search(SPACE, replace(DEFAULT, buckets=(7,)), hill(Settings("cpu", 2, 2, 16)))
    assert {settings.buckets for settings in asked} == {(7,)}
    _, asked = search(SPACE, DEFAULT, hill(Settings("cpu", 2, 2, 16)))
    assert {settings.buckets for settings in asked} == {None}


def test_only_what_the_space_has_is_asked() -> None:
    space = Space(("cpu",), (3,), (1,), (8, 16), 4, ((32,),))
    default = replace(DEFAULT, buckets=())
    best, asked = search(space, default, lambda settings: settings.rows if settings != default else 1)
    assert best == Settings("cpu", 3, 1, 16, (32,))
    assert set(asked[1:]) <= {Settings("cpu", 3, 1, 8, (32,)), Settings("cpu", 3, 1, 16, (32,))}


@pytest.mark.parametrize(
    ("cores", "threads", "expected"),
    [
        (1, (1,), [(1, 1)]),
        (2, (1, 2), [(1, 2), (2, 1)]),
        (6, (1, 2, 4, 6), [(1, 6), (2, 2), (4, 1)]),
        (8, (1, 2, 4, 8), [(1, 8), (2, 4), (4, 2), (8, 1)]),
    ],
)
def test_ways_to_share_the_cores(cores, threads, expected) -> None:
    assert list(splits(Space(("cpu",), (1, 2, 4, 8), threads, (1,), cores))) == expected
