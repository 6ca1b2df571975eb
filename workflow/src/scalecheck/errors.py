"""Errors that are the user's to mend."""


class StudyError(Exception):
    """One line that names file, key and row, says the rule and the value; exit status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class NotEnoughMemory(StudyError):
    """A fit needs more than there is: with more memory the same settings run."""
