"""Compiles the native modules, inferd/_core/*/*.pyx: one extension each. All that can be declared stands in pyproject.toml.

Nine environment variables change a build:

    INFERD_DEBUG=1                      -O0 -g, assertions, and counters of live objects (the macro INFERD_DEBUG)
    INFERD_SANITIZE=address,undefined   built for these sanitizers; Python must run with their libraries preloaded
    INFERD_FUZZ=1                       clang's coverage for the fuzzers of tests/fuzz, assertions and counters, and their driver; a build
                                        folder of its own, never in place
    INFERD_PROFILE=1                    frame pointers, symbols and Cython's line tracing, for perf and coverage
    INFERD_HTTP2=0                      leaves out the native transport, as if libnghttp2 were missing
    INFERD_HTTP1=0                      leaves out HTTP/1.1, as if libllhttp were missing
    INFERD_JPEG=0                       leaves out the JPEG decoder, as if libjpeg-turbo were missing
    INFERD_WEBP=0                       leaves out the WebP decoder, as if libwebp were missing
    INFERD_YYJSON=0                     leaves out the native reader of REST's JSON, as if yyjson were missing

Some modules need a library with its header (LIBRARIES): the transport libnghttp2, HTTP/1.1 libllhttp, REST's JSON yyjson, the
JPEG decoder libjpeg-turbo, the WebP decoder libwebp. Where pkg-config does not find one the build succeeds without its modules, says so,
and something slower stands in for them. No build uses -march=native: a wheel runs on any machine of its architecture.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

CORE = Path("inferd", "_core")
SHARED = "inferd._core._cython"
FLAGS = ["-std=c11", "-fno-strict-aliasing", "-fvisibility=hidden", "-Wall", "-Wno-unused-function"]
FLAGS.append("-Werror=implicit-function-declaration")  # Cython's shared code has left functions out, which are then missing when called


def switched_on(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0")


DEBUG = switched_on("INFERD_DEBUG")
PROFILE = switched_on("INFERD_PROFILE")
FUZZ = switched_on("INFERD_FUZZ")
SANITIZE = os.environ.get("INFERD_SANITIZE", "")


def flavour() -> str:
    """One word for this kind of build: flavours never share what a compiler made."""
    words = [word for word, on in (("debug", DEBUG), ("profile", PROFILE), ("fuzz", FUZZ)) if on]
    return "-".join([*words, *SANITIZE.split(",")] if SANITIZE else words) or "release"


def dialect() -> str:
    """One word for what Cython makes of a .pyx: flavours share it where they differ only in what the compiler is told."""
    return "-".join(word for word, on in (("debug", DEBUG), ("profile", PROFILE)) if on) or "release"


def compile_flags() -> tuple[list[str], list[str], list[tuple[str, str | None]]]:
    """The flags of the compiler, those of the linker, and the macros of this flavour."""
    compiling, linking = list(FLAGS), []
    macros: list[tuple[str, str | None]] = []
    if DEBUG:
        compiling += ["-O0", "-g3", "-UNDEBUG"]
        macros.append(("INFERD_DEBUG", "1"))
    elif FUZZ:
        compiling += ["-O2", "-g1", "-UNDEBUG", "-fsanitize=fuzzer-no-link"]
        macros.append(("INFERD_DEBUG", "1"))
    else:
        compiling += ["-O2", "-g1", "-DNDEBUG"]
    if SANITIZE:
        compiling += [f"-fsanitize={SANITIZE}", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-g"]
        linking.append(f"-fsanitize={SANITIZE}")
    if PROFILE:
        compiling += ["-fno-omit-frame-pointer", "-g"]
        macros.append(("CYTHON_TRACE_NOGIL", "1"))
        macros.append(("CYTHON_USE_SYS_MONITORING", "0"))
    return compiling, linking, macros


class Library(NamedTuple):
    """A foreign library, as pkg-config knows it, and what is built without it."""

    name: str
    minimum: str
    header: str
    modules: tuple[str, ...]  # packages and modules of inferd._core that need it
    switch: str  # the environment variable that leaves it out
    package: str  # Debian's
    without: tuple[str, str]  # what the build lacks, and what that means


LIBRARIES = (
    Library(
        "libnghttp2",
        "1.61.0",  # the first with the nghttp2_*2 functions, whose sizes are nghttp2_ssize
        "nghttp2/nghttp2.h",
        ("http2", "load.http2"),
        "INFERD_HTTP2",
        "libnghttp2-dev",
        (
            "native transport",
            "`inferd serve` will use the grpcio transport: correct, but many times slower. `inferd bench` measures no gRPC.",
        ),
    ),
    Library(
        "libllhttp",
        "9.2.1",  # the first that rejects a Content-Length with spaces in it (CVE-2024-27982)
        "llhttp.h",
        ("http1", "load.http1"),
        "INFERD_HTTP1",
        "libllhttp-dev",
        ("HTTP/1.1", "REST needs the extra inferd[http], whose server in Python is slower. `inferd bench` takes no URLs."),
    ),
    Library(
        "libjpeg",
        "2.1.0",  # of libjpeg-turbo
        "jpeglib.h",
        ("media.jpeg",),
        "INFERD_JPEG",
        "libjpeg-dev",
        ("JPEG decoder", "Pillow will decode JPEG files: more slowly, and never scaled."),
    ),
    Library(
        "libwebp",
        "1.3.2",  # the first in which no file writes behind the memory of its Huffman codes (CVE-2023-4863)
        "webp/decode.h",
        ("media.webp",),
        "INFERD_WEBP",
        "libwebp-dev",
        ("WebP decoder", "Pillow will decode WebP files: a large one keeps all other requests waiting meanwhile."),
    ),
    Library(
        "yyjson",
        "0.10.0",  # the one whose use of memory is known here
        "yyjson.h",
        ("rest", "inference.rest_path", "load.rest_response"),
        "INFERD_YYJSON",
        "libyyjson-dev",
        ("native REST", "A Python server will serve REST (pip install 'inferd[http]'): correct, but slower."),
    ),
)


def needed(source: Path) -> Library | None:
    """The library that a .pyx needs."""
    package, module = source.parent.name, source.stem
    return next((each for each in LIBRARIES if package in each.modules or f"{package}.{module}" in each.modules), None)


def headers_of(source: Path) -> list[Path]:
    """The C headers of its package that a .pyx includes, and those that they include. Cython finds the .pxd files by itself."""
    found: list[Path] = []
    left = [source, source.with_suffix(".pxd")]
    while left:
        file = left.pop()
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        for name in re.findall(r'(?:cdef extern from|#include) "([\w./]+)"', text):
            header = source.parent / name
            if header.exists() and header not in found:
                found.append(header)
                left.append(header)
    return found


def pkg_config(library: Library, *arguments: str) -> list[str] | None:
    """The words that pkg-config prints for a library, or None where it or the library is missing."""
    program = shutil.which(os.environ.get("PKG_CONFIG", "pkg-config"))
    if program is None:
        return None
    done = subprocess.run([program, *arguments, library.name], capture_output=True, text=True, check=False)
    return done.stdout.split() if done.returncode == 0 else None


def reached(library: Library) -> tuple[dict[str, list[str]], str]:
    """The Extension arguments that reach a library, or none and the reason why not."""
    if os.environ.get(library.switch) == "0":
        return {}, f"{library.switch}=0"
    if pkg_config(library, "--exists") is None:
        return {}, f"pkg-config does not find {library.name} (Debian: apt install {library.package} pkg-config)"
    if pkg_config(library, f"--atleast-version={library.minimum}") is None:
        found = " ".join(pkg_config(library, "--modversion") or ["unknown"])
        return {}, f"{library.name} {found} is older than {library.minimum}"
    found_flags = {
        "include_dirs": [word[2:] for word in pkg_config(library, "--cflags-only-I") or []],
        "library_dirs": [word[2:] for word in pkg_config(library, "--libs-only-L") or []],
        "libraries": [word[2:] for word in pkg_config(library, "--libs-only-l") or []],
    }
    return found_flags, ""


def notice(*lines: str) -> None:
    """Says something that must be seen in a long build log."""
    width = max(len(line) for line in lines)
    print("\n".join(["*" * (width + 4), *(f"* {line:<{width}} *" for line in lines), "*" * (width + 4)]), file=sys.stderr, flush=True)


def extensions() -> list[Extension]:
    """One Extension for each .pyx that this machine can compile."""
    compiling, linking, macros = compile_flags()
    found = []
    for source in sorted(CORE.glob("*/*.pyx")):
        extra: dict[str, list[str]] = {}
        if (library := needed(source)) is not None:
            extra, missing = reached(library)
            if missing:
                left_out(library, missing)
                continue
        found.append(
            Extension(
                ".".join(source.with_suffix("").parts),
                [str(source)],
                include_dirs=[str(source.parent), *extra.pop("include_dirs", [])],
                depends=[str(header) for header in headers_of(source)],
                extra_compile_args=compiling,
                extra_link_args=linking,
                define_macros=macros,
                **extra,
            )
        )
    return [*found, fuzz_driver(compiling, linking)] if FUZZ else found


def fuzz_driver(compiling: list[str], linking: list[str]) -> Extension:
    """libFuzzer as a module. It holds what the instrumentation of the others calls, and has none itself."""
    name = f"libclang_rt.fuzzer_no_main-{platform.machine()}.a"
    library = subprocess.run(["clang", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return Extension(
        "fuzz_driver",
        ["tests/fuzz/fuzz_driver.pyx"],
        extra_compile_args=[flag for flag in compiling if not flag.startswith("-fsanitize")],
        extra_link_args=[*linking, "-Wl,--whole-archive", library.stdout.strip(), "-Wl,--no-whole-archive", "-lstdc++", "-lm"],
    )


@cache  # said once, whichever module misses it
def left_out(library: Library, reason: str) -> None:
    lacking, meaning = library.without
    notice(f"inferd is built WITHOUT its {lacking}:", reason, meaning)


class BuildNative(build_ext):
    """Cythonizes when extensions are really compiled, on all cores; incremental in an editable installation, too."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.parallel is None and (os.cpu_count() or 1) > 1:
            self.parallel = os.cpu_count()
        root = Path(os.environ.get("INFERD_BUILD_DIR", "build"), flavour())
        self.build_temp = str(root / "temp")
        if self.inplace or self.editable_mode:
            self.build_lib = str(root / f"lib-{sys.implementation.cache_tag}")

    def run(self) -> None:
        self.extensions = self.cythonized(self.header_checked(self.extensions))
        self.stale = [extension.name for extension in self.extensions if self.is_stale(extension)]
        super().run()

    def is_stale(self, extension: Extension) -> bool:
        return self.force or newer_group([*extension.sources, *extension.depends], self.get_ext_fullpath(extension.name), "newer")

    def build_extension(self, extension: Extension) -> None:
        """Says how far it is, also under --quiet: a whole build takes minutes."""
        if extension.name in self.stale:
            print(f"[{self.stale.index(extension.name) + 1}/{len(self.stale)}] compiling {extension.name}", flush=True)
        super().build_extension(extension)

    def header_checked(self, wanted: list[Extension]) -> list[Extension]:
        """Leaves out what needs a library that pkg-config knows and whose header the compiler does not find."""
        kept = []
        found: dict[str, bool] = {}  # by library: one probe for all of its modules
        for extension in wanted:
            library = needed(Path(extension.sources[0]))
            if library is not None and library.name not in found:
                found[library.name] = self.compiles(f"#include <stdio.h>\n#include <{library.header}>", extension.include_dirs)
            if library is not None and not found[library.name]:
                left_out(library, f"the compiler does not find <{library.header}> (Debian: apt install {library.package})")
                continue
            kept.append(extension)
        return kept

    def compiles(self, source: str, include_dirs: list[str]) -> bool:
        from distutils.ccompiler import new_compiler  # setuptools' own, put in place by its import above
        from distutils.errors import CompileError
        from distutils.sysconfig import customize_compiler

        compiler = new_compiler(compiler=self.compiler)
        customize_compiler(compiler)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "probe.c")
            path.write_text(source + "\nint main(void) { return 0; }\n")
            try:
                compiler.compile([str(path)], output_dir=folder, include_dirs=include_dirs)
            except CompileError:
                return False
        return True

    def shared(self, like: Extension) -> Extension:
        """One module for the code that Cython would else put into every other: eight modules go from 2.8 to 2.2 MB."""
        return Extension(
            SHARED,
            [SHARED.replace(".", "/") + ".c"],
            extra_compile_args=like.extra_compile_args,
            extra_link_args=like.extra_link_args,
            define_macros=like.define_macros,
        )

    def cythonized(self, wanted: list[Extension]) -> list[Extension]:
        from Cython.Build import cythonize

        directives: dict[str, object] = {"language_level": 3, "embedsignature": False}
        if PROFILE:
            directives["linetrace"] = True
        if DEBUG:
            directives |= {"boundscheck": True, "wraparound": False, "initializedcheck": True}
        prepared: list[Extension] = cythonize(
            [*wanted, self.shared(wanted[0])],
            build_dir=str(Path(self.build_temp).parents[1] / dialect() / "c"),
            nthreads=self.parallel or 0,
            compiler_directives=directives,
            shared_utility_qualified_name=SHARED,
        )
        for extension in prepared:
            extension._needs_stub = False
        return prepared


if __name__ == "__main__":  # Cython's processes may import this file
    setup(ext_modules=extensions(), cmdclass={"build_ext": BuildNative})
