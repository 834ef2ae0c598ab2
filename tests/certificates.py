"""Certificates for a test: an authority, a server of its, a client of its, and a client of another's. All are PEM."""

from __future__ import annotations

from pathlib import Path

import trustme

SERVER_NAME = "server.test"
CLIENT_NAME = "client.test"


class Certificates:
    """The server's are for 127.0.0.1 and for SERVER_NAME, which no address has."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.ca = authority.cert_pem.bytes()
        self.server, self.server_key = _pems(authority.issue_cert(SERVER_NAME, "127.0.0.1"))
        self.client, self.client_key = _pems(authority.issue_cert(CLIENT_NAME))
        self.stranger, self.stranger_key = _pems(trustme.CA().issue_cert(CLIENT_NAME))

    def settings(self, folder: Path) -> dict[str, str]:
        """A server's settings to speak TLS, with files in `folder`, which then has the authority's certificate, too: ca.pem."""
        (folder / "ca.pem").write_bytes(self.ca)
        (folder / "server.pem").write_bytes(self.server)
        (folder / "server.key").write_bytes(self.server_key)
        return {"tls_cert": str(folder / "server.pem"), "tls_key": str(folder / "server.key")}


def _pems(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
    return b"".join(pem.bytes() for pem in certificate.cert_chain_pems), certificate.private_key_pem.bytes()
