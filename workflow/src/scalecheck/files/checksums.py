"""Checksums of what a fit leaves: damage is found where it is read, and the fit is made again.

`record.json` holds under `sha256` the digest of each file that belongs to it, its own content among them.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalecheck.errors import StudyError
from scalecheck.files import formats, posterior_file, record
from scalecheck.files.layout import StudyFolder
from scalecheck.files.record import FitRecord

if TYPE_CHECKING:
    import xarray as xr

KEY = "sha256"


def write_record(folder: StudyFolder, fit: FitRecord) -> None:
    """Write the record of a fit, with the digest of its content beside that of its posterior, if it has one."""
    path = folder.record(fit.fit)
    files = {name: digest for name, digest in (fit.sha256 or {}).items() if name != path.name}
    content = record.as_json(dataclasses.replace(fit, sha256=files))
    formats.write_json(path, {**content, KEY: {**files, path.name: _of_content(content)}})


def with_files(folder: StudyFolder, fit: FitRecord) -> FitRecord:
    """Give the record of a fit the digests of what it has written: its posterior, and what it leaves to the next."""
    written = [path for path in _files_of(folder, fit.fit) if path.exists()]
    return dataclasses.replace(fit, sha256={path.name: _of_file(path) for path in written})


def is_whole(folder: StudyFolder, fit: FitRecord, path: Path) -> bool:
    """Whether a file that belongs to a fit is as it was written; so is one that it never wrote."""
    known = (fit.sha256 or {}).get(path.name)
    return known is None or (path.exists() and _of_file(path) == known)


def _files_of(folder: StudyFolder, fit: str) -> tuple[Path, Path]:
    return folder.posterior(fit), folder.left(fit)


def read_record(folder: StudyFolder, fit: str) -> FitRecord:
    """Read the record of a fit.

    Raises
    ------
    StudyError
        When it is missing; or damaged, and then the fit is removed.
    """
    path = folder.record(fit)
    if not path.exists():
        return record.read(path)  # which says that it is missing
    found = _read(path, path.name)
    if isinstance(found, str):
        raise _removed(folder, fit, path, found)
    return found


def peek_record(folder: StudyFolder, fit: str) -> FitRecord | str | None:
    """Read the record of a fit that is made again where it is damaged: why it is, or None where there is none."""
    path = folder.record(fit)
    return _read(path, path.name) if path.exists() else None


def set_aside(folder: StudyFolder, fit: str) -> None:
    """Put the record of an increment aside that is skipped now, and may not be under other settings."""
    folder.record(fit).replace(folder.set_aside(fit))


def peek_set_aside(folder: StudyFolder, fit: str) -> FitRecord | str | None:
    """Read the record that was put aside of an increment that is skipped, as `peek_record` reads its own."""
    path = folder.set_aside(fit)
    return _read(path, folder.record(fit).name) if path.exists() else None


def _read(path: Path, name: str) -> FitRecord | str:
    """Read a record that was written under a name, or say why it is damaged."""
    try:
        content = json.loads(path.read_bytes())
        files = dict(content[KEY])
        if files.pop(name) != _of_content({**content, KEY: files}):
            return "its checksum is another"
        return record.of_json(content)
    except (KeyError, TypeError, ValueError):
        return "it is no record"


def read_posterior(folder: StudyFolder, fit: FitRecord) -> "xr.DataTree":
    """Read the posterior of a fit that is done.

    Raises
    ------
    StudyError
        When it is missing or damaged: the fit is then removed.
    """
    path = folder.posterior(fit.fit)
    if not path.exists():
        raise _removed(folder, fit.fit, path, "it is missing")
    if _of_file(path) != (fit.sha256 or {}).get(path.name):
        raise _removed(folder, fit.fit, path, "its checksum is another")
    return posterior_file.read_posterior(path)


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_content(content: Mapping[str, Any]) -> str:
    """Digest of what JSON says, however it is laid out."""
    read_back = json.loads(json.dumps(formats.finite(content)))
    return hashlib.sha256(json.dumps(read_back, sort_keys=True).encode()).hexdigest()


def _removed(folder: StudyFolder, fit: str, path: Path, reason: str) -> StudyError:
    """Remove a fit and what says that it is done, so that the workflow makes it again."""
    for done in [folder.record(fit), folder.posterior(fit), *_manifests_of(folder, fit)]:
        done.unlink(missing_ok=True)
    return StudyError(
        f"{path}: damaged: {reason}: the fit {fit} was removed: run again, which makes it again"
    )


def _manifests_of(folder: StudyFolder, fit: str) -> list[Path]:
    """Give the manifests that name a fit, and those that cannot be read."""
    return [
        path
        for path in folder.manifests()
        if (told := formats.peek_json(path)) is None or fit in told.get("fits", [fit])
    ]
