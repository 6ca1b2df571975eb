"""Where the files of a study lie, and how a name becomes part of a path."""

import re
import zlib
from pathlib import Path

# Of every study that was checked, in `checks/`.
TABLES = (
    "fits",
    "divergences",
    "estimates",
    "agreement",
    "heterogeneity",
    "form",
    "drift",
    "surprise",
    "effort",
    "scaling",
)
TABLES += ("adaptation", "history", "units", "findings")


class StudyFolder:
    """The results of one study.

    Parameters
    ----------
    path
        `results/<study>`.

    Attributes
    ----------
    settings
        The study, with its defaults filled in, as its programs read it.
    data
        The store: checked data in plan order.
    spool
        Columns of the table while `data` is made of them.
    model
        What `check_study` learned about the model on these data.
    plan
        One row per fit.
    verdict
        verdict.json, the contract that other programs read.
    report
        report.html, one file that needs no network.
    figures
        The figures of the page, as files of their own.
    cache
        Compiled programs of all studies of a results folder, for users without a cache of their own.
    lock
        Whose bytes are claimed by those who write.
    increments
        What the job of all increments wrote last.
    confirmation
        The second fit of the subset that took most leapfrogs, or why there is none.
    confirmation_checkpoint
        What is kept of the second fit while it runs.
    remedies
        What the search for remedies searched, and the lines to paste.
    remedies_table
        A row per candidate of the search for remedies.
    searching
        What is kept of the search for remedies while it runs.
    approximation
        The approximation of all rows and whether to believe it, or why there is none.
    approximate_posterior
        Draws of the approximation of all rows.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.settings = self.path / "settings.json"
        self.data = self.path / "data.nc"
        self.spool = self.path / ".spool"
        self.model = self.path / "model.json"
        self.plan = self.path / "plan.csv"
        self.verdict = self.path / "verdict.json"
        self.report = self.path / "report.html"
        self.figures = self.path / "figures"
        self.cache = self.path.parent / ".jax"
        self.lock = self.path.parent / ".locks" / self.path.name
        self.increments = self.path / "fits" / "increments.json"
        self.confirmation = self.path / "fits" / "confirmation.json"
        self.confirmation_checkpoint = self.path / "fits" / "confirmation" / "checkpoint"
        self.remedies = self.path / "remedies.json"
        self.remedies_table = self.path / "remedies.csv"
        self.searching = self.path / "searching"
        self.approximation = self.path / "approximation.json"
        self.approximate_posterior = self.path / "approximation.nc"

    def known(self, what: str) -> Path:
        """From what kept files were made."""
        return self.path / ".kept" / f"{what}.identity.json"

    def record(self, fit: str) -> Path:
        """Settings, versions, timings and gradients of a fit; written last: it exists only when the fit does."""
        return self.path / "fits" / fit / "record.json"

    def set_aside(self, fit: str) -> Path:
        """Record of an increment that was fitted and is skipped now."""
        return self.path / "fits" / fit / "set-aside.json"

    def ended(self, fit: str) -> Path:
        """Records of a batch that has ended until each is written, under the name of its first fit."""
        return self.path / "fits" / fit / "ended.json"

    def posterior(self, fit: str) -> Path:
        """Draws and sampler statistics of a fit."""
        return self.path / "fits" / fit / "posterior.nc"

    def checkpoint(self, fit: str) -> Path:
        """What is kept of a batch while it runs, under the name of its first fit."""
        return self.path / "fits" / fit / "checkpoint"

    def audit_checkpoint(self, fit: str) -> Path:
        """What is kept of the cold fit that an increment is compared with, while it runs."""
        return self.path / "fits" / fit / "checkpoint-cold"

    def refit_checkpoint(self, fit: str) -> Path:
        """What is kept of the second fits of a batch, with smaller steps, under the name of its first fit."""
        return self.path / "fits" / fit / "checkpoint-smaller-steps"

    def manifests(self) -> list[Path]:
        """What the jobs of fits wrote last: the names of their fits."""
        found = [*(self.path / "fits").glob("batch-*.json"), self.increments]
        return sorted(path for path in found if path.exists())

    def left(self, fit: str) -> Path:
        """What an increment leaves to the next, where those start warm."""
        return self.path / "fits" / fit / "left.npz"

    def look(self, fit: str) -> Path:
        """What was seen of an increment as it ended."""
        return self.path / "fits" / fit / "look.json"

    def progress(self, fit: str) -> Path:
        """How a fit ran, a line of JSON per block: there before the fit is done, and added to as it runs."""
        return self.path / "fits" / fit / "progress.jsonl"

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
