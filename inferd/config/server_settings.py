"""The settings of the server, without those of its parts: `ServerSettings`, most rows of the table that settings.py makes.

Never in here: how texts are read (field.py), what is a wrong value (checks.py), where values come from (sources.py).
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar, cast

import msgspec

from inferd.config.address import Address, parse_listen
from inferd.config.field import about
from inferd.config.model_settings import ModelSettings
from inferd.config.units import GiB, KiB, MiB, TiB

P = TypeVar("P", bound=msgspec.Struct)


class ServerSettings(ModelSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings but those of parts. `Settings` checks every value on construction (ConfigError), also when built by hand.

    Numbers are whole and carry their unit in the name; 0 means "let inferd choose" where the description says so. None: what `unset` says,
    else nothing.
    """

    # Addresses
    host: Annotated[
        str,
        about("addresses", common=True),
        "Address to listen on. An IPv4 or IPv6 address, or a name; 0.0.0.0 or :: for all. It holds for the ports of gRPC and REST, and "
        "for the metrics port without metrics_host.",
    ] = "127.0.0.1"
    grpc_port: Annotated[int, about("addresses", ge=0, le=65535, common=True), "Port of gRPC; 0 picks a free one."] = 8001
    http_port: Annotated[int, about("addresses", ge=-1, le=65535, words={"off": -1}, common=True), "Port of REST; 0 picks a free one."] = (
        8000
    )
    metrics_host: Annotated[
        str | None,
        about("addresses", unset="the same as host"),
        "Address of the metrics port, which has neither TLS nor tokens. An IPv4 or IPv6 address, or a name.",
    ] = None
    metrics_port: Annotated[int, about("addresses", ge=-1, le=65535, words={"off": -1}, common=True), "Port of Prometheus metrics."] = 8002
    listen: Annotated[
        tuple[str, ...],
        about("addresses", items="host:port, [IPv6]:port, plaintext:host:port, unix:/path or unix:@name, or one of these behind http:"),
        "A further address, such as unix:/run/inferd.sock. It speaks gRPC, or REST where it begins with http:, such as "
        "http:unix:/run/rest.sock.",
    ] = ()
    socket_mode: Annotated[
        int,
        about("addresses", ge=-1, le=0o777, words={"umask": -1}),
        "Permissions of Unix socket files: they say which users may connect. umask: as the process's umask leaves them.",
    ] = -1
    reuse_port: Annotated[bool, about("addresses"), "Several processes may listen on one port (SO_REUSEPORT)."] = False

    # TLS and tokens
    tls_cert: Annotated[
        str | None,
        about("access", file=True, common=True),
        "PEM file of the server's certificate and chain. With it all ports of gRPC and REST speak TLS, except addresses of listen that "
        "begin with plaintext:. The server reads the file again when it changes.",
    ] = None
    tls_key: Annotated[str | None, about("access", file=True, common=True), "PEM file of the certificate's key. It has no password."] = None
    tls_client_ca: Annotated[
        str | None,
        about("access", file=True, common=True),
        "PEM file of authorities for clients (mTLS). A client then needs a certificate of one of them to connect by TLS. The server reads "
        "the file again when it changes; a file without a certificate is an error.",
    ] = None
    tls_allow: Annotated[
        tuple[str, ...],
        about("access", items="names"),
        "Names in client certificates that may send requests. Write dns:NAME, uri:URI, ip:ADDRESS, email:ADDRESS, or cn:NAME for a common "
        "name. A name without a type is the subject alternative name that it looks like, never a common name. Left out: every client that "
        "tls_client_ca trusts.",
    ] = ()
    token_file: Annotated[
        str | None,
        about("access", file=True, common=True),
        "File of bearer tokens for clients, one a line. Each call except health checks then needs one: `authorization: Bearer TOKEN`. "
        "Where a line is `control TOKEN`, only such tokens may change models and rollouts. The server reads the file again when it "
        "changes.",
    ] = None
    cors_origin: Annotated[
        tuple[str, ...],
        about("access", items="origins"),
        "Origin of web pages that may call REST, such as https://app.example; * for any. Left out: browsers let no page of another origin "
        "read a response.",
    ] = ()

    require_signature: Annotated[
        str | None,
        about("access", file=True),
        "PEM file of a public key or certificates: only models signed with it are loaded. Each model's folder then needs a valid "
        "model.sig of OpenSSF model signing (inferd[signing]).",
    ] = None

    # Processes and transport
    workers: Annotated[
        int,
        about("processes", ge=0, le=256, words={"auto": 0}, common=True),
        "Processes, or auto: by the cores. They serve the same addresses, for machines with more cores than one event loop feeds. Each "
        "process has all models. max_connections, message_memory_bytes, picture_memory_bytes, model_memory and the cores are divided "
        "among them. auto: one for every four cores, or for as many as intra_op_threads. Native transport.",
    ] = 1
    transport: Annotated[
        Literal["native", "grpcio"],
        about("processes"),
        "gRPC implementation. native: inferd's own. grpcio: the library's, at many times the CPU a request.",
    ] = "native"
    uvloop: Annotated[bool, about("processes"), "Use uvloop where it is installed."] = True
    compression: Annotated[
        Literal["none", "gzip", "deflate"],
        about("processes"),
        "Compression of responses. It is for responses from 1KiB on, and for clients that take it; with grpcio for all responses and "
        "clients. It costs CPU time, most where there is little to save. Compressed requests are always accepted.",
    ] = "none"

    # Connections
    max_connections: Annotated[
        int,
        about("connections", ge=0, le=1_000_000, words={"auto": 0}),
        "Open connections. A further one is closed at once. auto: as many as hold a quarter of the memory limit at worst, at most 10000; "
        "`inferd config` says how many.",
    ] = 0
    max_concurrent_streams: Annotated[int, about("connections", ge=1, le=1_000_000), "Open requests of one connection."] = 512
    max_total_streams: Annotated[
        int,
        about("connections", ge=0, le=100_000_000, words={"auto": 0}),
        "Open requests of all connections together. A connection with 16 open requests may have as many as are still free; one more is "
        "rejected (REFUSED_STREAM). auto: as many as take 1/16 of the memory limit, at most 100000. Native transport.",
    ] = 0
    max_stream_requests: Annotated[
        int,
        about("connections", ge=1, le=1_000_000),
        "Requests in flight on one stream of ModelStreamInfer. While there are so many, the server does not read the stream.",
    ] = 256
    handshake_timeout_s: Annotated[int, about("connections", ge=1, le=600), "Longest TLS handshake. A longer one is cut off."] = 10
    keepalive_s: Annotated[
        int,
        about("connections", ge=0, le=86_400, words={"off": 0}),
        "The server sends a PING to a client that was silent this long. It keeps silent connections open in networks that forget them, "
        "often after 4 minutes.",
    ] = 120
    keepalive_timeout_s: Annotated[
        int, about("connections", ge=1, le=86_400), "Longest wait for the reply to that PING; then the server closes the connection."
    ] = 20
    max_connection_idle_s: Annotated[
        int,
        about("connections", ge=0, le=31_536_000, words={"off": 0}),
        "The server sends GOAWAY to a connection without a call for this long.",
    ] = 0
    max_connection_age_s: Annotated[
        int,
        about("connections", ge=0, le=31_536_000, words={"off": 0}),
        "The server sends GOAWAY to a connection that is this old. The age varies by 10 %. Clients then look again where servers are.",
    ] = 0
    max_connection_age_grace_s: Annotated[
        int,
        about("connections", ge=0, le=31_536_000, words={"off": 0}),
        "Time for the open calls of a connection after GOAWAY. Then the server cuts it off. off: as long as they take.",
    ] = 30

    # Memory
    max_message_bytes: Annotated[int, about("memory", ge=1 * KiB, le=2 * GiB - 1), "Largest request; grpcio: and response."] = 64 * MiB
    max_header_bytes: Annotated[int, about("memory", ge=1 * KiB, le=16 * MiB), "Largest headers of one request."] = 16 * KiB
    message_memory_bytes: Annotated[
        int,
        about("memory", ge=0, le=1024 * TiB, words={"auto": 0}),
        "Memory of all messages together. It holds requests that come or wait, responses until they are sent, and the metadata of other "
        "methods than ModelInfer; with grpcio requests alone. Beyond it the server rejects requests until others end. auto: a fifth of "
        "the memory limit, at most 1GiB, and always room for max_message_bytes.",
    ] = 0
    connection_memory_percent: Annotated[
        int,
        about("memory", ge=1, le=100),
        "Share of the free message memory that one connection's requests may hold. In percent of what others leave free; one request "
        "alone may have all of it. Behind a proxy that has one connection for all clients: 100. Native transport.",
    ] = 50
    max_run_bytes: Annotated[
        int,
        about("memory", ge=0, le=1024 * TiB, words={"auto": 0}),
        "Memory that the runs of one model may take together, beside its weights. A run that needs more is rejected. auto: the memory "
        "left for models (`inferd config`), divided by workers; in an Engine half of the memory limit.",
    ] = 0
    picture_memory_bytes: Annotated[
        int,
        about("memory", ge=0, le=1024 * TiB, words={"auto": 0}),
        "Memory of large pictures while preprocess steps decode them. It does not count the arrays that they become. A picture that finds "
        "no room waits; one alone is always decoded. Pictures that take less than 16MiB are not counted: for these each preprocess thread "
        "keeps up to 16MiB. The limit is the process's: of several engines in one process, the largest counts. auto: 1/16 of the memory "
        "limit, at most 1GiB.",
    ] = 0
    stream_window_bytes: Annotated[
        int,
        about("memory", ge=16 * KiB, le=1 * GiB),
        "HTTP/2 flow-control window of one request, before its message has its place. So many bytes of a request may come unasked. A "
        "larger message gets credit for the rest; connections take turns. Native transport.",
    ] = 48 * KiB
    connection_window_bytes: Annotated[
        int, about("memory", ge=65_535, le=1 * GiB), "HTTP/2 flow-control window of one connection. Native transport."
    ] = 4 * MiB
    max_unread_bytes: Annotated[
        int,
        about("memory", ge=64 * KiB, le=1 * TiB),
        "Responses that may wait for a client that does not read. It is a connection's limit; beyond it the server rejects the calls. "
        "Native transport.",
    ] = 256 * MiB

    # Slow and hostile clients
    stall_timeout_s: Annotated[
        int,
        about("abuse", ge=1, le=86_400),
        "The server ends a call whose request or response hardly moved for this long. min_rate_bytes and min_message_rate_bytes say how "
        "little is too little. A client that reads nothing of a connection loses it. Native transport.",
    ] = 60
    min_rate_bytes: Annotated[
        int,
        about("abuse", ge=1, le=1 * GiB),
        "Least bytes a second of a request or response, on average over stall_timeout_s. Native transport.",
    ] = 1 * KiB
    min_message_rate_bytes: Annotated[
        int,
        about("abuse", ge=1, le=1 * GiB),
        "Least bytes a second of a request with more than 64KiB. Such a request must be whole after stall_timeout_s and one second for "
        "each so many of its bytes. Native transport.",
    ] = 256 * KiB
    min_ping_interval_s: Annotated[
        int,
        about("abuse", ge=0, le=86_400, words={"off": 0}),
        "Least time between two PINGs of a client. It counts while the server sends nothing of the client's calls. Three may come sooner; "
        "one more ends the connection (too_many_pings). Each DATA, HEADERS or WINDOW_UPDATE frame of the server starts the count again.",
    ] = 5
    max_control_frame_rate: Annotated[
        int,
        about("abuse", ge=10, le=1_000_000),
        "Control frames a second of one connection. These are PING, SETTINGS, WINDOW_UPDATE, PRIORITY and empty DATA. Ten seconds' worth "
        "may come at once, and the replies to one second's worth may wait. Frames that calls and their responses need are not counted. "
        "Native transport.",
    ] = 1000
    max_reset_rate: Annotated[
        int,
        about("abuse", ge=10, le=10_000_000),
        "Streams of one connection that may be reset in a second. It counts resets by the client, and by the server for what the client "
        "sent. Five seconds' worth may come at once. Native transport.",
    ] = 20_000
    max_continuation_frames: Annotated[int, about("abuse", ge=1, le=1000), "CONTINUATION frames of one header block. Native transport."] = 8

    # Shutdown and log
    drain_timeout_s: Annotated[int, about("operation", ge=0, le=86_400, common=True), "Time that requests get at shutdown."] = 30
    lame_duck_s: Annotated[
        int,
        about("operation", ge=0, le=3600),
        "Time between the signal to stop and the drain. Health says NOT_SERVING meanwhile, and requests are still served. Choose as long "
        "as load balancers take to notice.",
    ] = 0
    pid_file: Annotated[
        str | None, about("operation", file=True), "File that holds the process's number while it serves, for `inferd drain`."
    ] = None
    log_level: Annotated[Literal["debug", "info", "warning", "error"], about("operation", common=True), "Least level in the log."] = "info"
    log_format: Annotated[Literal["text", "json"], about("operation", common=True), "Text lines, or JSON objects."] = "text"

    def of(self, part: type[P]) -> P:
        """The settings of a part, with their types."""
        return cast("P", self)

    def addresses(self, *, grpc: bool = True, http: bool = True) -> list[Address]:
        """Where to listen for gRPC and REST. grpc: at grpc_port, too. http: at http_port, too."""
        tls = self.tls_cert is not None
        own = [Address(self.host, self.grpc_port, tls=tls)] if grpc else []
        if http and self.http_port >= 0:
            own.append(Address(self.host, self.http_port, tls=tls, http=True))
        return [*own, *(parse_listen(text, tls=tls) for text in self.listen)]

    @property
    def serves_http(self) -> bool:
        """Whether REST is asked for anywhere."""
        return any(address.http for address in self.addresses())

    @property
    def metrics_address(self) -> Address | None:
        """The address of the metrics port; None: there is none."""
        return None if self.metrics_port < 0 else Address(self.metrics_host or self.host, self.metrics_port)
