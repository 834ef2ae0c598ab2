"""Every target's function over its committed corpus and over what once crashed it, on the build that is tested here; and over changes of
both that need no coverage. What guides its inputs by coverage is `make fuzz`."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import corpus

HERE = Path(__file__).parent
TARGETS = sorted(path.stem for path in (HERE / "targets").glob("*.py") if path.stem not in ("__init__", "wires"))
CHANGED = 400  # inputs of each target
NEEDED = {
    "picture": ["PIL"], "image": ["PIL"], "audio": ["soundfile"], "records": ["sklearn"], "table": ["sklearn", "pyarrow"],
    "text": ["tokenizers"], "onnx_file": ["onnx"], "rest": ["inferd._core.rest.decode"],
    "rest_encode": ["inferd._core.rest.request"],
}  # fmt: skip
MOST_CORPUS_BYTES = 350_000


def inputs(target: str) -> list[bytes]:
    """In one order on every machine."""
    crashes = HERE / "crashes" / target
    return [*corpus.read(target).values(), *(path.read_bytes() for path in (sorted(crashes.iterdir()) if crashes.is_dir() else ()))]


@pytest.fixture(scope="module", params=TARGETS)
def target(request: pytest.FixtureRequest) -> Any:
    for module in NEEDED.get(request.param, ()):
        pytest.importorskip(module)
    return importlib.import_module(f"tests.fuzz.targets.{request.param}")


def test_the_corpus(target: Any) -> None:
    found = inputs(target.__name__.rpartition(".")[2])
    assert found
    for content in found:
        target.check(content)


def test_the_seeds(target: Any) -> None:
    for content in target.seeds():
        target.check(content)


def test_changes_of_the_corpus(target: Any) -> None:
    """The same changes each time: a failure can be repeated."""
    source = random.Random(target.__name__)
    found = inputs(target.__name__.rpartition(".")[2])
    mutate = getattr(target, "mutate", None)
    for number in range(CHANGED):
        content = source.choice(found)
        content = mutate(content, number) if mutate and number % 2 else changed(content, source)
        target.check(content)


def changed(content: bytes, source: random.Random) -> bytes:
    """Some bytes are others, some are gone, some are there twice."""
    made = bytearray(content)
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(made) + 1)
        nbytes = source.choice((1, 1, 2, 4, 8))
        match source.randrange(3):
            case 0:
                made[at : at + nbytes] = source.randbytes(nbytes)
            case 1:
                del made[at : at + nbytes]
            case 2:
                made[at:at] = made[max(0, at - nbytes) : at]
    return bytes(made)


def test_the_corpus_is_small() -> None:
    assert sorted(path.stem for path in corpus.CORPUS.iterdir()) == TARGETS
    assert 0 < sum(len(content) for target in TARGETS for content in corpus.read(target).values()) < MOST_CORPUS_BYTES


@pytest.mark.parametrize("target", TARGETS)
def test_an_archive_that_is_written_again_has_the_same_bytes(target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    inputs = corpus.read(target)
    before = corpus.archive(target).read_bytes()
    monkeypatch.setattr(corpus, "CORPUS", tmp_path)
    corpus.write(target, reversed(inputs.values()))
    assert corpus.archive(target).read_bytes() == before
