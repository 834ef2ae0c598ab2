"""setup.py, on a small package of its own: with the libraries that it looks for, without them, and as debug build; what a wheel holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTICE = "WITHOUT its native transport"
HTTP1_NOTICE = "WITHOUT its HTTP/1.1"
JPEG_NOTICE = "WITHOUT its JPEG decoder"
WEBP_NOTICE = "WITHOUT its WebP decoder"
REST_NOTICE = "WITHOUT its native REST"
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
        clean = {name: value for name, value in os.environ.items() if not name.startswith("INFERD_")}
        command = [sys.executable, "setup.py", "build_ext", "--inplace"]
        done = subprocess.run(command, cwd=self.folder, env=clean | environment, capture_output=True, text=True, check=False, timeout=110)
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return said

    def has(self, module: str) -> bool:
        return any((self.folder / "inferd" / "_core").glob(f"{module}.*.so"))

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
def project(tmp_path) -> Project:
    return Project(tmp_path)


@pytest.mark.skipif(shutil.which("pkg-config") is None, reason="this machine has no pkg-config: the build without it is tested below")
def test_builds_with_its_libraries(project, tmp_path):
    compiler = script(tmp_path / "cc", 'exec gcc "$@" -O0')  # optimization takes longest, and changes nothing that is looked at
    said = project.build(CC=compiler)
    assert NOTICE not in said
    assert HTTP1_NOTICE not in said
    assert JPEG_NOTICE not in said
    assert WEBP_NOTICE not in said
    assert REST_NOTICE not in said
    assert project.value("http2.session.version").count(".") == 2
    assert int(project.value("http1.parser.version")) >= 9
    assert project.value("rest.decode.built") == "True"
    assert project.value("http1.parser.built") == "True"
    assert project.value("media.jpeg.built") == "True"
    assert project.value("media.webp.built") == "True"
    assert project.value("base.small.built_for_debug") == "False"
    again = project.build(CC=compiler)
    assert "ompiling" not in again, "nothing changed, yet something was compiled"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory) -> Project:
    """For builds without the libraries: what they have in common is compiled once, and each links it again."""
    return Project(tmp_path_factory.mktemp("build"))


def test_debug_build(compiled):
    without = {"INFERD_HTTP2": "0", "INFERD_HTTP1": "0", "INFERD_YYJSON": "0", "INFERD_JPEG": "0", "INFERD_WEBP": "0"}
    compiled.build(**SOON, **without)
    assert compiled.value("base.small.built_for_debug") == "True"
    built = {path: path.stat().st_mtime_ns for path in (compiled.folder / "build").rglob("*.c")}
    assert {path.relative_to(compiled.folder).parts[:3] for path in built} == {("build", "debug", "c")}
    compiled.build(**SOON, **without, INFERD_SANITIZE="undefined")
    assert (compiled.folder / "build" / "debug-undefined").is_dir()
    assert {path: path.stat().st_mtime_ns for path in (compiled.folder / "build").rglob("*.c")} == built, "what Cython made is shared"


NO_PROBE = 'for word; do case "$word" in *probe.c) exit 1;; esac; done; exec gcc "$@"'


@pytest.mark.parametrize(
    ("pkg_config", "compiler", "switches", "said"),
    [
        (None, None, {}, ("libnghttp2-dev", "libllhttp-dev", "libyyjson-dev", "libjpeg-dev", "libwebp-dev")),
        (
            'case "$1" in --exists) exit 0;; --modversion) echo 1.2.0;; *) exit 1;; esac',
            None,
            {},
            (
                "libnghttp2 1.2.0 is older than 1.61.0",
                "libllhttp 1.2.0 is older than 9.2.1",
                "yyjson 1.2.0 is older than 0.10.0",
                "libjpeg 1.2.0 is older than 2.1.0",
                "libwebp 1.2.0 is older than 1.3.2",
            ),
        ),
        (
            "exit 0",
            NO_PROBE,
            {},
            (
                "does not find <nghttp2/nghttp2.h>",
                "does not find <llhttp.h>",
                "does not find <yyjson.h>",
                "does not find <jpeglib.h>",
                "does not find <webp/decode.h>",
            ),
        ),
        (
            "exit 0",
            None,
            {"INFERD_HTTP2": "0", "INFERD_HTTP1": "0", "INFERD_YYJSON": "0", "INFERD_JPEG": "0", "INFERD_WEBP": "0"},
            ("INFERD_HTTP2=0", "INFERD_HTTP1=0", "INFERD_YYJSON=0", "INFERD_JPEG=0", "INFERD_WEBP=0"),
        ),
    ],
    ids=["no pkg-config", "too old", "no header", "switched off"],
)
def test_without_the_libraries_the_rest_is_built(compiled, tmp_path, pkg_config, compiler, switches, said):
    for module in (compiled.folder / "inferd").rglob("*.so"):
        module.unlink()
    programs = {"PKG_CONFIG": script(tmp_path / "pkg-config", pkg_config) if pkg_config else "no-such-pkg-config"}
    if compiler:
        programs["CC"] = script(tmp_path / "cc", compiler)
    output = compiled.build(**programs, **switches, **SOON)
    assert all(notice in output for notice in (NOTICE, HTTP1_NOTICE, REST_NOTICE, JPEG_NOTICE, WEBP_NOTICE, *said))
    assert compiled.has("base/small")
    assert not any(compiled.has(module) for module in ("http2/session", "http1/parser", "rest/decode", "media/jpeg", "media/webp"))


def test_package_holds_types_and_descriptors_but_no_sources(tmp_path):
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


def test_every_native_module_has_types():
    for source in (ROOT / "inferd" / "_core").rglob("*.pyx"):
        assert source.with_suffix(".pyi").exists(), f"{source.name} needs a .pyi"
