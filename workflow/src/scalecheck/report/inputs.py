"""What the page is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from scalecheck.checks.verdict import VERDICTS
from scalecheck.data import store
from scalecheck.errors import StudyError
from scalecheck.files import checksums, formats
from scalecheck.files.layout import StudyFolder
from scalecheck.files.true_values import read_truth
from scalecheck.study.settings import Study


@dataclass(frozen=True)
class ReportInputs:
    """The results of one study, as read from its folder.

    Attributes
    ----------
    verdict
        `verdict.json`.
    fits
        `checks/fits.csv`: one row per fit in plan order, with its cost and its health.
    estimates
        `checks/estimates.csv`: one row per fit and scalar parameter, on the constrained scale.
    tables
        The tidy tables of the families, `history`: how the chains ran, `units`: the most deviant
        units of a hierarchical model, and `divergences`: where fits diverged.
        What was not made is absent.
    settings
        The resolved study.
    versions
        What computed the fits: packages, python, device, dtype.
    understood
        What is known of the model, from `model.json`: topic and sentence of each.
    approximation
        `approximation.json`; empty where the study has none.
    dropped
        Counts of what was left out before the fits, by a phrase that says what it is.
    remedies
        `remedies.json`, empty where no search was asked for; its table is among the tables.
    truth
        What simulated data were drawn from, by parameter; empty where nobody knows.
    """

    verdict: Mapping[str, Any]
    fits: pd.DataFrame
    estimates: pd.DataFrame
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)
    remedies: Mapping[str, Any] = field(default_factory=dict)
    truth: Mapping[str, float] = field(default_factory=dict)
    understood: Sequence[Mapping[str, str]] = ()
    approximation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> pd.DataFrame:
        """Rows of the fits that ended with draws."""
        return self.fits[self.fits["status"] == "done"]

    def table(self, name: str) -> pd.DataFrame:
        """Give one of the tables, empty where it was not made."""
        return self.tables.get(name, pd.DataFrame())


_TABLES = (
    "agreement",
    "heterogeneity",
    "form",
    "drift",
    "surprise",
    "effort",
    "scaling",
    "adaptation",
    "history",
    "units",
    "divergences",
)


def _read_verdict(folder: StudyFolder) -> dict[str, Any]:
    verdict = formats.read_json(folder.verdict)
    if verdict["verdict"] not in VERDICTS:
        raise StudyError(
            f"{folder.verdict}: verdict must be one of {', '.join(VERDICTS)}, got {verdict['verdict']}: an earlier"
            " scalecheck wrote it: remove the file and run again"
        )
    return verdict


def read_inputs(folder: StudyFolder, study: Study) -> ReportInputs:
    """Read everything that the page shows.

    Parameters
    ----------
    study
        All of its settings.
    """
    fits = formats.read_table(folder.table("fits"))
    verdict = _read_verdict(folder)
    done = fits[fits.status == "done"]
    versions: dict[str, Any] = {}
    if len(done):
        last = checksums.read_record(folder, done.fit.iloc[-1])
        device = {"device": last.device, "platform": last.platform, "dtype": last.dtype}
        versions = {**last.versions, **device}
    tables = {n: formats.read_table(folder.table(n)) for n in _TABLES if folder.table(n).exists()}
    # One that was written by hand of an older run is not shown where the study does not ask for it.
    searched = study.remedies == "auto"
    if searched:
        tables["remedies"] = formats.read_table(folder.remedies_table)
    return ReportInputs(
        verdict=verdict,
        fits=fits,
        estimates=formats.read_table(folder.table("estimates")),
        tables=tables,
        settings=dict(sorted(asdict(study).items())),
        versions=versions,
        dropped={
            f"rows left out: {reason}": count
            for reason, count in store.read_meta(folder.data).dropped.items()
        },
        remedies=formats.read_json(folder.remedies) if searched else {},
        truth=read_truth(study.data.truth) if study.data.truth else {},
        understood=formats.read_json(folder.model).get("understood", ()),
        # One that is left from other settings is not of this verdict.
        approximation=formats.read_json(folder.approximation)
        if verdict.get("approximation")
        else {},
    )
