"""Pages of several processes as one: what is added up, what is not, and what stays of a process that has ended."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from inferd.observe.pages import Family, Page, Sample, Sums, merge


def page(value: float, **labels: str) -> Page:
    return [
        Family("requests", "Requests.", "counter", [Sample("requests_total", labels, value)]),
        Family("open", "Open now.", "gauge", [Sample("open", {}, value)]),
        Family("inferd_model_ready", "Ready.", "gauge", [Sample("inferd_model_ready", {"model": "m"}, min(value, 1))], "min"),
        Family("nv_model_load_duration_secs", "Load.", "gauge", [Sample("nv_model_load_duration_secs", {"model": "m"}, value)], "max"),
        Family("nv_inference_pending_request_count", "Waiting.", "gauge", [Sample("nv_inference_pending_request_count", {}, value)]),
        Family("nv_inference_count", "Rows.", "counter", [Sample("nv_inference_count", {}, value)]),
    ]


def values(page: Page) -> dict[str, list[float]]:
    return {family.name: [sample.value for sample in family.samples] for family in page}


def test_what_is_added_up_and_what_is_not() -> None:
    merged = merge([page(0), page(2), page(3)])
    assert values(merged) == {
        "requests": [5],
        "open": [5],
        "inferd_model_ready": [0],
        "nv_model_load_duration_secs": [3],
        "nv_inference_pending_request_count": [5],
        "nv_inference_count": [5],
    }
    assert merge([page(4)]) == page(4)
    assert merge([]) == []


def test_other_labels_are_other_samples_in_the_order_of_their_coming() -> None:
    (requests, *_) = merge([page(1, reason="b"), page(2, reason="a"), page(4, reason="b")])
    assert [(sample.labels, sample.value) for sample in requests.samples] == [({"reason": "b"}, 5), ({"reason": "a"}, 2)]


@given(st.lists(st.tuples(st.sampled_from(["say", "end"]), st.integers(0, 2), st.integers(1, 9))))
def test_counts_never_fall(steps: list[tuple[str, int, int]]) -> None:
    """Whoever says something, ends and begins anew in whatever order; what is said after an end changes nothing."""
    sums, last, counts = Sums(), 0.0, [0, 0, 0]
    for process in range(3):
        sums.begin(process)
    for step, process, more in steps:
        if step == "say":
            counts[process] += more
            sums.saw(process, page(counts[process]))
        else:
            sums.end(process)
            sums.saw(process, page(10**6))
            sums.begin(process)
            counts[process] = 0
        (total, *_) = values(sums.page()).get("requests", [last])
        assert total >= last
        assert values(sums.page()).get("open", [0]) in ([sum(counts)], [0])
        last = total


def test_pages_travel() -> None:
    assert msgspec.json.decode(msgspec.json.encode(page(1.5, reason="ü")), type=Page) == page(1.5, reason="ü")
