"""Names that users write, and what they may have meant."""

import difflib
import re
import zlib
from collections.abc import Iterable

LONGEST = 100  # characters; a file name may have 255 bytes


def closest(name: str, known: Iterable[str]) -> str:
    """Give `, did you mean x?` when a known name is close, else nothing."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {match[0]}?" if match else ""


def slug(name: str) -> str:
    """Write a name as part of a file name: short enough for one, and neither `.` nor `..`."""
    found = re.sub(r"[^A-Za-z0-9_.]+", "_", name)
    if not found.strip("."):
        found = "_" * len(found)
    return found if len(found) <= LONGEST else f"{found[:LONGEST]}_{zlib.crc32(name.encode()):08x}"
