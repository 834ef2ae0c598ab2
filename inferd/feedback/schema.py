"""The tables of the store, and its connections. The one door to SQLite. Never in here: what is written.

The file is written through a log (WAL): several processes write it in turn, and others read meanwhile. A commit waits until the log is on
disk (synchronous=FULL). So what was committed is there after kill -9, and after a power loss, too.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from inferd.errors import StartError

FILE = "feedback.db"
FORMAT = 1
Connection = sqlite3.Connection
StoreError = sqlite3.Error  # a full disk, or a file that another program damaged
BUSY_S = 10.0  # that a transaction waits for those of other processes
CACHE_KIB = 16 << 10
LOG_BYTES = 16 << 20  # of the log, at which it goes into the file
PAGE_BYTES = 1024  # keys come in any order: each row that is written costs a page or two
TRIES = 100

TABLES = """
CREATE TABLE IF NOT EXISTS models(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
-- numbers: 1: predicted has float64, 0: classes. rows: of the request.
CREATE TABLE IF NOT EXISTS predictions(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, model INTEGER NOT NULL, version INTEGER NOT NULL,
    time_ns INTEGER NOT NULL, rows INTEGER NOT NULL, numbers INTEGER NOT NULL, predicted BLOB NOT NULL, probabilities BLOB, slices BLOB);
CREATE INDEX IF NOT EXISTS predictions_by_time ON predictions(model, time_ns, version, rows);
CREATE TABLE IF NOT EXISTS classes(model INTEGER, version INTEGER, names BLOB NOT NULL, PRIMARY KEY(model, version)) WITHOUT ROWID;
-- A label has the type of its prediction. prediction: its seq.
CREATE TABLE IF NOT EXISTS outcomes(prediction INTEGER, row INTEGER, label, PRIMARY KEY(prediction, row)) WITHOUT ROWID;
-- Labels without a prediction yet.
CREATE TABLE IF NOT EXISTS waiting(key BLOB, row INTEGER, label, model INTEGER, at_ns INTEGER, PRIMARY KEY(key, row)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_by_time ON waiting(at_ns);
-- Keys of predictions that made room.
CREATE TABLE IF NOT EXISTS gone(seq INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE);
-- Since the store began.
CREATE TABLE IF NOT EXISTS counts(model INTEGER, kind TEXT, count INTEGER NOT NULL, PRIMARY KEY(model, kind)) WITHOUT ROWID;
"""


def opened(folder: str | Path) -> Connection:
    """A connection for one thread at a time, which begins and commits its transactions itself. The folder and the file are made if they
    are not there, for their owner alone. Raises StartError."""
    path = Path(folder) / FILE
    try:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)  # clients' data
        path.touch(0o600)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
    except (OSError, sqlite3.Error) as error:
        raise StartError(f"feedback: cannot write {str(path)!r}: {error}; choose another folder, or move this file away") from None
    return connection


def reading(folder: str | Path) -> closing[Connection]:
    """A connection that only reads, closed at the end of `with`."""
    path = (Path(folder) / FILE).absolute()
    return closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False))


def _prepare(connection: Connection, path: Path) -> None:
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    _use_log(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    connection.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
    connection.execute(f"PRAGMA wal_autocheckpoint={LOG_BYTES // PAGE_BYTES}")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > FORMAT:
        raise StartError(f"feedback: {str(path)!r} is of a newer inferd (format {found}, and this one knows {FORMAT}); upgrade it")
    if found < FORMAT:
        connection.executescript(f"BEGIN IMMEDIATE;{TABLES}PRAGMA user_version={FORMAT};COMMIT")


def _use_log(connection: Connection) -> None:
    """The change needs the file for itself, and SQLite does not wait for that."""
    for left in range(TRIES, -1, -1):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if not left:
                raise
            time.sleep(BUSY_S / TRIES)
