"""What a search keeps of the candidates that it has tried, so that a killed one goes on after the last of them."""

import hashlib
from pathlib import Path

import numpy as np

from scalecheck.files.arrays import DAMAGE, read_arrays, write_arrays
from scalecheck.remedies.problem import TrialResult
from scalecheck.remedies.ranking import Trial
from scalecheck.sampler.snapshot import from_arrays, to_arrays

_NO_RESULT = TrialResult(Trial(np.zeros(0), np.zeros(0)), 0.0, 0, 0.0)


class SearchCheckpoint:
    """A folder with a file for each candidate, of one search.

    Which candidates are tried depends on the draws of those before, and on what the memory did not hold, which is not
    kept: with as much of it a search that goes on tries the same.

    Parameters
    ----------
    folder
        Where.
    identity
        Of everything that determines the draws but the candidate: what is there under another one is not used.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder, self.identity = folder, identity

    def read(self, candidate: str) -> TrialResult | None:
        """Read what was seen of a candidate; None where it was not tried, or not in this search, or is damaged."""
        try:
            found = read_arrays(self._path(candidate))
            is_own = str(found["identity"]) == f"{self.identity} {candidate}"
            return from_arrays(found, _NO_RESULT) if is_own else None
        except DAMAGE:
            return None

    def write(self, candidate: str, seen: TrialResult) -> None:
        """Keep what was seen of a candidate."""
        head = {"identity": np.array(f"{self.identity} {candidate}")}
        write_arrays(self._path(candidate), head | to_arrays(seen))

    def _path(self, candidate: str) -> Path:
        return self.folder / f"{hashlib.sha256(candidate.encode()).hexdigest()[:16]}.npz"
