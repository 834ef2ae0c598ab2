"""The settings of models, their queues and their runs: `ModelSettings`, which the embedded engine has, too.

Never in here: how texts are read (field.py), what is a wrong value (checks.py), where values come from (sources.py).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from inferd.config.field import about
from inferd.config.units import GiB, TiB


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    # Models
    models: Annotated[
        tuple[str, ...],
        about("models", items="path"),
        "ONNX files, model folders or model repositories to serve. A path in a file is relative to that file. A URL may stand in place of "
        "a path: s3://, gs://, az://, http://, https:// or oci://.",
    ] = ()
    max_batch_size: Annotated[
        int,
        about("models", ge=1, le=65536, common=True),
        "Most rows in one batch. It holds for models that have a batch axis and no configuration of their own.",
    ] = 64
    batching: Annotated[
        Literal["auto", "on", "off"],
        about("models", common=True),
        "Whether requests share a run. auto: where dynamic_batching says so, or where rows proved to be independent at load. on: wherever "
        "a model has a batch axis. off: never.",
    ] = "auto"
    on_model_error: Annotated[
        Literal["auto", "exit", "skip"],
        about("models"),
        "Exit, or skip a model that cannot be loaded. exit: the server does not start. skip: the server logs the error, serves the other "
        "models and lists this one as UNAVAILABLE. With skip and auto, a version that fails is skipped alone if another version of its "
        "model is served. auto: skip for a model in a repository folder, exit for a model that you name. A server without any model never "
        "starts.",
    ] = "auto"
    triton_statuses: Annotated[
        bool,
        about("models"),
        "Reject with UNAVAILABLE, as Triton does, where a queue is full or its timeout passed. For clients and proxies whose retry "
        "policies expect that. off: RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED.",
    ] = False
    model_control: Annotated[
        Literal["auto", "none", "poll", "explicit"],
        about("models", common=True),
        "Whether models come and go while the server runs. none: they stay as they are at the start. poll: the server loads, replaces and "
        "unloads models as their files change. explicit: clients load and unload models, and the server starts with those of load_model. "
        "auto: poll where a folder of this machine is named, else none.",
    ] = "auto"
    model_poll_s: Annotated[
        int,
        about("models", ge=1, le=86_400),
        "Time between two looks at the models' files with model_control poll. Where watchfiles is installed, most changes are found at "
        "once; network file systems and links need the look.",
    ] = 15
    load_model: Annotated[
        tuple[str, ...],
        about("models", items="names"),
        "A model to load at the start with model_control explicit or model_memory; * for all.",
    ] = ()
    model_memory: Annotated[
        int,
        about("models", ge=0, le=1024 * TiB),
        "Memory of models; more of them are served, each loaded by a request. A model that was used least recently leaves memory for one "
        "that a request names. The memory of runs comes on top. 0: no limit, and the server loads each model at once.",
    ] = 0
    model_wait_s: Annotated[
        int, about("models", ge=1, le=86_400), "Longest time that a request waits for its model to be loaded with model_memory."
    ] = 30
    state_dir: Annotated[
        str | None,
        about("models", file=True, unset="the first model repository"),
        "Folder where the server keeps labels of versions, and results of checks. It is made if it is not there. Where it is not named, a "
        "restart forgets the results of checks.",
    ] = None
    providers: Annotated[
        tuple[str, ...],
        about("models", items="cpu, cuda or tensorrt", common=True),
        "Execution providers, best first. One that is asked for and not there is an error.",
    ] = ("cpu",)
    instances: Annotated[
        int, about("models", ge=0, le=1024, words={"auto": 0}), "Instances of each model whose configuration names no count. auto: one."
    ] = 0
    intra_op_threads: Annotated[
        int,
        about("models", ge=0, le=1024, words={"auto": 0}),
        "Threads of one run. auto: by the cores and the CPU quota; runs that more threads hardly speed up get one.",
    ] = 0
    spinning: Annotated[
        bool,
        about("models"),
        "ONNX Runtime threads spin while they wait. Single runs are quicker on idle cores, and the cores are busy all the time.",
    ] = False
    inline: Annotated[
        Literal["auto", "on", "off"],
        about("models"),
        "Run tiny models on the event loop, not on a thread. auto: by the measured time of a run, where shapes bound it.",
    ] = "auto"
    inline_limit_us: Annotated[int, about("models", ge=1, le=100_000), "Longest run that may stay on the event loop with inline auto."] = (
        100
    )

    model_cache: Annotated[
        str | None,
        about("models", file=True, unset="the user's cache folder"),
        "Folder where models from URLs are kept. Several servers may share one.",
    ] = None
    model_cache_bytes: Annotated[
        int,
        about("models", ge=0, le=1024 * TiB),
        "Most bytes that are kept in model_cache. What was used least recently leaves first, and nothing that a process uses. 0: no limit.",
    ] = 0
    model_download_bytes: Annotated[
        int, about("models", ge=1, le=1024 * TiB), "Largest download of one URL. It holds for what archives contain, too."
    ] = 64 * GiB
    model_download_timeout_s: Annotated[
        int,
        about("models", ge=1, le=31_536_000),
        "Longest download of one URL; at a start, of all together. The next start goes on where it was.",
    ] = 3600

    # Queues and runs
    max_queue_requests: Annotated[
        int, about("queues", ge=1, le=10_000_000), "Requests that may wait for one model version. The next one is rejected at once."
    ] = 4096
    max_queue_bytes: Annotated[
        int,
        about("queues", ge=0, le=1024 * TiB),
        "Input bytes that may wait for one model version. A request beyond it is rejected. 0: no limit but message_memory_bytes.",
    ] = 0
    max_queue_wait_us: Annotated[
        int,
        about("queues", ge=0, le=3_600_000_000),
        "Longest time that a request may have to wait for a run. The server expects it from the queue and from how long runs took, and "
        "rejects a request that would wait longer at once. 0: no limit but the request's deadline.",
    ] = 0
    max_run_s: Annotated[
        int,
        about("queues", ge=0, le=86_400),
        "Longest run of one batch on an executor thread. The server ends a longer one. 0: no limit but the requests' deadlines.",
    ] = 300
    fair_queue: Annotated[
        bool,
        about("queues"),
        "Connections take turns in a model's queue. A connection that sends much delays no other within a priority level. Turns count "
        "rows, or the likely time of preprocess steps. false: requests run in order of arrival. Native transport.",
    ] = True
