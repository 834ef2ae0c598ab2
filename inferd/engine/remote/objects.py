"""Objects of S3, Google Cloud Storage and Azure as a Source, by obstore, which only this file imports. Credentials come from the
environment, as for each store's own SDK.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from inferd.config import without_secrets
from inferd.engine.remote.listing import Listed, gathered, listed
from inferd.engine.remote.source import Changed, Item, NoRanges, SourceError
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from obstore import GetOptions
    from obstore.store import GCSConfig

    from inferd.engine.remote.location import Location
    from inferd.engine.remote.until import Until

REQUEST_S = 60  # one request, its body included: a piece of a file
CONNECT_S = 5
CHUNK_BYTES = 1 << 20
MAX_SAID = 300  # characters of a store's error
# The parts of an Azure connection string -> obstore's names.
_AZURE = {"AccountName": "account_name", "AccountKey": "account_key", "SharedAccessSignature": "sas_key", "BlobEndpoint": "endpoint"}
_STATUS = re.compile("status code: ([0-9]{3})")
_XML = re.compile(r"<(\?xml|Error).*")  # the body of an error, which is for programs
_NOISE = re.compile(r"^Generic \w+ error: (Error performing \w+ request: )?| in [0-9.]+.?s\b")


class ObjectSource:
    """Objects below a prefix, or the one object that has its name. Raises ConfigError where obstore is not installed."""

    ranges = True
    archive: str | None = None

    def __init__(self, location: Location, until: Until) -> None:
        if find_spec("obstore") is None:
            raise ConfigError(
                f"models: '{location.shown}': {location.scheme}:// needs obstore, which is not installed: pip install 'inferd[remote]'"
            )
        import obstore
        from obstore import exceptions

        self._obstore, self._errors = obstore, exceptions
        self._location, self._until = location, until
        try:
            self._store = _store(location)
        except Exception as error:
            hint = "; set AZURE_STORAGE_ACCOUNT_NAME, or AZURE_STORAGE_CONNECTION_STRING" if location.scheme == "az" else ""
            raise ConfigError(f"models: '{location.shown}': {_said(error)}{hint}") from None
        self._keys: dict[str, tuple[str, str | None]] = {}  # an item's name: its key in the store, and its ETag

    def list(self) -> list[Item]:
        prefix, leaf = self._location.path, self._location.leaf
        try:
            if leaf.endswith(".onnx"):
                (one,) = gathered([[self._obstore.head(self._store, prefix)]])
                return [self._item(leaf, one)]
        except self._errors.NotFoundError:
            pass  # a folder of that name
        except self._errors.BaseError as error:
            raise self._explained(error) from None
        found = listed(self._location.url, self._until)
        # Consoles of stores write an empty object for a folder.
        folders = {prefix, *(path.rpartition("/")[0] for path, *_ in found)}
        below = len(prefix) + 1 if prefix else 0
        items = [self._item(f"{leaf}/{one[0][below:]}", one) for one in found if one[1] or one[0] not in folders]
        if not items:
            raise SourceError("there is no object of that name and none below it")
        return items

    def listed_here(self) -> Sequence[Listed]:
        """All objects, listed in this process."""
        try:
            return gathered(self._obstore.list(self._store, self._location.path or None))
        except self._errors.BaseError as error:
            raise self._explained(error) from None

    def _item(self, name: str, one: Listed) -> Item:
        key, nbytes, etag, changed = one
        self._keys[name] = key, etag
        return Item(name, nbytes, etag or changed)

    def read(self, item: Item, first: int, last: int) -> Iterator[bytes]:
        key, etag = self._keys[item.name]
        options: GetOptions = {"range": (first, last)}
        if etag:
            options["if_match"] = etag
        try:
            for piece in self._obstore.get(self._store, key, options=options).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(piece)
        except self._errors.BaseError as error:
            raise self._explained(error) from None

    def _explained(self, error: Exception) -> SourceError:
        errors, said = self._errors, _said(error)
        if isinstance(error, errors.PreconditionError):
            return Changed("an object changed while it was read")
        if isinstance(error, errors.NotSupportedError):
            return NoRanges(said)
        found = _STATUS.search(str(error))  # the only hint in the error of a list
        status = int(found[1]) if found else 0
        if status == 404 or isinstance(error, errors.NotFoundError):
            return SourceError("there is no such bucket or object")
        if status in (401, 403) or isinstance(error, errors.PermissionDeniedError | errors.UnauthenticatedError):
            return SourceError("the store does not let these credentials read it, or there are none in the environment")
        lasting = (400 <= status < 500 and status not in (408, 429)) or isinstance(error, errors.InvalidPathError)
        return SourceError(said, again=not lasting)


def _store(location: Location) -> Any:
    from obstore import store

    # Attempts are made in download.py, which knows how much time is left.
    options: dict[str, Any] = {"timeout": timedelta(seconds=REQUEST_S), "connect_timeout": timedelta(seconds=CONNECT_S)}
    common: dict[str, Any] = {"client_options": options, "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=REQUEST_S)}}
    if location.scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        options["allow_http"] = (endpoint or "").startswith("http://")
        return store.S3Store(location.host, config={"endpoint": endpoint} if endpoint else {}, **common)
    if location.scheme == "gs":
        emulator = os.environ.get("STORAGE_EMULATOR_HOST")
        options["allow_http"] = bool(emulator)
        google: GCSConfig = (
            {"base_url": emulator if "://" in emulator else f"http://{emulator}", "skip_signature": True} if emulator else {}
        )
        return store.GCSStore(location.host, config=google, **common)
    azure = _azure(os.environ.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    options["allow_http"] = azure.get("endpoint", "").startswith("http://")
    return store.AzureStore(location.host, config=azure, **common)


def _azure(connection: str) -> Any:
    """The configuration in an Azure connection string: AccountName=...;AccountKey=...;BlobEndpoint=..."""
    said = dict(part.split("=", 1) for part in connection.split(";") if "=" in part)
    return {ours: said[theirs] for theirs, ours in _AZURE.items() if theirs in said}


def _said(error: Exception) -> str:
    """A store's error on one short line without secrets."""
    words = _NOISE.sub("", without_secrets(" ".join(str(error).split("\n\nDebug source:")[0].split())))
    if document := _XML.search(words):
        said = [found[1] for name in ("Code", "Message") if (found := re.search(f"<{name}>([^<]+)</{name}>", document[0]))]
        words = f"{words[: document.start()]}{': '.join(said) or 'an XML document'}"
    return words if len(words) <= MAX_SAID else words[:MAX_SAID] + "..."
