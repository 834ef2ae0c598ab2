"""Artefacts of an OCI registry as a Source: an image with the model's files below /models, as in KServe's modelcars. Its layers are the
items. Credentials are those of `docker login`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import re
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from inferd.engine.remote.source import Item, SourceError
from inferd.engine.remote.web import ask, part, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from inferd.engine.remote.location import Location
    from inferd.engine.remote.until import Until

MAX_MANIFEST_BYTES = 4 << 20
MAX_TOKEN_BYTES = 1 << 20
FOLDER = "models"  # the folder of an artefact that holds the model
MANIFESTS = (
    *("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"),
    *("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"),
)
MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_LOCAL = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")  # docker lets a registry on this machine speak plain HTTP


class Platform(msgspec.Struct, frozen=True):
    os: str = "linux"
    architecture: str = ""

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


class Listed(msgspec.Struct):
    """A manifest of an index."""

    digest: str
    platform: Platform | None = None


class Layer(msgspec.Struct, rename="camel"):
    media_type: str
    digest: str
    size: int


class Manifest(msgspec.Struct):
    """The manifest of an image, with its layers, or of an index, with images by platform."""

    layers: list[Layer] = []
    manifests: list[Listed] = []


class RegistrySource:
    """The layers of one artefact, for this machine's platform."""

    ranges = True
    archive: str | None = FOLDER

    def __init__(self, location: Location, until: Until) -> None:
        self._until = until
        found = re.fullmatch(r"(?P<name>[a-z0-9._/-]+?)(:(?P<tag>[A-Za-z0-9_.-]+))?(@(?P<digest>.+))?", location.path)
        if found is None or (found["digest"] and not _DIGEST.fullmatch(found["digest"])):
            raise SourceError("expected oci://registry/repository:tag or ...@sha256:digest, the repository in small letters")
        self._host = "registry-1.docker.io" if location.host == "docker.io" else location.host
        self._login = location.host
        self._reference = found["digest"] or found["tag"] or "latest"
        self._base = f"{'http' if _LOCAL.fullmatch(self._host) else 'https'}://{self._host}/v2/{found['name']}"
        self._authorization = ""

    def list(self) -> list[Item]:
        manifest = self._manifest(self._reference)
        if manifest.manifests:
            manifest = self._manifest(_of_platform(manifest.manifests))
        if not manifest.layers:
            raise SourceError("the artefact has no layers")
        return [_item(number, layer) for number, layer in enumerate(manifest.layers)]

    def read(self, item: Item, first: int, last: int) -> Iterator[bytes]:
        return part(self._ask(f"/blobs/{item.tag}", {"Range": f"bytes={first}-{last - 1}"}), first, last)

    def _manifest(self, reference: str) -> Manifest:
        body = whole(self._ask(f"/manifests/{quote(reference)}", {"Accept": ", ".join(MANIFESTS)}), MAX_MANIFEST_BYTES)
        if reference.startswith("sha256:") and f"sha256:{hashlib.sha256(body).hexdigest()}" != reference:
            raise SourceError("its manifest does not have the digest that was asked for")
        try:
            return msgspec.json.decode(body, type=Manifest)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise SourceError(f"the registry sent no manifest: {error}") from None

    def _ask(self, path: str, headers: Mapping[str, str]) -> Any:
        try:
            return ask(self._base + path, headers, self._until, self._authorization)
        except urllib.error.HTTPError as error:
            challenge = error.headers.get("WWW-Authenticate", "")
            error.close()
        self._authorization = self._authorized(challenge)
        refused = "the registry does not let these credentials read it (401): try `docker login`"
        return ask(self._base + path, headers, self._until, self._authorization, refused)

    def _authorized(self, challenge: str) -> str:
        """The Authorization header for a registry's challenge; a bearer token comes from its token server."""
        kind, _, rest = challenge.partition(" ")
        basic = _login(self._login)
        asked = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        if kind.lower() != "bearer" or not self._trusts(asked.get("realm", "")):
            return basic
        query = urlencode({name: asked[name] for name in ("service", "scope") if name in asked})
        refused = "the registry's token server does not take these credentials (401): try `docker login`"
        try:
            said = json.loads(whole(ask(f"{asked['realm']}?{query}", {}, self._until, basic, refused), MAX_TOKEN_BYTES))
            return f"Bearer {said.get('token') or said['access_token']}"
        except (ValueError, LookupError, AttributeError, RecursionError):
            raise SourceError("the registry's token server sent no token") from None

    def _trusts(self, realm: str) -> bool:
        """Whether a login may be sent there: by TLS, or to the registry itself."""
        try:
            parts = urlsplit(realm)
        except ValueError:
            return False
        return parts.scheme == "https" or (parts.scheme, parts.netloc) == ("http", self._host)


def _of_platform(manifests: Sequence[Listed]) -> str:
    """The digest of the manifest for this machine."""
    wanted = Platform("linux", MACHINES.get(platform.machine(), platform.machine()))
    there = {listed.platform or Platform(): listed.digest for listed in manifests}
    digest = there.get(wanted) or there.get(Platform())
    if digest is None or not _DIGEST.fullmatch(digest):
        names = ", ".join(sorted(str(one) for one in there if one.os != "unknown"))
        raise SourceError(f"the artefact is there for {names or 'no platform'}, and not for {wanted}: push it for that, too")
    return digest


def _item(number: int, layer: Layer) -> Item:
    if layer.size < 0 or not _DIGEST.fullmatch(layer.digest):
        raise SourceError(f"layer {number} has no size, or no sha256 digest")
    if layer.media_type.endswith("zstd"):
        raise SourceError(
            f"layer {number} is compressed with zstd, which is not supported: push it with gzip, as by "
            "`skopeo copy --dest-compress-format gzip --dest-force-compress-format`"
        )
    if "tar" not in layer.media_type:
        raise SourceError(f"layer {number} is '{layer.media_type}', and no tar archive: push an image that has the files in /{FOLDER}")
    return Item(f"{number:03}", layer.size, layer.digest, layer.digest.removeprefix("sha256:"))


def _login(registry: str) -> str:
    """The Authorization header of `docker login`, or of `podman login`; '' where there was none."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    keys = [
        registry,
        f"https://{registry}",
        f"https://{registry}/v1/",
        *(["https://index.docker.io/v1/"] if registry == "docker.io" else []),
    ]
    files = [Path(named)] if (named := os.environ.get("REGISTRY_AUTH_FILE")) else []
    for file in [*files, folder / "config.json"]:
        try:
            logins = json.loads(file.read_bytes())["auths"]
            pair = next(logins[key]["auth"] for key in keys if key in logins)
            base64.b64decode(pair, validate=True)
        except (OSError, ValueError, LookupError, TypeError, StopIteration):
            continue
        return f"Basic {pair}"
    return ""
