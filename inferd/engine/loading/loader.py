"""Makes a warm model from files: reads the configuration, opens the graph, chooses threads, runs trials, warms up.

This is slow, so it runs on a thread of its own, before the server is ready or beside requests. Never in here: which models are served,
labels, requests, formats of configurations, onnxruntime itself.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd.engine.checks.contract import MAX_WHY, Contract, Contracts, key_of
from inferd.engine.checks.probe import Proof, prove_rows
from inferd.engine.checks.run_limits import limit_axes
from inferd.engine.configuration import model_config, resources
from inferd.engine.configuration.batching import shares_runs
from inferd.engine.configuration.config_sources import Defaults, Written
from inferd.engine.configuration.ignored_fields import ignored_fields
from inferd.engine.files.content import sha256_of, stamp_of, stamps_by_version, weights_of
from inferd.engine.files.places import (
    SHOWN_NAMES,
    Place,
    check_links,
    class_labels,
    missing_versions,
    odd_versions,
    selected_versions,
    warmup_file,
    warmup_records,
)
from inferd.engine.files.provenance import provenance_of
from inferd.engine.files.signature import check_signature
from inferd.engine.graph.declared import trust_runs, why_nothing_runs
from inferd.engine.graph.optional_inputs import defaults_of
from inferd.engine.graph.padding import check_padding, compile_padding, padded
from inferd.engine.loading import warmup
from inferd.engine.loading.load_limit import LoadLimit
from inferd.engine.loading.object_sizes import held_bytes
from inferd.engine.loading.origin import Origin
from inferd.engine.loading.planner import Host, ThreadPlan, plan, preprocess_threads
from inferd.engine.loading.spared_core import SparedCore
from inferd.engine.model import Model
from inferd.engine.running.executor import Instance
from inferd.engine.running.preparer import PreprocessThreads
from inferd.engine.running.queues import QUEUE_LIMITS
from inferd.engine.runtime.runtimes import runtime_of
from inferd.errors import ConfigError, RequestError, StartError
from inferd.log import event
from inferd.steps.plan import Plan, compile_steps
from inferd.system.memory_limit import memory_limit_bytes
from inferd.threads import limit_told

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from inferd._core.batching.batch import Batch
    from inferd._core.tensor.signature import Signature
    from inferd.engine.configuration.batching import Batching
    from inferd.engine.files.content import Content, Digests, Stamps
    from inferd.engine.runtime.runtime import LoadedModel, TensorInfo
    from inferd.protocol.inference import ModelConfig
    from inferd.steps.plan import Pipelines

log = logging.getLogger("inferd.engine")

SMALL_BYTES = 1 << 20  # a file up to this size is opened with one thread first: most such models need no more, and are opened once
MAX_COMPARED_BYTES = 32 << 20  # a larger file is not opened a second time to see where one thread is enough
MAX_COMPARED_NS = 2_000_000  # runs that take longer are not compared
LOADS = 3  # attempts for a version whose files change meanwhile
TRIED_SAMPLES = 16  # rows of values that steps make, for trial runs


class Selected(NamedTuple):
    """A place, its configuration, and the versions to serve, each with its file, oldest first. stamps: of every version's files, taken
    before a file was read."""

    place: Place
    written: Written
    versions: list[tuple[int, Path]]
    stamps: dict[int, Stamps]


class Loaded(NamedTuple):
    """One version's file, loaded, before it becomes a Model."""

    plan: ThreadPlan
    config: ModelConfig
    model: LoadedModel
    batching: Batching
    proof: Proof | None  # whether rows are independent; None: not checked
    signature: Signature  # of the graph, with the sizes that steps fix
    pipelines: Pipelines | None


class Loader:
    """Loads models for one server or embedded engine.

    `settings` has the fields of config_sources.Defaults, or some of them. `schedule`, `deliver` and `activated` are passed to each Model.
    `digests`: set by a Lifecycle, to see which files have changed. `contracts`: results of earlier loads of the same bytes.
    """

    def __init__(
        self,
        settings: Any = None,
        *,
        schedule: Callable[[Callable[[], None]], object] | None = None,
        deliver: Callable[[Batch], None],
        activated: Callable[[Model], object] = lambda _: None,
        host: Host | None = None,
    ) -> None:
        self.defaults = Defaults.of(settings)
        self._schedule, self._deliver, self._activated = schedule, deliver, activated
        self._host = host
        self.digests: Digests | None = None
        self.beside_requests = False  # True once models serve
        self.contracts = Contracts()
        self.limit = LoadLimit()
        self._preprocess: PreprocessThreads | None = None  # of all models that it loads

    def close(self, timeout_s: float) -> None:
        """Ends the preprocess threads. Call it when all models are closed."""
        if self._preprocess is not None:
            self._preprocess.close(timeout_s)

    def select(self, place: Place, also: Collection[int] = ()) -> Selected:
        """Reads the configuration and selects versions. also: versions to select beside, if they exist. Raises ConfigError and
        StartError."""
        stamps = stamps_by_version(place)
        check_links(place, map(Path, sorted({path for each in stamps.values() for path in each})))
        written = model_config.read_model_config(place.folder, place.name, self.defaults, place.config_called)
        if self.defaults.require_signature:
            check_signature(place, self.defaults.require_signature)
        for notice in ignored_fields(written, self.defaults):
            log.warning("%s: %s %s", written.where, *notice)
        if place.odd and place.files:  # without files, selected_versions raises an error that names them
            log.warning("model '%s': %s", place.name, odd_versions(place))
        if missing := missing_versions(written, place):
            log.warning("%s: %s", written.where, missing)
        return Selected(place, written, selected_versions(written, place, also), stamps)

    def content(self, place: Place, version: int) -> Content:
        """Digests of the files of which a load would make this version now."""
        return {} if self.digests is None else self.digests.of(place, version)

    def load(self, selected: Selected, version: int, count: int = 1) -> Model:
        """Loads one version, warm and not yet started. count: models that share the machine. Raises ConfigError and StartError.

        It is made from the selected files, whose signature was verified. If one changes meanwhile, selection and load begin again."""
        which, changed = f"model '{selected.place.name}' version {version}", list[str]()
        for _ in range(LOADS):
            if changed:
                log.warning("%s: '%s' changed during the load: it is loaded again", which, changed[0])
                selected = self.select(selected.place, [version])
            model, key = self._load_once(selected, version, count)
            changed = [Path(file).name for file, stamp in selected.stamps[version].items() if stamp_of(file) != stamp]
            if not changed:
                if model.origin.contract is not None and self.contracts.find(key) is None:
                    self.contracts.keep(key, model.origin.contract)
                return model
            model.close()
        raise StartError(
            f"{which}: {changed[0]!r} changed during each of {LOADS} loads: write files under another name, and rename them when they are "
            "complete"
        )

    def _load_once(self, selected: Selected, version: int, count: int) -> tuple[Model, str]:
        """The model, and the key of its contract."""
        place, written, *_ = selected
        content = self.content(place, version)  # before the file is opened: a later change will be noticed
        host = self._host = self._host or Host.detect()
        if not self.defaults.max_run_bytes:
            self.defaults = replace(self.defaults, max_run_bytes=memory_limit_bytes() // 2)  # an Engine has no default
        make_plan = partial(
            plan,
            host,
            count,
            instances=resources.wanted_instances(written, self.defaults),
            intra_op_threads=resources.wanted_threads(written, self.defaults),
            spinning=resources.wants_spinning(written, self.defaults),
            gpu=resources.on_gpu(written, self.defaults),
        )
        key = key_of(content, self.defaults, runtime_of(written.config).versions())
        # No limit on a GPU, where a first run may take minutes: it chooses and compiles kernels.
        own_s = written.config.inferd.max_run_s or self.defaults.max_run_s
        limit_s = 0 if resources.on_gpu(written, self.defaults) else own_s
        with limit_told(), self.limit.load(f"model '{place.name}' version {version}", limit_s):
            return self._load_version(selected, version, content, host, make_plan, self.contracts.find(key)), key

    def _load_version(
        self,
        selected: Selected,
        version: int,
        content: Content,
        host: Host,
        make_plan: Callable[..., ThreadPlan],
        contract: Contract | None,
    ) -> Model:
        """contract: the result of an earlier load of the same bytes."""
        place, written, versions, stamps = selected
        file, which = dict(versions)[version], f"model '{place.name}' version {version}"
        started_s = time.monotonic()
        labels = class_labels(written, place)
        proven = contract.proof if contract else None
        spared: AbstractContextManager[object] = SparedCore(host.usable) if self.beside_requests else nullcontext()

        def open_with(chosen: ThreadPlan, known: Loaded | None = None) -> Loaded:
            with spared:
                return self._open(selected, version, proven, chosen, known)

        loaded = self._choose_threads(make_plan, open_with, _size_of(file))  # measures on all cores
        if loaded.batching.doubt:
            log.warning("%s: %s", which, loaded.batching.doubt)
        for output, classes in loaded.model.classes.items():
            columns = ", ".join(classes[:SHOWN_NAMES]) + (", ..." if len(classes) > SHOWN_NAMES else "")
            told = "%s: the ZipMap of output %r is cut: it is served as a tensor with a column for each class (%s)"
            log.info(told, which, output, columns)
        signature, steps = self._with_steps(loaded, written, host)
        shown = steps.signature if steps else signature
        for each in (signature, shown, steps.run_signature) if steps else (signature,):
            each.labels, each.defaults = labels, defaults_of(each, loaded.model.defaults, written.where)
        limit_axes(shown, loaded.model.graph, loaded.config.inferd.max_axis, written.where)
        model = Model(
            place.name,
            version,
            loaded.config,
            shown,
            [loaded.model.backend(signature) for _ in range(loaded.plan.instances)],
            schedule=self._schedule,
            deliver=self._deliver,
            activated=self._activated,
            steps=steps,
            preprocess=self._preprocess_threads(host),
            plan_reason=loaded.plan.reason,
            why_unbounded=loaded.model.why_unbounded,
            arenas=loaded.model.arenas,
            warmup_file=partial(warmup_file, written, place),
            warmup_records=warmup_records(place, stamps[version]),
            triton_statuses=self.defaults.triton_statuses,
        )
        try:
            known = contract or loaded.proof
            with spared:
                deterministic = model.warm_up(known.deterministic if known else None)
            self.limit.check()
            if model.zeros_fault is not None:
                _judge_zeros(model, loaded, which, warmup_records(place, stamps[version]))
            model.start_threads()
            contract = contract or _contract(model, loaded.proof, deterministic)
            digest = sha256_of if self.digests is None else self.digests.digest  # does not read a file again
            runtime = " ".join(next(iter(runtime_of(loaded.config).versions().items())))
            load_s = time.monotonic() - started_s
            origin = Origin(
                content,
                contract,
                provenance_of(file, loaded.config, runtime, loaded.model.device, digest),
                file.stat().st_size,
                0 if steps is None else held_bytes(steps),
                int(load_s * 1e9),
                frozenset(name for name in QUEUE_LIMITS if getattr(written.config.inferd, name)),
                file,
            )
            model.comes_from(origin)
        except OSError as error:
            model.close()
            raise StartError(f"{which}: {file.name!r} cannot be read any more: {error.strerror}") from None
        except BaseException:
            model.close()
            raise
        if contract.deterministic is False:
            log.info("%s: the same input gives other values from run to run", which)
        provider = loaded.model.device
        log.info(
            *("%s: loaded and warm in %.2f s on %s", which, load_s, provider),
            extra=event("model_loaded", model=place.name, version=version, duration_ms=round(1000 * load_s, 1), provider=provider),
        )
        log.debug("%s: %s; %s", which, loaded.batching.why, loaded.plan.reason)
        return model

    def _preprocess_threads(self, host: Host) -> PreprocessThreads:
        if self._preprocess is None:
            self._preprocess = PreprocessThreads(preprocess_threads(host))
        return self._preprocess

    def _with_steps(self, loaded: Loaded, written: Written, host: Host) -> tuple[Signature, Plan | None]:
        """The signature of a run, with padding for requests of unequal length, and the steps between that and clients, if any."""
        own, pipelines = loaded.config.inferd, loaded.pipelines
        paddings = compile_padding(own.padding, written.where, pipelines.paddings if pipelines else None)
        signature = padded(loaded.signature, paddings, shared=shares_runs(loaded.config))
        steps = Plan(signature, pipelines) if pipelines else None
        shown = signature if steps is None else steps.signature
        if steps is not None and steps.prepares:
            own.preprocess_threads = own.preprocess_threads or preprocess_threads(host)
        if steps is not None or signature is not loaded.signature:
            model_config.show_to_clients(loaded.config, shown)
        if signature is not loaded.signature:
            instance = Instance(
                f"model '{loaded.config.name}'", loaded.model.backend(signature), steps.finish if steps and steps.finishes else None
            )
            run_signature = steps.run_signature if steps else signature
            check_padding(instance, run_signature, written.where, paddings.tolerance, paddings.largest)
            instance.backend.close()
        return signature, steps

    def _open(self, selected: Selected, version: int, proven: Proof | None, chosen: ThreadPlan, known: Loaded | None) -> Loaded:
        """proven: an earlier load's proof that rows are independent, or not. known: the same model, loaded by another plan, with its
        proof."""
        place, written, versions, _ = selected
        file = dict(versions)[version]
        config = model_config.settle(written, place.name, self.defaults, chosen)
        model = runtime_of(config).load(file, written, config, self.defaults)
        trust_runs(model, f"model '{place.name}' version {version}", tell=known is None)
        _name_classes(config, model)
        folders = [file.parent] if place.folder is None else [file.parent, place.folder]

        @cache
        def steps(max_rows: int) -> tuple[Signature, Pipelines | None]:
            signature = model_config.signature_of(config, model.graph, version)
            pipelines = compile_steps(config, signature, folders, written.where, place.repository)
            return (signature if pipelines is None else pipelines.narrowed(signature)), pipelines

        proof = known.proof if known else proven

        def prove(batched: ModelConfig) -> Proof:
            nonlocal proof
            proof = proof or _prove(model, batched, partial(steps, batched.max_batch_size), file)
            return proof

        batching = model_config.complete(written, config, model.graph, self.defaults, prove)
        signature, pipelines = steps(config.max_batch_size)
        return Loaded(chosen, config, model, batching, proof, signature, pipelines)

    def _choose_threads(self, make_plan: Callable[..., ThreadPlan], open_with: Callable[..., Loaded], nbytes: int) -> Loaded:
        """The model, opened with one thread where more threads gain too little: for everything, for runs of a few rows, or for nothing.

        n threads are n times as dear while they run, and must make a run sqrt(n) times as fast.
        """
        plan, tiny_plan = make_plan(), make_plan(tiny_run_ns=1)
        if tiny_plan.intra_op_threads == plan.intra_op_threads or nbytes > MAX_COMPARED_BYTES:
            return open_with(plan)
        single = open_with(tiny_plan) if nbytes <= SMALL_BYTES else None
        if single is not None and _measurable(single.signature) and (tiny_ns := _tiny_run_ns(single)):
            return single._replace(plan=make_plan(tiny_run_ns=tiny_ns))
        loaded = open_with(plan, single)
        # Where sizes vary, the small runs that can be measured do not predict those of requests.
        shared_ns = _runs_ns(loaded) if _measurable(loaded.signature) else {}
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
        if single_rows == sizes[-1]:
            return single._replace(plan=make_plan(tiny_run_ns=max(single_ns.values())))
        loaded.model.give_few_rows_to(single.model, single_rows)
        return loaded._replace(plan=make_plan(single_rows=single_rows))


def _size_of(file: Path) -> int:
    """Bytes of an ONNX file and of the files that hold its weights."""
    return sum(path.stat().st_size for path in (file, *weights_of(file).values()))


def _name_classes(config: ModelConfig, model: LoadedModel) -> None:
    """Adds the classes of outputs whose ZipMap was cut to the configuration, unless it has a step for these outputs."""
    told = {entry.output for entry in config.inferd.postprocess}
    served = {output.name for output in config.output} or {tensor.name for tensor in model.graph.outputs}
    for output, classes in model.classes.items():
        if output in served and not told & {output, ""}:
            config.inferd.postprocess.add(output=output, classes=classes)


def _prove(model: LoadedModel, config: ModelConfig, steps: Callable[[], tuple[Signature, Pipelines | None]], file: Path) -> Proof:
    """Whether rows are independent, by trial runs of rows as the configuration and its steps have them."""
    try:
        signature, pipelines = steps()
    except ConfigError:  # the steps may fit the model without a batch axis; if not, the next compilation raises the error
        return prove_rows(model, max_rows=config.max_batch_size, source=file)
    shapes = {name: shape[1:] for name, _, shape in signature.input_specs}
    for warm in config.model_warmup[:1]:
        shapes |= {name: tuple(tensor.dims) for name, tensor in warm.inputs.items() if name in shapes}
    samples = pipelines.samples(TRIED_SAMPLES) if pipelines else {}
    return prove_rows(model, shapes, config.max_batch_size, samples, file)


def _judge_zeros(model: Model, loaded: Loaded, which: str, records: Sequence[Path]) -> None:
    """Called when zeros failed. Raises StartError if no made-up values run although the server can make them: fractions of fixed sizes.
    It cannot know which whole numbers, texts and sizes a model takes."""
    words = why_nothing_runs(loaded.model)
    known = loaded.signature.fixed and loaded.pipelines is None and all(map(_can_be_made, loaded.model.graph.inputs))
    if words and known and not (loaded.config.model_warmup or records):
        raise StartError(
            f"{which}: it runs neither zeros nor other values of the shapes that its graph declares: {words}; export it again, or give it "
            "inputs that it takes (model_warmup in its configuration)"
        )
    why = words or model.zeros_fault
    log.warning("%s: zeros failed as a warm-up, its first requests may be slow: %s", which, why)


def _can_be_made(tensor: TensorInfo) -> bool:
    return tensor.datatype.startswith("FP") or tensor.datatype in ("BF16", "BOOL")


def _contract(model: Model, proof: Proof | None, deterministic: bool | None) -> Contract:
    """The results of the checks of a warm model."""
    memory = model.memory
    run_bytes = memory.peak_bytes + memory.buffer_bytes // model.instances if memory.has_arena else 0
    batch_axis = model.config.max_batch_size > 0
    if proof is None:
        return Contract(batch_axis, deterministic=deterministic, run_bytes=run_bytes)
    return Contract(batch_axis, proof.rows, proof.why[:MAX_WHY], deterministic, run_bytes)


def _measurable(signature: Signature) -> bool:
    """Whether every size but the rows is known. Texts may be of any length: threads share a run by its elements."""
    axes = 1 if signature.max_batch_size else 0
    return all(size >= 0 for _, _, shape in (*signature.input_specs, *signature.output_specs) for size in shape[axes:])


def _trial_instance(loaded: Loaded) -> tuple[Instance, warmup.Examples]:
    """An instance to measure and close, and the examples for its runs."""
    examples = loaded.pipelines.examples if loaded.pipelines else {}
    return Instance(loaded.config.name, loaded.model.backend(loaded.signature)), examples


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
    """Measured runs by rows, which double from one to the most, as long as a run takes at most MAX_COMPARED_NS. Empty if the model
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
