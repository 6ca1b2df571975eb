"""From what a file was made: a hash of all that it depends on, so that it is made once."""

import hashlib
import importlib.metadata
from pathlib import Path

from scalecheck import ENGINE_VERSION


def hash_of(*parts: str) -> str:
    """Give a hash of texts, and of the version of scalecheck and its engine."""
    found = hashlib.sha256()
    for part in (importlib.metadata.version("scalecheck"), str(ENGINE_VERSION), *parts):
        found.update(f"{len(part)} {part}".encode(errors="surrogateescape"))
    return found.hexdigest()


def digest_of_file(path: str | Path | None) -> str:
    """Give a hash of a file, whatever its size; empty where there is none to be read."""
    try:
        with Path(path or "").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
