"""One writer at a time: what a process writes is claimed, and free again when it ends, however it ends."""

import errno
import fcntl
import hashlib
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from scalecheck.errors import StudyError
from scalecheck.files.layout import StudyFolder

# File systems without locks: there nobody is refused.
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

# The flock of 64-bit Linux: kind, whence, start, length, process.
_FLOCK = "hhqqi"


def claim_run(folder: StudyFolder) -> IO[bytes]:
    """Claim a study for one run of the workflow, as long as the file that is given back is open.

    Snakemake refuses two runs in one working directory; this refuses two in one folder of results.

    Raises
    ------
    StudyError
        When another process has it, or the folder cannot be written to.
    """
    return _claim(
        folder,
        ["the run"],
        "another run{holder} is writing there: let it end, or give this one a folder"
        " of its own by --config results=FOLDER",
    )


def claim(folder: StudyFolder, names: Iterable[str]) -> IO[bytes]:
    """Claim what a program writes, as long as the file that is given back is open.

    A job may outlive the Snakemake that started it, and would write what a second one writes.

    Parameters
    ----------
    names
        Of fits, or of the program.

    Raises
    ------
    StudyError
        When another process has one of them, or the folder cannot be written to.
    """
    taken = "{name} is being written by another job{holder}: let it end, or end it, and run again"
    return _claim(folder, names, taken)


def _claim(folder: StudyFolder, names: Iterable[str], taken: str) -> IO[bytes]:
    path = folder.lock
    _refuse_read_only(folder.path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab+")
    except OSError as error:
        raise _read_only(path, error.strerror or "") from None
    for name in names:
        # A byte for each name, whether the file has so many or not: one open file, however many names.
        byte = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=7).digest())
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno in _WITHOUT_LOCKS:
                break
            holder = _holder(file, byte)
            file.close()
            reason = taken.format(name=name, holder=holder)
            raise StudyError(f"{folder.path}: {reason}") from None
    return file


def _holder(file: IO[bytes], byte: int) -> str:
    """Give the process that has a byte, where the system tells."""
    if sys.platform != "linux":
        return ""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    process = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))[-1]
    return f" (process {process})" if process > 0 else ""


def _refuse_read_only(path: Path) -> None:
    """Refuse a folder in which nothing can be made; of one that is not there, the nearest that is."""
    found = next(folder for folder in (path, *path.parents) if os.path.exists(folder))
    if not os.access(found, os.W_OK | os.X_OK, effective_ids=True):
        raise _read_only(found, os.strerror(errno.EACCES))


def _read_only(path: Path, reason: str) -> StudyError:
    return StudyError(
        f"{path}: cannot be written: {reason}: mend its permissions, or give another folder by"
        " --config results=FOLDER"
    )
