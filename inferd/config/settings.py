"""Every setting of the server, in one table: `Settings`. Flags, INFERD_* variables, inferd.toml and the docs derive from it.

It has the settings of the server (server_settings.py), and those that each part declares in its own folder (inferd/parts.py). Never in
here: how texts are read (field.py), what is a wrong value (checks.py), where values come from (sources.py).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from inferd.config.checks import check, check_together
from inferd.config.field import Field, field_of
from inferd.config.server_settings import ServerSettings
from inferd.errors import ConfigError
from inferd.parts import PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inferd.config.part_settings import PartSettings


_modules = [f"{package}.settings" for package in PARTS]
OF_PARTS: list[type[PartSettings]] = [import_module(module).Settings for module in _modules if find_spec(module) is not None]
_owners: list[type[msgspec.Struct]] = [ServerSettings, *OF_PARTS]
_names = [field.name for owner in _owners for field in msgspec.structs.fields(owner)]
if twice := sorted({name for name in _names if _names.count(name) > 1}):
    raise TypeError(f"two parts have the setting {twice[0]}")
# Settings that a running server takes on SIGHUP; other changes wait for the next start.
RELOADED = (
    *("log_level", "log_format", "drain_timeout_s", "lame_duck_s", "tls_allow"),
    *("max_queue_requests", "max_queue_bytes", "max_queue_wait_us"),
    *("max_connections", "keepalive_s", "keepalive_timeout_s", "min_ping_interval_s"),
    *("max_connection_idle_s", "max_connection_age_s", "max_connection_age_grace_s"),
    *chain.from_iterable(part.reloaded for part in OF_PARTS),
)


def _check(settings: Settings) -> None:
    """Every value, on construction, also when built by hand."""
    values = msgspec.structs.asdict(settings)
    origins = dict.fromkeys(values, "given in Python")
    for name, field in fields().items():
        check(field, values[name], origins[name])
    check_all(values, origins)


if TYPE_CHECKING:

    class Settings(ServerSettings, frozen=True):
        """All settings of one server: ServerSettings, and those of each part (`of`)."""

        def __init__(self, **values: Any) -> None: ...

else:
    # msgspec allows a class one base with fields.
    Settings = msgspec.defstruct(
        "Settings",
        [
            (field.name, hints[field.name], field.default)
            for part, hints in ((part, get_type_hints(part, include_extras=True)) for part in OF_PARTS)
            for field in msgspec.structs.fields(part)
        ],
        bases=(ServerSettings,),
        namespace={"__post_init__": _check},
        module=__name__,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )


@cache
def fields() -> dict[str, Field]:
    """The table: every setting by name, those of a group beside each other."""
    hints = get_type_hints(Settings, include_extras=True)
    made = [field_of(field.name, hints[field.name], field.default) for field in msgspec.structs.fields(Settings)]
    groups = list(dict.fromkeys(field.group for field in made))
    return {field.name: field for field in sorted(made, key=lambda field: groups.index(field.group))}


def check_all(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Rejects settings that contradict each other, those of parts included. Raises ConfigError."""

    def reject(name: str, why: str) -> ConfigError:
        return ConfigError(f"{name} ({origins[name]}): {why}")

    check_together(fields(), values, origins, reject)
    for part in OF_PARTS:
        part.check(values, reject)
