"""Reports all that is known of one version, as a message for people and programs. Never in here: transports, pages."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from inferd.monitor.counters import divided
from inferd.monitor.feature import Counts, Kind
from inferd.monitor.track import ENOUGH
from inferd.monitor.verdict import ranked, verdict
from inferd.protocol import options

if TYPE_CHECKING:
    from inferd.monitor.feature import Feature
    from inferd.monitor.reference import Reference
    from inferd.monitor.track import Found, Track
    from inferd.monitor.watch import Watch

MAX_BINS = 24  # of a feature; the rest of its categories are one bin
MAX_TEXT_CHARS = 60


def report_of(watch: Watch, window_rows: int) -> options.DriftReport:
    track, reference = watch.track(), watch.reference
    state = options.DriftReport.COUNTING
    if len(track.windows) >= ENOUGH:
        state = options.DriftReport.FOUND if track.found else options.DriftReport.QUIET
    rows = track.rows(watch.rows())
    return options.DriftReport(
        model_version=watch.version,
        state=state,
        verdict=verdict(reference, track, rows, window_rows),
        reference_rows=reference.rows,
        reference_unix_ns=reference.made_unix_ns,
        rows=rows,
        window_rows=window_rows,
        windows=[options.DriftWindow(**{name: getattr(each, name) for name in each.__struct_fields__[:3]}) for each in track.windows],
        features=_features(reference, track),
    )


def _features(reference: Reference, track: Track) -> list[options.DriftFeature]:
    windows = divided(np.frombuffer(track.last[-1], np.uint64), [each.words for each in reference.features]) if track.last else []
    found: dict[int, list[Found]] = {}  # in the order of their first finding
    for each in ranked(track):
        found.setdefault(each.place, []).append(each)
    order = {place: number for number, place in enumerate(found)}
    made = []
    for place, feature in enumerate(reference.features):
        told = options.DriftFeature(
            name=feature.name,
            is_output=feature.is_output,
            effects=[window.effects[place] for window in track.windows if place < len(window.effects)],
            findings=[_finding(each, feature) for each in found.get(place, ())],
        )
        if feature.shares and windows:
            _set_shares(told, feature, Counts(windows[place]))
        made.append((order.get(place, len(order)), -max(told.effects[-1:], default=0.0), place, told))
    return [told for *_, told in sorted(made, key=lambda each: each[:3])]


def _finding(found: Found, feature: Feature) -> options.DriftFinding:
    return options.DriftFinding(
        kind=found.finding.value,
        share=found.share,
        since_unix_ns=found.since_unix_ns,
        explanation=found.said(feature),
        request_id=found.request_id,
    )


def _set_shares(told: options.DriftFeature, feature: Feature, counts: Counts) -> None:
    """The bins of ranges are as many as they are; of values, the most frequent ones, and the others in one."""
    names, shares, now = bins_of(feature), np.asarray(feature.shares), counts.bins / max(counts.present, 1)
    if feature.kind is not Kind.RANGES and len(names) > MAX_BINS:
        kept = np.sort(np.argsort(-(shares + now)[:-1], kind="stable")[: MAX_BINS - 1])
        names = [*(names[place] for place in kept), names[-1]]
        shares, now = (np.append(each[kept], each.sum() - each[kept].sum()) for each in (shares, now))
    told.bins.extend(names)
    told.reference_shares.extend(map(float, shares))
    told.shares.extend(map(float, now))


def bins_of(feature: Feature) -> list[str]:
    """As people read them."""
    if feature.kind is Kind.TEXTS:
        return [*(text[:MAX_TEXT_CHARS] for text in feature.texts), "others"]
    at = [f"{value:.5g}" for value in feature.at]
    if feature.kind is Kind.VALUES:
        return [*at, "others"]
    return [f"below {at[0]}", *(f"{low} to {high}" for low, high in pairwise(at)), f"above {at[-1]}"]
