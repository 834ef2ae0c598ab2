"""Unix sockets: opens them with their permissions, and removes their files. Also the errors of addresses that cannot be listened on. Never
in here: TCP (listeners.py), accepting (ports.py).
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

BACKLOG = 4096  # connections that the kernel holds before they are accepted
LOCK_TRIES, LOCK_PAUSE_S = 100, 0.01  # how often, and how far apart, a server tries to lock the folder of a socket's file

WHY_NOT_LISTENING = {
    errno.EADDRINUSE: "it is in use",
    errno.EEXIST: "the file there is no socket",
    errno.EACCES: "permission denied",
    errno.EADDRNOTAVAIL: "it is no address of this machine",
    errno.ENOENT: "its folder does not exist",
    errno.EAGAIN: "another process holds a lock on its folder",
    errno.ENAMETOOLONG: "it is too long",
    errno.EPROTOTYPE: "a socket of another kind is there, of datagrams perhaps",
}
PORT_CURES = {
    errno.EADDRINUSE: "choose another port (0 picks a free one) or host, or stop the process there",
    errno.EACCES: "choose a higher port (0 picks a free one), or give the process CAP_NET_BIND_SERVICE",
}
OTHER_PORT_CURE = "choose another host, or 0.0.0.0 or :: for all that it has"
PATH_CURES = {
    errno.EADDRINUSE: "choose another one, or stop the process there",
    errno.EEXIST: "choose another one, or take away what is there",
    errno.EPROTOTYPE: "choose another one, or take away what is there",
    errno.EAGAIN: "choose one in another folder, or stop that process",
    errno.ENOENT: "choose another one, or make the folder",
    errno.ENAMETOOLONG: "choose one of up to 107 bytes",
}
OTHER_PATH_CURE = "choose one in a folder where this user may make files"


class SocketFile(NamedTuple):
    """The file of a Unix socket that this process has bound. It is removed while the socket still listens. Until then no other server takes
    the path, and no other file gets the inode number. A server that starts while this one drains makes its own file."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, address: Address) -> Self | None:
        """None: an abstract name has no file. Raises OSError."""
        if address.is_abstract:
            return None
        found = os.stat(address.path)
        made = cls(address.path, found.st_dev, found.st_ino)
        _files.add(made)
        return made

    def remove(self) -> None:
        """Removes the file, unless it is gone, or another server's by now."""
        _files.discard(self)
        with suppress(OSError):
            found = os.stat(self.path)
            if (found.st_dev, found.st_ino) == (self.device, self.inode):
                os.unlink(self.path)


_files: set[SocketFile] = set()  # files of this process that still exist


def remove_socket_files() -> None:
    """Removes all files of this process, which ends at once."""
    for file in list(_files):
        file.remove()


def unix_socket(address: Address, mode: int) -> socket.socket:
    """Opens a listening Unix socket. No client can connect before the file has its permissions. A server that looks for a stale file finds
    that this process listens there. mode: the permissions; below 0: by the umask. Raises OSError."""
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
    """Removes a stale socket file, and locks the folder while the caller makes a socket at the path. So no other server takes the path, or
    removes the new file as stale. Raises OSError if a socket at the path is in use. Does nothing for an address without a path."""
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
    """Locks the folder until it is closed. Another server that starts there holds the lock for a moment only."""
    for _ in range(LOCK_TRIES):
        with suppress(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(LOCK_PAUSE_S)
    raise BlockingIOError(errno.EAGAIN, "locked")


def _remove_stale(path: str) -> None:
    """Removes a socket file that a killed server has left behind. Raises OSError if a process listens there, or if it is no socket: a
    folder, another file, a link to nothing."""
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
            except BlockingIOError:  # a process listens there, and its backlog is full
                pass
        raise OSError(errno.EADDRINUSE, "in use")


def not_listening(address: Address, error: OSError) -> StartError:
    """The error of an address that cannot be listened on, and its cure. error: the system's."""
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
        if address.http and number in PORT_CURES:
            cure += "; it is for REST: --http-port PORT, or --http-port off"
    return StartError(f"cannot listen on {address}: {reason}; expected {expected}: {cure}")


def name_of(path: str | bytes) -> str:
    """A Unix socket's path; an abstract name begins with @."""
    text = path.decode("utf-8", "replace") if isinstance(path, bytes) else path
    return "@" + text[1:] if text.startswith("\0") else text
