"""Checksums of what a fit leaves: damage is found where it is read, and the fit is made again.

`record.json` holds under `sha256` the digest of each file that belongs to it, its own content among them.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scalecheck.errors import StudyError
from scalecheck.files import formats, posterior_file
from scalecheck.files.layout import StudyFolder

if TYPE_CHECKING:
    import xarray as xr

KEY = "sha256"


def write_record(folder: StudyFolder, record: Mapping[str, Any]) -> None:
    """Write the record of a fit, with the digest of its content beside that of its posterior, if it has one."""
    path = folder.record(record["fit"])
    files = {name: digest for name, digest in record.get(KEY, {}).items() if name != path.name}
    content = {**record, KEY: files}
    formats.write_json(path, {**content, KEY: {**files, path.name: _of_content(content)}})


def of_posterior(folder: StudyFolder, fit: str) -> dict[str, dict[str, str]]:
    """Give what the record of a fit holds of its posterior, which is written."""
    path = folder.posterior(fit)
    return {KEY: {path.name: _of_file(path)}}


def read_record(folder: StudyFolder, fit: str) -> dict[str, Any]:
    """Read the record of a fit.

    Raises
    ------
    StudyError
        When it is missing; or damaged, and then the fit is removed.
    """
    path = folder.record(fit)
    if not path.exists():
        return formats.read_json(path)  # which says that it is missing
    try:
        record = json.loads(path.read_bytes())
        files = dict(record[KEY])
        if files.pop(path.name) != _of_content({**record, KEY: files}):
            raise ValueError("its checksum is another")
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error) if type(error) is ValueError else "it is no record"
        raise _removed(folder, fit, path, reason) from None
    return record


def read_posterior(folder: StudyFolder, record: Mapping[str, Any]) -> "xr.DataTree":
    """Read the posterior of a fit that is done.

    Raises
    ------
    StudyError
        When it is missing or damaged: the fit is then removed.
    """
    path = folder.posterior(record["fit"])
    if not path.exists():
        raise _removed(folder, record["fit"], path, "it is missing")
    if _of_file(path) != record[KEY].get(path.name):
        raise _removed(folder, record["fit"], path, "its checksum is another")
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
