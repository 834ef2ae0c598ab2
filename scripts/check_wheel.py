"""Whether the wheels in dist/ are all that a machine needs: a new venv, no compiler on PATH, and the libraries that come along.

    python scripts/check_wheel.py [--dist dist]

Installs what README.md's pip line names from the wheels, and all else from PyPI. Runs `inferd demo`, serves examples/models, asks by
`inferd infer`, `inferd bench`, `inferd models` and `inferd health`, and
looks at which files are mapped: libnghttp2, libllhttp, libyyjson, libjpeg-turbo, and libwebp with its libsharpyuv must be the wheel's
own, with their licences.
Prints the sizes.
Exit code 0, or 1 with what is wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVING = ("libnghttp2", "libllhttp", "libyyjson")
DECODING = ("libjpeg", "libwebp", "libsharpyuv")
LIMIT_S = 120


def check(dist: Path, folder: Path) -> None:
    """Raises SystemExit with what is wrong."""
    (server,) = dist.glob("inferd-*.whl")
    (client,) = dist.glob("inferd_client-*.whl")
    for wheel in (server, client):
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.2f} MB")
        check_licences(wheel)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install: list[str | Path] = [folder / "bin" / "pip", "--disable-pip-version-check", "--quiet", "install", "--only-binary=:all:"]
    subprocess.run([*install, client, f"{server}[{readme_extras()}]"], check=True)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    print(f"installed with all that it needs: {size / 1e6:.0f} MB")
    environment = {"PATH": str(folder / "bin"), "HOME": str(folder)}
    if compiler := shutil.which("cc", path=environment["PATH"]) or shutil.which("gcc", path=environment["PATH"]):
        raise SystemExit(f"{compiler} is on the PATH: nothing would be shown")
    run(folder, environment, ["demo", "--requests", "100"], "5. The server answered what was queued")
    command: list[str | Path] = [folder / "bin" / "inferd", "serve", ROOT / "examples" / "models", "--transport", "native"]
    command += ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "off"]
    with subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            line = program.stdout.readline()
            if not line.startswith("ready "):
                raise SystemExit("the installed server did not get ready")
            ask(folder, environment, json.loads(line.removeprefix("ready "))["grpc"])
            check_mapped(Path(f"/proc/{program.pid}/maps").read_text(), folder, SERVING)
        finally:
            program.terminate()
            program.wait(LIMIT_S)
    if program.returncode != 0:
        raise SystemExit(f"the server ended with {program.returncode}")
    # Decoders are loaded with the first step that decodes pictures, which needs Pillow: here by themselves.
    subprocess.run([*install, f"{server}[image]"], check=True)
    decoder = "import inferd._core.media.jpeg, inferd._core.media.webp, pathlib; print(pathlib.Path('/proc/self/maps').read_text())"
    shown = subprocess.run(
        [folder / "bin" / "python", "-c", decoder], env=environment, cwd=folder, check=True, capture_output=True, text=True
    )
    check_mapped(shown.stdout, folder, DECODING)


def check_licences(wheel: Path) -> None:
    """The project's own, and one of each library in it."""
    files = [Path(name) for name in zipfile.ZipFile(wheel).namelist()]
    licences = {file.stem for file in files if file.parent.name.startswith("licenses")}
    wanted = {"LICENSE"} | {file.name.partition("-")[0] for file in files if file.parent.name == "inferd.libs" and file.name}
    if missing := wanted - licences:
        raise SystemExit(f"{wheel.name}: the licences of {', '.join(sorted(missing))} are not in it; they belong in licenses/")


def readme_extras() -> str:
    """Those of the first `pip install` of README.md: its first commands must need no others."""
    found = re.search(r"pip install 'inferd\[([\w,]+)\]'", (ROOT / "README.md").read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit("README.md: expected a line with pip install 'inferd[...]'")
    return found[1]


def ask(folder: Path, environment: dict[str, str], address: str) -> None:
    """The first commands of README.md, and those that ask a server in other ways."""
    run(folder, environment, ["infer", address, "digits", "--input", str(ROOT / "examples" / "digit.npy")], "[7]")
    run(folder, environment, ["models", address, "list"], "digits")
    run(folder, environment, ["health", address], "SERVING")
    run(folder, environment, ["bench", address, "digits", "--requests", "1000", "--quiet"], "responses/s")


def run(folder: Path, environment: dict[str, str], words: Sequence[str], expected: str) -> None:
    command: list[str | Path] = [folder / "bin" / "inferd", *words]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode or expected not in done.stdout:
        raise SystemExit(f"`inferd {' '.join(words)}` ended with {done.returncode} and said {done.stdout!r} and {done.stderr!r}")


def check_mapped(maps: str, folder: Path, wanted: Sequence[str]) -> None:
    for name in wanted:
        files = {line.split()[-1] for line in maps.splitlines() if f"/{name}" in line}
        if not files or any(not Path(file).is_relative_to(folder) for file in files):
            raise SystemExit(f"{name}: expected the wheel's own, mapped is {', '.join(files) or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dist", type=Path, default=ROOT / "dist")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="inferd-wheel-") as folder:
        check(arguments.dist.resolve(), Path(folder).resolve())
    print("the wheel serves by itself")


if __name__ == "__main__":
    main()
