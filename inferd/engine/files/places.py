"""Finds models on disk and selects the versions to serve. Never in here: loading, the format of a configuration.

A path is an .onnx file, one model's folder, or a repository of such folders as Triton lays them out:

    digits.onnx                          the model "digits", version 1
    digits/model.onnx                    the same
    digits/1/model.onnx, digits/2/...    numbered versions, beside digits/config.pbtxt or config.toml if there is one
    models/digits/..., models/other/...  a repository; models/third.onnx may lie in it, too

roots.py decides once what a path is.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from inferd.engine.configuration import model_config
from inferd.engine.files.roots import HIDDEN, Layout, Root, as_roots, stray
from inferd.engine.runtime.runtimes import runtime_of
from inferd.errors import ConfigError, InferdError, StartError
from inferd.steps.labels import read_labels
from inferd.steps.model_file import model_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from inferd.engine.configuration.config_sources import Written

RECORD = ".arrow"  # a file that may warm a model up
SHOWN_NAMES = 16  # models, folders or versions that one error message lists
SHOWN_CHARACTERS = 100  # of a client's text that one error message repeats
MAX_NAME_NBYTES = 200  # a model's name
MAX_VERSION = (1 << 63) - 1
_VERSION = re.compile("[1-9][0-9]{0,18}", re.ASCII)
_VERSIONS = f"a version is a folder named by a number from 1 to {MAX_VERSION}, without leading zeros"


@dataclass(frozen=True, slots=True)
class Place:
    """One model on disk. folder: None for a single file. files: each version's folder or file. repository: the repository that it was
    found in; None: a path named the model itself. odd: folders that look like versions and are none.
    config_called: the configuration's name in errors, if a client sent it. only: the one version to serve, whatever the version policy
    says; 0: the policy decides."""

    name: str
    folder: Path | None
    files: dict[int, Path]
    repository: Path | None = None
    odd: tuple[str, ...] = ()
    config_called: str = ""
    only: int = 0


class Stray(NamedTuple):
    """An entry of a repository that is no model and looks like a part of one. cure: what to do with it."""

    name: str
    cure: str


class Failure(NamedTuple):
    """A model that cannot be loaded. named: a path names the model itself, not just a repository that has it."""

    name: str
    error: InferdError
    named: bool


def find_places(paths: Sequence[str | Path | Root]) -> tuple[list[Place], list[Failure]]:
    """The models below the paths, and the folders in repositories that look like a model and are none."""
    if not paths:
        raise ConfigError("models: no path was given; name a .onnx file, a model's folder or a repository")
    places: dict[str, Place] = {}
    failures: list[Failure] = []
    for root in as_roots(paths):
        for place in _places_in(root):
            if isinstance(place, Failure):
                failures.append(place)
                continue
            if place.name in places:
                raise _twice(place.name)
            places[place.name] = place
    return list(places.values()), failures


def survey(paths: Sequence[str | Path | Root]) -> tuple[dict[str, Place], dict[str, InferdError]]:
    """All models below the paths, and the errors of broken ones, by name. Raises ConfigError and StartError where a path is gone, holds
    nothing or cannot be read."""
    places: dict[str, Place] = {}
    failures: dict[str, InferdError] = {}
    for root in as_roots(paths):
        for each in _places_in(root):
            if isinstance(each, Failure):
                failures[each.name] = each.error
            elif each.name in places:
                failures[each.name] = _twice(each.name)
            else:
                places[each.name] = each
    return {name: place for name, place in places.items() if name not in failures}, failures


def _twice(name: str) -> ConfigError:
    return ConfigError(f"models: there are two models named {name!r}: rename one of the files or folders")


def is_name(name: str) -> bool:
    """Whether a model of a repository may have the name: a file may have it, and it can be printed in logs, tables and metrics."""
    if not name.isprintable() or "/" in name or name.startswith(HIDDEN):
        return False
    return 0 < len(name.encode()) <= MAX_NAME_NBYTES


def find_place(paths: Sequence[str | Path | Root], name: str) -> Place | None:
    """The model of that name below the paths; None where there is none. Raises ConfigError and StartError."""
    if not is_name(name):
        return None
    found: list[Place] = []
    for root in as_roots(paths):
        path = root.path
        try:
            layout = root.decide()
            if layout is Layout.REPOSITORY:
                inside = [path / name, path / f"{name}.onnx"]
                entries = [_entry(entry) for entry in inside if entry.exists()]
            else:
                entries = [_whole(root)] if path.exists() else []
        except OSError as error:
            raise _unreadable(path, error) from None
        for each in entries:
            if isinstance(each, Failure) and each.name == name:
                raise each.error
            if isinstance(each, Place) and each.name == name:
                found.append(each)
    if len(found) > 1:
        raise _twice(name)
    return found[0] if found else None


def version_place(folder: Path) -> Place:
    """The model with the version folder `folder`, such as models/digits/3, and only this version. Raises ConfigError and StartError."""
    model, version = folder.parent.resolve(), folder.name
    place = find_place([model], model.name)
    if place is None or not _VERSION.fullmatch(version) or int(version) not in place.files:
        raise ConfigError(f"models: {str(folder)!r} is no version of a model: {_VERSIONS}, with a model in it")
    return replace(place, only=int(version))


def _places_in(root: Root) -> list[Place | Failure]:
    """The places of one root. Logs its stray entries."""
    path = root.path
    try:
        layout = root.decide()
        if not path.exists() or (layout is not Layout.FILE and path.is_file()):
            raise ConfigError(f"models: there is no file or folder {str(path)!r}; name a .onnx file, a model's folder or a repository")
        if layout is not Layout.REPOSITORY:
            whole = _whole(root)
            found: list[Place | Failure] = [] if whole is None else [whole]
        else:
            seen = [each for entry in sorted(path.iterdir()) if (each := _entry(entry)) is not None]
            found = [each for each in seen if not isinstance(each, Stray)]
            root.tell(each for each in seen if isinstance(each, Stray))
    except OSError as error:
        raise _unreadable(path, error) from None
    if not found:
        raise ConfigError(
            f"models: nothing to serve in {str(path)!r}; expected name.onnx, model.onnx, 1/model.onnx or name/1/model.onnx in it"
        )
    return found


def _whole(root: Root) -> Place | None:
    """The place of a root that is one model; None where there is none."""
    if root.layout is Layout.FILE:
        return _single_file(root.path)
    return _model_folder(root.path.resolve()) if root.layout is Layout.MODEL else None


def _unreadable(path: Path, error: OSError) -> StartError:
    return StartError(f"models: {str(path)!r} cannot be read: {error.strerror}")


def _single_file(path: Path, repository: Path | None = None) -> Place:
    if path.suffix != ".onnx":
        cure = _EXPORTS.get(path.suffix.lower(), "name a .onnx file, a model's folder or a repository")
        raise ConfigError(f"models: {str(path)!r} is not an .onnx file: {cure}")
    return Place(path.stem, None, {1: path}, repository)


_SKLEARN = "inferd features export FILE writes one from a scikit-learn pipeline"
_TORCH = "torch.onnx.export(model, inputs, 'model.onnx') writes one from a PyTorch model"
_TENSORFLOW = "python -m tf2onnx.convert writes one from a TensorFlow model"
_EXPORTS = {
    **dict.fromkeys((".joblib", ".pkl", ".pickle"), _SKLEARN),
    **dict.fromkeys((".pt", ".pth", ".safetensors"), _TORCH),
    **dict.fromkeys((".h5", ".keras", ".pb", ".tflite"), _TENSORFLOW),
}


def _entry(path: Path) -> Place | Failure | Stray | None:
    """One entry of a repository; None if it is no model: hidden files, scripts, folders without models."""
    if path.name.startswith(HIDDEN):
        return None
    if not path.name.isprintable():
        name = path.name.encode("unicode_escape").decode()
        return Failure(name, ConfigError(f"models: '{name}' has characters in its name that cannot be printed: rename it"), named=False)
    try:
        if cure := stray(path):
            return Stray(path.name, cure)
        if path.is_file() and path.suffix != ".onnx":
            return None
    except OSError as error:  # a link to itself, or into a folder that cannot be read
        return Stray(path.name, f"it cannot be read ({error.strerror}): change its permissions, or remove it")
    if path.is_file():
        return _well_named(_single_file(path, path.parent))
    try:
        place = _model_folder(path, path.parent)
    except PermissionError as error:  # other models are served all the same
        return Failure(path.name, StartError(f"model {path.name!r}: its folder cannot be read: {error.strerror}"), named=False)
    except OSError:  # not a folder, or it was just removed
        return None
    if place is None and any(path.glob("*.onnx")):
        said = f"models: folder {path.name!r} holds .onnx files, but none named model.onnx or 1/model.onnx: rename it"
        return Failure(path.name, ConfigError(said), named=False)
    if place is None and (inside := sorted(path.glob("*/model.onnx"))):
        said = f"models: folder {path.name!r} holds {inside[0].parent.name}/model.onnx and no version: {_VERSIONS}: rename it to 1"
        return Failure(path.name, ConfigError(said), named=False)
    return None if place is None else _well_named(place)


def _well_named(place: Place) -> Place | Failure:
    if is_name(place.name):
        return place
    said = f"model {shown(place.name)}: its name has more than {MAX_NAME_NBYTES} bytes: give it a shorter one"
    return Failure(place.name, ConfigError(said), named=False)


def _model_folder(path: Path, repository: Path | None = None) -> Place | None:
    """A folder as one model; None if it has neither a configuration, nor folders named by numbers, nor a model.onnx."""
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(HIDDEN)]
    numbered = [entry for entry in entries if re.fullmatch("[0-9]+", entry.name, re.ASCII) and entry.is_dir()]
    spelled = [entry for entry in numbered if _VERSION.fullmatch(entry.name) and int(entry.name) <= MAX_VERSION]
    versions = {int(entry.name): entry for entry in spelled if any(entry.iterdir())}
    odd = [entry for entry in numbered if int(entry.name) not in versions or entry not in spelled]
    odd += [entry for entry in entries if versions and entry not in numbered and os.path.isfile(entry / "model.onnx")]
    if not versions and (path / "model.onnx").is_file():
        versions = {1: path}
    configured = any(os.path.lexists(path / name) for name in model_config.CONFIG_FILES)
    names = tuple(sorted(entry.name for entry in odd))
    return Place(path.name, path, versions, repository, names) if numbered or versions or configured else None


def odd_versions(place: Place) -> str:
    """A text about folders that look like versions and are none; '' where there are none."""
    empty = _empty_versions(place)
    odd = [name for name in place.odd if name not in empty]
    said = [f"folder {', '.join(map(shown, empty[:SHOWN_NAMES]))} is empty"] if empty else []
    said += [f"{', '.join(map(shown, odd[:SHOWN_NAMES]))} is not served: {_VERSIONS}, with a model in it"] if odd else []
    return "; ".join(said)


def _empty_versions(place: Place) -> list[str]:
    """The odd folders with correct names: they are empty."""
    return [name for name in place.odd if _VERSION.fullmatch(name) and int(name) <= MAX_VERSION]


def selected_versions(written: Written, place: Place, also: Collection[int] = ()) -> list[tuple[int, Path]]:
    """(version, model file) of the versions that the policy selects, and of those in `also` that exist; oldest first."""
    if not place.files:
        if empty := _empty_versions(place):
            file = f"{place.name}/{empty[-1]}/model.onnx"
            raise ConfigError(f"model {place.name!r}: folder {shown(empty[-1])} is empty: put the model at {file}")
        seen = sorted(entry.name for entry in place.folder.iterdir() if entry.is_dir()) if place.folder is not None else []
        found = f"; there is {', '.join(map(shown, seen[:SHOWN_NAMES]))}" if seen else ""
        raise ConfigError(
            f"model {place.name!r} has no version folder{found}. {_VERSIONS.capitalize()}: put the model at {place.name}/1/model.onnx"
        )
    if place.only:
        return [(place.only, _file_of(written, place, place.only))]
    policy = written.config.version_policy
    there = sorted(place.files)
    if policy.HasField("specific"):
        named = set(policy.specific.versions)
        if not named & set(there):
            raise ConfigError(f"{written.where}: version_policy.specific names {sorted(named)}, and there is {there}")
        there = sorted(named & set(there))
    elif not policy.HasField("all"):
        there = there[-(policy.latest.num_versions or 1) :]
    there = sorted({*there, *(set(also) & set(place.files))})
    return [(version, _file_of(written, place, version)) for version in there]


def missing_versions(written: Written, place: Place) -> str:
    """A sentence on versions that version_policy.specific names and that do not exist; '' if all of them exist, or none."""
    named = set(written.config.version_policy.specific.versions)
    missing = sorted(named - set(place.files))
    if not missing or len(missing) == len(named):
        return ""
    versions = f"version{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing[:SHOWN_NAMES]))}"
    return f"version_policy.specific names {versions}, and there is {sorted(place.files)}: the others are served"


def all_versions(place: Place) -> str:
    """The line of configuration that serves every version, and its file."""
    toml = place.folder is not None and os.path.exists(place.folder / "config.toml")  # never raises, unlike Path.exists
    return "version_policy.all = {} at the top of its config.toml" if toml else "version_policy { all { } } in its config.pbtxt"


def _file_of(written: Written, place: Place, version: int) -> Path:
    path = place.files[version]
    if place.folder is None or path.is_file():
        return path
    name = written.config.default_model_filename or runtime_of(written.config).file
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(f"{written.where}: default_model_filename is {name!r}; it must lie in the version's folder")
    if not (path / name).is_file():
        here = sorted(entry.name for entry in path.glob("*.onnx"))
        there = f"; there is {', '.join(here)}: rename it, or set default_model_filename" if here else ""
        if os.path.lexists(path / name):
            there = "; what has this name is no regular file: put the model there"
        raise ConfigError(f"model {place.name!r} version {version}: there is no file {name!r} in its folder{there}")
    return path / name


def check_links(place: Place, paths: Iterable[Path]) -> None:
    """Raises ConfigError if a link leads to a file outside the repository. A path that names one model is trusted."""
    if place.repository is None:
        return
    roots = [place.repository]
    if place.folder is not None and not place.folder.is_relative_to(place.repository):
        roots.append(place.folder)  # an overlay's folder; its links lead into the repository
    real_roots, folders = [root.resolve() for root in roots], dict[Path, Path]()
    for path in paths:
        folder = folders.get(path.parent) or folders.setdefault(path.parent, path.parent.resolve())
        real = path.resolve() if path.is_symlink() else folder / path.name
        if not any(real.is_relative_to(root) for root in real_roots):
            raise _leaves(place, next(root for root in roots if path.is_relative_to(root)), path)


def _leaves(place: Place, root: Path, path: Path) -> ConfigError:
    names, real_root = path.relative_to(root).parts, root.resolve()
    steps = [root.joinpath(*names[: count + 1]) for count in range(len(names))]
    link = next((step for step in steps if step.is_symlink() and not step.resolve().is_relative_to(real_root)), path)
    return ConfigError(
        f"model {place.name!r}: {link.relative_to(root).as_posix()!r} is a symbolic link that leaves the model repository: put a copy of "
        "its target there, or mount the target there"
    )


def class_labels(written: Written, place: Place) -> dict[str, Sequence[str]]:
    """The lines of each output's label_filename, by the output's name. Raises ConfigError."""
    found: dict[str, Sequence[str]] = {}
    for output in written.config.output:
        if output.label_filename:
            found[output.name] = _labels(f"{written.where}: output {output.name!r}: label_filename", output.label_filename, place)
    return found


def _labels(where: str, name: str, place: Place) -> Sequence[str]:
    labels: Sequence[str] = read_labels(_named_file(where, name, place), lambda why: ConfigError(f"{where}: {why}")).tolist()
    return labels


def warmup_file(written: Written, place: Place, name: str) -> Path:
    """A file of model_warmup, in the model's folder `warmup`. Raises ConfigError."""
    return _named_file(f"{written.where}: model_warmup: input_data_file", f"warmup/{name}", place)


def _named_file(where: str, name: str, place: Place) -> Path:
    try:
        return model_file(name, [place.folder] if place.folder else [], place.repository)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def warmup_records(place: Place, files: Iterable[str]) -> list[Path]:
    """The records among a version's files, which are in the folder `warmup`."""
    if place.folder is None:
        return []
    folder = place.folder / "warmup"
    return sorted(path for path in map(Path, files) if path.suffix == RECORD and folder in path.parents)


def shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "...")
