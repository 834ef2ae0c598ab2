"""Whether values are right, each by itself and all together. Every error names the setting, its origin, and what was expected."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

import msgspec

from inferd.config.address import EXPECTED_HOST, is_host, is_origin, parse_listen
from inferd.config.field import Field, spell
from inferd.config.model_url import check_url, is_url
from inferd.errors import ConfigError
from inferd.names import parse_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROVIDERS = ("cpu", "cuda", "tensorrt")
# The content of a file, which is no path; the last of these is base64 of PEM.
CONTENT = re.compile(r"[\n\r\0]|-----BEGIN|\ALS0tLS1CRUdJ")


def check(field: Field, value: object, origin: str) -> None:
    if field.kind == "file" or field.items == "path":
        check_path(field.name, value, origin)
    try:
        msgspec.convert(value, field.annotation, strict=True)
    except msgspec.ValidationError:
        raise wrong(field, origin, value) from None
    if isinstance(value, str) and not value:
        raise empty(field, origin)
    if field.kind == "list" and isinstance(value, tuple) and not all(value):
        raise wrong(field, origin, value)


def check_path(name: str, value: object, origin: str) -> None:
    """Rejects the content of a file, perhaps a key, that was given in place of its path. No message repeats it."""
    if isinstance(value, list | tuple):
        for item in value:
            check_path(name, item, origin)
    elif isinstance(value, str) and name == "models" and is_url(value):
        try:
            check_url(value)
        except ValueError as error:
            raise ConfigError(f"{name} ({origin}): {error}") from None
    elif isinstance(value, str) and CONTENT.search(value):
        raise ConfigError(
            f"{name} ({origin}): expected a path, got {len(value)} characters that look like what stands in a file; give the path of "
            "the file, not its content"
        )


def empty(field: Field, origin: str) -> ConfigError:
    return ConfigError(f"{field.name} ({origin}): expected {field.expected}, got ''; leave it out for {field.left_out}")


def wrong(field: Field, origin: str, value: object) -> ConfigError:
    came = f"'{value}'" if isinstance(value, str) else spell(field, value) if isinstance(value, int | tuple) else repr(value)
    return ConfigError(f"{field.name} ({origin}): expected {field.expected}, got {came}{near(str(value), field.choices)}")


def check_together(
    table: Mapping[str, Field], values: Mapping[str, Any], origins: Mapping[str, str], reject: Callable[[str, str], ConfigError]
) -> None:
    """Rejects settings of the server that contradict each other: raises what reject(name, why) makes."""
    for name, others in (("http_port", ("grpc_port",)), ("metrics_port", ("grpc_port", "http_port"))):
        for other in others:
            if values[name] == values[other] > 0:
                raise reject(name, f"expected another port than {other}'s, 0 (a free one) or off, got {values[name]}")
    for small, large in (("stream_window_bytes", "connection_window_bytes"), ("max_message_bytes", "message_memory_bytes")):
        least, most = values[small], values[large]
        if most and least > most:  # 0: auto, which has room for it
            limit = f"{large}, which is {spell(table[large], most)} ({origins[large]})"
            raise reject(small, f"expected at most {limit}, got {spell(table[small], least)}")
    if (workers := values["workers"]) > 1 and values["transport"] == "grpcio":
        raise reject("workers", f"expected 1 with transport grpcio, where each process opens its own sockets, got {workers}")
    if workers > 1 and values["model_control"] == "explicit":
        raise reject(
            "model_control", f"expected auto, none or poll with {workers} workers, or workers 1: an order reaches one process alone"
        )
    for name in ("host", "metrics_host"):
        if values[name] and not is_host(values[name]):
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
    for origin in values["cors_origin"]:
        if origin != "*" and not is_origin(origin):
            raise reject("cors_origin", f"expected SCHEME://HOST or SCHEME://HOST:PORT, as a browser sends it, or *, got '{origin}'")
    for provider in values["providers"]:
        if provider not in PROVIDERS:
            raise reject("providers", f"expected {', '.join(PROVIDERS)}, got '{provider}'{near(provider, PROVIDERS)}")
    if not values["providers"]:
        raise reject("providers", f"expected one or more of {', '.join(PROVIDERS)}, got none")


def check_shared(table: Mapping[str, Field], values: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Rejects settings of the whole server that its workers cannot share. A worker's own part is not checked."""
    given, workers = values["message_memory_bytes"], values["workers"]  # 0: auto, which has room for one message of each worker
    if workers > 1 and given and workers > (most := most_workers(given, values["max_message_bytes"])):
        memory = spell(table["message_memory_bytes"], given)
        raise ConfigError(
            f"workers ({origins['workers']}): expected at most {most}, so that each one's part of message_memory_bytes ({memory}) holds a "
            f"message of max_message_bytes; got {workers}"
        )


def most_workers(message_memory_bytes: int, max_message_bytes: int) -> int:
    """How many workers may share that memory: the part of each holds the largest message."""
    return max(1, message_memory_bytes // max_message_bytes)


def near(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
