"""Files that a model's configuration names: labels, a tokenizer. Their content can reach clients, so they must lie inside the repository.

Never in here: the meaning of a file, and the model itself, which no client gets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def model_file(name: str, folders: Sequence[Path], repository: Path | None = None) -> Path:
    """The regular file `name` in the first of the model's folders that has it.

    A symbolic link may lead to anywhere in these folders or in the repository. Raises ValueError, which says what is wrong and the cure.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"{name!r} must lie in the model's folder: name it without '..' and without a leading '/'")
    found = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise ValueError(f"there is no file {name!r} in the model's folder: put it there, or name another")
    real = found.resolve()
    roots = [*folders, repository] if repository is not None else folders
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        raise ValueError(f"{name!r} is a symbolic link that leaves the model repository: put a copy of the file into the model's folder")
    return found
