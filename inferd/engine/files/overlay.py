"""A model whose configuration, or all files, a client sent, in a temporary folder. Never in here: loading, messages."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from inferd.engine.configuration.model_config import CONFIG_FILES
from inferd.engine.files.places import MAX_VERSION, Place
from inferd.errors import FailedPrecondition, InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_FILES = 1024
PREFIX = "inferd-sent-"  # of folders
CALLED = "parameters: config"  # the configuration's name in errors
_FILE = re.compile(r"([1-9][0-9]{0,18})/([A-Za-z0-9_-][A-Za-z0-9_. -]{0,254})(/[A-Za-z0-9_-][A-Za-z0-9_. -]{0,254}){0,7}", re.ASCII)


class LockedFolder(tempfile.TemporaryDirectory[str]):
    """Is locked as long as its process uses it. A folder without a lock is left from a process that was killed."""

    def __init__(self) -> None:
        super().__init__(prefix=PREFIX)
        self._file = os.open(self.name, os.O_RDONLY)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def cleanup(self) -> None:
        super().cleanup()
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def remove_left_folders() -> None:
    """Removes folders among temporary files whose process was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            if os.fstat(file).st_uid == os.geteuid():
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:  # its process lives
            pass
        finally:
            os.close(file)


class Overlay(NamedTuple):
    """place: the model to load. folder: the files that were sent; `cleanup()` removes it."""

    place: Place
    folder: LockedFolder

    @classmethod
    def of_config(cls, base: Place, config: str) -> Overlay:
        """A model of the repository with another config.pbtxt. Raises FailedPrecondition."""
        with _begun(base.name, config) as (made, folder):
            for entry in base.folder.iterdir() if base.folder else ():
                if not entry.name.isdigit() and entry.name not in CONFIG_FILES:
                    (folder / entry.name).symlink_to(entry.absolute())
        return cls(Place(base.name, folder, base.files, base.repository or base.folder or base.files[1].parent, config_called=CALLED), made)

    @classmethod
    def of_files(cls, name: str, config: str, files: Mapping[str, bytes]) -> Overlay:
        """A model whose files are all sent, each by VERSION/NAME. Raises InvalidArgument, FailedPrecondition."""
        if len(files) > MAX_FILES:
            raise InvalidArgument(f"parameters: expected at most {MAX_FILES} files, got {len(files)}")
        for path in files:
            found = _FILE.fullmatch(path)
            if found is None or int(found[1]) > MAX_VERSION:
                raise InvalidArgument(
                    f"parameters: Invalid file path {path[:100]!r}: expected file:VERSION/NAME, with a number from 1 and a name that stays "
                    "in its folder"
                )
        with _begun(name, config) as (made, folder):
            for path, content in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
        versions = {int(path.partition("/")[0]) for path in files}
        return cls(Place(name, folder, {version: folder / str(version) for version in versions}, folder.parent, config_called=CALLED), made)


@contextmanager
def _begun(name: str, config: str) -> Iterator[tuple[LockedFolder, Path]]:
    """A model's folder with that configuration, to be filled inside the block. Raises FailedPrecondition."""
    made = None
    try:
        made = LockedFolder()
        folder = Path(made.name) / name
        folder.mkdir()
        (folder / CONFIG_FILES[0]).write_text(config, "utf-8")
        yield made, folder
    except OSError as error:
        if made is not None:
            made.cleanup()
        raise FailedPrecondition(f"parameters: the files that were sent cannot be written: {error.strerror}") from None
