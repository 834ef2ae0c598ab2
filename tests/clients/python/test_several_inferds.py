"""Both clients with three inferd processes, of which one is killed, ended or stopped."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.server_fixtures import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.echo_server import Awaited

X = np.arange(16, dtype=np.float32)[None]
LIMIT_S = 60


@pytest.fixture(scope="module")
def started() -> Iterator[tuple[ExitStack, list[Program]]]:
    with ExitStack() as stack:
        yield stack, []


@pytest.fixture
def programs(started: tuple[ExitStack, list[Program]], model_files: Path) -> Iterator[list[Program]]:
    """Three servers, each a process. Those that ended in the test before are replaced."""
    stack, programs = started
    programs[:] = [program for program in programs if program.process.poll() is None]
    new = [Program(model_files / "identity") for _ in range(3 - len(programs))]  # all at once; each is ready when it is entered
    programs[:0] = [stack.enter_context(program) for program in new]
    yield programs
    for program in programs:
        if program.process.poll() is None:
            program.process.send_signal(signal.SIGCONT)


async def ask(client: Awaited, number: int) -> None:
    result = await client.infer("identity", {"x": X + number})
    np.testing.assert_array_equal(result["y"], X + number)


async def count(client: Awaited) -> int:
    return int((await client.statistics("identity"))[0].inference_count)


@pytest.mark.parametrize(("number", "balance"), [(signal.SIGKILL, "round_robin"), (signal.SIGTERM, "least_in_flight")])
async def test_no_call_fails_when_a_server_ends(
    programs: list[Program], connect: Callable[..., Awaited], number: signal.Signals, balance: str
) -> None:
    client = connect([program.address for program in programs], balance=balance, timeout=LIMIT_S)
    alone = connect(programs[0].address, timeout=LIMIT_S)
    before = await count(alone)
    while await count(alone) == before:
        await ask(client, 0)
    ending = asyncio.ensure_future(asyncio.to_thread(programs[0].stop, number))
    asked = 0
    while not ending.done() or asked < 60:
        calls = [client.begin("infer", "identity", {"x": X + asked + place}) for place in range(4)]
        for place, result in enumerate(await asyncio.gather(*calls)):
            np.testing.assert_array_equal(result["y"], X + asked + place)
        asked += len(calls)
    await ending


async def test_no_call_fails_when_a_server_is_stopped_and_calls_are_hedged(
    programs: list[Program], connect: Callable[..., Awaited]
) -> None:
    """SIGSTOP: its connection stays, and nothing answers."""
    client = connect([program.address for program in programs], hedge_after=0.05, timeout=LIMIT_S)
    alone = [connect(program.address, timeout=LIMIT_S) for program in programs]
    before_all = [await count(one) for one in alone]
    while any([await count(one) == before for one, before in zip(alone, before_all, strict=True)]):
        await ask(client, 0)
    before = await count(alone[0])
    programs[0].process.send_signal(signal.SIGSTOP)
    for number in range(60):
        await ask(client, number)
    programs[0].process.send_signal(signal.SIGCONT)
    while await count(alone[0]) <= before:
        await ask(client, 0)
