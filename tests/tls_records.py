"""A client of TLS 1.3 whose records are made by hand: of any content, kind and padding, which no library sends. A real one shakes hands."""

from __future__ import annotations

import hmac
import os
import ssl
import struct

import trustme
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ALERT, HANDSHAKE, CONTENT = 21, 22, 23
CLOSE_NOTIFY = b"\1\0"
MAX_CONTENT_NBYTES = 1 << 14  # of a record
TAG_NBYTES = 16
CIPHER, DIGEST, KEY_NBYTES = "TLS_AES_256_GCM_SHA384", "sha384", 32  # OpenSSL's choice


class Contexts:
    """Of a client that says what its secrets are, and of a server; both know no version but 1.3."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.client, self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.configure_trust(self.client)
        authority.issue_cert("localhost").configure_cert(self.server)
        self.client.minimum_version = self.server.minimum_version = ssl.TLSVersion.TLSv1_3
        self._secrets = os.memfd_create("secrets")
        self.client.keylog_filename = f"/proc/self/fd/{self._secrets}"

    def records(self, client: ssl.SSLObject) -> Records:
        """Of a client whose handshake is made, and is the only one since the last call."""
        told = os.pread(self._secrets, 1 << 12, 0).decode()
        os.ftruncate(self._secrets, 0)
        [secret] = [line.split()[2] for line in told.splitlines() if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")]
        cipher = client.cipher()
        assert cipher is not None
        assert cipher[0] == CIPHER
        return Records(bytes.fromhex(secret))


class Records:
    """What a client sends once its handshake is made. secret: its first one for content."""

    def __init__(self, secret: bytes) -> None:
        self._take(secret)

    def record(self, kind: int, content: bytes, padding_nbytes: int = 0) -> bytes:
        """One, encrypted."""
        plain = content + bytes((kind,)) + bytes(padding_nbytes)
        head = header(CONTENT, len(plain) + TAG_NBYTES)
        nonce = (self._mask ^ self._number).to_bytes(12, "big")
        self._number += 1
        return head + self._cipher.encrypt(nonce, plain, head)

    def key_update(self, *, answered: bool) -> bytes:
        """And what follows is encrypted by the new key. answered: the server shall have a new one, too."""
        sent = self.record(HANDSHAKE, key_update(answered=answered))
        self._take(self._derived("traffic upd", hmac.new(b"", digestmod=DIGEST).digest_size))
        return sent

    def _take(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(self._derived("key", KEY_NBYTES))
        self._mask = int.from_bytes(self._derived("iv", 12), "big")
        self._number = 0

    def _derived(self, label: str, nbytes: int) -> bytes:
        """RFC 8446, 7.1: HKDF-Expand-Label without a context."""
        name = b"tls13 " + label.encode()
        told = struct.pack(">HB", nbytes, len(name)) + name + b"\0"
        return hmac.digest(self._secret, told + b"\1", DIGEST)[:nbytes]


def header(kind: int, nbytes: int) -> bytes:
    return struct.pack(">BHH", kind, 0x0303, nbytes)


def key_update(*, answered: bool) -> bytes:
    """The handshake message."""
    return b"\x18\0\0\1" + bytes((answered,))
