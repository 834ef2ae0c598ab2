"""The proxies of deploy/ as processes: the files as they are shipped, on free loopback ports and with certificates made for the run.

Nothing of a configuration changes but addresses and paths. What is replaced must be there: else the file is no longer the one meant.
Never in here: what a proxy should do.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import servers
import trustme

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
CONFIGURATIONS = {
    "envoy": DEPLOY / "envoy" / "envoy.yaml",
    "haproxy": DEPLOY / "haproxy" / "haproxy.cfg",
    "nginx": DEPLOY / "nginx" / "nginx.conf",
}
SERVER_NAME, PROXY_NAME, FRONT_NAME = "inferd.internal", "proxy.inferd.internal", "localhost"
LIMIT_S = 30.0


def program(name: str) -> str:
    """Its path. LookupError where it is not installed."""
    places = [os.environ.get("PATH", ""), str(Path(sys.executable).parent), str(ROOT / ".tools" / "bin"), "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise LookupError(f"{name} is missing; `make test` installs it")
    return found


class Files:
    """Certificates as the configurations name them, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "authority.pem"))
        for name, identities in {"server": [SERVER_NAME], "proxy": [PROXY_NAME], "front": [FRONT_NAME, "127.0.0.1"]}.items():
            leaf = authority.issue_cert(*identities)
            chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
            (folder / f"{name}.pem").write_bytes(chain)
            (folder / f"{name}.key").write_bytes(leaf.private_key_pem.bytes())
            (folder / f"{name}-with-key.pem").write_bytes(chain + leaf.private_key_pem.bytes())

    @property
    def authority(self) -> bytes:
        return (self.folder / "authority.pem").read_bytes()

    def server_flags(self, kind: str) -> list[str]:
        """What the head of a proxy's configuration tells servers to be started with, on loopback and with these files."""
        found = re.search(r"^# +inferd serve models((?:.*\\\n)*.*)$", CONFIGURATIONS[kind].read_text(), re.MULTILINE)
        if found is None:
            raise ValueError(f"{CONFIGURATIONS[kind]} says no more how servers are started")
        words = shlex.split(fitted(re.sub(r"\\\n#", "", found[1]), {"--host 0.0.0.0": "--host 127.0.0.1"}))
        return [str(self.folder / word) if word.endswith((".pem", ".key")) else word for word in words]


@dataclass(frozen=True)
class Proxy:
    """One that answers."""

    kind: str
    pid: int
    address: str  # plaintext
    tls_address: str
    well: Callable[[], int]  # how many servers it holds for well
    log: Path

    def wait_until_well(self, count: int) -> None:
        """Until it holds so many servers for well."""
        wait_for(lambda: self.well() == count, f"{self.kind} does not hold {count} servers for well: see {self.log}")


def wait_for(holds: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(otherwise)
        time.sleep(0.02)


def fitted(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        if old not in text:
            raise ValueError(f"the configuration has no {old!r} any more")
        text = text.replace(old, new)
    return text


@contextmanager
def envoy(folder: Path, files: Files, addresses: Sequence[str], rest: Sequence[str] = ()) -> Iterator[Proxy]:
    """addresses: of gRPC, which takes REST over HTTP/2, too. rest: for proxies that ask another port for it."""
    tls, plain, admin = (servers.free_port() for _ in range(3))
    ports = {"0.0.0.0, port_value: 8443": tls, "127.0.0.1, port_value: 8001": plain, "127.0.0.1, port_value: 9901": admin}
    changes = {old: f"127.0.0.1, port_value: {port}" for old, port in ports.items()}
    for number, address in enumerate(addresses, 1):
        host, _, port = address.rpartition(":")
        changes[f"server-{number}.example, port_value: 8001"] = f"{host}, port_value: {port}"
    config = folder / "envoy.yaml"
    config.write_text(fitted(CONFIGURATIONS["envoy"].read_text(), changes | {"/etc/inferd/tls": str(files.folder)}))

    def well() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/stats?filter=cluster.inferd.membership_healthy", timeout=LIMIT_S) as page:
            return int(page.read().decode().strip().rpartition(" ")[2])

    # Base id: several may run on one machine. One worker thread: enough for a test, and each connects to each server.
    command = [program("envoy"), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]
    with started("envoy", command, folder, plain, tls, well) as proxy:
        yield proxy


@contextmanager
def haproxy(folder: Path, files: Files, addresses: Sequence[str], rest: Sequence[str] = ()) -> Iterator[Proxy]:
    tls, plain = servers.free_port(), servers.free_port()
    control = folder / "admin.sock"
    changes = {"0.0.0.0:8443": f"127.0.0.1:{tls}", "bind 127.0.0.1:8001": f"bind 127.0.0.1:{plain}"}
    changes |= {f"server-{number}.example:8001": address for number, address in enumerate(addresses, 1)}
    changes |= {"/etc/inferd/tls": str(files.folder), "/run/haproxy/admin.sock": str(control)}
    config = folder / "haproxy.cfg"
    config.write_text(fitted(CONFIGURATIONS["haproxy"].read_text(), changes))

    def well() -> int:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(LIMIT_S)
            try:
                asked.connect(str(control))
            except OSError:  # HAProxy opens it after its ports
                return 0
            asked.sendall(b"show stat inferd 4 -1 typed\n")
            told = b"".join(iter(lambda: asked.recv(1 << 16), b"")).decode()
        return len(re.findall(r"\.check_status\.\S*:str:(?:\* )?L7OK$", told, re.MULTILINE))  # up by a check, not by default

    with started("haproxy", [program("haproxy"), "-db", "-f", str(config)], folder, plain, tls, well) as proxy:
        yield proxy


@contextmanager
def nginx(folder: Path, files: Files, addresses: Sequence[str], rest: Sequence[str]) -> Iterator[Proxy]:
    """It asks for no health: all servers are held for well."""
    tls, plain = servers.free_port(), servers.free_port()
    changes = {"0.0.0.0:8443": f"127.0.0.1:{tls}", "listen 127.0.0.1:8001": f"listen 127.0.0.1:{plain}"}
    changes |= {f"server-{number}.example:8001": address for number, address in enumerate(addresses, 1)}
    changes |= {f"server-{number}.example:8000": address for number, address in enumerate(rest, 1)}
    changes |= {"/etc/inferd/tls": str(files.folder), "/var/log/nginx": str(folder), "/var/cache/nginx": str(folder)}
    changes |= {"/run/nginx.pid": str(folder / "nginx.pid")}
    config = folder / "nginx.conf"
    config.write_text(fitted(CONFIGURATIONS["nginx"].read_text(), changes))
    command = [program("nginx"), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)]
    command += ["-g", "daemon off; master_process off;"]
    with started("nginx", command, folder, plain, tls, lambda: len(addresses)) as proxy:
        yield proxy


@contextmanager
def started(kind: str, command: Sequence[str], folder: Path, plain: int, tls: int, well: Callable[[], int]) -> Iterator[Proxy]:
    log = folder / f"{kind}.log"
    with servers.process(command, log) as process, servers.answering(kind, process, plain) as running:
        yield Proxy(kind, process.pid, running.address, f"{FRONT_NAME}:{tls}", well, log)


PROXIES = {"envoy": envoy, "haproxy": haproxy, "nginx": nginx}
