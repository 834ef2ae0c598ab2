"""What deploy/ ships beside the proxies, held against the programs and schemas that know it: systemd, Docker, Compose, Kubernetes.

Whether its words are inferd's: settings, verbs, ports. And whether a server needs no more than these files leave it.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from inferd.config import Address, load_settings, parse_duration
from inferd.serving.memory.budget import worst_case
from tests.command import EXAMPLES, ROOT, TIMEOUT_S, command, environment

DEPLOY = ROOT / "deploy"
KUBERNETES = ("1.31", "1.34")  # as long as its makers keep a version, and the one that is run most
MOST_EXPOSED = 15  # of 100, by `systemd-analyze security`
LINTERS = {
    "hadolint": ("hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile"),
    "compose-lint": ("compose-lint", "check", "--fail-on", "high", DEPLOY / "compose.yaml"),
}


def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, arguments)), capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options)


@cache
def documents(name: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def container() -> dict[str, Any]:
    (deployment,) = (each for each in documents("kubernetes.yaml") if each["kind"] == "Deployment")
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def dockerfile(word: str) -> str:
    """The arguments of the last instruction with this name, on one line."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^ *{word} +(.*)$", text, re.MULTILINE)[-1]


# ---- those who know


@pytest.mark.parametrize("name", LINTERS)
def test_linters(name: str) -> None:
    program, *arguments = LINTERS[name]
    path = shutil.which(str(program), path=str(Path(sys.executable).parent))
    assert path, f"{program} is missing; `make test` installs it"
    done = run(path, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(version: str) -> None:
    found = documents("kubernetes.yaml")
    assert [each["kind"] for each in found] == ["Service", "PodDisruptionBudget", "Deployment"]
    for each in found:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units with a program that is there: all else is theirs."""
    program = tmp_path / "inferd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    names = ("inferd.service", "inferd.socket", "inferd-http.socket")
    for name in names:
        text = (DEPLOY / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/inferd/bin/inferd", str(program)))
    return [tmp_path / name for name in names]


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here: nothing else knows its units")


@needs_systemd
def test_systemd_knows_every_line(units: list[Path]) -> None:
    done = run("systemd-analyze", "verify", "--man=no", *units)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_the_service_is_hardened(units: list[Path]) -> None:
    done = run("systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", units[0])
    assert done.returncode == 0, done.stdout


# ---- inferd's words


def settings_of(variables: dict[str, Any]) -> Any:
    return load_settings({}, {name: str(value) for name, value in variables.items() if name.startswith("INFERD_")}, Path("/"))[0]


def test_settings_are_those_of_inferd() -> None:
    image = dict(pair.split("=", 1) for pair in dockerfile("ENV").split())
    pod = {pair["name"]: pair["value"] for pair in container()["env"]}
    compose = documents("compose.yaml")[0]["services"]["server-1"]["environment"]
    assert settings_of(image).host == "0.0.0.0"
    assert settings_of(pod | image).lame_duck_s == 5
    assert settings_of(image | pod).metrics_address == Address("0.0.0.0", container()["ports"][1]["containerPort"])
    assert settings_of(compose | image).metrics_address == Address("127.0.0.1", 8002)
    assert settings_of(image).state_dir == "/state"
    assert settings_of(compose | image).tls_allow == ("dns:proxy.inferd.internal",)


def test_the_proxy_of_compose_has_one_connection_for_everybody() -> None:
    composed = settings_of(documents("compose.yaml")[0]["services"]["server-1"]["environment"])
    assert (composed.connection_memory_percent, composed.fair_queue) == (100, False)
    assert composed.max_connection_watchers == composed.max_watchers


def commands() -> Iterator[tuple[str, list[str]]]:
    yield "Dockerfile", json.loads(dockerfile("ENTRYPOINT")) + json.loads(dockerfile("CMD"))
    yield "Dockerfile", json.loads(dockerfile("HEALTHCHECK").split(" CMD ")[1])
    yield "compose.yaml", documents("compose.yaml")[0]["services"]["server-1"]["healthcheck"]["test"][1:]
    yield "kubernetes.yaml", json.loads(dockerfile("ENTRYPOINT")) + container()["args"]
    yield "kubernetes.yaml", container()["lifecycle"]["preStop"]["exec"]["command"]
    for path in sorted(DEPLOY.rglob("*")):
        if path.is_file():
            text = re.sub(r"\\\n *#? *", " ", path.read_text())
            yield from ((path.name, shlex.split(found)) for found in re.findall(r"\binferd (?:serve|health|drain) [^\n\"]*", text))


@cache
def help_of(verb: str) -> str:
    shown = run(*command(verb, "--help-all" if verb == "serve" else "--help"), env=environment()).stdout
    assert "Usage: " in shown
    return shown


@pytest.mark.parametrize(("file", "words"), [pytest.param(*each, id=f"{number} {each[0]}") for number, each in enumerate(commands())])
def test_commands_are_those_of_inferd(file: str, words: list[str]) -> None:
    assert Path(words[0]).name == "inferd", file
    shown = help_of(words[1])
    for flag in (word for word in words if word.startswith("--")):
        spelled = rf"--(no-|\[no-\]){flag[5:]}" if flag.startswith("--no-") else flag
        assert re.search(rf"{spelled}(?![\w-])", shown), f"{file}: `inferd {words[1]}` has no {flag}"


def test_the_service_reads_certificates_that_can_be_renewed() -> None:
    """Copies of a start would need a restart: it reads the files that the settings name, by a group that may."""
    unit, page = (DEPLOY / "systemd" / "inferd.service").read_text(), (ROOT / "docs" / "deployment.md").read_text()
    assert not re.search(r"^LoadCredential", unit, re.MULTILINE)
    (group,) = re.findall(r"^SupplementaryGroups=(\S+)$", unit, re.MULTILINE)
    assert f"groupadd --system {group}" in page
    assert f"-g {group} -t /etc/inferd/tls server.pem server.key" in page
    assert re.search(r'^tls_cert = "/etc/inferd/tls/server.pem"\ntls_key = "/etc/inferd/tls/server.key"$', page, re.MULTILINE)
    assert re.search(r"^Type=notify-reload$", unit, re.MULTILINE)


def test_state_has_a_folder_that_a_server_may_write_to() -> None:
    """Else labels and rollouts would be rejected, for the models are read-only in all of them."""
    unit = (DEPLOY / "systemd" / "inferd.service").read_text()
    (name,) = re.findall(r"^StateDirectory=(\S+)$", unit, re.MULTILINE)
    (where,) = re.findall(r"^Environment=INFERD_STATE_DIR=(\S+)$", unit, re.MULTILINE)
    assert where == f"/var/lib/{name}"
    assert not any(where in line.split("=", 1)[1].split() for line in unit.splitlines() if line.startswith("ReadOnlyPaths="))

    image = dict(pair.split("=", 1) for pair in dockerfile("ENV").split())["INFERD_STATE_DIR"]
    user, group = dockerfile("USER").split(":")
    assert f"install -d -o {user} -g {group} -m 700 {image}" in dockerfile("RUN")

    pod = {pair["name"]: pair["value"] for pair in container()["env"]}["INFERD_STATE_DIR"]
    (mount,) = (each for each in container()["volumeMounts"] if each["mountPath"] == pod)
    assert not mount.get("readOnly", False)
    volumes = {each["name"]: each for each in documents("kubernetes.yaml")[2]["spec"]["template"]["spec"]["volumes"]}
    assert "emptyDir" in volumes[mount["name"]]

    composed = documents("compose.yaml")[0]
    for server in ("server-1", "server-2"):
        (volume,) = (each.split(":")[0] for each in composed["services"][server]["volumes"] if each.endswith(f":{image}"))
        assert volume in composed["volumes"]
    page = (ROOT / "docs" / "deployment.md").read_text()
    assert f"-v inferd-state:{image} inferd:" in page


def test_the_service_shows_its_metrics_to_its_machine_alone(tmp_path: Path) -> None:
    """To all who reach the port they would be open, whatever its TLS asks."""
    page = (ROOT / "docs" / "deployment.md").read_text()
    (text,) = re.findall(r"^```toml\n(host = .*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "inferd.toml").write_text(text)
    settings, _ = load_settings({}, {}, tmp_path)
    assert (settings.host, settings.metrics_host) == ("0.0.0.0", "127.0.0.1")


def test_nobody_is_killed_while_he_leaves() -> None:
    """Grace periods are longer than the lame-duck time and the drain together."""
    template = documents("kubernetes.yaml")[2]["spec"]["template"]["spec"]
    pod = settings_of({pair["name"]: pair["value"] for pair in container()["env"]})
    waits = parse_duration(container()["lifecycle"]["preStop"]["exec"]["command"][-1]) / 1e9
    leaving = pod.lame_duck_s + pod.drain_timeout_s
    assert leaving < waits < template["terminationGracePeriodSeconds"]
    liveness = container()["livenessProbe"]
    assert leaving < liveness["periodSeconds"] * liveness["failureThreshold"]
    server = documents("compose.yaml")[0]["services"]["server-1"]
    composed = settings_of(server["environment"])
    assert composed.lame_duck_s + composed.drain_timeout_s < parse_duration(server["stop_grace_period"]) / 1e9
    stops = re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "systemd" / "inferd.service").read_text(), re.MULTILINE)
    assert stops is not None
    assert settings_of({}).drain_timeout_s < int(stops[1])


# ---- what they leave to a server is enough

# A root file system that nobody can write to, no right, and no memory that is written and executed: as the container and the unit have it.
CONFINED = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
libc.prctl(65, 1, 0, 0, 0)  # PR_SET_MDWE; older kernels have none
os.execvp(sys.argv[1], sys.argv[1:])
"""


def test_a_server_that_may_write_nothing() -> None:
    confine = ["unshare", "--mount", "sh", "-c", 'mount -o remount,bind,ro / && exec "$@"', "sh", "setpriv", "--bounding-set=-all"]
    if run(*confine, "true").returncode != 0:
        pytest.skip("mounts cannot be changed here: neither as root nor in a namespace")
    serve = command("serve", EXAMPLES / "models", "--grpc-port", "0", "--http-port", "off", "--metrics-port", "0")
    with subprocess.Popen(
        [*confine, sys.executable, "-c", CONFINED, *serve],
        env=environment(HOME="/nonexistent", ORT_DISABLE_TELEMETRY="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("ready ")
            done = run(*command("infer", json.loads(line.removeprefix("ready "))["grpc"], "digits", "--input", EXAMPLES / "digit.npy"))
            assert "[7]" in done.stdout
        finally:
            server.terminate()
    assert server.returncode == 0


SIZES = {"G": 1 << 30, "g": 1 << 30, "Gi": 1 << 30}


def shipped() -> Iterator[tuple[str, Any, str]]:
    """Where a server runs, its settings there, and its memory limit."""
    unit = (DEPLOY / "systemd" / "inferd.service").read_text()
    yield "systemd", settings_of({}), re.findall(r"^MemoryMax=(\S+)$", unit, re.MULTILINE)[0]
    yield (
        "systemd with TLS",
        settings_of({"INFERD_TLS_CERT": "c", "INFERD_TLS_KEY": "k"}),
        re.findall(r"^MemoryMax=(\S+)$", unit, re.MULTILINE)[0],
    )
    for name in ("server-1", "server-2"):
        server = documents("compose.yaml")[0]["services"][name]
        yield f"compose, {name}", settings_of(server["environment"]), server["mem_limit"]
    variables = {pair["name"]: pair["value"] for pair in container()["env"]}
    yield "kubernetes", settings_of(variables), container()["resources"]["limits"]["memory"]


@pytest.mark.parametrize(("settings", "limit"), [pytest.param(*each, id=name) for name, *each in shipped()])
def test_the_memory_limit_holds_the_worst_case(settings: Any, limit: str) -> None:
    """Clients that fill everything leave a fifth of the limit for models."""
    number, unit = re.fullmatch(r"(\d+)(\w+)", limit).groups()  # type: ignore[union-attr]
    limit_bytes = int(number) * SIZES[unit]
    assert sum(share.nbytes for share in worst_case(settings, limit_bytes)) <= limit_bytes * 4 // 5


def test_the_service_starts_again_whatever_the_exit_code() -> None:
    """Files that are replaced just then are wrong settings, too; systemd's own limit ends it where they stay wrong, within its time."""
    unit = dict(re.findall(r"^(\w+)=(\S+)$", (DEPLOY / "systemd" / "inferd.service").read_text(), re.MULTILINE))
    assert "RestartPreventExitStatus" not in unit
    assert unit["Restart"] == "on-failure"
    assert int(unit["StartLimitBurst"]) * int(unit["RestartSec"]) < int(unit["StartLimitIntervalSec"]) / 2
