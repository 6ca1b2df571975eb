"""Named arrays in one file, checksums included."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from scalecheck.files import formats

# What reading a file that is damaged may raise: RuntimeError where it seems to be encrypted, or packed in
# a way that zipfile does not know.
DAMAGE = (OSError, EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays of any shapes atomically, uncompressed."""
    with formats.atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read every array whole, of any shape, so that the checksum of each is looked at.

    Raises
    ------
    OSError, EOFError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error
        `DAMAGE`, where the file is missing or damaged.
    """
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
