"""Records requests and responses: a thread that writes what models' taps keep.

A small request is added to the record's next batch as soon as it has its response (record_tap.pyx). A larger one costs the request path a
pointer and a random number. All else happens here, in short pieces, since other threads wait for the GIL meanwhile. A thread of idle
priority copies large tensors and writes. Large requests are recorded at the pace that the cores' idle time allows (Pace). Requests are
lost if a tap is full, a batch cannot be written, or the process is killed; the first two are counted. Never in here: the format
(form.py), files (writer.py), requests on their way.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from inferd import log as logs
from inferd._core.batching.tap import Tap
from inferd._core.codec.columns import Columns
from inferd._core.codec.record_tap import RecordTap
from inferd.part import counter, gauge
from inferd.record.changes import changes_of, read_key
from inferd.record.decoded import outputs_of
from inferd.record.memory import BATCH_BYTES, BATCH_ROWS, room_bytes
from inferd.record.samples import parse_samples
from inferd.record.writer import Writer
from inferd.system.cpu_time import SpareCores
from inferd.system.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd._core.batching.tap import Tapped
    from inferd.part import Table
    from inferd.part.part import Version
    from inferd.record.settings import Settings

log = logging.getLogger(__name__)

PIECE = 32  # requests between two rests, which other threads wait for: about 50 us
PIECE_BYTES = 1 << 20  # and of about so many bytes: a longer piece holds up others that need its core
REST_S = 0.0003
MANY = 1024  # requests that wait: longer pieces, so that none is lost on a busy machine
LARGE_BYTES = 256 << 10  # requests that are longer, with their responses, take
RESERVED = 0.5  # of all cores nothing: even a copy at idle priority takes memory's time from a server that needs them,
LEAST = 0.02  # but so much of a core in any case
LOOK_S = 0.02  # between two looks while requests come,
IDLE_S = 0.05  # and while none come
BATCH_NS = 1_000_000_000  # a batch that is as old is written, and where the thread looks, one that is half as large or as long


class Recorder:
    """Made before the models are loaded. Raises ConfigError and StartError. message_memory_bytes: of this process."""

    def __init__(self, settings: Settings, message_memory_bytes: int) -> None:
        assert settings.record is not None
        key = read_key(settings.record_key_file) if settings.record_key_file and settings.record_hash else b""
        changed = dict.fromkeys(settings.record_hash, "hash") | dict.fromkeys(settings.record_omit, "omit")
        self._changes = changes_of(settings.record_omit, settings.record_hash, key) or None
        self._writer = Writer(
            settings.record,
            segment_bytes=settings.record_segment_bytes,
            segment_s=settings.record_segment_s,
            limit_bytes=settings.record_limit_bytes,
            changed=changed,
        )
        self._shares = parse_samples(settings.record_sample)
        self._columns, self._spare = (Columns(BATCH_ROWS, BATCH_BYTES, self._writer.idle) for _ in range(2))
        self._offset_ns = time.time_ns() - time.monotonic_ns()  # once: a clock that jumps moves no arrival against another
        self._recorded = self._lost = 0
        spare = SpareCores()
        self._pace = Pace(spare.left, RESERVED * spare.cores, 1.0, LEAST, spare.cores)
        shares = {share for share in self._shares.values() if share}
        most = max(1, room_bytes(message_memory_bytes) // max(len(shares), 1))
        self._taps = {share: self._tap(share, most) for share in shares}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def watch(self, version: Version) -> None:
        """Records it from now on, if its model is to be recorded. Before it starts."""
        share = self._shares.get(version.name, self._shares[""])
        if share:
            version.tap(self._taps[share])

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Writes what there is, once all requests have their responses."""
        self._writer.idle.hurry()
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def metrics(self) -> Iterator[Table]:
        """On any thread."""
        taps = self._taps.values()
        told = "Responses of models that are recorded; only with record, as all of these."
        yield counter("inferd_record_seen", told, sum(tap.seen for tap in taps))
        yield counter("inferd_record_recorded", "Requests that were recorded.", self._recorded)
        told = "Requests that were to be recorded and found no room: the disk is slow."
        yield counter("inferd_record_dropped", told, sum(tap.dropped for tap in taps))
        yield counter("inferd_record_lost", "Requests whose batch could not be written.", self._lost)
        yield counter("inferd_record_write_failures", "Writes into the record that failed.", self._writer.failures)
        yield counter("inferd_record_written_bytes", "Bytes written into the record.", self._writer.written_bytes)
        told = "Memory that requests which wait to be recorded hold."
        yield gauge("inferd_record_waiting_bytes", told, sum(tap.held_nbytes for tap in taps))

    def _tap(self, share: float, max_held_nbytes: int) -> Tap:
        if self._changes is not None:  # they run Python, which is slow: on this thread
            return Tap(share, max_held_nbytes=max_held_nbytes)
        return RecordTap(share, self._columns, self._offset_ns, self._failed, max_held_nbytes=max_held_nbytes)

    def _run(self) -> None:
        while not self._stopping.is_set():
            pieces = self._work()
            self._stopping.wait(REST_S if pieces else LOOK_S if self._columns.rows else IDLE_S)
        while self._work():
            pass
        self._write()
        self._writer.end_segment()
        self._writer.idle.close()

    def _work(self) -> bool:
        """True: there is more."""
        more = False
        self._pace.told(0, time.thread_time() + self._writer.idle.used_s)
        room = self._pace.room()  # without a count of pieces: whether there is any
        for tap in self._taps.values():
            tap.max_nbytes = tap.max_held_nbytes if room else LARGE_BYTES
            most = PIECE if tap.held < MANY else 8 * PIECE
            most = max(1, min(most, PIECE_BYTES * tap.held // max(tap.held_nbytes, 1)))
            taken = tap.take(most)
            more |= len(taken) == most
            taken.reverse()
            while taken:  # each gives its memory back as soon as it is copied
                self._add(taken.pop())
        columns = self._columns
        if columns.half_full or (columns.rows and time.monotonic_ns() - columns.began_ns >= BATCH_NS):
            self._write()
        self._writer.look()
        return more

    def _add(self, tapped: Tapped) -> None:
        if self._columns.full:
            self._write()
        with _entered(self._columns) as columns:
            try:
                if not columns.add(tapped, self._offset_ns, self._changes):
                    outputs, arm = outputs_of(tapped)
                    columns.add(tapped, self._offset_ns, self._changes, outputs, arm)
            except Exception as error:
                self._failed(columns, error)

    def _failed(self, columns: Columns, error: Exception) -> None:
        log.error("record: a request cannot be recorded, and the batch that it is in is lost", exc_info=error, extra=logs.LIMITED)
        self._lost += columns.rows + 1
        columns.clear()

    def _write(self) -> None:
        """Meanwhile the next batch is filled."""
        full = self._columns
        if not full.rows:
            return
        self._columns, self._spare = self._spare, full
        for tap in self._taps.values():
            if isinstance(tap, RecordTap):
                tap.columns = self._columns
        with _entered(full) as columns:
            try:
                written = self._writer.write(columns)
            except Exception:
                log.exception("record: a batch cannot be written and is lost", extra=logs.LIMITED)
                written = False
            if written:
                self._recorded += columns.rows
            else:
                self._lost += columns.rows
            columns.clear()


@contextmanager
def _entered(columns: Columns) -> Iterator[Columns]:
    while not columns.enter():  # a tap was interrupted within a row
        time.sleep(REST_S)
    try:
        yield columns
    finally:
        columns.leave()
