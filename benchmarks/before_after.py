"""What a change costs the server: another tree's server beside this tree's, in one interleaved run on one machine.

    python benchmarks/before_after.py ../before [--sections tiny,image,memory] [--rounds 9] [--seconds 1.5] [--no-history]

`../before` is a clone of the commit to compare with, in which `make build` has run. In each round both servers get the same load,
the older one first in every other round. CPU is the server process's own time; the figure is the median of each round's ratio.
A real client checks the answers, as in server_cost.py. Memory is what is resident of a server of five models.
"""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import dev_packages  # noqa: F401
import numpy as np
import sections
import servers
import tritonclient.grpc
import workloads
from load import Load, Run, Target, drive, missing_programs, requests_for, rss_bytes
from record import Report, output_of
from server_cost import Checker, answer_of, as_numbers, checked, figures
from workloads import INFER_PATH, Workload

HISTORY = Path(__file__).resolve().parent / "history" / "before_after.jsonl"
PROGRAMS = {"h2load": "--version"}
MOST = 1.03  # of the CPU that a request cost before: more is a regression
BEFORE, AFTER = "before", "after"
ROWS = 64  # the largest batch, by default
DECAYED_S = 22  # two decays of the arenas, and a little


def pythons(tree: Path) -> dict[str, tuple[str, ...]]:
    """-P: the working folder holds an inferd, too, and is not the one that is meant."""
    return {BEFORE: (str(tree / ".venv" / "bin" / "python"), "-P"), AFTER: (sys.executable,)}


def compare(report: Report, folder: Path, tree: Path, workload: Workload, loads: tuple[Load, ...]) -> None:
    repository = folder / "repository"
    body = workload.write_body(folder)
    expected = answer_of(repository, workload)
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(servers.inferd(name, [repository], folder, python=python)) for name, python in pythons(tree).items()
        }
        targets = {name: Target(f"http://{server.address}{INFER_PATH}", body) for name, server in running.items()}
        checkers = {name: Checker(server.address, workload, expected) for name, server in running.items()}
        for load in loads:
            counts = {name: requests_for(running[name].pid, targets[name], load, report.seconds) for name in running}
            runs: dict[str, list[Run]] = {name: [] for name in running}
            for round_number in range(report.rounds):
                for name in (BEFORE, AFTER) if round_number % 2 == 0 else (AFTER, BEFORE):
                    measure = partial(drive, running[name].pid, targets[name], load, counts[name])
                    runs[name].append(checked(checkers[name], measure))
            judge(report, f"{workload.model} {load}", runs)


def judge(report: Report, what: str, runs: dict[str, list[Run]]) -> None:
    report.numbers[what] = {name: as_numbers(found) for name, found in runs.items()}
    for name, found in runs.items():
        report.add(f"{what}, {name}", "", figures(found))
    ratio = statistics.median(after.cpu_us / before.cpu_us for before, after in zip(runs[BEFORE], runs[AFTER], strict=True))
    report.numbers[what]["ratio"] = round(ratio, 3)
    report.add(f"{what}: CPU against before", f"<= {MOST}", f"{ratio:.3f}", ratio <= MOST)


def resident(report: Report, folder: Path, tree: Path) -> None:
    repository = folder / "repository"
    large = [workloads.resnet50(repository), workloads.squeezenet(repository)]
    for make in (workloads.identity, workloads.pool, workloads.turning):
        make(repository)
    for name, python in pythons(tree).items():
        with servers.inferd(name, [repository], folder, python=python) as server:
            found = {"ready": rss_bytes(server.pid)}
            client = tritonclient.grpc.InferenceServerClient(server.address)
            for workload in large:
                value = np.repeat(workload.value, ROWS, axis=0)
                tensor = tritonclient.grpc.InferInput(workload.input, list(value.shape), "FP32")
                tensor.set_data_from_numpy(value)
                client.infer(workload.model, [tensor], client_timeout=300)
            found[f"after {ROWS} rows"] = rss_bytes(server.pid)
            time.sleep(DECAYED_S)
            found[f"{DECAYED_S} s later"] = rss_bytes(server.pid)
        report.numbers.setdefault("memory_mib", {})[name] = {when: round(nbytes / 2**20) for when, nbytes in found.items()}
        report.add(f"five models, {name}", "", ", ".join(f"{when} {nbytes / 2**20:,.0f} MiB" for when, nbytes in found.items()))


def main() -> int:
    def tiny(report: Report, folder: Path) -> None:
        """identity FP32[1,16]"""
        compare(report, folder, tree, workloads.identity(folder / "repository"), (Load(4, 16), Load(64, 1), Load(8, 1)))

    def image(report: Report, folder: Path) -> None:
        """602 KB a request into a model that pools it"""
        compare(report, folder, tree, workloads.pool(folder / "repository"), (Load(4, 2),))

    def memory(report: Report, folder: Path) -> None:
        """resnet50, squeezenet and three tiny models in one server"""
        resident(report, folder, tree)

    of_two: dict[str, sections.Section] = {"tiny": tiny, "image": image, "memory": memory}
    made = sections.parser("The servers of two commits in one interleaved run.", of_two, seconds=1.5, lasts="each run", rounds=9)
    made.add_argument("tree", type=Path, help="a built clone of the commit to compare with")
    given = made.parse_args()
    if missing := missing_programs(list(PROGRAMS)):
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        return 2
    report = Report(given.rounds, given.seconds)
    tree = given.tree.resolve()
    sections.run(report, of_two, given.sections)
    given.tree = output_of("git", "-C", str(tree), "rev-parse", "--short", "HEAD")
    sections.keep(HISTORY, given, report, PROGRAMS)
    return 0 if report.kept else 1


if __name__ == "__main__":
    sys.exit(main())
