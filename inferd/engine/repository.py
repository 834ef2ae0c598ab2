"""The models that are served: loads those that lie below some paths (places.py), and finds them by name and version for every request.

Loading is strict: unless every version that the version policy selects is loaded and warm, nothing is served, and the
error names every failure. `on_model_error` may allow a model to be skipped: the log says why, requests for it are rejected
and RepositoryIndex lists it. Every change of state happens on one thread at a time: the loader's before the server is ready,
the loop's after. Never in here: requests, formats of configurations, onnxruntime itself.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd._core.inference.routes import Routes
from inferd.engine import model_config, warmup
from inferd.engine.arena import Decaying
from inferd.engine.backend import OnnxModel
from inferd.engine.batching import shares_runs
from inferd.engine.bounds import why_unbounded
from inferd.engine.config_sources import Defaults, Written
from inferd.engine.executor import Instance
from inferd.engine.model import CLOSE_TIMEOUT_S, Model
from inferd.engine.padding import check_padding, compile_padding, padded
from inferd.engine.places import MAX_VERSION, SHOWN_NAMES, Failure, Place, check_labels, find_places, selected_versions, shown
from inferd.engine.planner import Host, Plan, plan, preprocess_threads
from inferd.engine.probe import Proof, prove_rows
from inferd.engine.run_limits import limit_axes
from inferd.engine.session_config import session_options
from inferd.engine.unsupported import ignored
from inferd.errors import ConfigError, InferdError, InvalidArgument, NotFound, RequestError, StartError, Unavailable
from inferd.log import event
from inferd.memory_limit import memory_limit_bytes
from inferd.pipeline.picture_memory import memory as picture_memory
from inferd.pipeline.plan import Plan as StepsPlan
from inferd.pipeline.plan import compile_steps

if TYPE_CHECKING:
    from inferd._core.batching.batch import Batch
    from inferd._core.inference.path import Route
    from inferd._core.tensor.tensor import Signature
    from inferd.engine.batching import Batching
    from inferd.pipeline.plan import Pipelines
    from inferd.protocol.inference import ModelConfig

__all__ = ["IndexEntry", "Repository"]

log = logging.getLogger("inferd.engine")

SMALL_BYTES = 1 << 20  # a file up to this size is opened with one thread first: most such models need no more, and are opened once
MAX_COMPARED_BYTES = 32 << 20  # a larger file is not opened a second time to see where one thread is enough
MAX_COMPARED_NS = 2_000_000  # runs that take longer are not compared
TRIED_SAMPLES = 16  # rows of steps' own values in the trial runs
QUEUE_LIMITS = ("max_queue_requests", "max_queue_bytes", "max_queue_wait_us")


class IndexEntry(NamedTuple):
    """One version as RepositoryIndex shows it."""

    name: str
    version: str
    state: str
    reason: str


class Loaded(NamedTuple):
    """One version's file, loaded, before it becomes a Model."""

    plan: Plan
    config: ModelConfig
    onnx: OnnxModel
    batching: Batching
    proof: Proof | None  # whether rows are independent; None: nobody asked
    signature: Signature  # of the graph, with the sizes that steps fix
    pipelines: Pipelines | None


class Repository:
    """All models of one server or embedded engine.

    `settings` has the fields of config_sources.Defaults and picture_memory_bytes, of which the process has the largest, or some of them.
    `on_model_error`: as the setting of that name.
    `schedule` and `deliver` are passed to each Model.
    """

    def __init__(
        self,
        settings: Any = None,
        *,
        schedule: Callable[[Callable[[], None]], object] | None = None,
        deliver: Callable[[Batch], None],
        host: Host | None = None,
        on_model_error: str = "exit",
    ) -> None:
        self._defaults = Defaults.of(settings)
        if asked_bytes := getattr(settings, "picture_memory_bytes", 0):
            picture_memory.allow(asked_bytes)
        self._on_model_error = on_model_error
        self._skipped: dict[str, InferdError] = {}  # models that could not be loaded, by name
        self._unserved: dict[str, list[int]] = {}  # versions that are there and that the version policy leaves out, by model
        self._schedule = schedule
        self._deliver = deliver
        self._host = host
        self._models: list[Model] = []
        self.active: set[Model] = set()  # those at which requests wait, or run on threads: `expire` visits no others
        self._decaying = Decaying(self.decay)
        self.routes = Routes()  # of what takes requests, by name and version; '' is the newest
        self._own: dict[Model, frozenset[str]] = {}  # the limits of its queue that a model's own configuration sets

    # ---- every request ----

    def lookup(self, name: str, version: str) -> Model:
        """The model of that name; '' is its newest version that is ready. Raises NotFound, InvalidArgument, Unavailable."""
        route = self.routes.find(name, version)
        if route is None:
            route = self.find(name, version)
        model: Model = route.model
        return model

    def find(self, name: str, version: str) -> Route:
        """The rare cases, where `routes` has none: an unusual spelling of the version, or the error that says what there is."""
        if version and not (re.fullmatch("[0-9]{1,19}", version, re.ASCII) and 1 <= int(version) <= MAX_VERSION):
            raise InvalidArgument(f"model_version: expected a number from 1, or nothing for the newest, got {shown(version)}")
        spelled = str(int(version)) if version else ""
        route: Route | None = self.routes.find(name, spelled)
        if spelled != version and route is not None:
            return route
        raise self._missing(name, spelled)

    def _missing(self, name: str, version: str) -> RequestError:
        versions = {model.version: model for model in self._models if model.name == name}
        if name in self._skipped:
            return Unavailable(f"model '{name}' could not be loaded; the server's log says why")
        if not versions:
            # Not which ones there are: a proxy may let a client infer and not list.
            return NotFound(f"model_name: there is no model {shown(name)}; name one that RepositoryIndex lists")
        if version and int(version) not in versions:
            there = ", ".join(str(number) for number in sorted(versions)[-SHOWN_NAMES:])
            cure = ", and no version means the newest"
            if int(version) in self.unserved(name):
                cure = f"; version {version} is there, and version_policy all serves it (by default only the newest is served)"
            return NotFound(f"model_version: model '{name}' serves no version {version}; it serves {there}{cure}")
        model = versions[int(version) if version else max(versions)]
        return Unavailable(f"model '{name}' version {model.version} is {model.state} and takes no requests now; retry later")

    # ---- what there is ----

    def models(self) -> list[Model]:
        """Every version, in the order of loading."""
        return list(self._models)

    def index(self) -> list[IndexEntry]:
        """Every version with its state, by name and version."""
        entries = [IndexEntry(model.name, str(model.version), model.state, model.reason) for model in self._models]
        entries += [IndexEntry(name, "", "UNAVAILABLE", "it could not be loaded; the server's log says why") for name in self._skipped]
        return sorted(entries, key=lambda entry: (entry.name, int(entry.version or 0)))

    def unserved(self, name: str) -> list[int]:
        """Versions of a model that are there and that its version policy leaves out."""
        return self._unserved.get(name, [])

    @property
    def skipped(self) -> dict[str, InferdError]:
        """The models that could not be loaded and do not keep the others from being served, each with its error, by name."""
        return dict(self._skipped)

    # ---- life ----

    def load(self, paths: str | Path | Sequence[str | Path]) -> None:
        """Finds, loads, warms and starts all models below `paths`. Call once.

        Raises ConfigError or StartError that names every failure; nothing is left running then. A failure that on_model_error allows is
        logged instead, as long as one model is served.
        """
        self.load_places(*find_places([Path(path) for path in ([paths] if isinstance(paths, str | Path) else paths)]))

    def load_places(self, places: Sequence[Place], failures: Sequence[Failure] = ()) -> None:
        """The same for models whose places are known; failures: of those that are none."""
        failures = list(failures)
        host = self._host or Host.detect()
        if not self._defaults.max_run_bytes:
            self._defaults = replace(self._defaults, max_run_bytes=memory_limit_bytes() // 2)  # an Engine's
        loaded: list[Model] = []
        count = len(places) + len(failures)
        for place in places:
            versions: list[Model] = []
            try:
                for model in self._load_place(place, host, len(places)):
                    versions.append(model)  # noqa: PERF402 - what is loaded when one fails must be known, to be closed
            except (ConfigError, StartError) as error:
                failures.append(Failure(place.name, error, named=place.repository is None))
                for model in versions:
                    model.close()
            else:
                loaded += versions
        self._skipped = {failure.name: failure.error for failure in failures}
        if failures and (not loaded or not all(map(self._skips, failures))):
            for model in loaded:
                model.close()
            raise _joined([failure.error for failure in failures], count)
        for failure in failures:
            log.error("skipped: %s", failure.error, extra=event("model_skipped", model=failure.name))
        for model in loaded:
            model.start()
        self._models = loaded
        self._list_ready()
        self._decaying.start()

    def _skips(self, failure: Failure) -> bool:
        return self._on_model_error == "skip" or (self._on_model_error == "auto" and not failure.named)

    def _load_place(self, place: Place, host: Host, count: int) -> Iterator[Model]:
        written = model_config.read_model_config(place.folder, place.name)
        check_labels(written, place)
        for notice in ignored(written.config):
            log.warning("%s: %s %s", written.where, *notice)
        defaults = self._defaults
        make_plan = partial(
            plan,
            host,
            count,
            instances=model_config.wanted_instances(written, defaults),
            intra_op_threads=model_config.wanted_threads(written, defaults),
            spinning=model_config.wants_spinning(written, defaults),
            gpu=model_config.on_gpu(written, defaults),
        )
        selected = selected_versions(written, place)
        self._tell_versions(written, place, [version for version, _ in selected])
        for version, file in selected:
            yield self._load_version(place, written, host, make_plan, version, file)

    def _tell_versions(self, written: Written, place: Place, selected: list[int]) -> None:
        """Says which versions are there and not served: nobody who has not read of version policies expects that."""
        self._unserved[place.name] = unserved = sorted(set(place.files) - set(selected))
        if unserved and not written.config.version_policy.WhichOneof("policy_choice"):
            toml = place.folder is not None and (place.folder / "config.toml").exists()
            cure = "version_policy.all = {} at the top of its config.toml" if toml else "version_policy { all { } } in its config.pbtxt"
            log.info(
                "model '%s': serves version %d, the newest, and not %s; %s serves all",
                *(place.name, selected[-1], ", ".join(map(str, unserved[-SHOWN_NAMES:])), cure),
                extra=event("versions_unserved", model=place.name, version=selected[-1], unserved=unserved),
            )

    def _load_version(self, place: Place, written: Written, host: Host, make_plan: Callable[..., Plan], version: int, file: Path) -> Model:
        started_s = time.monotonic()
        loaded = self._choose_threads(make_plan, partial(self._open, place, written, version, file), file.stat().st_size)
        if loaded.batching.doubt:
            log.warning("model '%s' version %d: %s", place.name, version, loaded.batching.doubt)
        for output, classes in loaded.onnx.classes.items():
            log.info(
                "model '%s' version %d: the ZipMap of output %r is cut: it is served as a tensor with a column for each class (%s)",
                place.name,
                version,
                output,
                ", ".join(classes[:SHOWN_NAMES]) + (", ..." if len(classes) > SHOWN_NAMES else ""),
            )
        signature, steps = self._with_steps(loaded, written, host)
        limit_axes(signature if steps is None else steps.signature, loaded.onnx.graph, loaded.config.inferd.max_axis, written.where)
        model = Model(
            place.name,
            version,
            loaded.config,
            signature if steps is None else steps.signature,
            [loaded.onnx.backend(signature) for _ in range(loaded.plan.instances)],
            schedule=self._schedule,
            deliver=self._deliver,
            activated=self.active.add,
            steps=steps,
            plan_reason=loaded.plan.reason,
            why_unbounded=partial(why_unbounded, file),
            arenas=loaded.onnx.arenas,
        )
        self._own[model] = frozenset(name for name in QUEUE_LIMITS if getattr(written.config.inferd, name))
        try:
            model.warm_up()
        except BaseException:
            model.close()
            raise
        model.file_bytes = file.stat().st_size
        load_s = time.monotonic() - started_s
        model.load_ns = int(load_s * 1e9)
        provider = loaded.onnx.providers[0]
        log.info(
            "model '%s' version %d: loaded and warm in %.2f s on %s",
            *(place.name, version, load_s, provider),
            extra=event("model_loaded", model=place.name, version=version, duration_ms=round(1000 * load_s, 1), provider=provider),
        )
        log.debug("model '%s' version %d: %s; %s", place.name, version, loaded.batching.why, loaded.plan.reason)
        return model

    def _with_steps(self, loaded: Loaded, written: Written, host: Host) -> tuple[Signature, StepsPlan | None]:
        """What a run takes and gives where requests of unequal length share it, and what stands between that and clients, if anything."""
        own, pipelines = loaded.config.inferd, loaded.pipelines
        paddings = compile_padding(own.padding, written.where, pipelines.paddings if pipelines else None)
        signature = padded(loaded.signature, paddings, shared=shares_runs(loaded.config))
        steps = StepsPlan(signature, pipelines) if pipelines else None
        shown = signature if steps is None else steps.signature
        if steps is not None and steps.prepares:
            own.preprocess_threads = own.preprocess_threads or preprocess_threads(host)
        if steps is not None or signature is not loaded.signature:
            model_config.show_to_clients(loaded.config, shown)
        if signature is not loaded.signature:
            instance = Instance(
                f"model '{loaded.config.name}'", loaded.onnx.backend(signature), steps.finish if steps and steps.finishes else None
            )
            run_signature = steps.run_signature if steps else signature
            check_padding(instance, run_signature, written.where, paddings.tolerance, largest=paddings.largest)
            instance.backend.close()
        return signature, steps

    def _open(self, place: Place, written: Written, version: int, file: Path, chosen: Plan, known: Loaded | None = None) -> Loaded:
        """known: the same model, loaded by another plan, of which it has been seen whether rows are independent."""
        config = model_config.settle(written, place.name, self._defaults, chosen)
        options = session_options(written, config, self._defaults)
        onnx = OnnxModel.load(file, options, name=place.name)
        _name_classes(config, onnx)
        folders = [file.parent] if place.folder is None else [file.parent, place.folder]

        @cache
        def steps(max_rows: int) -> tuple[Signature, Pipelines | None]:
            signature = model_config.signature_of(config, onnx.graph, version)
            pipelines = compile_steps(config, signature, folders, written.where, place.repository)
            return (signature if pipelines is None else pipelines.narrowed(signature)), pipelines

        proof = known.proof if known else None

        def prove(batched: ModelConfig) -> Proof:
            nonlocal proof
            proof = proof or _prove(onnx, batched, partial(steps, batched.max_batch_size), file)
            return proof

        batching = model_config.complete(written, config, onnx.graph, self._defaults, prove)
        signature, pipelines = steps(config.max_batch_size)
        return Loaded(chosen, config, onnx, batching, proof, signature, pipelines)

    def _choose_threads(self, make_plan: Callable[..., Plan], open_with: Callable[..., Loaded], nbytes: int) -> Loaded:
        """The model, opened with one thread where more threads gain too little: for everything, for runs of a few rows, or for nothing.

        n threads are n times as dear while they run, and must make a run sqrt(n) times as fast.
        """
        plan, tiny_plan = make_plan(), make_plan(tiny_run_ns=1)
        if tiny_plan.intra_op_threads == plan.intra_op_threads or nbytes > MAX_COMPARED_BYTES:
            return open_with(plan)
        single = open_with(tiny_plan) if nbytes <= SMALL_BYTES else None
        if single is not None and single.signature.fixed and (tiny_ns := _tiny_run_ns(single)):
            return single._replace(plan=make_plan(tiny_run_ns=tiny_ns))
        loaded = open_with(plan, single)
        # Where sizes vary, the small runs that can be measured say nothing of those that will come.
        shared_ns = _runs_ns(loaded) if loaded.signature.fixed else {}
        if not shared_ns:
            return loaded
        single = single or open_with(tiny_plan, loaded)
        single_ns = _runs_ns(single)
        sizes = warmup.doubling_rows(loaded.signature)
        if len(single_ns) == len(sizes) and (tiny_ns := max(single_ns.values())) <= 1000 * single.config.inferd.inline_limit_us:
            return single._replace(plan=make_plan(tiny_run_ns=tiny_ns))
        least_gain = math.sqrt(loaded.plan.intra_op_threads)
        few = takewhile(lambda rows: rows in single_ns and single_ns[rows] <= least_gain * shared_ns.get(rows, 0), sizes)
        single_rows = max(few, default=0)
        if not single_rows:
            return loaded
        loaded.onnx.give_few_rows_to(single.onnx, single_rows)
        return loaded._replace(plan=make_plan(single_rows=single_rows))

    def _list_ready(self) -> None:
        """Makes the table that requests are looked up in: a reader sees the old or the new one."""
        ready = sorted((model for model in self._models if model.state == "READY"), key=lambda model: model.version)
        newest = {(model.name, ""): model.route for model in ready}
        self.routes.fill({(model.name, str(model.version)): model.route for model in ready} | newest)

    def expire(self, now_ns: int) -> bool:
        """Active models answer requests whose time ran out, and end runs that take too long. Call it some times a second, on the loop.
        True: a model takes requests no longer, or again."""
        changed = False
        for model in tuple(self.active):
            changed |= model.expire(now_ns)
            if model.rest():
                self.active.discard(model)
        if changed:
            self._list_ready()
        return changed

    @property
    def hung(self) -> int:
        """Instances of all models whose run was told to end and does not. Their models are active."""
        return sum(model.hung for model in tuple(self.active))

    def decay(self) -> None:
        """Gives back the memory of earlier runs that no run uses now. Every DECAY_S, on a thread of its own."""
        for model in self._models:
            model.decay()

    def limit_queues(self, settings: Any) -> None:
        """Takes the limits of queues as the server's settings say them now, where a model's own configuration does not. On the loop."""
        for model in self._models:
            model.limit_queue({name: getattr(settings, name) for name in QUEUE_LIMITS if name not in self._own[model]})

    def drain(self, timeout_s: float) -> bool:
        """No model takes anything new; waits until what is queued has run. False: that took longer than `timeout_s`."""
        self.routes.fill({})
        until_s = time.monotonic() + timeout_s
        drained = [model.drain(max(until_s - time.monotonic(), 0.0)) for model in self._models]
        return all(drained)

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Ends every model: what runs is ended, what waits is rejected. Idempotent. False: runs do not end within timeout_s for all
        together, and are left behind."""
        self.routes.fill({})
        self._decaying.stop()
        for model in self._models:
            model.end()
        until_s = time.monotonic() + timeout_s
        ended = [model.close(max(until_s - time.monotonic(), 0.0)) for model in self._models]
        return all(ended)


def _name_classes(config: ModelConfig, onnx: OnnxModel) -> None:
    """Tells clients the classes of outputs whose ZipMap was cut, where the configuration says nothing of those outputs."""
    told = {entry.output for entry in config.inferd.postprocess}
    served = {output.name for output in config.output} or {tensor.name for tensor in onnx.graph.outputs}
    for output, classes in onnx.classes.items():
        if output in served and not told & {output, ""}:
            config.inferd.postprocess.add(output=output, classes=classes)


def _prove(onnx: OnnxModel, config: ModelConfig, steps: Callable[[], tuple[Signature, Pipelines | None]], file: Path) -> Proof:
    """Whether rows are independent, by trial runs of rows as the configuration and its steps have them."""
    try:
        signature, pipelines = steps()
    except ConfigError:  # the steps may fit the model without a batch axis; if not, they are compiled again and the error is told
        return prove_rows(onnx, max_rows=config.max_batch_size, source=file)
    shapes = {name: shape[1:] for name, _, shape in signature.input_specs}
    for warm in config.model_warmup[:1]:
        shapes |= {name: tuple(tensor.dims) for name, tensor in warm.inputs.items() if name in shapes}
    samples = pipelines.samples(TRIED_SAMPLES) if pipelines else {}
    return prove_rows(onnx, shapes, config.max_batch_size, samples, file)


def _trial_instance(loaded: Loaded) -> tuple[Instance, warmup.Examples]:
    """An instance to be measured and closed, and what its runs are made of."""
    examples = loaded.pipelines.examples if loaded.pipelines else {}
    return Instance(loaded.config.name, loaded.onnx.backend(loaded.signature)), examples


def _tiny_run_ns(loaded: Loaded) -> int:
    """The longer of two measured runs, of one row and of the most rows, where both are within the inline limit; else 0."""
    instance, examples = _trial_instance(loaded)
    try:
        longest_ns = warmup.measure(instance, loaded.signature, examples, MAX_COMPARED_NS)
    except RequestError:
        return 0
    finally:
        instance.backend.close()
    return longest_ns if longest_ns <= 1000 * loaded.config.inferd.inline_limit_us else 0


def _runs_ns(loaded: Loaded) -> dict[int, int]:
    """The measured runs by their rows, doubling from one to the most, as far as they take at most MAX_COMPARED_NS; none if the model
    fails."""
    instance, examples = _trial_instance(loaded)
    found: dict[int, int] = {}
    try:
        for rows in warmup.doubling_rows(loaded.signature):
            run_ns = warmup.paused(instance, loaded.signature, examples, rows, MAX_COMPARED_NS)
            if run_ns > MAX_COMPARED_NS:
                break
            found[rows] = run_ns
    except RequestError:
        return {}
    finally:
        instance.backend.close()
    return found


def _joined(failures: Sequence[InferdError], count: int) -> InferdError:
    """One error for all: a wrong configuration weighs more than a machine that says no."""
    if len(failures) == 1:
        return failures[0]
    text = f"{len(failures)} of {count} models cannot be served:" + "".join(f"\n  - {failure}" for failure in failures)
    return ConfigError(text) if any(isinstance(failure, ConfigError) for failure in failures) else StartError(text)


def _name(entry: IndexEntry) -> str:
    return entry.name
