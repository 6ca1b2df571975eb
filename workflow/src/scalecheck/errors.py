"""Errors that are the user's to mend."""

import difflib
from collections.abc import Iterable


class StudyError(Exception):
    """One line that names file, key and row, says the rule and the value; exit status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class NotEnoughMemory(StudyError):
    """A fit needs more than there is: with more memory the same settings run."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give `, did you mean x?` when a known name is close, else nothing."""
    match = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {match[0]}?" if match else ""
