"""When subsets disagree: which rows pull them apart?"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Real

from scalecheck.checks.finding import Finding
from scalecheck.checks.moments import Moments
from scalecheck.evaluation.study_data import StudyData
from scalecheck.results.study_fits import FitResult

# Rows are named only where few of them do most of it: this share of the rows, for half of the pull.
_FEW, _MOST = 0.02, 0.5


def name_influential_rows(
    finding: Finding, study_data: StudyData, subsets: Sequence[FitResult], pooled: Moments
) -> Finding:
    """Add to a finding on random subsets which few rows move the most deviant of them, if few do.

    The pull of a row on parameter j is `(V s_i)_j`: its score at the mean over subsets, in the
    metric of the posterior covariance (one step of an infinitesimal jackknife).
    """
    if study_data.likelihood.no_row_checks() or finding.parameter not in study_data.names:
        return finding
    j = study_data.names.index(finding.parameter)
    shift = pooled.mean[:, j] - pooled.mean[:, j].mean()
    deviant = int(np.argmax(np.abs(shift) / np.sqrt(pooled.covariance[:, j, j])))
    values = study_data.columns(subsets[deviant].task.slices)
    level = np.zeros(subsets[deviant].task.rows, int)
    scores = study_data.likelihood.scores(values, level, pooled.mean.mean(axis=0))
    pull = (scores.score @ pooled.covariance[deviant])[:, j] * np.sign(shift[deviant])
    few = _heaviest(pull)
    if few is None:
        return finding
    columns = (
        study_data.likelihood.model.arguments[study_data.likelihood.model.outcome].columns
        + study_data.likelihood.model.covariates
    )
    labels = study_data.likelihood.labels
    where = ", ".join(_range(column, values[column][few], labels[column]) for column in columns)
    fit, share = subsets[deviant].task.fit, f"{len(few)} of its {len(pull)} rows"
    sentence = f"; most of what moves {fit} comes from {share} ({where})"
    return dataclasses.replace(finding, message=finding.message + sentence)


def _heaviest(pull: Float[np.ndarray, " row"]) -> Int[np.ndarray, " few"] | None:
    """The fewest rows whose pull together is most of what all rows pull in that direction; None where it takes many."""
    order = np.argsort(-pull)
    total = pull[pull > 0].sum()
    n_rows = int(np.searchsorted(np.cumsum(pull[order]), _MOST * total)) + 1
    return order[:n_rows] if n_rows <= max(1, _FEW * len(pull)) else None


def _range(column: str, values: Real[np.ndarray, " few"], labels: Sequence[str] | None) -> str:
    if labels is not None:
        names = sorted({labels[int(code)] for code in values})
        return f"{column} {', '.join(names[:3])}{' and others' if len(names) > 3 else ''}"
    low, high = values.min(), values.max()
    return f"{column} {low:g}" if low == high else f"{column} {low:g} to {high:g}"
