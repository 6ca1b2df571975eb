"""Compare posteriors: of random subsets, and of nested increments."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Real

from scalecheck.checks import agreement, drift
from scalecheck.checks.finding import NOTABLE, Finding
from scalecheck.checks.moments import Moments
from scalecheck.checks.scores import unordered
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.row_scores import row_scores
from scalecheck.evaluation.study_data import StudyData
from scalecheck.examine.check_results import CheckResults, family_not_run
from scalecheck.results.study_fits import FitResult, StudyFits, moments

# Rows are named only where few of them do most of it: this share of the rows, for half of the pull.
_FEW, _MOST = 0.02, 0.5


def run_agreement(study_data: StudyData, study: StudyFits) -> CheckResults:
    """Do random subsets agree, or blocks of neighbours where rows continue each other?"""
    coupling = study_data.likelihood.coupling
    if not coupling.blocks:
        reason = (
            "the model has each row continue the rows before it, from the first one on, so that no block of rows can be"
            " fitted without them"
        )
        return family_not_run("agreement", reason)
    subsets = study.usable("subset")
    planned = [task for task in study.tasks if task.kind == "subset"]
    if len(subsets) < 3:
        kind = "blocks of neighbouring rows" if coupling.ordered else "random subsets"
        reason = f"fewer than 3 of {len(planned)} {kind} have a usable posterior"
        return family_not_run("agreement", reason)
    pooled = moments(subsets)
    fits = [fit.task.fit for fit in subsets]
    likelihood, vector = study_data.likelihood, study_data.likelihood.vector
    anew = vector.elements_of(likelihood.estimated_anew)
    if not anew.any():
        return family_not_run("agreement", _nothing_anew(likelihood))
    # What hangs on latent sites that subsets share agrees too well, however it is estimated.
    fixed = [site for site in vector.shapes if likelihood.dependencies.has_fixed_prior(site)]
    own = vector.elements_of(fixed) & (not likelihood.shared)
    finding, table = agreement.check_agreement(
        pooled.of(anew),
        study_data.prior.of(anew),
        names=[name for name, one in zip(study_data.names, anew, strict=True) if one],
        own=own[anew],
        fits=fits,
    )
    if finding.p is not None and finding.p < NOTABLE:
        finding = _name_influential_rows(finding, study_data, subsets, pooled)
        if coupling.ordered:
            also = "; subsets are blocks of neighbours, which differ as well where parameters change over time"
            finding = dataclasses.replace(finding, message=finding.message + also)
    return CheckResults([finding], {"agreement": table})


def _nothing_anew(likelihood: Likelihood) -> str:
    if not likelihood.shared:
        return "the rows depend on nothing that is compared: model.compare can name what they depend on"
    described = likelihood.shared[0]
    levels = " and ".join(described.indexed_by) or "the model"
    return (
        f"all that is compared describes the latent site {described.name}, of which all subsets see the same levels of"
        f" {levels}: model.compare can name {described.name} itself"
    )


def _name_influential_rows(
    finding: Finding, study_data: StudyData, subsets: Sequence[FitResult], pooled: Moments
) -> Finding:
    """Add to a finding on random subsets which few rows move the most deviant of them, if few do.

    The pull of a row on parameter j is `(V s_i)_j`: its score at the mean over subsets, in the
    metric of the posterior covariance (one step of an infinitesimal jackknife).
    """
    likelihood = study_data.likelihood
    if likelihood.no_row_checks() or finding.parameter not in study_data.names:
        return finding
    j = study_data.names.index(finding.parameter)
    shift = pooled.mean[:, j] - pooled.mean[:, j].mean()
    deviant = int(np.argmax(np.abs(shift) / np.sqrt(pooled.covariance[:, j, j])))
    values = study_data.columns(subsets[deviant].task.slices)
    together = unordered((subsets[deviant].task.fit,), np.zeros(subsets[deviant].task.rows, int))
    (scores,) = row_scores(likelihood, values, [together], pooled.mean.mean(axis=0))
    pull = (scores.score @ pooled.covariance[deviant])[:, j] * np.sign(shift[deviant])
    few = _heaviest(pull)
    if few is None:
        return finding
    model, labels = likelihood.model, likelihood.labels
    columns = model.arguments[model.outcome].columns + model.covariates
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


def run_drift(study_data: StudyData, study: StudyFits, dispersion: float) -> CheckResults:
    """Do nested increments move more than they should?"""
    fits = study.usable("increment")
    looks = sum(task.kind == "increment" for task in study.tasks) - 1
    if len(fits) < 2:
        return family_not_run("drift", "fewer than 2 increments have a usable posterior")
    rows, names = [fit.task.rows for fit in fits], [fit.task.fit for fit in fits]
    ordered = fits[-1].in_arrival_order
    context = drift.Context(study_data.prior, study_data.names, dispersion, ordered)
    findings, table = drift.check_drift(moments(fits), rows, names, looks, context)
    return CheckResults(findings, {"drift": table})
