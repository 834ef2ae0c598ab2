"""Every setting of the server, in one table: `Settings`. Flags, INFERD_* variables, inferd.toml and the docs derive from it.

Never in here: how texts are read (field.py), what is a wrong value (checks.py), where values come from (sources.py).
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Literal, get_type_hints

import msgspec

from inferd.config.address import Address
from inferd.config.checks import check, check_together
from inferd.config.field import Field, about, field_of
from inferd.config.units import GiB, KiB, MiB, TiB

# Settings that a running server takes on SIGHUP; other changes wait for the next start.
RELOADED = (
    *("log_level", "log_format", "drain_timeout_s", "lame_duck_s", "tls_allow"),
    *("max_queue_requests", "max_queue_bytes", "max_queue_wait_us"),
    *("max_connections", "keepalive_s", "keepalive_timeout_s", "min_ping_interval_s"),
    *("max_connection_idle_s", "max_connection_age_s", "max_connection_age_grace_s"),
)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one server. Every value is checked on construction (ConfigError), also when built by hand.

    Numbers are whole and carry their unit in the name; 0 means "let inferd choose" where the description says so. None: no file.
    """

    # What to serve
    models: Annotated[
        tuple[str, ...],
        about("models", "ONNX files, model folders or model repositories to serve; relative to the file that names them.", items="path"),
    ] = ()
    max_batch_size: Annotated[
        int, about("models", "Rows in one batch, for models that bring no configuration and have a batch axis.", ge=1, le=65536)
    ] = 64
    batching: Annotated[
        Literal["auto", "on", "off"],
        about(
            "models",
            "Whether requests share a run. auto: where dynamic_batching says so, or where rows proved to be independent at load. on: "
            "wherever a model has a batch axis. off: never.",
        ),
    ] = "auto"
    max_queue_requests: Annotated[
        int, about("models", "Requests that may wait for one model version; the next one is rejected at once.", ge=1, le=10_000_000)
    ] = 4096
    max_queue_bytes: Annotated[
        int,
        about(
            "models",
            "Input bytes that may wait for one model version; a request beyond it is rejected. 0: no limit but message_memory_bytes.",
            ge=0,
            le=1024 * TiB,
        ),
    ] = 0
    max_queue_wait_us: Annotated[
        int,
        about(
            "models",
            "Time that a request may have to wait for a run, by what waits already and how long runs took; one that would wait longer is "
            "rejected at once. 0: no limit but its deadline.",
            ge=0,
            le=3_600_000_000,
        ),
    ] = 0
    max_run_s: Annotated[
        int,
        about(
            "models",
            "Time that a run of one batch may take on an executor thread; a longer one is ended. 0: no limit but the requests' deadlines.",
            ge=0,
            le=86_400,
        ),
    ] = 300
    fair_queue: Annotated[
        bool,
        about(
            "models",
            "Connections take turns in a model's queue, by rows, or by the time that preprocess steps are likely to take, within a "
            "priority level: one that sends much delays no other. Else requests run in order of arrival. Native transport.",
        ),
    ] = True
    providers: Annotated[
        tuple[str, ...],
        about(
            "models",
            "Execution providers in order of preference. One that is asked for and not there is an error.",
            items="cpu, cuda or tensorrt",
        ),
    ] = ("cpu",)
    instances: Annotated[
        int,
        about(
            "models",
            "Instances of each model that names no count. auto: one.",
            ge=0,
            le=1024,
            words={"auto": 0},
        ),
    ] = 0
    intra_op_threads: Annotated[
        int,
        about(
            "models",
            "Threads of one run. auto: by the cores and the quota; runs that more threads hardly speed up get one.",
            ge=0,
            le=1024,
            words={"auto": 0},
        ),
    ] = 0
    spinning: Annotated[
        bool, about("models", "ONNX Runtime threads spin while they wait: quicker single runs on idle cores, at the cost of the cores.")
    ] = False
    inline: Annotated[
        Literal["auto", "on", "off"],
        about("models", "Run tiny models on the event loop, not on a thread. auto: by the measured time of a run, where shapes bound it."),
    ] = "auto"
    inline_limit_us: Annotated[
        int, about("models", "Longest run that may stay on the event loop when inline is auto.", ge=1, le=100_000)
    ] = 100
    max_run_bytes: Annotated[
        int,
        about(
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
        about(
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
        about("addresses", "Address of the gRPC port, and of the metrics port without metrics_host: an IPv4 or IPv6 address, or a name."),
    ] = "127.0.0.1"
    grpc_port: Annotated[int, about("addresses", "Port of gRPC. 0 picks a free one.", ge=0, le=65535)] = 8001
    metrics_host: Annotated[
        str | None,
        about(
            "addresses",
            "Address of the metrics port, which has neither TLS nor tokens: an IPv4 or IPv6 address, or a name.",
            unset="the same as host",
        ),
    ] = None
    metrics_port: Annotated[
        int, about("addresses", "Port of the Prometheus metrics. 0 picks a free one, off serves none.", ge=-1, le=65535, words={"off": -1})
    ] = 8002
    listen: Annotated[
        tuple[str, ...],
        about("addresses", "Further gRPC addresses.", items="host:port, [IPv6]:port, plaintext:host:port, unix:/path or unix:@name"),
    ] = ()
    socket_mode: Annotated[
        int,
        about(
            "addresses",
            "Permissions of the files of Unix sockets: who may connect. umask: as the process's umask leaves them.",
            ge=-1,
            le=0o777,
            words={"umask": -1},
        ),
    ] = -1
    reuse_port: Annotated[bool, about("addresses", "Several processes may listen on one port (SO_REUSEPORT).")] = False

    # Who may ask
    tls_cert: Annotated[
        str | None,
        about(
            "access",
            "PEM file of the server's certificate and its chain. With it all gRPC ports speak TLS but those of listen that begin with "
            "plaintext:. Read again when it changes.",
            file=True,
        ),
    ] = None
    tls_key: Annotated[str | None, about("access", "PEM file of the certificate's key, without a password.", file=True)] = None
    tls_client_ca: Annotated[
        str | None,
        about(
            "access",
            "PEM file of authorities: a client needs a certificate of one of them to connect by TLS (mTLS). Read again when it changes; "
            "one without a certificate is an error.",
            file=True,
        ),
    ] = None
    tls_allow: Annotated[
        tuple[str, ...],
        about(
            "access",
            "Names of client certificates that may ask: dns:NAME, uri:URI, ip:ADDRESS, email:ADDRESS, or cn:NAME for a common name. "
            "Without a type it is the subject alternative name that it looks like, never a common name. Left out: all that tls_client_ca "
            "trusts.",
            items="names",
        ),
    ] = ()
    token_file: Annotated[
        str | None,
        about(
            "access",
            "File of tokens, one a line. Each call but health checks then needs one: `authorization: Bearer TOKEN`. Read again when it "
            "changes.",
            file=True,
        ),
    ] = None

    # Transport and its limits
    transport: Annotated[
        Literal["auto", "native", "grpcio"],
        about("transport", "gRPC implementation. auto: native where it is built, else grpcio with a notice."),
    ] = "auto"
    workers: Annotated[
        int,
        about(
            "transport",
            "Processes that serve the same addresses, for machines with more cores than one event loop feeds. Each has all models; "
            "max_connections, message_memory_bytes, picture_memory_bytes and the cores are divided among them. auto: one for every four "
            "cores, or for as many as intra_op_threads. Native transport.",
            ge=0,
            le=256,
            words={"auto": 0},
        ),
    ] = 1
    uvloop: Annotated[bool, about("transport", "Use uvloop where it is installed.")] = True
    max_connections: Annotated[
        int,
        about(
            "transport",
            "Open connections; a further one is closed at once. auto: as many as hold a quarter of the memory limit at worst, at most "
            "10000; `inferd config` says how many.",
            ge=0,
            le=1_000_000,
            words={"auto": 0},
        ),
    ] = 0
    max_concurrent_streams: Annotated[int, about("transport", "Open requests of one connection.", ge=1, le=1_000_000)] = 1024
    max_total_streams: Annotated[
        int,
        about(
            "transport",
            "Open requests of all connections together. A connection that has 16 may have as many as are left to all; one more is "
            "rejected (REFUSED_STREAM). auto: as many as take 1/16 of the memory limit, at most 100000. Native transport.",
            ge=0,
            le=100_000_000,
            words={"auto": 0},
        ),
    ] = 0
    max_watchers: Annotated[int, about("transport", "Open Watch streams of the health service.", ge=1, le=1_000_000)] = 1000
    max_connection_watchers: Annotated[
        int,
        about(
            "transport",
            "Of these, one connection's. Behind a proxy that has one connection for everybody: as many as max_watchers.",
            ge=1,
            le=1_000_000,
        ),
    ] = 16
    max_header_bytes: Annotated[int, about("transport", "Headers of one request.", ge=1 * KiB, le=16 * MiB)] = 16 * KiB
    max_message_bytes: Annotated[int, about("transport", "One request or response.", ge=1 * KiB, le=2 * GiB - 1)] = 64 * MiB
    message_memory_bytes: Annotated[
        int,
        about(
            "transport",
            "All messages in memory together: requests that come or wait, responses until they are sent, and the metadata of other methods "
            "than ModelInfer (grpcio: requests alone). Beyond it requests are rejected until some are answered. auto: a fifth of the "
            "memory limit, at most 1GiB, and room for max_message_bytes in any case.",
            ge=0,
            le=1024 * TiB,
            words={"auto": 0},
        ),
    ] = 0
    connection_memory_percent: Annotated[
        int,
        about(
            "transport",
            "What requests of one connection may hold of the message memory that others leave free, in percent; one request alone may have "
            "all of it. Behind a proxy that has one connection for everybody: 100. Native transport.",
            ge=1,
            le=100,
        ),
    ] = 50
    stream_window_bytes: Annotated[
        int,
        about(
            "transport",
            "HTTP/2 flow-control window of one request: what may be in flight, unread by us. Native transport.",
            ge=65_535,
            le=1 * GiB,
        ),
    ] = 1 * MiB
    connection_window_bytes: Annotated[
        int, about("transport", "HTTP/2 flow-control window of one connection. Native transport.", ge=65_535, le=1 * GiB)
    ] = 4 * MiB
    compression: Annotated[
        Literal["none", "gzip", "deflate"],
        about(
            "transport",
            "Compression of responses from 1KiB on, for clients that take it; grpcio: of all responses, for all clients. It costs CPU "
            "time, most where there is little to save. Compressed requests are always taken.",
        ),
    ] = "none"
    max_unread_bytes: Annotated[
        int,
        about(
            "transport",
            "Responses that wait for one connection whose client does not read; beyond it responses give way to a rejection. Native "
            "transport.",
            ge=64 * KiB,
            le=1 * TiB,
        ),
    ] = 256 * MiB

    stall_timeout_s: Annotated[
        int,
        about(
            "transport",
            "A request that does not come whole, or a response that is not read, ends its call when too little of it moved for this long "
            "(min_rate_bytes, min_message_rate_bytes); a client that reads nothing of a connection loses it. Native transport.",
            ge=1,
            le=86_400,
        ),
    ] = 60
    min_rate_bytes: Annotated[
        int,
        about(
            "transport",
            "What of a request, or of a response, must move in a second, on average over stall_timeout_s. Native transport.",
            ge=1,
            le=1 * GiB,
        ),
    ] = 1 * KiB
    min_message_rate_bytes: Annotated[
        int,
        about(
            "transport",
            "The same of a request whose message has more than 64KiB: it is whole after stall_timeout_s and a second for each so many of "
            "its bytes. Native transport.",
            ge=1,
            le=1 * GiB,
        ),
    ] = 256 * KiB
    keepalive_s: Annotated[
        int,
        about(
            "transport",
            "A client that has sent nothing for this long is asked by a PING whether it is still there. It keeps silent connections open "
            "in networks that forget them, often after 4 minutes.",
            ge=0,
            le=86_400,
            words={"off": 0},
        ),
    ] = 120
    keepalive_timeout_s: Annotated[
        int, about("transport", "A client that does not answer that PING for this long loses its connection.", ge=1, le=86_400)
    ] = 20
    min_ping_interval_s: Annotated[
        int,
        about(
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
        about(
            "transport",
            "Frames a second of one connection that ask for nothing: PING, SETTINGS, WINDOW_UPDATE, PRIORITY, empty DATA. Ten "
            "seconds' worth may come at once, and the replies to one second's worth may wait; frames that calls and their responses need "
            "are not counted. Native transport.",
            ge=10,
            le=1_000_000,
        ),
    ] = 1000
    max_reset_rate: Annotated[
        int,
        about(
            "transport",
            "Streams of one connection that may be reset in a second, by its client or by the server for what the client sent; five "
            "seconds' worth may come at once. Native transport.",
            ge=10,
            le=10_000_000,
        ),
    ] = 20_000
    max_continuation_frames: Annotated[
        int, about("transport", "CONTINUATION frames of one header block. Native transport.", ge=1, le=1000)
    ] = 8
    handshake_timeout_s: Annotated[int, about("transport", "A TLS handshake that takes longer is cut off.", ge=1, le=600)] = 10
    max_connection_idle_s: Annotated[
        int,
        about("transport", "A connection without a call for this long is told to leave (GOAWAY).", ge=0, le=31_536_000, words={"off": 0}),
    ] = 0
    max_connection_age_s: Annotated[
        int,
        about(
            "transport",
            "A connection that is this old, 10 % more or less, is told to leave (GOAWAY): clients look again where servers are.",
            ge=0,
            le=31_536_000,
            words={"off": 0},
        ),
    ] = 0
    max_connection_age_grace_s: Annotated[
        int,
        about(
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
        about(
            "operation",
            "Time from the signal to stop until new connections are rejected: health says NOT_SERVING, requests are still answered. "
            "As long as balancers take to notice.",
            ge=0,
            le=3600,
        ),
    ] = 0
    pid_file: Annotated[
        str | None, about("operation", "File that holds the process's number while it serves, for `inferd drain`.", file=True)
    ] = None
    drain_timeout_s: Annotated[
        int, about("operation", "Time that running requests get when the server is told to stop.", ge=0, le=86_400)
    ] = 30
    log_level: Annotated[Literal["debug", "info", "warning", "error"], about("operation", "Least level that is logged, on stderr.")] = (
        "info"
    )
    log_format: Annotated[Literal["text", "json"], about("operation", "Lines for people, or one JSON object a line.")] = "text"

    def __post_init__(self) -> None:
        values = msgspec.structs.asdict(self)
        origins = dict.fromkeys(values, "given in Python")
        table = fields()
        for name, field in table.items():
            check(field, values[name], origins[name])
        check_together(table, values, origins)

    @property
    def metrics_address(self) -> Address | None:
        """The address of the metrics port; None: there is none."""
        return None if self.metrics_port < 0 else Address(self.metrics_host or self.host, self.metrics_port)


@cache
def fields() -> dict[str, Field]:
    """The table: every setting by name, in the order of declaration."""
    hints = get_type_hints(Settings, include_extras=True)
    defaults = {field.name: field.default for field in msgspec.structs.fields(Settings)}
    return {name: field_of(name, hints[name], defaults[name]) for name in Settings.__struct_fields__}
