"""Learns a reference profile: runs a version over the rows of a data set, and reads its features as the server does.

Never in here: files, where the rows come from (data.py).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from inferd._core.monitor.feature_counts import HEAD, FeatureCounts, Reading
from inferd.errors import ConfigError
from inferd.monitor.feature import Feature, Kind
from inferd.monitor.learning import OUTLIERS, binned, learn, learn_waves
from inferd.monitor.reference import Reference
from inferd.monitor.watched import features_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from inferd.engine.model import Model
    from inferd.tensors import Array

LOOK_ROWS = 1_000  # of which the centre and the scale of patterns are learned, before all rows are read
KEPT_NBYTES = 256 << 20  # of values
MOST_ROWS = 100_000
FEWEST_ROWS = 100

Inputs = dict[str, "Array"]


def profile(
    model: Model,
    requests: Sequence[Inputs],
    infer: Callable[[Inputs], object],
    labels: Mapping[str, Sequence[str]] | None = None,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Reference:
    """requests: rows of the data, which `infer` runs on the model in turn. labels: names of a tensor's elements. progress(done, of): told
    after each request. Raises ConfigError, and what `infer` raises."""
    rows = [_rows_of(request, model.signature.max_batch_size > 0) for request in requests]
    if sum(rows) < FEWEST_ROWS:
        raise ConfigError(f"the data: expected at least {FEWEST_ROWS} rows, got {sum(rows)}: a profile of so few would tell nothing apart")
    features = [_labelled(feature, labels or {}) for feature in features_of(model.signature, model.run_signature)]
    features = _with_scales(model, features, requests[: _count_of(rows, LOOK_ROWS)], infer)
    watched = _Watched(model, features, min(sum(rows), MOST_ROWS))
    for done, request in enumerate(requests[: _count_of(rows, watched.room)]):
        infer(request)
        progress(done + 1, len(requests))
    return _reference(model, watched)


def _rows_of(request: Inputs, is_batched: bool) -> int:
    return max((len(array) for array in request.values()), default=0) if is_batched else 1


def _count_of(rows: Sequence[int], most: int) -> int:
    """How many requests have `most` rows at most; at least one."""
    return max(int(np.searchsorted(np.cumsum(rows), most, side="right")), 1)


def _labelled(feature: Feature, labels: Mapping[str, Sequence[str]]) -> Feature:
    names = labels.get(feature.tensor, ())
    named = feature.reading in (Reading.ELEMENT, Reading.TEXT, Reading.LENGTH) and len(names) == feature.elements
    return msgspec.structs.replace(feature, label=names[feature.place]) if named else feature


class _Watched:
    """The values of features while requests run. Its runs are the model's, until the next one."""

    def __init__(self, model: Model, features: Sequence[Feature], rows: int) -> None:
        self.features = features
        columns = sum(_columns(feature) for feature in features)
        self.room = min(rows, KEPT_NBYTES // (8 * columns))
        self.words = [np.zeros(feature.words, np.uint64) for feature in features]
        self.kept = [np.full(self.room * _columns(feature), np.nan) for feature in features]
        native: list[dict[str, Any]] = [feature.native() | {"kept": kept} for feature, kept in zip(features, self.kept, strict=True)]
        self.counts = FeatureCounts(native, self.words)
        for runner in model.runners:
            runner.features = self.counts

    def count(self, place: int, name: str) -> int:
        return int(self.words[place][HEAD.index(name)])

    def values(self, place: int) -> Array:
        """A number of each row that was seen, or WAVES of them."""
        columns = _columns(self.features[place])
        found: Array = self.kept[place].reshape(self.room, columns)[: min(self.count(place, "rows"), self.room)]
        return found if self.features[place].reading == Reading.WAVES else found[:, 0]

    def texts(self, place: int) -> list[str]:
        if self.features[place].reading != Reading.TEXT:
            return []
        return [text.decode("utf-8", "surrogateescape") for text in self.counts.texts_of(place)]


def _columns(feature: Feature) -> int:
    return len(feature.native()["waves"]) or 1


def _with_scales(model: Model, features: list[Feature], requests: Sequence[Inputs], infer: Callable[[Inputs], object]) -> list[Feature]:
    """Gives each pattern its tensor's mean and standard deviation."""
    summaries = [
        msgspec.structs.replace(feature, reading=reading, kind=Kind.RANGES)
        for feature in features
        if feature.reading == Reading.WAVES
        for reading in (Reading.MEAN, Reading.SPREAD)
    ]
    if not summaries:
        return features
    watched = _Watched(model, summaries, LOOK_ROWS)
    for request in requests:
        infer(request)
    found = {}
    for place in range(0, len(summaries), 2):
        means, spreads = (each[np.isfinite(each)] for each in (watched.values(place), watched.values(place + 1)))
        if len(means):
            scale = float(np.sqrt((spreads**2).mean() + means.var()))
            found[summaries[place].side, summaries[place].index] = float(means.mean()), scale or 1.0
    return [
        msgspec.structs.replace(feature, centre=centre, scale=scale)
        for feature in features
        for centre, scale in (found.get((feature.side, feature.index), (0.0, 1.0)),)
        if feature.reading != Reading.WAVES or (feature.side, feature.index) in found
    ]


def _reference(model: Model, watched: _Watched) -> Reference:
    found: list[Feature] = []
    scores: Array = np.zeros(0)
    score = 0.0
    for place, feature in enumerate(watched.features):
        values = watched.values(place)
        learned: Feature | None = None
        if feature.reading == Reading.WAVES:
            learned = learn_waves(feature, values, feature.centre, feature.scale) if len(values) else None
        elif feature.reading == Reading.ROW:
            rows = watched.count(place, "rows")
            learned = msgspec.structs.replace(feature, rows=rows, repeats=watched.count(place, "repeats") / max(rows, 1))
        elif feature.reading == Reading.SCORE:
            if len(scores):
                learned = learn(feature, scores, 0)
                score = float(np.quantile(scores, OUTLIERS, method="inverted_cdf"))  # an edge of its bins
        elif len(values):
            learned = learn(feature, values, watched.count(place, "repeats"), watched.texts(place))
            if learned is not None and learned.is_output:
                learned = msgspec.structs.replace(learned, scores=())  # a row is unusual by its inputs
            elif learned is not None and len(scores) in (0, len(values)):
                scores = (scores if len(scores) else np.zeros(len(values))) + _scores_of(learned, feature, values, watched.texts(place))
        if learned is not None:
            found.append(learned)
    categories = {(each.side, each.index, each.place) for each in found if each.reading == Reading.TEXT}
    found = [each for each in found if each.reading != Reading.LENGTH or (each.side, each.index, each.place) not in categories]
    signature = model.signature
    return Reference(
        model=model.name,
        rows=max((feature.rows for feature in found), default=0),
        made_unix_ns=time.time_ns(),
        inputs=signature.input_specs,
        outputs=signature.output_specs,
        outlier_score=score,
        features=tuple(found),
    )


def _scores_of(learned: Feature, feature: Feature, values: Array, texts: Sequence[str]) -> Array:
    """The score of each row in one feature."""
    if feature.reading == Reading.TEXT:
        places = {text: float(place) for place, text in enumerate(learned.texts)}
        renumbered = np.array([places.get(text, -1.0) for text in texts] or [0.0])
        values = np.where(np.isfinite(values), renumbered[np.nan_to_num(values).astype(np.int64)], np.nan)
    told: Array = np.asarray(learned.scores)[binned(learned, values)]
    return told
