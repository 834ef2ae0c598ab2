"""Builds the C libraries that a wheel contains, where a distribution has none or old ones: in the images of manylinux and musllinux.

    python scripts/build_libraries.py [--prefix /usr/local]       (before the wheels of an image; needs cmake, patch, on x86-64 nasm)
    python scripts/build_libraries.py --sbom dist/inferd.cdx.json --version 0.1.0

Downloads each archive of LIBRARIES, checks its SHA-256, and installs a shared library with its header and its file for pkg-config. --sbom
writes what a wheel contains as CycloneDX, and builds nothing. Never in here: which versions setup.py accepts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

LIMIT_S = 120
COMMON = ("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_INSTALL_LIBDIR=lib", "-DBUILD_SHARED_LIBS=ON", "-DCMAKE_POLICY_VERSION_MINIMUM=3.5")
WEBP_TOOLS = ("ANIM_UTILS", "CWEBP", "DWEBP", "EXTRAS", "GIF2WEBP", "IMG2WEBP", "LIBWEBPMUX", "VWEBP", "WEBPINFO", "WEBPMUX")
GITHUB = "https://github.com"
PATCHES = Path(__file__).resolve().parent / "patches"


class Library(NamedTuple):
    """An archive with its SHA-256, what cmake is told beside COMMON, and the holes that scripts/patches mends in it."""

    name: str
    version: str
    licence: str
    url: str
    sha256: str
    options: tuple[str, ...] = ()
    mended: tuple[str, ...] = ()


# The three that read HTTP and JSON are the versions that the suite runs with, Debian 13's, and their patches are Debian's.
# libnghttp2 1.70 closes connections by a limit of its own before inferd's limits are reached, and 30 tests fail with it.
LIBRARIES = (
    Library(
        "nghttp2",
        "1.64.0",
        "MIT",
        f"{GITHUB}/nghttp2/nghttp2/releases/download/v1.64.0/nghttp2-1.64.0.tar.gz",
        "20e73f3cf9db3f05988996ac8b3a99ed529f4565ca91a49eb0550498e10621e8",
        ("-DENABLE_LIB_ONLY=ON", "-DENABLE_DOC=OFF", "-DBUILD_TESTING=OFF"),
        ("CVE-2026-27135",),
    ),
    Library(
        "llhttp",
        "9.2.1",
        "MIT",
        f"{GITHUB}/nodejs/llhttp/archive/refs/tags/release/v9.2.1.tar.gz",
        "3c163891446e529604b590f9ad097b2e98b5ef7e4d3ddcf1cf98b62ca668f23e",
    ),
    Library(
        "yyjson",
        "0.10.0",
        "MIT",
        f"{GITHUB}/ibireme/yyjson/archive/refs/tags/0.10.0.tar.gz",
        "0d901cb2c45c5586e3f3a4245e58c2252d6b24bf4b402723f6179523d389b165",
    ),
    Library(
        "libjpeg-turbo",
        "3.1.3",
        "IJG AND BSD-3-Clause",
        f"{GITHUB}/libjpeg-turbo/libjpeg-turbo/releases/download/3.1.3/libjpeg-turbo-3.1.3.tar.gz",
        "075920b826834ac4ddf97661cc73491047855859affd671d52079c6867c1c6c0",
        ("-DENABLE_STATIC=OFF", "-DREQUIRE_SIMD=ON", "-DWITH_TURBOJPEG=OFF"),
    ),
    Library(
        "libwebp",  # with libsharpyuv
        "1.6.0",
        "BSD-3-Clause",
        "https://storage.googleapis.com/downloads.webmproject.org/releases/webp/libwebp-1.6.0.tar.gz",
        "e4ab7009bf0629fd11982d4c2aa83964cf244cffba7347ecd39019a9e38c4564",
        tuple(f"-DWEBP_BUILD_{tool}=OFF" for tool in WEBP_TOOLS),
    ),
)


def fetch(library: Library) -> bytes:
    """The archive. Raises SystemExit where its bytes are others than before."""
    with urllib.request.urlopen(library.url, timeout=LIMIT_S) as response:
        content: bytes = response.read()
    found = hashlib.sha256(content).hexdigest()
    if found != library.sha256:
        raise SystemExit(f"{library.url}: expected SHA-256 {library.sha256}, got {found}")
    return content


def build(library: Library, folder: Path, prefix: Path) -> None:
    print(f"building {library.name} {library.version}", flush=True)
    archive = folder / "archive.tar.gz"
    archive.write_bytes(fetch(library))
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    (source,) = (each for each in folder.iterdir() if each.is_dir())
    for hole in library.mended:
        patch = PATCHES / f"{library.name}-{library.version}-{hole}.patch"
        subprocess.run(["patch", "--strip", "1", "--input", patch], cwd=source, check=True)
    made = folder / "build"
    subprocess.run(["cmake", "-S", source, "-B", made, f"-DCMAKE_INSTALL_PREFIX={prefix}", *COMMON, *library.options], check=True)
    subprocess.run(["cmake", "--build", made, "--parallel", str(os.cpu_count() or 1)], check=True)
    subprocess.run(["cmake", "--install", made], check=True)


def bill_of_materials(version: str) -> dict[str, object]:
    components = [
        {
            "type": "library",
            "name": each.name,
            "version": each.version,
            "purl": f"pkg:generic/{each.name}@{each.version}?download_url={each.url}&checksum=sha256:{each.sha256}",
            "licenses": [{"expression": each.licence}],
            "hashes": [{"alg": "SHA-256", "content": each.sha256}],
            "pedigree": {"patches": [{"type": "backport", "resolves": [{"type": "security", "id": hole}]} for hole in each.mended]},
        }
        for each in LIBRARIES
    ]
    server = {"type": "application", "name": "inferd", "version": version, "purl": f"pkg:pypi/inferd@{version}"}
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": server}, "components": components}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", type=Path, default=Path("/usr/local"))
    parser.add_argument("--sbom", type=Path, metavar="FILE")
    parser.add_argument("--version", default="0", help="inferd's own, for --sbom")
    given = parser.parse_args()
    if given.sbom:
        given.sbom.write_text(json.dumps(bill_of_materials(given.version), indent=2) + "\n", encoding="utf-8")
        return
    for library in LIBRARIES:
        with tempfile.TemporaryDirectory(prefix="inferd-library-") as folder:
            build(library, Path(folder), given.prefix)


if __name__ == "__main__":
    main()
