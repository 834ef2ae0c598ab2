"""Certificates for a test: an authority, a server of its, a client of its, and a client of another's. All are PEM."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import grpc
import trustme

SERVER_NAME = "server.test"
CLIENT_NAME = "client.test"
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class Certificates:
    """The server's are for 127.0.0.1 and for SERVER_NAME, which no address has."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.ca = authority.cert_pem.bytes()
        self.server, self.server_key = _pems(authority.issue_cert(SERVER_NAME, "127.0.0.1"))
        self.client, self.client_key = _pems(authority.issue_cert(CLIENT_NAME))
        self.stranger, self.stranger_key = _pems(trustme.CA().issue_cert(CLIENT_NAME))


class Files(NamedTuple):
    """PEM of one authority's: the server's certificate and key, a client's, and the authority itself."""

    cert: Path
    key: Path
    ca: Path
    authority: trustme.CA

    @classmethod
    def made(cls, folder: Path, authority: trustme.CA | None = None) -> Files:
        folder.mkdir(exist_ok=True)
        found = cls(folder / "cert.pem", folder / "key.pem", folder / "ca.pem", authority or trustme.CA())
        found.renew()
        found.authority.cert_pem.write_to_path(found.ca)
        return found

    def renew(self) -> trustme.LeafCert:
        """Another certificate of the same authority, in the same files."""
        leaf = self.authority.issue_cert("localhost", "127.0.0.1")
        leaf.cert_chain_pems[0].write_to_path(self.cert)
        leaf.private_key_pem.write_to_path(self.key)
        return leaf

    def settings(self, **more: Any) -> dict[str, Any]:
        return {"tls_cert": str(self.cert), "tls_key": str(self.key), **more}

    def channel(self, address: str, client: trustme.LeafCert | None = None) -> grpc.Channel:
        key, chain = (client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes()) if client else (None, None)
        credentials = grpc.ssl_channel_credentials(self.authority.cert_pem.bytes(), key, chain)
        return grpc.secure_channel(address.replace("127.0.0.1", "localhost"), credentials, OWN_CONNECTION)


def _pems(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
    return b"".join(pem.bytes() for pem in certificate.cert_chain_pems), certificate.private_key_pem.bytes()
