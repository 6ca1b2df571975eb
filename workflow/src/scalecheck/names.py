"""Names that users write, and what they may have meant."""

import difflib
import re
from collections.abc import Iterable


def closest(name: str, known: Iterable[str]) -> str:
    """Give `, did you mean x?` when a known name is close, else nothing."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {match[0]}?" if match else ""


def slug(name: str) -> str:
    """Write a name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", name)
