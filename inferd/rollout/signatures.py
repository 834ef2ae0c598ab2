"""Whether a candidate can take a version's place: it takes all requests that the version takes, and its responses have the same form."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from inferd.rollout.messages import Spec


def difference(stable: tuple[Iterable[Spec], Iterable[Spec]], candidate: tuple[Iterable[Spec], Iterable[Spec]]) -> str:
    """The first difference between two signatures, each inputs and outputs, in words; '' where none matters. The candidate's inputs may
    allow more sizes."""
    for what, before, after in zip(("input", "output"), stable, candidate, strict=True):
        old = {name: (word, tuple(shape)) for name, word, shape in before}
        new = {name: (word, tuple(shape)) for name, word, shape in after}
        for name in [*old, *(name for name in new if name not in old)]:
            if name not in new:
                return f"it has no {what} '{name}'"
            if name not in old:
                return f"it has one more {what}, '{name}'"
            if not _fits(old[name], new[name], either=what == "output"):
                return f"{what} '{name}' is {_spelled(new[name])}, and was {_spelled(old[name])}"
    return ""


def _fits(old: tuple[str, tuple[int, ...]], new: tuple[str, tuple[int, ...]], *, either: bool) -> bool:
    if old[0] != new[0] or len(old[1]) != len(new[1]):
        return False
    return all(before == after or after < 0 or (either and before < 0) for before, after in zip(old[1], new[1], strict=True))


def _spelled(spec: tuple[str, tuple[int, ...]]) -> str:
    return f"{spec[0]}[{', '.join('?' if size < 0 else str(size) for size in spec[1])}]"
