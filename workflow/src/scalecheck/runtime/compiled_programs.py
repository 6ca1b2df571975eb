"""Where compiled programs are kept: in a bounded folder of the user's, that many processes share."""

import contextlib
import os
import stat
import sys
import tempfile
import time
from pathlib import Path

from scalecheck.files import formats
from scalecheck.runtime.environment import positive_number
from scalecheck.runtime.program import Log

FOLDER = "SCALECHECK_CACHE"
BOUND = "SCALECHECK_CACHE_GB"
GIGABYTES = 1.0
# Between two looks at the size of a folder: it may hold ten thousands of files, far away.
SECONDS = 3600.0

OF_JAX = "JAX_COMPILATION_CACHE_DIR"


def choose_folder(of_study: Path, log: Log) -> int | None:
    """Set the environment that JAX reads at its import; `JAX_COMPILATION_CACHE_DIR` stays where it is set.

    Parameters
    ----------
    of_study
        Folder in the results, for users whose own cannot be written to.
    log
        Takes a line when that one is used.

    Returns
    -------
    int or None
        Bytes that the folder may take; None of one that was set.

    Raises
    ------
    StudyError
        When `SCALECHECK_CACHE_GB` is no positive number.
    """
    # JAX keeps what takes a second to compile. Small programs are many, and each takes longer to compile than to read.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    bound = int((positive_number(BOUND, "gigabytes") or GIGABYTES) * 1e9)
    if os.environ.get(OF_JAX):
        return None
    try:
        folder = _made()
    except (OSError, RuntimeError) as error:
        log(f"compiled programs are kept in {of_study}, not for all of your studies: {error}")
        folder = of_study
    os.environ[OF_JAX] = str(folder.absolute())
    return bound


def folder_of_user() -> Path:
    """Give the folder of a user's compiled programs: `SCALECHECK_CACHE`, else `scalecheck` in the user's cache.

    Raises
    ------
    RuntimeError
        When the user has no home.
    """
    if own := os.environ.get(FOLDER):
        return Path(own).expanduser()  # in quotes, or in a file of settings, no shell has done it
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored (freedesktop.org, XDG Base Directory Specification).
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "scalecheck"


def _made() -> Path:
    # A folder of its own, for only what lies in it is ever deleted. Python 3.14 compresses otherwise than those before
    # it, and calls its files the same. Features of a host, its processor's and the kind of its GPU, are in their names.
    folder = folder_of_user() / f"jax-python{sys.version_info.major}.{sys.version_info.minor}"
    # Whoever can write there can have this user run anything.
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    tempfile.TemporaryFile(dir=folder).close()
    return folder


def share(bound: int | None) -> None:
    """Have JAX read and write whole files: by itself it writes them in place, where others read half of them.

    Before anything is compiled. A cache that is no folder, or that JAX is told to bound, is left to JAX.

    Parameters
    ----------
    bound
        From `choose_folder`.
    """
    import jax
    from jax._src import compilation_cache  # there is no public way to give JAX a cache

    folder = jax.config.jax_compilation_cache_dir
    bounded_by_jax = jax.config.jax_compilation_cache_max_size != -1
    if folder and "://" not in folder and not bounded_by_jax:
        compilation_cache.get_file_cache = lambda path: (SharedFolder(Path(path), bound), path)


class SharedFolder:
    """What JAX asks for compiled programs (its `CacheInterface`): files of its own names and format, without a lock.

    A program that cannot be read whole is as good as none: it is compiled again, and replaces what is there.

    Parameters
    ----------
    bound
        Bytes that the folder may take, where it is bounded.
    """

    def __init__(self, path: Path, bound: int | None) -> None:
        self._path = path
        self._bound = bound

    def get(self, key: str) -> bytes | None:
        """Read a program, and note that it was used."""
        from jax._src import compilation_cache

        try:
            found = self._file(key).read_bytes()
            compilation_cache.decompress_executable(found)
        except Exception:  # not only an OSError: each way to compress has errors of its own
            return None
        with contextlib.suppress(OSError):
            os.utime(self._file(key))
        return found

    def put(self, key: str, value: bytes) -> None:
        """Write a program, whole or, where there is no room or no permission, not at all."""
        with contextlib.suppress(OSError):
            self._path.mkdir(parents=True, exist_ok=True)
            if self._bound is not None:
                prune(self._path, self._bound)
            with formats.atomic(self._file(key)) as path:
                path.write_bytes(value)

    def _file(self, key: str) -> Path:
        return self._path / f"{key}-cache"


def prune(folder: Path, bound: int) -> None:
    """Delete what was not used for longest, where a folder takes more than it may; once an hour, whoever asks.

    Others may read and write there at the same time: what is gone, they compile.

    Parameters
    ----------
    bound
        In bytes.

    Raises
    ------
    OSError
        When the folder cannot be written to.
    """
    last = folder / "last-pruned"
    if last.exists() and time.time() - last.stat().st_mtime < SECONDS:
        return
    last.touch()
    for size, path in _by_use(folder):
        bound -= size
        if bound < 0:
            path.unlink(missing_ok=True)


def _by_use(folder: Path) -> list[tuple[int, Path]]:
    """Size in bytes and path of every file, the last used first."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # another process prunes
            about = path.stat()
            if stat.S_ISREG(about.st_mode):
                found.append((about.st_mtime, about.st_size, path))
    return [(size, path) for _, size, path in sorted(found, reverse=True)]
