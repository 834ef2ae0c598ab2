"""The call chains of ARCHITECTURE.md are true: each function is where the page says, and calls the next one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]


class Step(NamedTuple):
    """One line of a chain. called: by the function of the line before it."""

    function: str
    file: str
    called: bool


def chains() -> dict[str, list[Step]]:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    found = {}
    for title, block in re.findall(r"```chain ([^\n]+)\n(.*?)```", page, re.DOTALL):
        steps = [re.match(r"([~ ]) (\w+) +(\S+\.pyx?)", line) for line in block.splitlines()]
        assert all(steps), f"{title}: expected '~ function   file   words' on every line"
        found[title] = [Step(step[2], step[3], step[1] == " ") for step in steps if step]
    return found


def bodies(function: str, file: str) -> list[str]:
    """The source of each function of that name in a file of inferd/."""
    lines = (ROOT / "inferd" / file).read_text().splitlines()
    found = []
    for number, line in enumerate(lines):
        if re.match(rf"\s*(?:async )?(?:def|cdef|cpdef)\b[^(=]*\b{function}\(", line):
            indent = len(line) - len(line.lstrip())
            body = []
            for other in lines[number + 1 :]:
                if other.strip() and len(other) - len(other.lstrip()) <= indent and not other.lstrip().startswith(")"):
                    break
                body.append(other)
            found.append("\n".join(body))
    return found


def test_the_page_has_the_chains_that_a_newcomer_looks_for() -> None:
    assert {"request", "response", "end of a connection"} <= set(chains())


@pytest.mark.parametrize("title", chains())
def test_a_chain_is_true(title) -> None:
    before: Step | None = None
    for step in chains()[title]:
        assert bodies(step.function, step.file), f"there is no {step.function}() in {step.file}"
        if step.called:
            assert before is not None
            callers = bodies(before.function, before.file)
            assert any(re.search(rf"\b{step.function}\(", body) for body in callers), f"{before.function}() does not call {step.function}()"
        before = step
