"""Write the verdict of a study from its checks and its fits."""

import importlib.metadata
import math
from typing import Any

import numpy as np
import pandas as pd

from scalecheck.checks import verdict
from scalecheck.checks.finding_table import WHOLE_STUDY, findings_of, identity
from scalecheck.checks.unusable_fits import UnusableFit
from scalecheck.data import planned_fits, store
from scalecheck.files import checksums, formats
from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline import confirm
from scalecheck.results import budget, totals
from scalecheck.runtime.program import Log
from scalecheck.study.settings import Study, may_approximate, time_axis

_OF_INCREMENTS = ("drift", "surprise", "scaling", "adaptation")


def conclude(folder: StudyFolder, study: Study, log: Log) -> dict[str, Any]:
    """Judge all findings and write verdict.json.

    Parameters
    ----------
    study
        Its name, `increments.order`, `verdict`, `budget` and `approximation`.
    log
        Takes a line for the forecast.

    Returns
    -------
    dict
        The content of verdict.json.
    """
    settings, limits = study.verdict, study.budget
    fits = formats.read_table(folder.table("fits"))
    findings = findings_of(formats.read_table(folder.table("findings")))
    judged = verdict.judge(verdict.add_families_not_run(findings), settings.alpha)
    ran, done = fits[fits.status != "skipped"], fits[fits.status == "done"]
    recorded = [checksums.read_record(folder, fit) for fit in ran.fit]
    took = totals.spent(recorded, confirm.read_record(folder))
    # No level is needed: the increment is what is tested, levels are the picture.
    needed = list(ran.fit[ran.kind != "level"])
    unusable = _unusable(ran)
    attribution = verdict.attribute(judged, unusable, time=time_axis(study.data, study.increments))
    has_parameters = any(record.parameters for record in recorded)
    name, why = verdict.decide(judged, unusable, needed=needed, has_parameters=has_parameters)
    simulated = _simulated(folder) if settings.simulate else {}
    n_rows = store.read_meta(folder.data).n_rows
    increments = [record for record in recorded if record.kind == "increment"]
    full = budget.fit_of(increments, n_rows, limits)
    log(budget.in_words(full, limits))
    content = {
        "study": study.study,
        "version": importlib.metadata.version("scalecheck"),
        "verdict": name,
        "misfit": attribution.misfit,
        "heterogeneous": attribution.heterogeneous,
        "attribution": {
            "family": attribution.family,
            "axis": attribution.axis,
            "beside": attribution.beside._asdict() if attribution.beside else None,
        },
        "alpha": settings.alpha,
        "reason": why,
        "unusable": [fit for fit in unusable if fit in needed],
        "rows": {
            "total": n_rows,
            "used": rows_used(folder, list(done.fit), study.increments.order),
            "first_seen": _first_seen(judged, fits[fits.kind == "increment"]),
        },
        "gradients": took.gradients,
        "seconds": took.seconds,
        "p_simulated": simulated.get(WHOLE_STUDY),
        "findings": [verdict.as_json(one, simulated.get(identity(one.finding))) for one in judged],
        "forecast": budget.as_json(full, limits),
        "approximation": _approximation(folder)
        if may_approximate(study.approximation, limits)
        else None,
    }
    formats.write_json(folder.verdict, content)
    return content


def _unusable(ran: pd.DataFrame) -> dict[str, UnusableFit]:
    """Take from checks/fits.csv why fits cannot be used."""
    columns = {"rhat": "rhat_max", "ess": "ess_min"}
    return {
        row["fit"]: UnusableFit(*(row[columns.get(name, name)] for name in UnusableFit._fields))
        for row in ran[ran.reason != ""].to_dict("records")
    }


def _approximation(folder: StudyFolder) -> dict[str, Any] | None:
    """Say what is to be known of an approximation of all rows; None where there is none."""
    found = formats.read_json(folder.approximation)
    if not found["asked"]:
        return None
    last = found["increments"][-1] if found["increments"] else None
    names = ("verdict", "reasons", "method", "rows", "converged", "steps", "seconds")
    return {**{name: found[name] for name in names}, "khat": last and last["khat"]}


def _simulated(folder: StudyFolder) -> dict[tuple[str, ...], float]:
    """Ranks among simulated studies by family, axis and fit."""
    table = formats.read_table(folder.table("simulated"))
    return {
        tuple(row[name] or "" for name in ("family", "axis", "fit")): float(row["p_simulated"])
        for row in table.to_dict("records")
        if not math.isnan(row["p_simulated"])
    }


def rows_used(folder: StudyFolder, fits: list[str], order: str) -> int:
    """Count the distinct rows that any of these fits read."""
    seen = [
        store.read_rows(folder.data, task.slices, [store.OBSERVATION])[store.OBSERVATION]
        for task in planned_fits.read_planned(folder, order, fits)
    ]
    return len(np.unique(np.concatenate(seen))) if seen else 0


def _first_seen(judged: list[verdict.Judged], increments: pd.DataFrame) -> int | None:
    """Rows of the smallest increment that a check of increments spoke at; a sum of steps speaks at its last."""
    rows = dict(zip(increments.fit, increments.rows, strict=True))
    spoke = [one.finding for one in judged if one.seen and one.finding.family in _OF_INCREMENTS]
    at = [finding.fit or next(reversed(finding.fits), "") for finding in spoke]
    seen = [int(rows[fit]) for fit in at if fit in rows]
    return min(seen, default=None)
