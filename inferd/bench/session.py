"""The target that `inferd bench` measures: a model on a server or in this process. Made once, it runs one load after another.

It finds out the model's inputs, and makes the requests, the reference for --verify and the looks at the server. A mode only chooses the
next load. Never in here: which loads (modes), names of flags in help (cli), reports.
"""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd.bench import embedded, generator, inputs, schedule
from inferd.bench.server_side import Reader
from inferd.bench.verify import ATOL, RTOL, Verifier
from inferd.client_inputs.connections import Spoken, context_of, explanation, protocol_of, spoken, unanswered
from inferd.client_inputs.over_http import BINARY, HttpEndpoint, response_message, whole_requests
from inferd.client_inputs.reach import PLAINTEXT, Reach
from inferd.client_inputs.targets import Local, Remote, failure_over_http, open_target, require_client
from inferd.config import is_http, parse_target
from inferd.errors import ConfigError, InferdError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from inferd.bench.findings import Slo
    from inferd.bench.inputs import Requests
    from inferd.bench.interval_log import IntervalLog
    from inferd.bench.measurement import Interval, Load, Measurement
    from inferd.bench.modes import Outcome
    from inferd.bench.samples import Samples
    from inferd.bench.schedule import Arrivals

EMBEDDED = "embedded:"  # TARGET of in-process ONNX Runtime
MEMORY_LOOKS = 120  # at the server's memory, in a soak
DESCRIBED_S = 10.0  # a server has to say in this time what it serves


class Checks(NamedTuple):
    """--verify: a reference, and how close a response has to be."""

    reference: str | None = None
    every: int = 100
    rtol: float = RTOL
    atol: float = ATOL


class Looks(NamedTuple):
    """How the server's side is looked at."""

    metrics_url: str | None = None
    server_pid: int | None = None
    dollars_per_hour: float | None = None


class Session(AbstractContextManager["Session"]):
    """A target and a model. versions: those that will be measured, "" for the newest. given: what `inputs.make` takes. trace: the
    arrivals of loads that are one, which was read already: a pipe can be read but once. reach: TLS, and a token. json: over HTTP
    tensors travel as JSON, whatever the server takes.

    Raises ConfigError for what cannot be asked, InferdError for a target that cannot be reached or has no such model.
    """

    def __init__(
        self,
        target: str,
        model: str | None,
        versions: Sequence[str],
        given: Mapping[str, Any],
        *,
        metadata: Sequence[tuple[str, str]] = (),
        reach: Reach = PLAINTEXT,
        checks: Checks = Checks(),  # noqa: B008 - it cannot change
        looks: Looks = Looks(),  # noqa: B008
        spin: bool = False,
        samples: Samples | None = None,
        log: IntervalLog | None = None,
        trace: Arrivals | None = None,
        json: bool = False,
    ) -> None:
        self.target, self.metadata, self.reach = target, tuple(metadata), reach
        self._said = (*self.metadata, *reach.metadata())  # with every request
        self.spin, self.samples, self.log, self.trace = spin, samples, log, trace
        self.local = target.startswith(EMBEDDED)
        self.notices: list[str] = []
        self.memory: list[tuple[float, float]] = []  # (seconds, the server's resident bytes), where `watch_memory` looked
        self.server = "in-process ONNX Runtime"
        self.spoken: Spoken | None = None  # by TLS
        self._stack = ExitStack()
        where = target.removeprefix(EMBEDDED) if self.local else target
        if self.local and not Path(where).exists():
            raise ConfigError(f"TARGET {target}: there is no file or folder {where}")
        self.endpoint: HttpEndpoint | None = None  # over HTTP
        self.binary = False  # whether tensors travel as bytes there
        if is_http(target):
            self.endpoint = HttpEndpoint.of(target)
            self.address, self.target = self.endpoint.address, self.endpoint.text
            where = self.target
        elif not self.local:
            try:
                self.address = parse_target(target)
                self.target = where = str(self.address)
            except ValueError as error:
                if Path(target).exists():
                    raise ConfigError(f"TARGET {target}: it is a path: give {EMBEDDED}{target} to run it in this process") from None
                raise ConfigError(f"TARGET: {error}, or {EMBEDDED}PATH of an ONNX file or model repository") from None
        opened = self._stack.enter_context(open_target(where, model, DESCRIBED_S, self.metadata, reach))
        try:
            self.engine = opened.engine if isinstance(opened, Local) else None
            if isinstance(opened, Remote):
                self.reach = reach = reach._replace(tls=reach.tls or self.address.tls)
                if reach.by_tls:
                    self.spoken = spoken(self.address, reach, context_of(reach, protocol_of(self.address)))
                self.server = self._server_name(json=json)
            self.model = model or opened.only_model()
            self._prepare(opened, versions, given, checks, looks)
        except BaseException:
            self._stack.close()
            raise

    def _prepare(self, opened: Any, versions: Sequence[str], given: Mapping[str, Any], checks: Checks, looks: Looks) -> None:
        self.requests: dict[str, Requests] = {}
        self.readers: dict[str, Reader] = {}
        self.checks = checks
        self._verifiers: dict[str, Verifier] = {}
        for version in versions:
            description = opened.describe(self.model, version)._replace(version=version)
            made = inputs.make(description, probe=partial(opened.infer, description, outputs=()), **given)
            self.requests[version] = made
            self.notices += (notice for notice in made.notices if notice not in self.notices)
            if checks.reference is not None:
                self._verifier(version)  # expected responses are made now, not while something is measured
            if not self.local:
                self.readers[version] = Reader(
                    self.target, self.model, version, rows=made.rows, metadata=self.metadata, reach=self.reach, **looks._asdict()
                )

    def _server_name(self, *, json: bool) -> str:
        """Name and version as the server gives them. InferdError where it does not speak the protocol."""
        library = require_client()
        options = self.reach.options(library)
        with library.Client(self.target, timeout=DESCRIBED_S, metadata=list(self.metadata), **options) as client:
            try:
                said = client.server_metadata()
            except library.InferenceError as error:
                code = str(getattr(error.code, "name", error.code))
                if self.endpoint and code in ("NOT_FOUND", "UNIMPLEMENTED"):
                    raise InferdError(f"{self.target}: it does not speak the Open Inference Protocol (no /v2)") from None
                if self.endpoint:
                    raise failure_over_http(self.target, error) from None
                if code == "UNIMPLEMENTED":
                    raise InferdError(f"{self.address}: it does not speak the Open Inference Protocol (no ServerMetadata)") from None
                if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    if why := explanation(self.address, self.reach):
                        raise InferdError(f"{self.address}: {why}") from None
                    raise InferdError(f"{self.address}: {unanswered(error)}") from None
                raise InferdError(f"{self.address}: {error}") from None
        self.binary = not json and BINARY in said.extensions
        if self.endpoint and not self.binary and not json:
            self.notices.append(f"tensors travel as JSON: the server does not list {BINARY}")
        return f"{said.name} {said.version}".strip()

    def _verifier(self, version: str) -> Verifier | None:
        """One that has counted nothing yet; the expected responses are made once."""
        checks = self.checks
        if checks.reference is None:
            return None
        if version not in self._verifiers:
            self._verifiers[version] = Verifier.from_file(
                checks.reference,
                self.requests[version],
                model=self.model,
                version=version,
                rtol=checks.rtol,
                atol=checks.atol,
                message_of=response_message if self.endpoint else bytes,
            )
        return self._verifiers[version].anew()

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def run(self, load: Load, version: str = "", watch: Callable[[Interval], None] | None = None) -> Measurement:
        """Measures one load against one version."""
        arrivals = copy(self.trace) or (schedule.parse(load.arrivals, load.rate, load.seed) if load.rate else None)
        requests, verifier = self.requests[version], self._verifier(version)
        if self.engine is not None:
            measured = embedded.measure(
                self.engine,
                self.model,
                requests,
                load,
                arrivals,
                version=version,
                watch=watch,
                verifier=verifier,
                verify_every=self.checks.every,
            )
        else:
            reader = self.readers[version]
            reader.before()
            measured = generator.measure(
                self._asked(),
                requests._replace(bodies=self._sent(requests, load)),
                load,
                arrivals,
                watch=watch,
                verifier=verifier,
                verify_every=self.checks.every,
                samples=self.samples,
                log=self.log,
                spin=self.spin,
            )
            self._look_after(reader, measured)
        measured.version = version
        return measured

    def _asked(self) -> generator.Target:
        return generator.Target(self.address, self._said, self.reach)

    def _sent(self, requests: Requests, load: Load) -> list[bytes]:
        """The bodies as a generator sends them."""
        if self.endpoint is None:
            return requests.bodies
        return whole_requests(self.endpoint, requests.bodies, self._said, binary=self.binary, timeout_ms=load.deadline_ms)

    def _look_after(self, reader: Reader, measured: Measurement) -> None:
        """Ctrl-C ends the looking, too, and costs nothing that was measured."""
        hurried = measured.ended == "interrupted"
        try:
            answered = measured.requests - measured.failed
            died = measured.ended == generator.WORKER_DIED  # and has not told of all that it sent
            measured.server = reader.after(measured.sent, measured.requests_per_second, answered=answered, hurried=hurried, sent_more=died)
        except KeyboardInterrupt:
            measured.ended = "interrupted"

    @contextmanager
    def watch_memory(self, load: Load) -> Iterator[None]:
        """Looks at the server's memory now and then while a long load lasts, MEMORY_LOOKS times where it lasts long enough."""
        (reader,) = self.readers.values() or (None,)
        if reader is None or reader.rss_bytes() is None:
            yield
            return
        over, begun_s = threading.Event(), time.monotonic() + load.warm_up_s

        def look() -> None:
            while not over.wait(max(load.duration_s / MEMORY_LOOKS, 0.25)):
                if (size := reader.rss_bytes()) is not None and time.monotonic() > begun_s:
                    self.memory.append((time.monotonic() - begun_s, float(size)))

        thread = threading.Thread(target=look, name="inferd-bench-memory", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()  # nobody waits for it: it may wait for a server that hangs

    def scenario(
        self,
        name: str,
        load: Load,
        slo: Slo | None = None,
        watch: Callable[[Interval], None] | None = None,
        notice: Callable[[str], None] = lambda _: None,
    ) -> Outcome:
        """One of MLPerf's, by its LoadGen. slo: what Server's latencies must keep, one percentile; None: LoadGen's own limit. notice: is
        told what a user should know before the run begins."""
        from inferd.bench import scenarios

        if self.local:
            raise ConfigError(f"--scenario is for a server: serve {self.target.removeprefix(EMBEDDED)} and name its address")
        ((version, requests),) = self.requests.items()
        target = self._asked()
        verifier = self._verifier(version)
        limit_ms, percentile = scenarios.limit_of(slo) if slo else (scenarios.LIMIT_MS, 0.0)
        reader = self.readers[version]
        reader.before()
        outcome = scenarios.run(
            name,
            target,
            self._sent(requests, load),
            load,
            expected=requests.expected,
            limit_ms=limit_ms,
            percentile=percentile,
            watch=watch,
            notice=notice,
            verifier=verifier,
            verify_every=self.checks.every,
        )
        (measured,) = outcome.measurements
        self._look_after(reader, measured)
        return outcome._replace(ended=outcome.ended or measured.ended)
