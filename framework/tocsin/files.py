"""Hashes, files that appear whole or not at all, locks, and the cache folder: once, for every package."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no flock: leftovers stay, and two writers of one entry both compute it
    fcntl = None  # type: ignore[assignment]

# What a file system says that has no locks, such as NFS mounted with nolock.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

__all__ = [
    "FullDiskWarning",
    "NO_LOCKS",
    "cache_folder",
    "fallback_folder",
    "discard",
    "file_sha256",
    "free_bytes",
    "fsync_path",
    "is_no_room",
    "lock_handle",
    "one_writer",
    "reserve",
    "temporary_name",
    "whole_file",
    "whole_folder",
    "write_text",
]


def cache_folder(*parts: str) -> Path:
    """The folder of that name in the cache; it is not created.

    The cache lies in `$TOCSIN_CACHE`, else in `~/.cache/tocsin`. Everything in it can be deleted at any time.
    """
    root = os.environ.get("TOCSIN_CACHE") or Path("~", ".cache", "tocsin")
    return Path(root).expanduser().joinpath(*parts)


# What the system says of a disk, a quota or a limit that is full, and of a folder or disk that is read-only.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


class FullDiskWarning(UserWarning):
    """What was written had no room where it should go."""


def is_no_room(error: BaseException | None) -> bool:
    """Whether a file could not be written because of where it was to go: a full or read-only disk, or its causes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        # safetensors and torch put the system's words into errors of their own
        if any(f"os error {number})" in str(error) for number in _NO_ROOM):
            return True
        error = error.__cause__ or error.__context__
    return False


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write on the disk of a folder, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


@functools.cache
def fallback_folder(run: Path) -> Path:
    """Where what has no room in a run's folder goes: below the system's temporary folder ($TMPDIR); not created.

    Everybody may write there: a link or another user's folder of that name is not taken.
    """
    folder = Path(tempfile.gettempdir(), f"tocsin-{run.parent.name}-{run.name}")
    try:
        found = folder.lstat()
    except OSError:
        return folder
    ours = stat.S_ISDIR(found.st_mode) and (os.name == "nt" or found.st_uid == os.getuid())
    return folder if ours else Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_path(path: Path) -> None:
    """Force a file, or a folder's list of names, onto the disk, where the system can do that for folders.

    Raises:
        OSError: The disk is full or broken.
    """
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Network and user-space file systems may have no such call for a folder; what is in it is written all the same.
        if error.errno not in (errno.EINVAL, errno.EBADF, *NO_LOCKS) or not path.is_dir():
            raise
    finally:
        os.close(handle)


def temporary_name(path: Path) -> Path:
    """Return the one hidden name beside `path` under which its only writer prepares it, so that a kill leaves one."""
    return path.with_name(f".{path.name}.tmp")


def write_text(path: Path, text: str) -> None:
    """Replace `path` by UTF-8 `text`, whole or not at all; its folder is made where it is missing.

    Raises:
        OSError: The folder is read-only or full; what stood at `path` is untouched.
    """
    with whole_file(path) as part:
        part.write_bytes(text.encode("utf-8"))


@contextlib.contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Write a file so that nobody ever sees half of it.

    Yields the path of a temporary file in the same folder. When the block ends without an error the file is
    flushed to the disk and renamed to `target`, replacing what stands there; after an error it is deleted.
    What a killed writer of the same target left behind is deleted first. Write into the yielded file; do not
    replace it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    part, handle = _new_part(target, folder=False)
    try:
        yield part
        part.chmod(0o666 & ~_umask())
        fsync_path(part)
        part.replace(target)
        fsync_path(target.parent)
    finally:
        part.unlink(missing_ok=True)
        _close(handle)


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Write a folder so that nobody ever sees half of it, even when two processes write it at once.

    Yields a temporary folder beside `target`. When the block ends without an error its files are flushed to
    the disk and it is renamed to `target`. A `target` that another process finished meanwhile is kept and
    ours is dropped: use it for folders whose content follows from their name. What a killed writer of the same
    target left behind is deleted first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    part, handle = _new_part(target, folder=True)
    try:
        yield part
        mode = 0o777 & ~_umask()
        part.chmod(mode)
        for path in part.rglob("*"):
            path.chmod(mode if path.is_dir() else mode & 0o666)
            fsync_path(path)
        fsync_path(part)
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        fsync_path(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _close(handle)


def discard(folder: Path) -> None:
    """Delete a folder that others may look for: it is gone at once, and a kill leaves nothing that looks whole."""
    part, handle = _new_part(folder, folder=True)
    try:
        if os.name == "nt":  # Windows renames onto nothing that is there
            part.rmdir()
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            folder.rename(part)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        _close(handle)


def reserve(path: Path, size: int) -> None:
    """Make a file of so many bytes that the disk has room for: on a full disk, writing through a map kills the process.

    Raises:
        OSError: The disk has no such room.
    """
    with path.open("wb") as file:
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def lock_handle(handle: int, *, wait: bool) -> bool:
    """Lock an open file or folder for this process alone, until the handle is closed or the process ends.

    The system drops the lock however the process ends, so there are no stale locks.

    Args:
        handle: A file descriptor.
        wait: Wait for another holder, or give up at once.

    Returns:
        Whether the lock is held now; True on systems and file systems without such locks.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    return True


@contextlib.contextmanager
def one_writer(target: Path, *, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Let one process at a time make a file or folder that others could make, too; look inside whether it is there now.

    A second one waits. The lock lies beside `target` and is gone afterwards. Where the file system has no locks, nobody
    waits: entries are still whole, and made twice.

    Args:
        target: What is made; its folder is made where it is missing.
        say: Is told, in one sentence, who is waited for.

    Raises:
        OSError: The folder cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f".{target.name}.lock")
    handle = _locked(path, target, say)
    try:
        yield
    finally:
        if fcntl is not None:  # a name that is removed while it is held is never somebody else's
            path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path, target: Path, say: Callable[[str], None] | None) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            if not lock_handle(handle, wait=False):
                if say is not None:
                    holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
                    say(
                        f"another process (id {holder}) is making {target.name} in {target.parent}; waiting for it"
                    )
                lock_handle(handle, wait=True)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                os.truncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
                return handle
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its holder removed the name while we waited: take the new one


def _new_part(target: Path, *, folder: bool) -> tuple[Path, int | None]:
    """Make a temporary file or folder beside `target` and lock it, which tells it from a killed writer's leftover."""
    while True:
        if folder:
            part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
        else:
            made, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
            os.close(made)
            part = Path(name)
        if fcntl is None:
            return part, None
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(part, os.O_RDONLY)
            lock_handle(handle, wait=True)
            if part.exists():
                return part, handle
            os.close(handle)
        # between making and locking it, another writer took it for a leftover


def _close(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def _remove_leftovers(target: Path) -> None:
    """Delete the temporary files of `target` that no living process holds."""
    if fcntl is None:
        return
    # glob.escape is not enough: pathlib's glob would follow a name with brackets, so names are compared as text.
    prefix = f".{target.name}."
    with contextlib.suppress(OSError):
        names = [
            name for name in os.listdir(target.parent) if name.startswith(prefix) and name.endswith(".part")
        ]
        for name in names:
            # mkstemp adds eight characters: another target's name may begin with ours and a dot
            if len(name) == len(prefix) + 8 + len(".part"):
                _remove_leftover(target.parent / name)


def _remove_leftover(part: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(part, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            if lock_handle(handle, wait=False):
                shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink()
        finally:
            os.close(handle)


def _umask() -> int:
    """The process's mask of file modes, which temporary files ignore."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
