"""Connections and messages as a part of the server: the counters of transports. Never in here: counting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd._core.grpc import message as messages
from inferd.part import Part, counter, gauge

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.config import Settings
    from inferd.part import Table
    from inferd.serving.transports.transport import Transport

# Counters of transports: name without inferd_ -> documentation. A name that ends in _total is a counter's.
COUNTERS = {
    "connections": "Open client connections.",
    "connections_limit": "How many there may be: max_connections, or what the limit on open files leaves.",
    "connections_opened_total": "Client connections since the start.",
    "connections_refused_total": "Client connections closed at once: max_connections were open.",
    "handshakes": "Clients that have connected and not finished their TLS handshakes.",
    "handshakes_failed_total": "TLS handshakes that failed, or took too long.",
    "connections_stalled_total": "Client connections cut off: they held memory and did not move.",
    "connections_dead_total": "Client connections cut off: a PING got no reply (keepalive_timeout_s).",
    "connections_flooding_total": "Client connections cut off: too many frames that ask for nothing.",
    "connections_pinging_total": "Client connections cut off: PINGs too often (min_ping_interval_s).",
    "connections_resetting_total": "Client connections cut off: too many streams were reset.",
    "connections_idle_total": "Client connections told to leave: no call for max_connection_idle_s.",
    "connections_retired_total": "Client connections told to leave: older than max_connection_age_s.",
    "connections_overdue_total": "Client connections cut off: calls left after max_connection_age_grace_s.",
    "connection_bytes": "Memory that open connections can hold at most, beside messages: a fixed amount for each, more by TLS.",
    "streams": "Open RPCs.",
    "streams_opened_total": "RPCs since the start.",
    "streams_abandoned_total": "RPCs whose client went away before the response.",
    "streams_refused_total": "RPCs rejected: too many were open of all connections (max_total_streams).",
    "streams_stalled_total": "RPCs ended: they held memory and their client did not move.",
    "protocol_errors_total": "Connections closed for an error in HTTP/2.",
    "received_bytes_total": "Bytes read from clients.",
    "sent_bytes_total": "Bytes written to clients.",
    "message_threads_waiting": "Messages that wait for a thread to decompress, compress or unpack them, or that one has.",
    "decompressed_messages_total": "Messages of requests that were decompressed.",
    "decompressed_bytes_total": "What compressed requests became, in bytes.",
    "compressed_messages_total": "Messages of responses that were compressed.",
    "compression_saved_bytes_total": "Bytes that compressed responses are smaller for it.",
    "request_bytes": "Bytes of the requests in flight.",
}


class Connections(Part):
    def __init__(self, servers: Sequence[Transport]) -> None:
        self._servers = servers

    def reload(self, settings: Settings) -> None:
        for server in self._servers:
            server.limit(settings)

    def metrics(self) -> Iterator[Table]:
        counted: dict[str, float] = {}
        for server in self._servers:
            counted |= {key: counted.get(key, 0) + value for key, value in server.counters().items()}
        for key, value in counted.items():
            kind = counter if key.endswith("_total") else gauge
            yield kind(f"inferd_{key.removesuffix('_total')}", COUNTERS[key], value)
        told = "Memory that messages and metadata hold: requests that come or wait, unsent responses."
        yield gauge("inferd_message_bytes", told, messages.in_use())
        yield gauge("inferd_message_kept_bytes", "Memory of messages that are gone, kept for the next ones.", messages.kept())
