"""Where the values of settings come from. Precedence: flag > INFERD_<FIELD> > inferd.toml > default.

An unknown key or variable is an error with a suggestion. An empty value is an error, too: an unset shell variable must not open a server
that was meant to check its clients. Never in here: the environment and the disk, except as arguments say.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from inferd.config.checks import check, check_path, check_shared, empty, near, wrong
from inferd.config.field import PREFIX, Field, parse
from inferd.config.model_url import is_url
from inferd.config.settings import Settings, check_all, fields
from inferd.errors import ConfigError
from inferd.watched_files import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG_FILE = "inferd.toml"
CONFIG_VARIABLE = PREFIX + "CONFIG"  # the file's path
MAX_CONFIG_BYTES = 1 << 20
# Variables that share the prefix and are no settings: the file's path, and those that setup.py reads.
OTHER_VARIABLES = frozenset(PREFIX + word for word in ("CONFIG", "DEBUG", "SANITIZE", "FUZZ", "PROFILE", "BUILD_DIR"))


def load_settings(
    flags: Mapping[str, object], environ: Mapping[str, str], folder: Path, *, config_file: str | Path | None = None
) -> tuple[Settings, dict[str, str]]:
    """The settings, and where each one came from: "default", "inferd.toml", "INFERD_GRPC_PORT", "--grpc-port" or "PATH".

    `flags` maps a field's name to its text or value; None stands for a flag that was not given. `config_file`, else
    INFERD_CONFIG, names a file that must exist; without them inferd.toml in `folder` is read where it exists.
    ConfigError at the first thing that is wrong.
    """
    table = fields()
    values: dict[str, Any] = {}
    origins = dict.fromkeys(table, "default")

    def take(name: str, value: object, origin: str) -> None:
        values[name], origins[name] = _value(table[name], value, origin), origin

    path, keys = _read_file(environ, folder, config_file)
    for name, value in keys.items():
        if table[name].kind == "mode" and not isinstance(value, str):
            raise wrong(table[name], path.name, repr(value))  # 660 would be taken for a decimal number
        take(name, value, path.name)
        if table[name].items == "path" and path.parent != folder:
            values[name] = tuple(item if is_url(item) else str(path.parent / item) for item in values[name])
        if table[name].kind == "file" and values[name] and path.parent != folder:
            values[name] = str(path.parent / str(values[name]))
    for name, text in _variables(environ).items():
        take(name, text, table[name].variable)
    for name, value in flags.items():
        if value is not None:
            flag = table[name].flag
            take(name, value, "PATH" if name == "models" else f"--no-{flag[2:]}" if value is False else flag)
    merged = {name: values.get(name, field.default) for name, field in table.items()}
    check_all(merged, origins)
    check_shared(table, merged, origins)
    return Settings(**values), origins


def _value(field: Field, value: object, origin: str) -> object:
    """Any layer's value as the field's own type, checked. An empty one is rejected: leave the setting out for none."""
    if value == [] or (isinstance(value, str) and not value.strip(" ,\t" if field.kind == "list" else None)):
        raise empty(field, origin)
    try:
        if isinstance(value, str):
            value = parse(field, value)
        elif isinstance(value, list):
            value = tuple(value)
    except ValueError:
        raise wrong(field, origin, value) from None
    check(field, value, origin)
    return value


def _read_file(environ: Mapping[str, str], folder: Path, config_file: str | Path | None) -> tuple[Path, dict[str, object]]:
    given = (config_file, "--config"), (environ.get(CONFIG_VARIABLE), CONFIG_VARIABLE)
    named, origin = given[0] if config_file is not None else given[1]
    check_path("config", str(named or ""), origin)
    if named == "":
        raise ConfigError(f"config ({origin}): expected the path of a TOML file, got ''; leave it out for {CONFIG_FILE}, where it exists")
    path = folder / named if named else folder / CONFIG_FILE
    try:
        keys = tomllib.loads(read_file(path, MAX_CONFIG_BYTES, "config").decode("utf-8"))
    except FileNotFoundError:
        if named:
            raise ConfigError(f"config ({origin}): expected a TOML file, got '{named}', which does not exist") from None
        return path, {}
    except OSError as error:
        raise ConfigError(f"config: expected a readable TOML file, got '{path}': {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config: expected TOML in '{path}': {error}") from None
    except RecursionError:
        raise ConfigError(f"config: expected TOML in '{path}', got values nested deeper than any setting is") from None
    for key in keys:
        if key not in fields():
            raise ConfigError(f"{path.name}: unknown key '{key}'{near(key, tuple(fields()))}; `inferd config` lists every setting")
    return path, keys


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The INFERD_* variables that are settings, by field. A misspelt one is an error."""
    names = {field.variable: name for name, field in fields().items()}
    found: dict[str, str] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES or _is_service_link(variable, environ):
            continue
        if variable not in names:
            hint = near(variable.upper(), tuple(names))
            raise ConfigError(f"environment: unknown variable {variable}{hint}; `inferd config` lists every setting")
        found[names[variable]] = text
    return found


def _is_service_link(variable: str, environ: Mapping[str, str]) -> bool:
    """Whether Kubernetes made the variable: a Service named inferd or inferd-grpc adds INFERD_GRPC_PORT=tcp://... to every pod."""
    for host in environ:
        service = host.removesuffix("_SERVICE_HOST")
        if service == host or not variable.startswith(service):
            continue
        rest = variable.removeprefix(service)
        if rest.startswith(("_SERVICE_HOST", "_SERVICE_PORT")) or re.match(r"_PORT_[0-9]+_", rest):
            return True
        if rest == "_PORT" and "://" in environ[variable]:
            return True
    return False
