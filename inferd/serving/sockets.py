"""Sockets that listen: on all addresses that a name has, and Unix sockets with the permissions that they are to have. Never in here:
accepting (ports.py).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple, Self

from inferd.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inferd.config import Address

__all__ = ["BACKLOG", "SocketFile", "free_path", "name_of", "not_listening", "remove_socket_files", "unix_socket"]

BACKLOG = 4096  # connections that the kernel holds before they are accepted
LOCK_TRIES, LOCK_PAUSE_S = 100, 0.01  # for a lock on the folder of a socket's file

WHY_NOT_LISTENING = {
    errno.EADDRINUSE: "it is in use",
    errno.EEXIST: "what is there is no socket",
    errno.EACCES: "permission denied",
    errno.EADDRNOTAVAIL: "it is no address of this machine",
    errno.ENOENT: "its folder does not exist",
    errno.EAGAIN: "another process holds a lock on its folder",
    errno.ENAMETOOLONG: "it is too long",
    errno.EPROTOTYPE: "a socket of another kind is there, of datagrams perhaps",
}
PORT_CURES = {
    errno.EADDRINUSE: "choose another port (0 picks a free one) or host, or stop who listens there",
    errno.EACCES: "choose a higher port (0 picks a free one), or give the process CAP_NET_BIND_SERVICE",
}
OTHER_PORT_CURE = "choose another host, or 0.0.0.0 or :: for all that it has"
PATH_CURES = {
    errno.EADDRINUSE: "choose another one, or stop who listens there",
    errno.EEXIST: "choose another one, or take away what is there",
    errno.EPROTOTYPE: "choose another one, or take away what is there",
    errno.EAGAIN: "choose one in another folder, or stop that process",
    errno.ENOENT: "choose another one, or make the folder",
    errno.ENAMETOOLONG: "choose one of up to 107 bytes",
}
OTHER_PATH_CURE = "choose one in a folder where this user may make files"


class SocketFile(NamedTuple):
    """The file of a Unix socket that this process has bound. It goes while the socket still listens: nobody else takes its path then, and
    the file system gives its number to no other file. A server that starts while this one drains has a file of its own there."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, address: Address) -> Self | None:
        """None: an abstract name, which has none. OSError."""
        if address.is_abstract:
            return None
        found = os.stat(address.path)
        made = cls(address.path, found.st_dev, found.st_ino)
        _files.add(made)
        return made

    def remove(self) -> None:
        """Unless it is gone, or another one, by now."""
        _files.discard(self)
        with suppress(OSError):
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == (self.device, self.inode):
                os.unlink(self.path)


_files: set[SocketFile] = set()  # of this process, that are not removed yet


def remove_socket_files() -> None:
    """All of this process, which ends at once."""
    for file in list(_files):
        file.remove()


def unix_socket(address: Address, mode: int) -> socket.socket:
    """One that listens. Nobody can connect before its file has its permissions, and whoever looks for a stale file finds that somebody
    listens there, as long as this process lives. mode: below 0: as the umask says. OSError."""
    opened = socket.socket(socket.AF_UNIX)
    try:
        with free_path(address):
            opened.bind(address.socket_name)
            if mode >= 0 and not address.is_abstract:
                os.chmod(address.path, mode)
            opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


@contextmanager
def free_path(address: Address) -> Iterator[None]:
    """For who makes a socket that listens at a path: none is there any more, and meanwhile no other server takes the path, or takes what
    was just made there for a stale file. The folder is locked for that. OSError: somebody has the path. What has no path is the kernel's
    to give."""
    if not address.path or address.is_abstract:
        yield
        return
    folder = os.open(os.path.dirname(address.path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(folder)
        _remove_stale(address.path)
        yield
    finally:
        os.close(folder)


def _lock(folder: int) -> None:
    """Holds the lock until the folder is closed. Another server that starts there has it for a moment."""
    for _ in range(LOCK_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOCK_PAUSE_S)
    raise BlockingIOError(errno.EAGAIN, "locked")


def _remove_stale(path: str) -> None:
    """A socket file that a server left behind when it was killed. OSError for one that somebody listens on, which the event
    loop would take away, and for what is no socket: a folder, another file, a link to nothing."""
    with suppress(FileNotFoundError):
        found = os.stat(path) if os.path.exists(path) else os.lstat(path)
        if not stat.S_ISSOCK(found.st_mode):
            raise OSError(errno.EEXIST, "no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
                return
            except BlockingIOError:  # somebody is there, with no room for one who waits
                pass
        raise OSError(errno.EADDRINUSE, "in use")


def not_listening(address: Address, error: OSError) -> StartError:
    """What the system said of an address that cannot be listened on, and what to do."""
    number = error.errno or errno.ENAMETOOLONG  # Python's own error has none
    if isinstance(error, socket.gaierror):
        reason = "the host's name has no address here"
    else:
        reason = WHY_NOT_LISTENING.get(number, os.strerror(number).lower())
    if address.path:
        expected = f"{'a name' if address.is_abstract else 'a path'} that is free"
        cure = PATH_CURES.get(number, OTHER_PATH_CURE)
    else:
        expected, cure = "a free address of this machine", PORT_CURES.get(number, OTHER_PORT_CURE)
    return StartError(f"cannot listen on {address}: {reason}; expected {expected}: {cure}")


def name_of(path: str | bytes) -> str:
    """A Unix socket's path; an abstract name begins with @."""
    text = path.decode("utf-8", "replace") if isinstance(path, bytes) else path
    return "@" + text[1:] if text.startswith("\0") else text
