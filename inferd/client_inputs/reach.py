"""TLS and the token that a server may demand. Files are named by their paths; the words are the SDK's.

Never in here: flags (cli.reaching), gRPC.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from inferd.errors import ConfigError
from inferd.watched_files import require_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_TOKEN_FILE_BYTES = 1 << 20


class Reach(NamedTuple):
    """tls: also where no file is named: the authorities are then those that gRPC ships. ca, certificate, key: paths of PEM files.
    server_name: what the server's certificate is for, where that is not the address. token_file: its first token is sent."""

    tls: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None
    token_file: str | None = None

    @property
    def by_tls(self) -> bool:
        return self.tls or any(each is not None for each in (self.ca, self.certificate, self.key, self.server_name))

    def token(self) -> str | None:
        """The token in the first line that is no comment, as in a server's file. Raises ConfigError if there is none."""
        if self.token_file is None:
            return None
        require_secret(self.token_file, "--token-file")
        try:
            with open(self.token_file, "rb") as file:  # a pipe may be one: a shell's <(command)
                lines = file.read(MAX_TOKEN_FILE_BYTES).split(b"\n")
        except OSError as error:
            raise ConfigError(f"--token-file {self.token_file}: expected a file that can be read: {error.strerror}") from None
        for line in map(bytes.strip, lines):
            if line and not line.startswith(b"#"):
                return line.removeprefix(b"control ").strip().decode("ascii", "replace")
        raise ConfigError(f"--token-file {self.token_file}: expected a token in a line, got none")

    def metadata(self) -> Sequence[tuple[str, str]]:
        """The token as a call's metadata."""
        token = self.token()
        return [] if token is None else [("authorization", f"Bearer {token}")]

    def options(self, library: Any) -> dict[str, Any]:
        """Arguments of the SDK's Client. Raises as the SDK does: see `explained`."""
        found: dict[str, Any] = {}
        if self.by_tls:
            found["tls"] = library.TLS(ca=self.ca, certificate=self.certificate, key=self.key, server_name=self.server_name)
        if self.token_file is not None:
            found["token"] = self.token()
        return found


PLAINTEXT = Reach()


@contextmanager
def explained() -> Iterator[None]:
    """Turns the SDK's errors about files and tokens into a ConfigError that names flags."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{error.filename}: it cannot be read: {error.strerror}") from None
    except ValueError as error:  # no certificate, or a token that would travel in plain text
        raise ConfigError(str(error).partition(", or token_in_plaintext")[0].replace("pass tls=TLS()", "give --tls or --tls-ca")) from None
