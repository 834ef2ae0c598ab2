"""The verdict of one version in a sentence, for people. Never in here: how findings are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.monitor.judging import Finding
from inferd.monitor.track import ENOUGH

if TYPE_CHECKING:
    from inferd.monitor.reference import Reference
    from inferd.monitor.track import Found, Track


def verdict(reference: Reference, track: Track, rows: int, window_rows: int) -> str:
    """One sentence."""
    if len(track.windows) < ENOUGH:
        ended = f"{len(track.windows)} of the first {ENOUGH} windows {'has' if len(track.windows) == 1 else 'have'} ended"
        return f"Too few rows yet: {ended}, and {rows:,} of {window_rows:,} rows of the next one have come."
    seen = sum(window.rows for window in track.windows)
    if not track.found:
        return f"Nothing has moved away from the reference, in {len(reference.features)} features and {seen:,} rows."
    worst = ranked(track)[0]
    feature = reference.features[worst.place]
    moved = {each.place for each in track.found if each.finding is Finding.DRIFT}
    others = {each.place for each in track.found} - moved
    outputs = [place for place in moved if reference.features[place].is_output]
    parts = [f"{_counted(len(moved), 'feature')} moved away from the reference"] if moved else []
    parts += [f"{_counted(len(others), 'other feature' if moved else 'feature')} something else wrong"] if others else []
    told = " and ".join(parts)
    effect = "; predictions have moved, too" if outputs and len(outputs) < len(moved) else ""
    return f"{told[0].upper()}{told[1:]}{effect}. First of all: {feature.name} {worst.said(feature)}."


def _counted(count: int, what: str) -> str:
    return f"{count} {what} has" if count == 1 else f"{count} {what}s have"


def ranked(track: Track) -> list[Found]:
    """Other units first, which explain drift; then by share or effect."""
    return sorted(track.found, key=lambda each: (each.finding is not Finding.UNITS, each.finding is not Finding.DRIFT, -each.share))
