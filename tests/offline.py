"""Runs a command where the system knows no network but this machine itself: `python tests/offline.py COMMAND ...`

A network namespace of Linux, which needs no privileges where the system lets users make user namespaces. Libraries that
bypass Python's sockets reach nothing either. The command runs as the same user.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["REFUSED", "leave_the_network", "main"]

REFUSED = 75
"""Exit code where the system permits no namespace."""

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1


def leave_the_network() -> None:
    """Put this process into a namespace of its own, in which 127.0.0.1 alone is reached.

    Raises:
        OSError: The system has no such namespaces, or does not permit them.
    """
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    if unshare is None:
        raise OSError("this system has no network namespaces")
    user, group = os.getuid(), os.getgid()
    # Whoever may not make a network namespace may in a user namespace of their own.
    if unshare(_NEW_NETWORK) != 0:
        if unshare(_NEW_USER | _NEW_NETWORK) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"no network namespace: {os.strerror(number)}")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        asked = fcntl.ioctl(handle, _GET_FLAGS, struct.pack("16sH22x", b"lo", 0))
        flags = struct.unpack("16sH22x", asked)[1]
        fcntl.ioctl(handle, _SET_FLAGS, struct.pack("16sH22x", b"lo", flags | _UP))


def main(command: Sequence[str]) -> int:
    """Replace this process by the command, without a network; return an exit code where that fails."""
    if not command:
        print("usage: python tests/offline.py COMMAND [ARGUMENT ...]", file=sys.stderr)
        return 2
    try:
        leave_the_network()
    except OSError as error:
        print(f"tests/offline.py: {error}", file=sys.stderr)
        return REFUSED
    os.execvp(command[0], list(command))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
