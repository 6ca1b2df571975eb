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


def with_posterior(folder: StudyFolder, fit: FitRecord) -> FitRecord:
    """Give the record of a fit the digest of its posterior, which is written."""
    path = folder.posterior(fit.fit)
    return dataclasses.replace(fit, sha256={path.name: _of_file(path)})


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
    try:
        content = json.loads(path.read_bytes())
        files = dict(content[KEY])
        if files.pop(path.name) != _of_content({**content, KEY: files}):
            raise ValueError("its checksum is another")
        return record.of_json(content)
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error) if type(error) is ValueError else "it is no record"
        raise _removed(folder, fit, path, reason) from None


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
