"""The models of a start: found, loaded and warm before any of them takes requests.

With `on_model_error` exit a start is strict: unless every version that the version policy selects is loaded and warm, nothing is served.
The error names each model that failed, by its first broken version. Else a failed version may be left out, or a model skipped. Never in
here: versions that come and go later (lifecycle.py).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from inferd.engine.files.places import SHOWN_NAMES, Failure, all_versions
from inferd.engine.loading.room import LEAST_FACTOR, Room
from inferd.engine.models.labels import versions_of
from inferd.errors import ConfigError, InferdError, StartError
from inferd.log import event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.engine.files.places import Place
    from inferd.engine.loading.loader import Loader, Selected
    from inferd.engine.model import Model
    from inferd.engine.models.labels import Table

log = logging.getLogger("inferd.engine")


class Opened(NamedTuple):
    """The result of a start. selected: one for each model that can be read. broken: failed versions of models with others that serve, and
    why."""

    selected: list[Selected]
    loaded: list[Model]
    failures: list[Failure]
    broken: list[tuple[str, int, Exception]]


def open_models(
    loader: Loader, places: Sequence[Place], failures: Sequence[Failure], labels: Table, on_model_error: str, *, on_demand: bool
) -> Opened:
    """Loads the models of these places. failures: those of `find_places`. on_demand: read the configurations only. Raises ConfigError or
    StartError that names every model that failed; no model stays in memory then."""
    opened = Opened([], [], list(failures), [])
    for place in places:
        try:
            selected = loader.select(place, versions_of(labels, place.name).values())
            _tell_versions(selected)
            if not on_demand:
                loaded, errors = _load_versions(loader, selected, len(places), strict=on_model_error == "exit")
                opened.loaded.extend(loaded)
                opened.broken.extend((place.name, version, error) for version, error in errors.items())
            opened.selected.append(selected)
        except (ConfigError, StartError) as error:
            opened.failures.append(Failure(place.name, error, named=place.repository is None))
    serves = opened.loaded or (on_demand and opened.selected)
    skips = on_model_error == "skip" or (on_model_error == "auto" and not any(failure.named for failure in opened.failures))
    if opened.failures and not (serves and skips):
        for model in opened.loaded:
            model.close()
        raise _joined([failure.error for failure in opened.failures], len(places) + len(failures))
    return opened


def _load_versions(loader: Loader, selected: Selected, count: int, *, strict: bool) -> tuple[list[Model], dict[int, Exception]]:
    """Loads the versions of one model. Returns them, and the errors of those that failed. Raises an error if all failed; strict: if any
    failed."""
    loaded: list[Model] = []
    errors: dict[int, Exception] = {}
    for version, _ in selected.versions:
        try:
            Room().check(selected.place, version, LEAST_FACTOR)  # a version that may fit is tried: nothing serves yet
            loaded.append(loader.load(selected, version, count))
        except (ConfigError, StartError) as error:
            errors[version] = error
            if strict:
                break
    if errors and (strict or not loaded):
        for model in loaded:
            model.close()
        raise next(iter(errors.values()))
    return loaded, errors


def unserved(selected: Selected) -> list[int]:
    """Versions with files that are not selected."""
    return sorted(set(selected.place.files) - {version for version, _ in selected.versions})


def _tell_versions(selected: Selected) -> None:
    """Logs the versions that are not served, for people who do not know of version policies."""
    place, written, versions, _ = selected
    left_out = unserved(selected)
    if left_out and not written.config.version_policy.WhichOneof("policy_choice"):
        newest = versions[-1][0]
        log.info(
            "model '%s': serves version %d, the newest, and not %s; %s serves all",
            *(place.name, newest, ", ".join(map(str, left_out[-SHOWN_NAMES:])), all_versions(place)),
            extra=event("versions_unserved", model=place.name, version=newest, unserved=left_out),
        )


def _joined(failures: Sequence[InferdError], count: int) -> InferdError:
    """One error for all: ConfigError if any of them is one, else StartError."""
    if len(failures) == 1:
        return failures[0]
    text = f"{len(failures)} of {count} models cannot be served:" + "".join(f"\n  - {failure}" for failure in failures)
    return ConfigError(text) if any(isinstance(failure, ConfigError) for failure in failures) else StartError(text)
