"""The table of fits that diverged: where, how often, and what a second fit with smaller steps told."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scalecheck.checks import divergences
from scalecheck.files.record import FitRecord, Move, RecordedRefit
from scalecheck.results.study_fits import StudyFits

COLUMNS = ("fit", "kind", "axis", "level", "rows", "divergences", "share")
COLUMNS += ("parameter", "near", "low", "high", "others_low", "others_high")
COLUMNS += ("target_accept", "refit_divergences", "refit_usable")
COLUMNS += ("moved", "shift", "shift_error", "shift_p")
COLUMNS += ("widened", "sd_ratio", "sd_ratio_error", "sd_ratio_p", "bias", "message")


def divergences_table(study: StudyFits) -> pd.DataFrame:
    """Say of each fit that diverged after warmup where it did, and whether that biases what is compared."""
    recorded = [study.recorded[task.fit] for task in study.tasks]
    rows = [_row(record) for record in recorded if sum(record.divergences)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(record: FitRecord) -> Mapping[str, Any]:
    region = record.diverging
    near = ("parameter", "near", "low", "high", "others_low", "others_high")
    return {
        **{name: getattr(record, name) for name in ("fit", "kind", "axis", "level", "rows")},
        "divergences": sum(record.divergences),
        "share": record.divergent_share,
        **({name: getattr(region, name) for name in near} if region else {}),
        **(_of_refit(record.refit) if record.refit else {}),
        "bias": divergences.bias_of(record),
        "message": divergences.describe_divergences(record),
    }


def _of_refit(refit: RecordedRefit) -> dict[str, Any]:
    return {
        "target_accept": refit.target_accept,
        "refit_divergences": sum(refit.divergences),
        "refit_usable": refit.usable,
        **(_of_move(refit.mean, "moved", "shift") if refit.mean else {}),
        **(_of_sd(refit.sd) if refit.sd else {}),
    }


def _of_move(move: Move, name: str, what: str) -> dict[str, Any]:
    return {
        name: move.parameter,
        what: move.gap,
        f"{what}_error": move.error,
        f"{what}_p": move.p,
    }


def _of_sd(move: Move) -> dict[str, Any]:
    """Sd of the second fit over that of the first, from their difference in sds of the second."""
    # Of 1 / (1 - gap), by the delta method.
    ratio = 1 / (1 - move.gap)
    changed = Move(move.parameter, ratio, move.error * ratio**2, move.p)
    return _of_move(changed, "widened", "sd_ratio")
