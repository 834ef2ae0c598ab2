"""gcp-storage-emulator, with the part of Google's XML interface that it lacks and obstore uses: lists, headers of an object,
empty objects.

    python google_storage.py PORT
"""

from __future__ import annotations

import sys
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects


def listed(request: Any, response: Any, storage: Any) -> None:
    """Objects below a prefix."""
    try:
        files, _ = storage.get_file_list(request.params["bucket_name"], unquote(request.query.get("prefix", [""])[0]), None)
    except NotFound:
        response.status = HTTPStatus.NOT_FOUND
        return
    entries = "".join(
        f'<Contents><Key>{escape(file["name"])}</Key><Size>{file["size"]}</Size><ETag>"{escape(file["etag"])}"</ETag>'
        f"<LastModified>{file['updated']}</LastModified></Contents>"
        for file in files
    )
    response.write_file(f"<ListBucketResult>{entries}</ListBucketResult>", content_type="application/xml")


def downloaded(request: Any, response: Any, storage: Any) -> None:
    """One object, if it is the one that was listed."""
    try:
        file = storage.get_file_obj(request.params["bucket_name"], request.params["object_id"])
    except NotFound:
        response.status = HTTPStatus.NOT_FOUND
        return
    if request.get_header("if-match") not in (None, f'"{file["etag"]}"'):
        response.status = HTTPStatus.PRECONDITION_FAILED
        return
    objects.download(request, response, storage)
    response["ETag"], response["Last-Modified"] = f'"{file["etag"]}"', formatdate(usegmt=True)


def uploaded(request: Any, response: Any, storage: Any) -> None:
    """One object, which may be empty."""
    request._data = request.data or b""
    objects.xml_upload(request, response, storage)


BUCKET = r"^/(?P<bucket_name>[-.%\w]+)"
server.HANDLERS = (
    *(handler for handler in server.HANDLERS if "object_id" not in handler[0] or "/b/" in handler[0]),
    (rf"{BUCKET}$", {"GET": listed}),
    (rf"{BUCKET}/(?P<object_id>.+)$", {"GET": downloaded, "PUT": uploaded}),
)

if __name__ == "__main__":
    server.create_server("127.0.0.1", int(sys.argv[1]), in_memory=True).run()
