"""Whether the files and folders that settings name are there. Never in here: what stands in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.config import fields, is_url, parse_listen
from inferd.errors import ConfigError
from inferd.watched_files import require_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from inferd.config import Settings

SECRET_FILES = ("tls_key", "token_file")  # settings whose files hold what nobody else may know
MADE_FOLDERS = ("model_cache", "record")  # that the server makes


def missing_files(settings: Settings, origins: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each setting that names what is not there, with its origin, and why the server would not start with it."""
    for path in settings.models:
        if not is_url(path) and not os.path.exists(path):
            yield f"models ({origins['models']})", f"there is no file or folder '{path}'"
    for field in fields().values():
        path = getattr(settings, field.name)
        if field.kind == "file" and path is not None:
            setting = f"{field.name} ({origins[field.name]})"
            if field.name == "pid_file":
                yield from _folder(setting, Path(path))
            elif field.name in SECRET_FILES:
                yield from _secret(setting, path)
            elif field.name in MADE_FOLDERS:
                yield from _folder(setting, _first_that_is(Path(path)) / "any")
            elif not Path(path).is_file():
                yield setting, f"there is no file '{path}'"
            elif not os.access(path, os.R_OK):
                yield setting, f"the file '{path}' cannot be read by this user"
    for text in settings.listen:
        address = parse_listen(text, tls=settings.tls_cert is not None)
        if address.path and not address.is_abstract:
            yield from _folder(f"listen ({origins['listen']})", Path(address.path))


def _first_that_is(folder: Path) -> Path:
    """The folder, or the one below which it can be made."""
    return next((parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists()), folder)


def _folder(setting: str, file: Path) -> Iterator[tuple[str, str]]:
    folder = file.absolute().parent
    if not folder.is_dir():
        yield setting, f"there is no folder '{folder}'"
    elif not os.access(folder, os.W_OK):
        yield setting, f"this user cannot make files in '{folder}'"


def _secret(setting: str, path: str) -> Iterator[tuple[str, str]]:
    try:
        require_secret(path, setting)
    except ConfigError as error:
        yield setting, str(error).removeprefix(f"{setting}: ")
        return
    if not os.access(path, os.R_OK):
        yield setting, "this user cannot read the file"
