"""What a search keeps of the candidates that it has tried, so that a killed one goes on after the last of them."""

import hashlib
from pathlib import Path

import numpy as np

from scalecheck.files.arrays import DAMAGE, read_arrays, write_arrays
from scalecheck.remedies.problem import TrialResult
from scalecheck.remedies.ranking import Trial


class Kept:
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
            if str(found["identity"]) != self.identity or str(found["candidate"]) != candidate:
                return None
            return TrialResult(
                Trial(found["z"], found["gradients"]),
                float(found["saturated"]),
                int(found["divergences"]),
                float(found["warmup_share"]),
                str(found["failure"]),
            )
        except DAMAGE:
            return None

    def write(self, candidate: str, seen: TrialResult) -> None:
        """Keep what was seen of a candidate."""
        rest = {name: np.array(value) for name, value in seen._asdict().items() if name != "trial"}
        head = {"identity": np.array(self.identity), "candidate": np.array(candidate)}
        write_arrays(self._path(candidate), head | seen.trial._asdict() | rest)

    def _path(self, candidate: str) -> Path:
        return self.folder / f"{hashlib.sha256(candidate.encode()).hexdigest()[:16]}.npz"
