"""The settings of the server: one table, four sources of values, exact units, and errors that say what to write instead.

    settings    `Settings`, the table: flags, INFERD_* variables, inferd.toml and docs/configuration.md derive from it
    server_settings, model_settings   its rows that are no part's
    part_settings       how a part declares its own
    share       one line of the memory budget
    field       one row of the table: its kind and limits, a value from text and back
    units       sizes and durations
    address     host:port, [IPv6]:port, unix:/path
    model_url   URLs in place of a model's path, and texts without their secrets
    checks      whether values are right, each and all together
    sources     flag > variable > file > default

Other packages import from here; settings of parts, and the memory budget, import the modules.
Nothing in here imports numpy, onnxruntime or grpc.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from inferd.config.address import Address, is_http, parse_address, parse_listen, parse_target
from inferd.config.checks import PROVIDERS, most_workers
from inferd.config.field import Field, spell
from inferd.config.model_url import check_url, is_url, split_url, without_secrets
from inferd.config.server_settings import ServerSettings
from inferd.config.units import parse_duration

if TYPE_CHECKING:
    from inferd.config.settings import OF_PARTS, RELOADED, Settings, fields
    from inferd.config.sources import CONFIG_FILE, CONFIG_VARIABLE, load_settings

__all__ = [
    "CONFIG_FILE",
    "CONFIG_VARIABLE",
    "OF_PARTS",
    "PROVIDERS",
    "RELOADED",
    "Address",
    "Field",
    "ServerSettings",
    "Settings",
    "check_url",
    "fields",
    "is_http",
    "is_url",
    "load_settings",
    "most_workers",
    "parse_address",
    "parse_duration",
    "parse_listen",
    "parse_target",
    "spell",
    "split_url",
    "without_secrets",
]

# The table imports the settings of each part, and these import this package: so it is made when it is asked for.
_LAZY = {
    **dict.fromkeys(("OF_PARTS", "RELOADED", "Settings", "fields"), "inferd.config.settings"),
    **dict.fromkeys(("CONFIG_FILE", "CONFIG_VARIABLE", "load_settings"), "inferd.config.sources"),
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value  # the next access is an ordinary one
    return value
