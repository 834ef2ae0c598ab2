"""Every setting of the server, in one table: `Settings`. Flags, INFERD_* variables, inferd.toml and the docs derive from it.

Precedence: flag > INFERD_<FIELD> > inferd.toml > default. An unknown key or variable is an error with a suggestion, a wrong
value an error that names the setting, where it came from, what was expected and what came. So is an empty one, wherever it stands: what a
shell makes of a variable that is not set must not open a server that was meant to ask who comes. Nothing is read from the
environment or the disk except through the arguments of `load_settings`, and nothing here imports numpy, onnxruntime or grpc.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from inferd.errors import ConfigError
from inferd.names import parse_name
from inferd.watched_files import read_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = [
    "CONFIG_FILE",
    "CONFIG_VARIABLE",
    "PROVIDERS",
    "Address",
    "Field",
    "Settings",
    "fields",
    "load_settings",
    "most_workers",
    "parse_address",
    "parse_duration",
    "parse_listen",
    "spell",
]

KiB, MiB, GiB, TiB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
CONFIG_FILE = "inferd.toml"
MAX_CONFIG_BYTES = 1 << 20
PROVIDERS = ("cpu", "cuda", "tensorrt")
# Settings that a running server takes on SIGHUP; what else changed waits for the next start.
RELOADED = (
    *("log_level", "log_format", "drain_timeout_s", "lame_duck_s", "tls_allow"),
    *("max_queue_requests", "max_queue_bytes", "max_queue_wait_us"),
    *("max_connections", "keepalive_s", "keepalive_timeout_s", "min_ping_interval_s"),
    *("max_connection_idle_s", "max_connection_age_s", "max_connection_age_grace_s"),
)
PREFIX = "INFERD_"
CONFIG_VARIABLE = PREFIX + "CONFIG"  # where the file is
EXPECTED_HOST = "expected an IPv4 or IPv6 address, or a name of parts of 1 to 63 characters"
CONTENT = re.compile(r"[\n\r\0]|-----BEGIN|\ALS0tLS1CRUdJ")  # of a file, which is no path; the last of these is base64 of PEM
PLAINTEXT = "plaintext:"  # what addresses of `listen` begin with that speak no TLS although others do
# Variables that share the prefix and are no settings: where the file is, and what setup.py reads.
OTHER_VARIABLES = frozenset(
    PREFIX + word for word in ("CONFIG", "DEBUG", "SANITIZE", "FUZZ", "PROFILE", "HTTP2", "JPEG", "WEBP", "BUILD_DIR")
)


def _about(
    group: str,
    description: str,
    *,
    ge: int | None = None,
    le: int | None = None,
    words: Mapping[str, int] | None = None,
    items: str | None = None,
    file: bool = False,
    unset: str = "",
) -> msgspec.Meta:
    """One field's row: its group in help and docs, what it does, its limits, words that stand for a number, what a list holds, whether
    a text is the path of a file, what None stands for where it is not just none."""
    extra = {"group": group, "words": dict(words or {}), "items": items, "file": file, "unset": unset}
    return msgspec.Meta(ge=ge, le=le, description=description, extra=extra)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one server. Every value is checked on construction (ConfigError), also when built by hand.

    Numbers are whole and carry their unit in the name; 0 means "let inferd choose" where the description says so. None: no file.
    """

    # What to serve
    models: Annotated[
        tuple[str, ...],
        _about("models", "ONNX files, model folders or model repositories to serve; relative to the file that names them.", items="path"),
    ] = ()
    max_batch_size: Annotated[
        int, _about("models", "Rows in one batch, for models that bring no configuration and have a batch axis.", ge=1, le=65536)
    ] = 64
    batching: Annotated[
        Literal["auto", "on", "off"],
        _about(
            "models",
            "Whether requests share a run. auto: where dynamic_batching says so, or where rows proved to be independent at load. on: "
            "wherever a model has a batch axis. off: never.",
        ),
    ] = "auto"
    max_queue_requests: Annotated[
        int, _about("models", "Requests that may wait for one model version; the next one is rejected at once.", ge=1, le=10_000_000)
    ] = 4096
    max_queue_bytes: Annotated[
        int,
        _about(
            "models",
            "Input bytes that may wait for one model version; a request beyond it is rejected. 0: no limit but message_memory_bytes.",
            ge=0,
            le=1024 * TiB,
        ),
    ] = 0
    max_queue_wait_us: Annotated[
        int,
        _about(
            "models",
            "Time that a request may have to wait for a run, by what waits already and how long runs took; one that would wait longer is "
            "rejected at once. 0: no limit but its deadline.",
            ge=0,
            le=3_600_000_000,
        ),
    ] = 0
    max_run_s: Annotated[
        int,
        _about(
            "models",
            "Time that a run of one batch may take on an executor thread; a longer one is ended. 0: no limit but the requests' deadlines.",
            ge=0,
            le=86_400,
        ),
    ] = 300
    fair_queue: Annotated[
        bool,
        _about(
            "models",
            "Connections take turns in a model's queue, by rows, or by the time that preprocess steps are likely to take, within a "
            "priority level: one that sends much delays no other. Else requests run in order of arrival. Native transport.",
        ),
    ] = True
    providers: Annotated[
        tuple[str, ...],
        _about(
            "models",
            "Execution providers in order of preference. One that is asked for and not there is an error.",
            items="cpu, cuda or tensorrt",
        ),
    ] = ("cpu",)
    instances: Annotated[
        int,
        _about(
            "models",
            "Instances of each model that names no count. auto: one.",
            ge=0,
            le=1024,
            words={"auto": 0},
        ),
    ] = 0
    intra_op_threads: Annotated[
        int,
        _about(
            "models",
            "Threads of one run. auto: by the cores and the quota; runs that more threads hardly speed up get one.",
            ge=0,
            le=1024,
            words={"auto": 0},
        ),
    ] = 0
    spinning: Annotated[
        bool, _about("models", "ONNX Runtime threads spin while they wait: quicker single runs on idle cores, at the cost of the cores.")
    ] = False
    inline: Annotated[
        Literal["auto", "on", "off"],
        _about("models", "Run tiny models on the event loop, not on a thread. auto: by the measured time of a run, where shapes bound it."),
    ] = "auto"
    inline_limit_us: Annotated[
        int, _about("models", "Longest run that may stay on the event loop when inline is auto.", ge=1, le=100_000)
    ] = 100
    max_run_bytes: Annotated[
        int,
        _about(
            "models",
            "Memory that the runs of one model may take together, beside its weights; a run that needs more is rejected. auto: what is "
            "left for models (`inferd config`), divided by workers; of an Engine half of the memory limit.",
            ge=0,
            le=1024 * TiB,
            words={"auto": 0},
        ),
    ] = 0
    picture_memory_bytes: Annotated[
        int,
        _about(
            "models",
            "All large pictures in memory together while steps decode them; what they become is not counted. One "
            "that finds no room waits; one alone is always decoded. "
            "Pictures that take less than 16MiB are not counted: for these each preprocess thread keeps up to 16MiB. "
            "It is the process's: of several engines in one, the largest counts. auto: 1/16 of the memory limit, at most 1GiB.",
            ge=0,
            le=1024 * TiB,
            words={"auto": 0},
        ),
    ] = 0

    # Where to listen
    host: Annotated[
        str,
        _about("addresses", "Address of the gRPC port, and of the metrics port without metrics_host: an IPv4 or IPv6 address, or a name."),
    ] = "127.0.0.1"
    grpc_port: Annotated[int, _about("addresses", "Port of gRPC. 0 picks a free one.", ge=0, le=65535)] = 8001
    metrics_host: Annotated[
        str | None,
        _about(
            "addresses",
            "Address of the metrics port, which has neither TLS nor tokens: an IPv4 or IPv6 address, or a name.",
            unset="the same as host",
        ),
    ] = None
    metrics_port: Annotated[
        int, _about("addresses", "Port of the Prometheus metrics. 0 picks a free one, off serves none.", ge=-1, le=65535, words={"off": -1})
    ] = 8002
    listen: Annotated[
        tuple[str, ...],
        _about("addresses", "Further gRPC addresses.", items="host:port, [IPv6]:port, plaintext:host:port, unix:/path or unix:@name"),
    ] = ()
    socket_mode: Annotated[
        int,
        _about(
            "addresses",
            "Permissions of the files of Unix sockets: who may connect. umask: as the process's umask leaves them.",
            ge=-1,
            le=0o777,
            words={"umask": -1},
        ),
    ] = -1
    reuse_port: Annotated[bool, _about("addresses", "Several processes may listen on one port (SO_REUSEPORT).")] = False

    # Who may ask
    tls_cert: Annotated[
        str | None,
        _about(
            "access",
            "PEM file of the server's certificate and its chain. With it all gRPC ports speak TLS but those of listen that begin with "
            "plaintext:. Read again when it changes.",
            file=True,
        ),
    ] = None
    tls_key: Annotated[str | None, _about("access", "PEM file of the certificate's key, without a password.", file=True)] = None
    tls_client_ca: Annotated[
        str | None,
        _about(
            "access",
            "PEM file of authorities: a client needs a certificate of one of them to connect by TLS (mTLS). Read again when it changes; "
            "one without a certificate is an error.",
            file=True,
        ),
    ] = None
    tls_allow: Annotated[
        tuple[str, ...],
        _about(
            "access",
            "Names of client certificates that may ask: dns:NAME, uri:URI, ip:ADDRESS, email:ADDRESS, or cn:NAME for a common name. "
            "Without a type it is the subject alternative name that it looks like, never a common name. Left out: all that tls_client_ca "
            "trusts.",
            items="names",
        ),
    ] = ()
    token_file: Annotated[
        str | None,
        _about(
            "access",
            "File of tokens, one a line. Each call but health checks then needs one: `authorization: Bearer TOKEN`. Read again when it "
            "changes.",
            file=True,
        ),
    ] = None

    # Transport and its limits
    transport: Annotated[
        Literal["auto", "native", "grpcio"],
        _about("transport", "gRPC implementation. auto: native where it is built, else grpcio with a notice."),
    ] = "auto"
    workers: Annotated[
        int,
        _about(
            "transport",
            "Processes that serve the same addresses, for machines with more cores than one event loop feeds. Each has all models; "
            "max_connections, message_memory_bytes, picture_memory_bytes and the cores are divided among them. auto: one for every four "
            "cores, or for as many as intra_op_threads. Native transport.",
            ge=0,
            le=256,
            words={"auto": 0},
        ),
    ] = 1
    uvloop: Annotated[bool, _about("transport", "Use uvloop where it is installed.")] = True
    max_connections: Annotated[
        int,
        _about(
            "transport",
            "Open connections; a further one is closed at once. auto: as many as hold a quarter of the memory limit at worst, at most "
            "10000; `inferd config` says how many.",
            ge=0,
            le=1_000_000,
            words={"auto": 0},
        ),
    ] = 0
    max_concurrent_streams: Annotated[int, _about("transport", "Open requests of one connection.", ge=1, le=1_000_000)] = 1024
    max_total_streams: Annotated[
        int,
        _about(
            "transport",
            "Open requests of all connections together. A connection that has 16 may have as many as are left to all; one more is "
            "rejected (REFUSED_STREAM). auto: as many as take 1/16 of the memory limit, at most 100000. Native transport.",
            ge=0,
            le=100_000_000,
            words={"auto": 0},
        ),
    ] = 0
    max_watchers: Annotated[int, _about("transport", "Open Watch streams of the health service.", ge=1, le=1_000_000)] = 1000
    max_connection_watchers: Annotated[
        int,
        _about(
            "transport",
            "Of these, one connection's. Behind a proxy that has one connection for everybody: as many as max_watchers.",
            ge=1,
            le=1_000_000,
        ),
    ] = 16
    max_header_bytes: Annotated[int, _about("transport", "Headers of one request.", ge=1 * KiB, le=16 * MiB)] = 16 * KiB
    max_message_bytes: Annotated[int, _about("transport", "One request or response.", ge=1 * KiB, le=2 * GiB - 1)] = 64 * MiB
    message_memory_bytes: Annotated[
        int,
        _about(
            "transport",
            "All messages in memory together: requests that come or wait, answers until they are sent, and the metadata of other methods "
            "than ModelInfer (grpcio: requests alone). Beyond it requests are rejected until some are answered. auto: a fifth of the "
            "memory limit, at most 1GiB, and room for max_message_bytes in any case.",
            ge=0,
            le=1024 * TiB,
            words={"auto": 0},
        ),
    ] = 0
    connection_memory_percent: Annotated[
        int,
        _about(
            "transport",
            "What requests of one connection may hold of the message memory that others leave free, in percent; one request alone may have "
            "all of it. Behind a proxy that has one connection for everybody: 100. Native transport.",
            ge=1,
            le=100,
        ),
    ] = 50
    stream_window_bytes: Annotated[
        int,
        _about(
            "transport",
            "HTTP/2 flow-control window of one request: what may be in flight, unread by us. Native transport.",
            ge=65_535,
            le=1 * GiB,
        ),
    ] = 1 * MiB
    connection_window_bytes: Annotated[
        int, _about("transport", "HTTP/2 flow-control window of one connection. Native transport.", ge=65_535, le=1 * GiB)
    ] = 4 * MiB
    compression: Annotated[
        Literal["none", "gzip", "deflate"],
        _about(
            "transport",
            "Compression of answers from 1KiB on, for clients that take it; grpcio: of all answers, for all clients. It costs CPU time, "
            "most where there is little to save. Compressed requests are always taken.",
        ),
    ] = "none"
    max_unread_bytes: Annotated[
        int,
        _about(
            "transport",
            "Answers that wait for one connection whose client does not read; beyond it answers give way to a rejection. Native transport.",
            ge=64 * KiB,
            le=1 * TiB,
        ),
    ] = 256 * MiB

    stall_timeout_s: Annotated[
        int,
        _about(
            "transport",
            "A request that does not come whole, or an answer that is not read, ends its call when too little of it moved for this long "
            "(min_rate_bytes, min_message_rate_bytes); a client that reads nothing of a connection loses it. Native transport.",
            ge=1,
            le=86_400,
        ),
    ] = 60
    min_rate_bytes: Annotated[
        int,
        _about(
            "transport",
            "What of a request, or of an answer, must move in a second, on average over stall_timeout_s. Native transport.",
            ge=1,
            le=1 * GiB,
        ),
    ] = 1 * KiB
    min_message_rate_bytes: Annotated[
        int,
        _about(
            "transport",
            "The same of a request whose message has more than 64KiB: it is whole after stall_timeout_s and a second for each so many of "
            "its bytes. While the message memory is full, five seconds of less end it, and an answer of that size. Native transport.",
            ge=1,
            le=1 * GiB,
        ),
    ] = 256 * KiB
    keepalive_s: Annotated[
        int,
        _about(
            "transport",
            "A client that has sent nothing for this long is asked by a PING whether it is still there. It keeps silent connections open "
            "in networks that forget them, often after 4 minutes.",
            ge=0,
            le=86_400,
            words={"off": 0},
        ),
    ] = 120
    keepalive_timeout_s: Annotated[
        int, _about("transport", "A client that does not answer that PING for this long loses its connection.", ge=1, le=86_400)
    ] = 20
    min_ping_interval_s: Annotated[
        int,
        _about(
            "transport",
            "Least time between two PINGs of a client while the server sends nothing of its calls. Three may come sooner; one more ends "
            "the connection (too_many_pings). Each DATA, HEADERS or WINDOW_UPDATE frame of the server starts the count again.",
            ge=0,
            le=86_400,
            words={"off": 0},
        ),
    ] = 5
    max_control_frame_rate: Annotated[
        int,
        _about(
            "transport",
            "Frames a second of one connection that ask for nothing: PING, SETTINGS, WINDOW_UPDATE, PRIORITY, empty DATA. Ten "
            "seconds' worth may come at once, and the answers to one second's worth may wait; those that calls and their answers need are "
            "not counted. Native transport.",
            ge=10,
            le=1_000_000,
        ),
    ] = 1000
    max_reset_rate: Annotated[
        int,
        _about(
            "transport",
            "Streams of one connection that may be reset in a second, by its client or by the server for what the client sent; five "
            "seconds' worth may come at once. Native transport.",
            ge=10,
            le=10_000_000,
        ),
    ] = 20_000
    max_continuation_frames: Annotated[
        int, _about("transport", "CONTINUATION frames of one header block. Native transport.", ge=1, le=1000)
    ] = 8
    handshake_timeout_s: Annotated[int, _about("transport", "A TLS handshake that takes longer is cut off.", ge=1, le=600)] = 10
    max_connection_idle_s: Annotated[
        int,
        _about("transport", "A connection without a call for this long is told to leave (GOAWAY).", ge=0, le=31_536_000, words={"off": 0}),
    ] = 0
    max_connection_age_s: Annotated[
        int,
        _about(
            "transport",
            "A connection that is this old, 10 % more or less, is told to leave (GOAWAY): clients look again where servers are.",
            ge=0,
            le=31_536_000,
            words={"off": 0},
        ),
    ] = 0
    max_connection_age_grace_s: Annotated[
        int,
        _about(
            "transport",
            "Calls of a connection that was told to leave may go on for this long; then it is cut off. off: as long as they take.",
            ge=0,
            le=31_536_000,
            words={"off": 0},
        ),
    ] = 30

    # Life cycle and log
    lame_duck_s: Annotated[
        int,
        _about(
            "operation",
            "Time from the signal to stop until new connections are rejected: health says NOT_SERVING, requests are still answered. "
            "As long as balancers take to notice.",
            ge=0,
            le=3600,
        ),
    ] = 0
    pid_file: Annotated[
        str | None, _about("operation", "File that holds the process's number while it serves, for `inferd drain`.", file=True)
    ] = None
    drain_timeout_s: Annotated[
        int, _about("operation", "Time that running requests get when the server is told to stop.", ge=0, le=86_400)
    ] = 30
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _about("operation", "Least level that is logged, on stderr.")] = (
        "info"
    )
    log_format: Annotated[Literal["text", "json"], _about("operation", "Lines for people, or one JSON object a line.")] = "text"

    def __post_init__(self) -> None:
        values = msgspec.structs.asdict(self)
        origins = dict.fromkeys(values, "given in Python")
        for name, field in fields().items():
            _check(field, values[name], origins[name])
        _check_together(values, origins)

    @property
    def metrics_address(self) -> Address | None:
        """Where the metrics are asked for. None: nowhere."""
        return None if self.metrics_port < 0 else Address(self.metrics_host or self.host, self.metrics_port)


class Field(NamedTuple):
    """One row of the table, as flags, variables and docs use it."""

    name: str
    kind: str  # one of: bytes, duration, mode, number, bool, choice, text, file, list
    default: Any
    description: str
    group: str
    low: int | None
    high: int | None
    words: dict[str, int]  # words that stand for a number: {"off": -1}
    choices: tuple[str, ...]
    items: str | None  # what a list holds
    unset: str  # what None stands for; nothing: none
    annotation: Any

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    @property
    def unit(self) -> str:
        return self.name.rpartition("_")[2] if self.kind in ("bytes", "duration") else ""

    @property
    def left_out(self) -> str:
        """What holds for who leaves it out."""
        return spell(self, self.default) or self.unset or "none"

    @property
    def expected(self) -> str:
        """What a right value looks like, for error messages and docs."""
        if self.kind == "choice":
            return "one of " + ", ".join(self.choices)
        if self.kind == "bool":
            return "true or false"
        if self.kind == "list":
            return f"a list of: {self.items}"
        if self.kind == "file":
            return "the path of a file"
        if self.kind == "text":
            return "a text that is not empty"
        if self.kind == "mode":
            return "a file mode of three or four octal digits such as 0660, or umask"
        what = {"bytes": "a size such as 64MiB", "duration": "a duration such as 30s or 100ms", "number": "a whole number"}[self.kind]
        words = "".join(f", or {word}" for word in self.words)
        low = max(self.low or 0, 0)  # below zero there are only words
        step = f", in steps of 1{self.unit}" if self.kind == "duration" else ""
        return f"{what} from {low if low in self.words.values() else spell(self, low)} to {spell(self, self.high)}{step}{words}"


@cache
def fields() -> dict[str, Field]:
    """The table: every setting by name, in the order of declaration."""
    hints = get_type_hints(Settings, include_extras=True)
    defaults = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    return {name: _field(name, hints[name], defaults[name]) for name in Settings.__struct_fields__}


def _field(name: str, annotation: Any, default: Any) -> Field:
    base, about = get_args(annotation)
    suffix = name.rpartition("_")[2]
    choices: tuple[str, ...] = ()
    if get_origin(base) is Literal:
        kind, choices = "choice", get_args(base)
    elif get_origin(base) is tuple:
        kind = "list"
    elif base is int:
        kind = suffix if suffix in ("bytes", "mode") else "duration" if suffix in _DURATIONS else "number"
    else:
        kind = "bool" if base is bool else "file" if about.extra["file"] else "text"
    group, words, items, unset = (about.extra[key] for key in ("group", "words", "items", "unset"))
    return Field(name, kind, default, about.description, group, about.ge, about.le, words, choices, items, unset, annotation)


# ---------------------------------------------------------------------------------------------------------------------
# Text to value and back

_SIZES = {"b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4, "kib": KiB, "mib": MiB, "gib": GiB, "tib": TiB}
_DURATIONS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000}
_QUANTITY = re.compile(r"(?=\.?[0-9])([0-9]*)(?:\.([0-9]+))?\s*([A-Za-zµ]*)", re.ASCII)
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def _parse(field: Field, text: str) -> object:
    """The value that a flag's, variable's or file's text stands for. ValueError when it stands for none."""
    text = text.strip()
    if field.kind == "bool":
        if text.lower() not in _BOOLS:
            raise ValueError(text)
        return _BOOLS[text.lower()]
    if field.kind == "list":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if field.kind in ("text", "file", "choice"):
        return text.lower() if field.kind == "choice" else text
    if text.lower() in field.words:
        return field.words[text.lower()]
    if field.kind == "mode":
        if not re.fullmatch(r"[0-7]{3,4}", text, re.ASCII):
            raise ValueError(text)
        return int(text, 8)
    if field.kind == "number":
        if not re.fullmatch(r"-?[0-9]{1,20}", text, re.ASCII):
            raise ValueError(text)
        return int(text)
    return _parse_quantity(text, _SIZES if field.kind == "bytes" else _DURATIONS, field.unit)


def parse_duration(text: str) -> int:
    """Nanoseconds of "5s", "100ms" or "0.5"; a number alone is seconds. ValueError for anything else."""
    return _parse_quantity(text.strip() if text.strip()[-1:].isalpha() else text.strip() + "s", _DURATIONS, "ns")


def _parse_quantity(text: str, units: Mapping[str, int], own_unit: str) -> int:
    """A number with a unit, in `own_unit`; without a unit it is in `own_unit`. Exact: what is no whole number of it is rejected."""
    match = _QUANTITY.fullmatch(text)
    if match is None or len(text) > 40:
        raise ValueError(text)
    whole, fraction, unit = match[1], match[2] or "", match[3].lower().replace("µ", "u")
    own = units.get(own_unit, 1)
    scale = units.get(unit, 0) if unit else own
    value, rest = divmod(int(whole + fraction) * scale, own * int("1" + "0" * len(fraction)))
    if not scale or rest:
        raise ValueError(text)
    return value


def spell(field: Field, value: object) -> str:
    """A value as one would write it: 67108864 -> 64MiB, 30 -> 30s, -1 -> off; nothing for None.

    `_parse` reads it back, but for a list with a comma in an item or blanks around one, which only a list can say.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    for word, number in field.words.items():
        if value == number and (number < 0 or word in ("auto", "off")):
            return word
    if isinstance(value, int) and field.kind == "mode":
        return f"{value:04o}"
    if isinstance(value, int) and field.kind == "bytes":
        for unit, size in (("TiB", TiB), ("GiB", GiB), ("MiB", MiB), ("KiB", KiB)):
            if value and value % size == 0:
                return f"{value // size}{unit}"
        return str(value)
    return f"{value}{field.unit}" if field.kind == "duration" else str(value)


# ---------------------------------------------------------------------------------------------------------------------
# Checks


def _check(field: Field, value: object, origin: str) -> None:
    if field.kind == "file" or field.items == "path":
        _check_path(field.name, value, origin)
    try:
        msgspec.convert(value, field.annotation, strict=True)
    except msgspec.ValidationError:
        raise _wrong(field, origin, value) from None
    if isinstance(value, str) and not value:
        raise _empty(field, origin)
    if field.kind == "list" and isinstance(value, tuple) and not all(value):
        raise _wrong(field, origin, value)


def _check_path(name: str, value: object, origin: str) -> None:
    """What stands in a file, a key perhaps, may have been given in its place: it is repeated nowhere."""
    if isinstance(value, list | tuple):
        for item in value:
            _check_path(name, item, origin)
    elif isinstance(value, str) and CONTENT.search(value):
        raise ConfigError(
            f"{name} ({origin}): expected a path, got {len(value)} characters that look like what stands in a file; give the path of "
            "the file, not its content"
        )


def _empty(field: Field, origin: str) -> ConfigError:
    return ConfigError(f"{field.name} ({origin}): expected {field.expected}, got ''; leave it out for {field.left_out}")


def _wrong(field: Field, origin: str, value: object) -> ConfigError:
    came = f"'{value}'" if isinstance(value, str) else spell(field, value) if isinstance(value, int | tuple) else repr(value)
    return ConfigError(f"{field.name} ({origin}): expected {field.expected}, got {came}{_near(str(value), field.choices)}")


def _check_together(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """What only shows when two settings are seen together."""
    table = fields()

    def reject(name: str, why: str) -> ConfigError:
        return ConfigError(f"{name} ({origins[name]}): {why}")

    if values["grpc_port"] == values["metrics_port"] > 0:
        raise reject("metrics_port", f"expected another port than grpc_port's, 0 (a free one) or off, got {values['metrics_port']}")
    for small, large in (
        ("stream_window_bytes", "connection_window_bytes"),
        ("max_message_bytes", "message_memory_bytes"),
    ):
        least, most = values[small], values[large]
        if most and least > most:  # 0: auto, which has room for it
            limit = f"{large}, which is {spell(table[large], most)} ({origins[large]})"
            raise reject(small, f"expected at most {limit}, got {spell(table[small], least)}")
    if (workers := values["workers"]) > 1 and values["transport"] == "grpcio":
        raise reject("workers", f"expected 1 with transport grpcio, where each process opens its own sockets, got {workers}")
    for name in ("host", "metrics_host"):
        if values[name] and not _is_host(values[name]):
            raise reject(name, f"{EXPECTED_HOST}, got '{values[name]}'")
    for address in values["listen"]:
        try:
            parse_listen(address, tls=bool(values["tls_cert"]))
        except ValueError as error:
            raise reject("listen", str(error)) from None
    for name, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert"), ("tls_client_ca", "tls_cert"), ("tls_allow", "tls_client_ca")):
        if values[name] and not values[other]:
            raise reject(name, f"expected {other}, too, got none")
    for allowed in values["tls_allow"]:
        try:
            parse_name(allowed)
        except ValueError as error:
            raise reject("tls_allow", str(error)) from None
    for provider in values["providers"]:
        if provider not in PROVIDERS:
            raise reject("providers", f"expected {', '.join(PROVIDERS)}, got '{provider}'{_near(provider, PROVIDERS)}")
    if not values["providers"]:
        raise reject("providers", f"expected one or more of {', '.join(PROVIDERS)}, got none")


def _check_shared(values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """What only the whole server's settings can say, not the part of one of its workers."""
    given, workers = values["message_memory_bytes"], values["workers"]  # 0: auto, which has room for one message of each worker
    if workers > 1 and given and workers > (most := most_workers(given, values["max_message_bytes"])):
        memory = spell(fields()["message_memory_bytes"], given)
        raise ConfigError(
            f"workers ({origins['workers']}): expected at most {most}, so that each one's part of message_memory_bytes ({memory}) holds a "
            f"message of max_message_bytes; got {workers}"
        )


def most_workers(message_memory_bytes: int, max_message_bytes: int) -> int:
    """So many may share that memory: the part of each holds the largest message."""
    return max(1, message_memory_bytes // max_message_bytes)


class Address(NamedTuple):
    """A place to listen on or to connect to: a Unix socket's `path`, or its abstract name behind @, else `host` and `port`."""

    host: str
    port: int
    path: str = ""
    tls: bool = False  # whether a server speaks TLS there

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_abstract(self) -> bool:
        """Whether the Unix socket has no file, but a name in Linux's own table: it goes with its process, and has no permissions."""
        return self.path.startswith("@")

    @property
    def socket_name(self) -> str:
        """What a Unix socket is bound or connected to."""
        return "\0" + self.path[1:] if self.is_abstract else self.path

    @property
    def for_grpc(self) -> str:
        """As grpc spells it."""
        return f"unix-abstract:{self.path[1:]}" if self.is_abstract else str(self)


_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://+(?P<host>\[[^]/]*\]|[^:/]*)(?P<port>:[0-9]+)?")


def _is_host(text: str) -> bool:
    """Whether a resolver can be asked for it."""
    try:
        text.encode("idna")
    except UnicodeError:
        return False
    return "\0" not in text


def parse_address(text: str) -> Address:
    """host:port, [IPv6]:port, unix:/path or unix:@name. ValueError with a message that says what was expected."""
    if text.startswith("unix-abstract:"):
        text = "unix:@" + text.removeprefix("unix-abstract:")  # as gRPC spells it
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")  # unix:///run/x.sock is how gRPC spells it, too
        if path in ("", "@") or "\0" in path:
            raise ValueError(f"expected unix:/path of a socket or unix:@name of an abstract one, got '{text}'")
        return Address("", 0, path)
    if url := _URL.match(text):
        plain = " (flags say whether TLS is spoken)" if url["scheme"].lower() in ("https", "grpcs") else ""
        address = (url["host"] or "HOST") + (url["port"] or ":PORT")
        raise ValueError(f"expected host:port or unix:/path, got the URL '{text}': write '{address}'{plain}")
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"expected an IPv6 address in brackets, such as [::1]:8001, got '{text}'")
    if not _is_host(host):
        raise ValueError(f"{EXPECTED_HOST} before the port, got '{text}'")
    if not (colon and host and re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) and int(port) <= 65535):
        raise ValueError(f"expected host:port with a port from 0 to 65535, [IPv6]:port or unix:/path, got '{text}'")
    return Address(host, int(port))


def parse_listen(text: str, *, tls: bool) -> Address:
    """An address of a server that speaks TLS on its ports, or not: plaintext:host:port is one where it never does. ValueError."""
    plain = text.startswith(PLAINTEXT)
    if plain and not tls:
        raise ValueError(f"expected host:port, got '{text}': without tls_cert all ports are plaintext; leave {PLAINTEXT} out")
    address = parse_address(text.removeprefix(PLAINTEXT))
    return address._replace(tls=tls and not plain and not address.path)


# ---------------------------------------------------------------------------------------------------------------------
# Where values come from


def load_settings(
    flags: Mapping[str, object], environ: Mapping[str, str], folder: Path, *, config_file: str | Path | None = None
) -> tuple[Settings, dict[str, str]]:
    """The settings, and where each one came from: "default", "inferd.toml", "INFERD_GRPC_PORT", "--grpc-port" or "PATH".

    `flags` maps a field's name to its text or value; None stands for a flag that was not given. `config_file`, else
    INFERD_CONFIG, names a file that must exist; without them inferd.toml in `folder` is read where it exists.
    ConfigError at the first thing that is wrong.
    """
    table = fields()
    values: dict[str, Any] = {}
    origins = dict.fromkeys(table, "default")

    def take(name: str, value: object, origin: str) -> None:
        values[name], origins[name] = _value(table[name], value, origin), origin

    path, keys = _read_file(environ, folder, config_file)
    for name, value in keys.items():
        if table[name].kind == "mode" and not isinstance(value, str):
            raise _wrong(table[name], path.name, repr(value))  # 660 would be taken for a decimal number
        take(name, value, path.name)
        if table[name].items == "path" and path.parent != folder:
            values[name] = tuple(str(path.parent / item) for item in values[name])
        if table[name].kind == "file" and values[name] and path.parent != folder:
            values[name] = str(path.parent / str(values[name]))
    for name, text in _variables(environ).items():
        take(name, text, table[name].variable)
    for name, value in flags.items():
        if value is not None:
            flag = table[name].flag
            take(name, value, "PATH" if name == "models" else f"--no-{flag[2:]}" if value is False else flag)
    merged = {name: values.get(name, field.default) for name, field in table.items()}
    _check_together(merged, origins)
    _check_shared(merged, origins)
    return Settings(**values), origins


def _value(field: Field, value: object, origin: str) -> object:
    """Any layer's value as the field's own type, checked. An empty one is rejected: who wants none leaves it out."""
    if value == [] or (isinstance(value, str) and not value.strip(" ,\t" if field.kind == "list" else None)):
        raise _empty(field, origin)
    try:
        if isinstance(value, str):
            value = _parse(field, value)
        elif isinstance(value, list):
            value = tuple(value)
    except ValueError:
        raise _wrong(field, origin, value) from None
    _check(field, value, origin)
    return value


def _read_file(environ: Mapping[str, str], folder: Path, config_file: str | Path | None) -> tuple[Path, dict[str, object]]:
    given = (config_file, "--config"), (environ.get(CONFIG_VARIABLE), CONFIG_VARIABLE)
    named, origin = given[0] if config_file is not None else given[1]
    _check_path("config", str(named or ""), origin)
    if named == "":
        raise ConfigError(f"config ({origin}): expected the path of a TOML file, got ''; leave it out for {CONFIG_FILE}, where it exists")
    path = folder / named if named else folder / CONFIG_FILE
    try:
        keys = tomllib.loads(read_file(path, MAX_CONFIG_BYTES, "config").decode("utf-8"))
    except FileNotFoundError:
        if named:
            raise ConfigError(f"config ({origin}): expected a TOML file, got '{named}', which does not exist") from None
        return path, {}
    except OSError as error:
        raise ConfigError(f"config: expected a readable TOML file, got '{path}': {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config: expected TOML in '{path}': {error}") from None
    except RecursionError:
        raise ConfigError(f"config: expected TOML in '{path}', got values nested deeper than any setting is") from None
    for key in keys:
        if key not in fields():
            raise ConfigError(f"{path.name}: unknown key '{key}'{_near(key, tuple(fields()))}; `inferd config` lists every setting")
    return path, keys


def _variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The INFERD_* variables that are settings, by field. A misspelt one is an error."""
    names = {field.variable: name for name, field in fields().items()}
    found: dict[str, str] = {}
    for variable, text in environ.items():
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES or _is_service_link(variable, environ):
            continue
        if variable not in names:
            near = _near(variable.upper(), tuple(names))
            raise ConfigError(f"environment: unknown variable {variable}{near}; `inferd config` lists every setting")
        found[names[variable]] = text
    return found


def _is_service_link(variable: str, environ: Mapping[str, str]) -> bool:
    """Whether Kubernetes made the variable: a Service named inferd or inferd-grpc adds INFERD_GRPC_PORT=tcp://... to every pod."""
    for host in environ:
        service = host.removesuffix("_SERVICE_HOST")
        if service == host or not variable.startswith(service):
            continue
        rest = variable.removeprefix(service)
        if rest.startswith(("_SERVICE_HOST", "_SERVICE_PORT")) or re.match(r"_PORT_[0-9]+_", rest):
            return True
        if rest == "_PORT" and "://" in environ[variable]:
            return True
    return False


def _near(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
