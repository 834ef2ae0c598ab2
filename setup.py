"""Compiles the native modules, inferd/_core/*/*.pyx: one extension each. All that can be declared stands in pyproject.toml.

Builds for tests, in place or of another flavour than a release, have tests/*.pyx, too.

Four environment variables change a build:

    INFERD_DEBUG=1                      -O0 -g, assertions, and counters of live objects (the macro INFERD_DEBUG)
    INFERD_SANITIZE=address,undefined   built for these sanitizers; Python must run with their libraries preloaded. thread: without the
                                        modules that need a library, which is not built for it
    INFERD_FUZZ=1                       clang's coverage for the fuzzers of tests/fuzz, assertions and counters, and their driver; a build
                                        folder of its own, never in place
    INFERD_PROFILE=1                    frame pointers, symbols and Cython's tracing of lines with the GIL, for perf and coverage

Some modules need a library with its header, which pkg-config finds (LIBRARIES). A build ends with the names of those that are missing.
No build uses -march=native: a wheel runs on any machine of its architecture.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
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
        macros.append(("CYTHON_TRACE", "1"))  # not _NOGIL: that waits for the GIL while a mutex is held, and hangs
        macros.append(("CYTHON_USE_SYS_MONITORING", "0"))
    return compiling, linking, macros


class Library(NamedTuple):
    """A foreign library, as pkg-config knows it."""

    name: str
    minimum: str
    header: str
    modules: tuple[str, ...]  # packages and modules of inferd._core and tests that need it
    package: str  # Debian's


LIBRARIES = (
    # The first with the nghttp2_*2 functions, whose sizes are nghttp2_ssize.
    Library("libnghttp2", "1.61.0", "nghttp2/nghttp2.h", ("http2", "load.http2", "tests.http2_access"), "libnghttp2-dev"),
    # The first that rejects a Content-Length with spaces in it (CVE-2024-27982).
    Library("libllhttp", "9.2.1", "llhttp.h", ("http1", "load.http1"), "libllhttp-dev"),
    Library("libjpeg", "2.1.0", "jpeglib.h", ("media.jpeg",), "libjpeg-dev"),  # of libjpeg-turbo
    # The first in which no file writes behind the memory of its Huffman codes (CVE-2023-4863).
    Library("libwebp", "1.3.2", "webp/decode.h", ("media.webp",), "libwebp-dev"),
    # The one whose use of memory is known here.
    Library("yyjson", "0.10.0", "yyjson.h", ("rest", "inference.rest_path", "load.rest_response"), "libyyjson-dev"),
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


def unfit(library: Library) -> str:
    """Why a library cannot be used; nothing where it can."""
    if pkg_config(library, "--exists") is None:
        return f"pkg-config does not find {library.name} {library.minimum} or newer"
    if pkg_config(library, f"--atleast-version={library.minimum}") is None:
        found = " ".join(pkg_config(library, "--modversion") or ["unknown"])
        return f"{library.name} {found} is older than {library.minimum}"
    return ""


def extensions() -> list[Extension]:
    """One Extension for each .pyx, those of tests last; those that need a library do not have its flags yet."""
    compiling, linking, macros = compile_flags()
    found = [
        Extension(
            ".".join(source.with_suffix("").parts) if source.is_relative_to(CORE) else source.stem,
            [str(source)],
            include_dirs=[str(source.parent)],
            depends=[str(header) for header in headers_of(source)],
            extra_compile_args=compiling,
            extra_link_args=linking,
            define_macros=macros,
        )
        for source in [*sorted(CORE.glob("*/*.pyx")), *Path("tests").glob("*.pyx")]
        if SANITIZE != "thread" or needed(source) is None
    ]
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
        if not self.inplace and flavour() == "release":
            self.extensions = [each for each in self.extensions if each.name.startswith("inferd.")]
        self.reach_libraries()
        self.extensions = self.cythonized(self.extensions)
        self.stale = [extension.name for extension in self.extensions if self.is_stale(extension)]
        super().run()

    def is_stale(self, extension: Extension) -> bool:
        return self.force or newer_group([*extension.sources, *extension.depends], self.get_ext_fullpath(extension.name), "newer")

    def build_extension(self, extension: Extension) -> None:
        """Says how far it is, also under --quiet: a whole build takes minutes."""
        if extension.name in self.stale:
            print(f"[{self.stale.index(extension.name) + 1}/{len(self.stale)}] compiling {extension.name}", flush=True)
        super().build_extension(extension)

    def reach_libraries(self) -> None:
        """Gives the extensions the flags of their libraries. Ends the build with the names of all libraries that are missing."""
        missing = {}
        for library in LIBRARIES:
            users = [extension for extension in self.extensions if needed(Path(extension.sources[0])) is library]
            if not users:
                continue
            why = unfit(library)
            if not why:
                folders = [word[2:] for word in pkg_config(library, "--cflags-only-I") or []]
                if not self.compiles(f"#include <stdio.h>\n#include <{library.header}>", folders):
                    why = f"the compiler does not find <{library.header}>"
            if why:
                missing[library.package] = why
                continue
            for extension in users:
                extension.include_dirs += folders
                extension.library_dirs += [word[2:] for word in pkg_config(library, "--libs-only-L") or []]
                extension.libraries += [word[2:] for word in pkg_config(library, "--libs-only-l") or []]
        if missing:
            found = "".join(f"\n  {why}" for why in missing.values())
            raise SystemExit(f"inferd cannot be built:{found}\nDebian 13 has them: apt install pkg-config {' '.join(missing)}")

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
