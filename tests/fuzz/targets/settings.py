"""Settings from inferd.toml, variables and flags: taken or rejected with ConfigError, and what is taken is read back as it is spelled.

Input: 1 byte for where the settings stand, and their text, as TOML or as `name = value` lines.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from inferd.config import fields, load_settings, spell
from inferd.errors import ConfigError

MODULES = ()
LINES = tuple(f"inferd.config.{name}" for name in ("address", "checks", "field", "sources", "units"))
VALUES = ("64MiB", "100ms", "off", "true", "[", '"', "plaintext:", "unix:@x", "[::1]:1")
DICTIONARY = tuple(word.encode() for word in (*fields(), *VALUES))
FOLDER = Path(tempfile.mkdtemp(prefix="inferd-fuzz-"))
FILE = FOLDER / "inferd.toml"


def check(data: bytes) -> None:
    if not data:
        return
    flags: dict[str, object] = {}
    variables: dict[str, str] = {}
    FILE.write_bytes(data[1:] if data[0] & 1 else b"")
    if not data[0] & 1:
        pairs = dict(line.split("=", 1) for line in data[1:].decode("utf-8", "replace").splitlines() if "=" in line)
        if data[0] & 2:
            variables = {f"INFERD_{name.strip().upper()}": text.strip() for name, text in pairs.items()}
        else:
            flags = {name.strip(): text.strip() for name, text in pairs.items() if name.strip() in fields()}
    try:
        settings, origins = load_settings(flags, variables, FOLDER)
    except ConfigError:
        return
    assert origins.keys() == fields().keys()
    given = {name: getattr(settings, name) for name in fields() if origins[name] != "default"}
    # A list goes back as one: a path may have a comma, or blanks at its ends, which its text cannot tell.
    spelled = {name: value if isinstance(value, tuple) else spell(fields()[name], value) for name, value in given.items()}
    FILE.write_bytes(b"")
    assert load_settings({name: value for name, value in spelled.items() if value}, {}, FOLDER)[0] == settings


def seeds() -> list[bytes]:
    default, _ = load_settings({}, {}, Path("/nowhere"))
    lines = []
    for name, field in fields().items():
        text = spell(field, getattr(default, name))
        if text:
            lines.append(f'{name} = "{text}"')
    plain = "\n".join(line.replace('"', "") for line in lines)
    found = [b"\1" + "\n".join(lines).encode(), b"\2" + plain.encode(), b"\0" + plain.encode()]
    found += [b"\1" + line.encode() for line in lines] + [b"\0" + line.replace('"', "").encode() for line in lines]
    return [
        *found,
        b'\1models = ["a,b", " c "]\ngrpc_port = 8001\n',
        b"\1[x]\ny = 1\n",
        b"\1models = " + b"[" * 3000,
        b"\2grpc_port=tcp://1\n",
    ]
