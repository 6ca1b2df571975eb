"""From what a file was made: a hash of all that it depends on, so that it is made once."""

import dataclasses
import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from scalecheck import ENGINE_VERSION
from scalecheck.files import checksums, formats
from scalecheck.files.layout import StudyFolder
from scalecheck.files.record import FitRecord, as_json
from scalecheck.fitting.fit_identity import digest_of
from scalecheck.model import source
from scalecheck.runtime.versions import digest_of_library
from scalecheck.study.settings import Study

RECORD = "record.json"


def hash_of(*parts: str) -> str:
    """Give a hash of texts, and of the version of scalecheck and its engine."""
    return digest_of([importlib.metadata.version("scalecheck"), ENGINE_VERSION, *parts])


def digest_of_file(path: str | Path | None) -> str:
    """Give a hash of a file, whatever its size; empty where there is none to be read."""
    try:
        with Path(path or "").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def identify_fits(folder: StudyFolder, study: Study, *kinds: str) -> str:
    """Give a hash of all that is computed from: the fits of a study, its data and model, and this library.

    Parameters
    ----------
    kinds
        Of fits that are there; without any, all of them.
    """
    planned = [row for row in formats.read_plan(folder.plan) if not kinds or row.kind in kinds]
    records = [_seen(checksums.read_record(folder, row.fit)) for row in planned]
    return hash_of(
        digest_of_library(),
        source.digest(study.model.file),
        *(digest_of_file(path) for path in (folder.model, folder.known("data"))),
        json.dumps([dataclasses.astuple(row) for row in planned]),
        json.dumps(formats.finite(records), sort_keys=True),
    )


def _seen(record: FitRecord) -> dict[str, Any]:
    """Give what is read of a fit: not the settings of now, which another budget changes, nor its last look."""
    digests = {name: one for name, one in (record.sha256 or {}).items() if name != RECORD}
    return as_json(dataclasses.replace(record, settings={}, looked=None, sha256=digests))
