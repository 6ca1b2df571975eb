"""What was computed is kept from Snakemake, which deletes the outputs of a job before it runs the job again.

A kept file has a second name, a hard link in the folder `.kept` beside it. `results/<study>/.kept` says from what
files were made: a job that is to make them from the same gives them their names back and computes nothing.
"""

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from scalecheck.files import formats

FOLDER = ".kept"
# Bytes. Of larger files, which have checksums of their own, only the size is compared.
SMALL = 2**24


def give_back(known: Path, identity: str, files: Sequence[Path]) -> bool:
    """Give files their names back, if all of them are kept and were made from the same.

    Parameters
    ----------
    known
        Where `keep` wrote down from what they were made.
    identity
        A hash of all that the files depend on.
    """
    found = formats.peek_json(known) or {}
    prints = {path.name: _fingerprint(_second(path)) for path in files}
    if found != {"identity": identity, "files": prints} or None in prints.values():
        return False
    try:
        for path in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            _link(_second(path), path)
    except OSError:  # links are refused where files were moved to; what else is wrong ends whoever makes the files
        return False
    return True


def keep(known: Path, identity: str, files: Sequence[Path]) -> None:
    """Keep files that were made; on a file system without hard links nothing is kept."""
    known.unlink(missing_ok=True)
    try:
        for path in files:
            _second(path).parent.mkdir(exist_ok=True)
            _link(path, _second(path))
    except OSError:
        return
    prints = {path.name: _fingerprint(path) for path in files}
    formats.write_json(known, {"identity": identity, "files": prints})


def forget(path: Path) -> None:
    """Keep a file no longer: it was found damaged, or another is made, and both need not take room at a time."""
    with contextlib.suppress(OSError):
        _second(path).unlink()


def _second(path: Path) -> Path:
    return path.parent / FOLDER / path.name


def _fingerprint(path: Path) -> str | None:
    """Tell a file from a damaged one; None of one that is missing."""
    try:
        size = path.stat().st_size
        if size > SMALL:
            return f"{size} bytes"
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _link(source: Path, target: Path) -> None:
    """Give a file another name, which may be that of another file until then."""
    if target.exists() and target.samefile(source):
        return
    temporary = target.parent / f".{target.name}.{os.getpid()}.part"
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
