"""The table of models, against a dict."""

from __future__ import annotations

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from inferd._core.inference.routes import Routes

texts = st.text(max_size=20) | st.sampled_from(["", "m", "model", "model_0001_classifier", "model_0002_classifier", "1", "é" * 8])
keys = st.tuples(texts, texts)


class Place:
    """Anything but None."""


@given(st.lists(st.dictionaries(keys, st.builds(Place), max_size=40), min_size=1, max_size=3), st.lists(keys, max_size=20))
def test_what_is_found_is_what_a_dict_finds(fills: list[dict[tuple[str, str], Place]], others: list[tuple[str, str]]) -> None:
    routes = Routes()
    for known in fills:
        routes.fill(known)
        for key in [*known, *others, *(key for fill in fills for key in fill)]:
            assert routes.find(*key) is known.get(key)


def test_names_and_versions_are_not_run_together() -> None:
    routes = Routes()
    routes.fill({("model1", ""): "newest", ("model", "1"): "first"})
    assert (routes.find("model1", ""), routes.find("model", "1")) == ("newest", "first")
    assert (routes.find("model", ""), routes.find("mode", "l1"), routes.find("m" * 1000, "1")) == (None, None, None)


def test_a_table_keeps_what_it_finds_and_nothing_else() -> None:
    routes, place = Routes(), Place()
    gone = weakref.ref(place)
    routes.fill({("m", "1"): place})
    del place
    gc.collect()
    assert routes.find("m", "1") is gone()
    routes.fill({})
    gc.collect()
    assert (routes.find("m", "1"), gone()) == (None, None)
