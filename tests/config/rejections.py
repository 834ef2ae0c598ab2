"""The errors of settings, as texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inferd.config import fields, load_settings
from inferd.errors import ConfigError

NOWHERE = Path("no-such-folder")


def rejection(flags: dict[str, object] | None = None, environ: dict[str, str] | None = None, folder: Path = NOWHERE) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags or {}, environ or {}, folder)
    return str(caught.value)


def from_variable(name: str, text: str) -> object:
    settings, origins = load_settings({}, {fields()[name].variable: text}, NOWHERE)
    assert origins[name] == fields()[name].variable
    return getattr(settings, name)


def outcome(attempt: Callable[[], object], rejection_type: type[Exception]) -> str | None:
    """None, or the rejection's message; any other exception is a failure."""
    try:
        attempt()
    except rejection_type as error:
        return str(error)
    return None
