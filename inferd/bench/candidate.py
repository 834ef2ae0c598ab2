"""A model served with settings that are tried, and the file that makes the best of them stay.

A server of a trial gets exactly the file that would be written: config.toml or config.pbtxt in a model's folder. A single .onnx file has no
configuration of its own, and gets a file of settings for `inferd serve --config`. Never in here: which settings to try (tune.py),
terminals.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd.bench.buckets import buckets_of, write_buckets
from inferd.bench.climb import Settings
from inferd.bench.interrupts import interrupts_noted
from inferd.engine.configuration.model_config import CONFIG_FILES, read_model_config
from inferd.errors import ConfigError, StartError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TextIO

START_TIMEOUT_S = 300.0  # large models, and TensorRT, which builds its engine first
STOP_TIMEOUT_S = 10.0

# Runs the command behind the number of the process that starts it, and has the system kill it with that: PR_SET_PDEATHSIG outlives execv.
# It goes by the thread that starts it, which the caller keeps until the end of the block.
BOUND = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class Subject(NamedTuple):
    """A model to be tuned. path: its folder or file. config: the configuration that it has; None where it has none."""

    name: str
    path: Path
    config: Path | None

    @property
    def single(self) -> bool:
        return not self.path.is_dir()

    @property
    def output(self) -> Path:
        """Where its settings belong."""
        if self.single:
            return self.path.with_name(f"{self.name}.inferd.toml")
        return self.config or self.path / "config.toml"


class Running(NamedTuple):
    """A server that is ready."""

    address: str
    pid: int


# ---------------------------------------------------------------------------------------------------------------------
# The model


def locate(path: Path, model: str | None) -> Subject:
    """The model at `path`: an .onnx file, a model's folder, or a repository's `model`. ConfigError where there is none, or several."""
    if path.is_file() and path.suffix == ".onnx":
        found = {path.stem: path}
    elif not path.is_dir():
        raise ConfigError(f"PATH {path}: expected an .onnx file, a model's folder or a repository, and there is none")
    elif is_model(path):
        found = {path.resolve().name: path}
    else:
        entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith((".", "_")) and is_model(entry)]
        found = {entry.stem if entry.is_file() else entry.name: entry for entry in entries}
    names = ", ".join(found)
    if not found:
        raise ConfigError(f"PATH {path}: there is no model in it; expected name.onnx, model.onnx, 1/model.onnx or name/1/model.onnx")
    if model is None and len(found) > 1:
        raise ConfigError(f"PATH {path} has several models; name one of them as MODEL: {names}")
    if model is not None and model not in found:
        raise ConfigError(f"MODEL {model}: {path} has no such model; it has {names}")
    name, place = (model, found[model]) if model else next(iter(found.items()))
    place = place.resolve()
    config = next((place / file for file in CONFIG_FILES if (place / file).is_file()), None) if place.is_dir() else None
    return Subject(name, place, config)


def is_model(path: Path) -> bool:
    if path.is_file():
        return path.suffix == ".onnx"
    if not path.is_dir():
        return False
    files = ("model.onnx", *CONFIG_FILES)
    return any((path / file).is_file() for file in files) or any(is_version(entry) for entry in path.iterdir())


def is_version(path: Path) -> bool:
    return path.is_dir() and re.fullmatch("[1-9][0-9]*", path.name, re.ASCII) is not None


# ---------------------------------------------------------------------------------------------------------------------
# Its configuration


def configuration(subject: Subject, settings: Settings, output: Path) -> str:
    """The text of a file that has the model served with these settings. All else in its configuration is kept.

    output: where it will stand; the path in a file of settings is relative to that.
    """
    if subject.single:
        values: dict[str, Any] = {"models": [os.path.relpath(subject.path, output.absolute().parent)]}
        values |= {"providers": _with_fallback(settings.provider), "instances": settings.instances, "intra_op_threads": settings.threads}
        return toml(values | ({"max_batch_size": settings.rows} if settings.rows else {}))
    written = read_model_config(subject.path, subject.name)
    config = written.config
    apply(config, settings)
    unbatched = "max_batch_size" in written.fields and not config.max_batch_size  # it says 0, which a message does not keep
    if output.suffix == ".pbtxt":
        return str(config) + ("max_batch_size: 0\n" if unbatched else "")
    return toml(({"max_batch_size": 0} if unbatched else {}) | as_dict(config))


def _with_fallback(provider: str) -> list[str]:
    return ["tensorrt", "cuda"] if provider == "tensorrt" else [provider]


def apply(config: Any, settings: Settings) -> None:
    """Writes settings into a ModelConfig."""
    if settings.rows:
        config.max_batch_size = settings.rows
    if settings.buckets is not None:
        write_buckets(config, settings.buckets)
    group = config.instance_group[0] if config.instance_group else config.instance_group.add()
    group.count = settings.instances
    group.kind = group.KIND_CPU if settings.provider == "cpu" else group.KIND_GPU
    config.inferd.intra_op_threads = settings.threads
    if "intra_op_thread_count" in config.parameters:
        del config.parameters["intra_op_thread_count"]
    if settings.provider == "cpu":
        del group.gpus[:]
    accelerators = config.optimization.execution_accelerators.gpu_execution_accelerator
    wanted = () if settings.provider == "cpu" else _with_fallback(settings.provider)
    for at in reversed(range(len(accelerators))):
        if accelerators[at].name not in wanted:
            del accelerators[at]
    if settings.provider == "tensorrt" and not any(each.name == "tensorrt" for each in accelerators):
        accelerators.add(name="tensorrt")
    if not accelerators and not config.optimization.execution_accelerators.cpu_execution_accelerator:
        config.optimization.ClearField("execution_accelerators")
    if not config.optimization.ListFields():
        config.ClearField("optimization")


def as_dict(message: Any) -> dict[str, Any]:
    """The fields of a message that are set, by name; enum values as words."""
    return {field.name: _plain(field, value) for field, value in message.ListFields()}


def _plain(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        return {str(key): _plain(entry, each) for key, each in value.items()}
    if isinstance(value, str | bytes | int | float) or not hasattr(value, "__len__"):
        return _scalar(field, value)
    return [_scalar(field, each) for each in value]


def _scalar(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return as_dict(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    return value


def toml(values: Mapping[str, Any]) -> str:
    """Plain values first; tables, which are short, each on a line."""
    return "".join(f"{_key(key)} = {_value(value)}\n" for key, value in values.items())


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key, re.ASCII) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


# ---------------------------------------------------------------------------------------------------------------------
# The server


@contextmanager
def serving(subject: Subject, settings: Settings | None) -> Iterator[Running]:
    """`inferd serve` as a process of its own on a free loopback port; without settings, as the model is served by default. It ends with
    this process, however that ends.

    INFERD_* variables and inferd.toml do not reach it. StartError with the server's own words where it does not become ready.
    """
    with ExitStack() as stack:
        with interrupts_noted() as interrupted:  # of half a server nobody would know
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="inferd-tune-")))
            log = stack.enter_context(open(folder / "serve.log", "w+", encoding="utf-8"))
            process = _started(subject, settings, folder, log)
            stack.callback(_stop, process)
        try:
            if interrupted():
                raise KeyboardInterrupt
            address = _ready(process)
            if not address:
                log.seek(0)
                raise StartError(_last_words(log.read()) or f"the server ended with {process.wait()} before it was ready")
            yield Running(address, process.pid)
        finally:
            with interrupts_noted() as interrupted:
                stack.close()
            if interrupted():
                raise KeyboardInterrupt


def _started(subject: Subject, settings: Settings | None, folder: Path, log: TextIO) -> subprocess.Popen[str]:
    arguments = _arguments(subject, settings, folder)
    command = [sys.executable, "-m", "inferd", "serve", *arguments, "--grpc-port", "0", "--http-port", "off", "--metrics-port", "off"]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", BOUND, str(os.getpid()), *command, "--log-level", "warning"],
        cwd=folder,
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,  # Ctrl-C on the terminal is not for the server
    )


def _arguments(subject: Subject, settings: Settings | None, folder: Path) -> list[str]:
    """The server's arguments for a trial. A model's folder is rebuilt from links, so that the real configuration is not touched. Files
    beside the versions are copied: labels and tokenizers may not be links out of the served folder."""
    if settings is None:
        return [str(subject.path)]
    if subject.single:
        file = folder / "tried.toml"
        file.write_text(configuration(subject, settings, file), encoding="utf-8")
        return [str(subject.path), "--config", str(file)]
    copy = folder / subject.name
    copy.mkdir()
    versions = any(is_version(entry) for entry in subject.path.iterdir())
    for entry in subject.path.iterdir():
        if versions and entry.is_file() and entry.name not in CONFIG_FILES:
            shutil.copyfile(entry, copy / entry.name)
        elif entry.name not in CONFIG_FILES:
            (copy / entry.name).symlink_to(entry)
    if not versions:
        (copy / "1").symlink_to(subject.path)  # as a folder: a model may have its weights in files beside it
    file = copy / subject.output.name
    file.write_text(configuration(subject, settings, file), encoding="utf-8")
    return [str(copy)]


def _environment() -> dict[str, str]:
    """This process's without settings; the server imports the same inferd."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INFERD_")}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), kept.get("PYTHONPATH"))))
    return kept


def _ready(process: subprocess.Popen[str]) -> str:
    """The address of the `ready` line; empty where the output ended without."""
    assert process.stdout is not None
    watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
    watchdog.daemon = True
    watchdog.start()
    try:
        for line in process.stdout:
            word, _, rest = line.partition(" ")
            if word == "ready":
                return str(json.loads(rest)["grpc"])
        return ""
    finally:
        watchdog.cancel()


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("inferd: ")]
    return (said or lines or [""])[-1].removeprefix("inferd: ")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def in_force(config: Any) -> Settings:
    """The settings that a server runs a model with, by its response to ModelConfig."""
    group = config.instance_group[0]
    gpu = group.kind == group.KIND_GPU
    accelerators = {each.name for each in config.optimization.execution_accelerators.gpu_execution_accelerator}
    provider = "tensorrt" if gpu and "tensorrt" in accelerators else "cuda" if gpu else "cpu"
    return Settings(provider, group.count, config.inferd.intra_op_threads, config.max_batch_size, buckets_of(config))
