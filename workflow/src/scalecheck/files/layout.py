"""Where the files of a study lie, and how a name becomes part of a path."""

import re
import zlib
from pathlib import Path


class StudyFolder:
    """The results of one study.

    Parameters
    ----------
    path
        `results/<study>`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def data(self) -> Path:
        """The store: checked data in plan order."""
        return self.path / "data.nc"

    @property
    def spool(self) -> Path:
        """Columns of the table while `data` is made of them."""
        return self.path / ".spool"

    @property
    def model(self) -> Path:
        """What `check_study` learned about the model on these data."""
        return self.path / "model.json"

    @property
    def plan(self) -> Path:
        """One row per fit."""
        return self.path / "plan.csv"

    @property
    def verdict(self) -> Path:
        """verdict.json, the contract that other programs read."""
        return self.path / "verdict.json"

    @property
    def report(self) -> Path:
        """report.html, one file that needs no network."""
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        """The figures of the page, as files of their own."""
        return self.path / "figures"

    @property
    def cache(self) -> Path:
        """Compiled programs, shared by all studies of a results folder."""
        return self.path.parent / ".jax"

    @property
    def lock(self) -> Path:
        """Whose bytes are claimed by those who write."""
        return self.path.parent / ".locks" / self.path.name

    def record(self, fit: str) -> Path:
        """Settings, versions, timings and gradients of a fit; written last: it exists only when the fit does."""
        return self.path / "fits" / fit / "record.json"

    def posterior(self, fit: str) -> Path:
        """Draws and sampler statistics of a fit."""
        return self.path / "fits" / fit / "posterior.nc"

    def checkpoint(self, fit: str) -> Path:
        """What is kept of a batch while it runs, under the name of its first fit."""
        return self.path / "fits" / fit / "checkpoint"

    def audit_checkpoint(self, fit: str) -> Path:
        """What is kept of the cold fit that an increment is compared with, while it runs."""
        return self.path / "fits" / fit / "checkpoint-cold"

    def manifests(self) -> list[Path]:
        """What the batches of subsets and levels wrote last: the names of their fits."""
        return sorted((self.path / "fits").glob("subsets*.json"))

    def left(self, fit: str) -> Path:
        """What an increment leaves to the next, where those start warm."""
        return self.path / "fits" / fit / "left.npz"

    def progress(self, fit: str) -> Path:
        """How a fit ran, a line of JSON per block: there before the fit is done, and added to as it runs."""
        return self.path / "fits" / fit / "progress.jsonl"

    @property
    def confirmation(self) -> Path:
        """The second fit of the subset that took most leapfrogs, or why there is none."""
        return self.path / "fits" / "confirmation.json"

    @property
    def confirmation_checkpoint(self) -> Path:
        """What is kept of it while it runs."""
        return self.path / "fits" / "confirmation" / "checkpoint"

    @property
    def remedies(self) -> Path:
        """What the search for remedies searched, and the lines to paste."""
        return self.path / "remedies.json"

    @property
    def remedies_table(self) -> Path:
        """A row per candidate of the search for remedies."""
        return self.path / "remedies.csv"

    @property
    def searching(self) -> Path:
        """What is kept of the search for remedies while it runs."""
        return self.path / "searching"

    @property
    def approximation(self) -> Path:
        """The approximation of all rows and whether to believe it, or why there is none."""
        return self.path / "approximation.json"

    @property
    def approximate_posterior(self) -> Path:
        """Draws of the approximation of all rows."""
        return self.path / "approximation.nc"

    def approximating(self, name: str) -> Path:
        """What is kept of an approximation while it runs."""
        return self.path / "approximating" / name

    def table(self, name: str) -> Path:
        """A tidy table of the checks."""
        return self.path / "checks" / f"{name}.csv"


LONGEST = 100  # characters; a file name may have 255 bytes


def slug(name: str) -> str:
    """Write a name as part of a file name: short enough for one, and neither `.` nor `..`."""
    found = re.sub(r"[^A-Za-z0-9_.]+", "_", name)
    if not found.strip("."):
        found = "_" * len(found)
    return found if len(found) <= LONGEST else f"{found[:LONGEST]}_{zlib.crc32(name.encode()):08x}"
