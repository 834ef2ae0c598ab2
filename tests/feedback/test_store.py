"""The store joins each label once, counts it, and keeps within its bounds; also when its process is killed, or the disk is full."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from inferd.errors import StartError
from inferd.feedback import store as stores
from inferd.feedback.label import Fate
from inferd.feedback.schema import FILE, reading
from tests.feedback.stores import MINUTE_NS, NOW_NS, ROWS, Clock, Plain, fates, made, prediction, report

PROGRAM = "tests.feedback.stores"


def outcomes(folder: Path) -> list[tuple[int, int, object]]:
    with reading(folder) as connection:
        return connection.execute("SELECT prediction, row, label FROM outcomes ORDER BY 1, 2").fetchall()


def test_a_label_has_one_fate(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.write([prediction("one", "cat", "dog"), prediction("number", 0.25)])
    assert fates(store, ("one", 0, "cat"), ("one", 0, "cat"), ("one", 0, "dog")) == ["joined", "repeated", "contradictory"]
    assert fates(store, ("one", 1, "cat"), ("one", 2, "cat"), ("none", 0, "cat")) == ["joined", "misfit", "waiting"]
    assert fates(store, ("none", 0, "cat"), ("none", 0, "dog"), ("one", 0, "cat")) == ["repeated", "contradictory", "repeated"]
    assert fates(store, ("number", 0, "a lot"), ("number", 0, "nan"), ("number", 0, "1e2"), ("number", 0, 100.0)) == [
        "misfit",
        "misfit",
        "joined",
        "repeated",
    ]
    assert fates(store, ("one", 0, "cat"), model="other") == ["waiting"], "an id is of one model"
    assert outcomes(tmp_path) == [(1, 0, "cat"), (1, 1, "cat"), (2, 0, 100.0)]


def test_a_class_may_be_a_number(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.write([prediction("digit", "7")])
    assert fates(store, ("digit", 0, 7.5), ("digit", 0, 7.0), ("digit", 0, "7")) == ["misfit", "joined", "repeated"]


def test_a_label_may_come_before_its_prediction(tmp_path: Path) -> None:
    clock = Clock()
    store = made(tmp_path, clock)
    assert fates(store, ("early", 0, "cat"), ("early", 5, "cat"), ("never", 0, "cat")) == ["waiting"] * 3
    store.write([prediction("early", "dog")])
    assert store.totals() == {("m", "joined"): 1, ("m", "misfit"): 1, ("m", "waiting"): 1, ("m", "predicted_rows"): 1}
    assert outcomes(tmp_path) == [(1, 0, "cat")]
    clock.ns += 11 * MINUTE_NS
    store.prune()
    assert store.totals()["m", "unknown"] == 1
    assert ("m", "waiting") not in store.totals()


def test_too_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MOST_WAITING", 3)
    (taken,) = made(tmp_path).write([], [report(*((str(number), 0, "a") for number in range(5)))])
    assert taken.fates == {Fate.WAITING: 3, Fate.UNKNOWN: 2}


def test_whether_a_request_was_right(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.write([prediction("good", "a", "b"), prediction("half", "a", "b"), prediction("share", 0.75), prediction("number", 3.0)])
    labels = [("good", 0, "a"), ("half", 0, "b"), ("good", 1, "b"), ("half", 1, "b"), ("share", 0, 1.0), ("number", 0, 3.0)]
    (taken,) = store.write([], [report(*labels)])
    assert taken.right == {"good": True, "half": False, "share": True}
    (again,) = store.write([], [report(*labels)])
    assert again.right == {}, "a repeated label says nothing new"


def test_the_first_of_two_predictions_with_one_id_stays(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.write([prediction("one", "cat"), prediction("one", "dog", "dog")])
    store.write([prediction("one", "dog", version=2)])
    assert store.totals() == {("m", "predicted_rows"): 1, ("m", "reused_ids"): 2}
    assert store.write([], [report(("one", 0, "cat"))])[0].right == {"one": True}


@pytest.mark.parametrize("seed", range(5))
def test_it_does_what_dictionaries_do(tmp_path: Path, seed: int) -> None:
    chance, store, plain = random.Random(seed), made(tmp_path), Plain()
    for _ in range(200):
        if chance.random() < 0.3:
            ids = [str(chance.randrange(80)) for _ in range(chance.randrange(1, 5))]
            rows = [[chance.choice("ab") for _ in range(chance.randrange(1, 4))] for _ in ids]
            store.write([prediction(request_id, *each) for request_id, each in zip(ids, rows, strict=True)])
            for request_id, each in zip(ids, rows, strict=True):
                plain.predict(request_id, each)
        else:
            labels = [(str(chance.randrange(80)), chance.randrange(3), chance.choice("ab")) for _ in range(chance.randrange(1, 5))]
            (taken,) = store.write([], [report(*labels)])
            expected = [plain.label(*label) for label in labels]
            assert sorted(taken.fates.elements()) == sorted(expected)
    found = {kind: count for (_, kind), count in store.totals().items() if kind != "waiting"}
    assert found == {kind: count for kind, count in plain.counts.items() if count}
    assert store.totals().get(("m", "waiting"), 0) == len(plain.waiting)
    assert sorted(label for _, _, label in outcomes(tmp_path)) == sorted(plain.outcomes.values())


class TestRoom:
    def test_old_predictions_go_and_their_labels_are_late(self, tmp_path: Path) -> None:
        clock = Clock()
        store = made(tmp_path, clock, keep_s=3600)
        store.write([prediction("old", "a"), prediction("labelled", "a"), prediction("new", "a", time_ns=NOW_NS + MINUTE_NS)])
        assert fates(store, ("labelled", 0, "a")) == ["joined"]
        clock.ns += 61 * MINUTE_NS - 1
        store.prune()
        assert fates(store, ("old", 0, "a"), ("labelled", 0, "a"), ("new", 0, "a")) == ["late", "late", "joined"]
        assert outcomes(tmp_path) == [(3, 0, "a")]
        store.write([prediction("old", "b")])
        assert fates(store, ("old", 0, "a")) == ["joined"], "an id may be used again"

    def test_the_oldest_go_where_the_limit_is_reached(self, tmp_path: Path) -> None:
        limit_bytes = 1 << 20
        store = made(tmp_path, limit_bytes=limit_bytes)
        for begin in range(0, 4000, 100):
            store.write([prediction(str(number), "a", width=100) for number in range(begin, begin + 100)])
            store.prune()
            assert store.used_bytes <= limit_bytes
        assert (tmp_path / FILE).stat().st_size < 1.2 * limit_bytes
        assert fates(store, ("3999", 0, "a"), ("0", 0, "a")) == ["joined", "waiting"], "its key made room, too"
        with reading(tmp_path) as connection:
            gone, left = (connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("gone", "predictions"))
            (first,) = connection.execute("SELECT MIN(seq) FROM predictions").fetchone()
        assert stores.CHUNK <= left < 2500
        assert gone <= limit_bytes // stores.GONE_BYTES
        assert fates(store, (str(first - 2), 0, "a")) == ["late"]

    def test_a_full_disk_costs_what_is_written_and_nothing_else(self, tmp_path: Path) -> None:
        store = made(tmp_path)
        store.write([prediction("one", "a")])
        before = store.totals()
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count={pages}")  # SQLite's error is that of a full disk
        with pytest.raises(sqlite3.OperationalError, match="full"):
            store.write([prediction(str(number), "a", model="new", width=100) for number in range(100)])
        assert store.totals() == before
        store.connection.execute("PRAGMA max_page_count=100000")
        store.write([prediction("two", "a", model="new")], [report(("one", 0, "a")), report(("two", 0, "a"), model="new")])
        assert store.totals()["new", "joined"] == 1
        assert not store.connection.in_transaction


class TestFiles:
    def test_a_restart_goes_on(self, tmp_path: Path) -> None:
        store = made(tmp_path / "new")
        store.write([prediction("one", "a")], [report(("one", 0, "a"), ("early", 0, "a"))])
        store.close()
        again = made(tmp_path / "new")
        assert again.totals() == {("m", "joined"): 1, ("m", "waiting"): 1, ("m", "predicted_rows"): 1}
        assert fates(again, ("one", 0, "b")) == ["contradictory"]
        assert (again.knows("m"), again.knows("other")) == (True, False)
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "new" / FILE).stat().st_mode & 0o777 == 0o600

    def test_another_file(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(b"no database" * 1000)
        with pytest.raises(StartError, match=r"feedback: cannot write .*: file is not a database; choose another folder"):
            made(tmp_path)

    def test_a_newer_format(self, tmp_path: Path) -> None:
        made(tmp_path).connection.execute("PRAGMA user_version=7")
        with pytest.raises(StartError, match="of a newer inferd"):
            made(tmp_path)

    def test_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StartError, match="feedback: cannot write"):
            made(tmp_path / "file" / "folder")


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Two programs write at once, and both are killed, several times."""
    made(tmp_path).close()
    chance, total = random.Random(33), {"predicted": 0, "labelled": 0}
    for number in range(4):
        names = [f"{number}-a", f"{number}-b"]
        programs = {
            name: subprocess.Popen([sys.executable, "-m", PROGRAM, str(tmp_path), name], stdout=subprocess.PIPE, text=True)
            for name in names
        }
        told = {}
        for name, program in programs.items():
            told[name] = _told_until_killed(program, chance.randrange(5, 60))
        with made(tmp_path).connection as connection:
            for name, (predicted, labelled) in told.items():
                asked = "SELECT COUNT(*) FROM predictions LEFT JOIN outcomes ON prediction = seq WHERE key = ?"
                keys = [stores.key_of("m", f"{name}-{each}") for each in range(predicted + 2 * ROWS)]
                there = [connection.execute(asked, (key,)).fetchone()[0] for key in keys]
                joined = [connection.execute(asked + " AND label IS NOT NULL", (key,)).fetchone()[0] for key in keys]
                assert set(there[:predicted]) == {1}
                assert set(joined[:labelled]) <= {1}
                assert sum(there) % ROWS == sum(joined) % ROWS == 0, "a transaction is whole, or not there"
                total["predicted"] += sum(there)
                total["labelled"] += sum(joined)
    counted = made(tmp_path).totals()
    assert counted == {("m", "predicted_rows"): total["predicted"], ("m", "joined"): total["labelled"]}


def _told_until_killed(program: subprocess.Popen[str], after: int) -> tuple[int, int]:
    told = {"predicted": 0, "labelled": 0}
    with program:
        assert program.stdout is not None
        for number, line in enumerate(program.stdout):
            if number == after:
                program.send_signal(signal.SIGKILL)
            what, begin = line.split()
            told[what] = int(begin) + ROWS
    return told["predicted"], told["labelled"]
