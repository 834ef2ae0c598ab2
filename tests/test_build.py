"""setup.py, on a small package of its own: with its libraries, without them, and as debug build; what a wheel holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = '''\
cdef extern from *:
    """
    #ifdef INFERD_DEBUG
    enum { BUILT_FOR_DEBUG = 1 };
    #else
    enum { BUILT_FOR_DEBUG = 0 };
    #endif
    """
    int BUILT_FOR_DEBUG
built_for_debug = bool(BUILT_FOR_DEBUG)
'''
HTTP2 = """\
cdef extern from "nghttp2/nghttp2.h":
    ctypedef struct nghttp2_info:
        const char *version_str
    nghttp2_info *nghttp2_version(int least)
version = nghttp2_version(0).version_str.decode()
"""
HTTP1 = """\
cdef extern from "llhttp.h":
    const int LLHTTP_VERSION_MAJOR
    const char *llhttp_method_name(int method)
version = LLHTTP_VERSION_MAJOR
built = llhttp_method_name(1) != NULL
"""
JPEG = '''\
cdef extern from *:
    """
    #include <stdio.h>
    #include <jpeglib.h>
    """
    struct jpeg_error_mgr:
        pass
    jpeg_error_mgr *jpeg_std_error(jpeg_error_mgr *errors)
cdef jpeg_error_mgr errors
built = jpeg_std_error(&errors) == &errors
'''
WEBP = """\
cdef extern from "webp/decode.h":
    int WebPGetDecoderVersion()
built = WebPGetDecoderVersion() > 0
"""
REST = """\
cdef extern from "yyjson.h":
    unsigned yyjson_version()
built = yyjson_version() > 0
"""


SOON = {"INFERD_DEBUG": "1"}  # a debug build: compiled without optimization, where that is not what a test is about


class Project:
    """A copy of the build files around a few tiny native modules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        core = folder / "inferd" / "_core"
        for package in ("", "base", "http1", "http2", "media", "rest"):
            (core / package).mkdir(parents=True)
            (core / package / "__init__.py").write_text("")
        for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, folder)
        (folder / "inferd" / "__init__.py").write_text('__version__ = "0"\n')
        (core / "base" / "small.pyx").write_text(SMALL)
        (core / "http2" / "session.pyx").write_text(HTTP2)
        (core / "http1" / "parser.pyx").write_text(HTTP1)
        (core / "media" / "jpeg.pyx").write_text(JPEG)
        (core / "media" / "webp.pyx").write_text(WEBP)
        (core / "rest" / "decode.pyx").write_text(REST)

    def build(self, **environment: str) -> str:
        """Builds in place; everything that was said. Fails the test when the build fails."""
        done = self.run(**environment)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INFERD_")}
        return subprocess.run(
            [sys.executable, "setup.py", "build_ext", "--inplace"],
            cwd=self.folder,
            env=clean | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=110,
        )

    def value(self, expression: str) -> str:
        package, module, name = expression.split(".", 2)
        program = f"from inferd._core.{package} import {module}; print({module}.{name})"
        environment = os.environ | {"PYTHONPATH": str(self.folder)}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_builds_with_its_libraries(project, tmp_path: Path) -> None:
    compiler = script(tmp_path / "cc", 'exec gcc "$@" -O0')  # optimization takes longest, and changes nothing that is looked at
    project.build(CC=compiler)
    assert project.value("http2.session.version").count(".") == 2
    assert int(project.value("http1.parser.version")) >= 9
    assert project.value("rest.decode.built") == "True"
    assert project.value("http1.parser.built") == "True"
    assert project.value("media.jpeg.built") == "True"
    assert project.value("media.webp.built") == "True"
    assert project.value("base.small.built_for_debug") == "False"
    again = project.build(CC=compiler)
    assert "ompiling" not in again, "nothing changed, yet something was compiled"


def test_debug_build(project) -> None:
    for package in ("http1", "http2", "media", "rest"):  # compile fewer
        shutil.rmtree(project.folder / "inferd" / "_core" / package)
    project.build(**SOON)
    assert project.value("base.small.built_for_debug") == "True"
    built = {path: path.stat().st_mtime_ns for path in (project.folder / "build").rglob("*.c")}
    assert {path.relative_to(project.folder).parts[:3] for path in built} == {("build", "debug", "c")}
    project.build(**SOON, INFERD_SANITIZE="undefined")
    assert (project.folder / "build" / "debug-undefined").is_dir()
    assert {path: path.stat().st_mtime_ns for path in (project.folder / "build").rglob("*.c")} == built, "what Cython made is shared"


PACKAGES = "apt install pkg-config libnghttp2-dev libllhttp-dev libjpeg-dev libwebp-dev libyyjson-dev"


@pytest.mark.parametrize(
    ("pkg_config", "compiler", "said"),
    [
        (None, None, ("pkg-config does not find libnghttp2 1.61.0 or newer", "pkg-config does not find libwebp 1.3.2 or newer")),
        (
            'case "$1" in --exists) exit 0;; --modversion) echo 1.2.0;; *) exit 1;; esac',
            None,
            ("libllhttp 1.2.0 is older than 9.2.1", "yyjson 1.2.0 is older than 0.10.0", "libjpeg 1.2.0 is older than 2.1.0"),
        ),
        (
            "exit 0",
            'for word; do case "$word" in *probe.c) exit 1;; esac; done; exec gcc "$@"',
            ("does not find <nghttp2/nghttp2.h>", "does not find <llhttp.h>", "does not find <webp/decode.h>"),
        ),
    ],
    ids=["no pkg-config", "too old", "no header"],
)
def test_without_the_libraries_nothing_is_built(project, tmp_path: Path, pkg_config, compiler, said) -> None:
    programs = {"PKG_CONFIG": script(tmp_path / "pkg-config", pkg_config) if pkg_config else "no-such-pkg-config"}
    if compiler:
        programs["CC"] = script(tmp_path / "cc", compiler)
    done = project.run(**programs)
    assert done.returncode == 1
    assert all(words in done.stdout for words in (*said, PACKAGES))
    assert not any(project.folder.rglob("*.c"))


def test_the_build_for_threads_has_what_needs_no_library(project) -> None:
    project.build(**SOON, INFERD_SANITIZE="thread", PKG_CONFIG="no-such-pkg-config")
    assert {path.name.partition(".")[0] for path in (project.folder / "inferd").rglob("*.so")} == {"small", "_cython"}


def test_package_holds_types_and_descriptors_but_no_sources(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "inferd", tree / "inferd", ignore=shutil.ignore_patterns("*.so", "__pycache__"))  # and what links lead to
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_py", "--build-lib", str(tmp_path / "lib")],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    built = {str(path.relative_to(tmp_path / "lib")) for path in (tmp_path / "lib").rglob("*") if path.is_file()}
    kinds = {".py", ".pyi", ".binpb", ".typed", ".proto", ".html", ".onnx", ".npy", ".npz"}
    source = {str(path.relative_to(tree)) for path in (tree / "inferd").rglob("*") if path.suffix in kinds}
    assert built == source
    assert {"inferd/py.typed", "inferd/protocol/descriptors.binpb"} <= built


def test_every_native_module_has_types() -> None:
    for source in (ROOT / "inferd" / "_core").rglob("*.pyx"):
        assert source.with_suffix(".pyi").exists(), f"{source.name} needs a .pyi"
