"""Whether nested increments move more than they should.

Each step from n to g n rows is judged twice (`nested_step`), and what both say counts; looking after every
increment is paid for by dividing the error rate among the steps. Half of it is kept for their sum,
which sees small shifts that add up.

Formulas and sources: docs/statistics.md, section 3.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2

from scalecheck.checks.finding import (
    NOTABLE,
    Effect,
    Finding,
    not_run,
    notable,
    rounded,
    step_weight,
)
from scalecheck.checks.moments import Moments, Prior, in_double, not_identified, why_not_comparable
from scalecheck.checks.nested_step import NestedStep, measure_step

LARGE = 1.0
# Below this growth the difference V - V' is mostly noise (docs/statistics.md: 11 % false
# alarms at 1.25).
SMALLEST_GROWTH = 1.5


class Context(NamedTuple):
    """What all steps are judged with.

    Attributes
    ----------
    prior
        Prior moments of the parameters.
    names
        `(d,)` names of the parameters.
    dispersion
        From `agreement`: a shift that it explains is a misfit, one that it does not is
        heterogeneous.
    ordered
        Whether rows come as they arrived. In random order no parameter can change with them: a shift
        is a misfit.
    """

    prior: Prior
    names: Sequence[str]
    dispersion: float = 1.0
    ordered: bool = True


def check_drift(
    increments: Moments, rows: Sequence[int], fits: Sequence[str], looks: int, context: Context
) -> tuple[list[Finding], pd.DataFrame]:
    """Judge every step between successive increments, and all of them together.

    Parameters
    ----------
    increments
        Posterior moments, unconstrained scale; `fit` runs over `fits` in growing order, `d` over
        the names of the parameters.
    rows
        `(fit,)` rows of each increment.
    fits
        Names of the increments.
    looks
        Planned number of steps, among which half of the error rate is divided; the sum has the
        other half.
    context
        What all steps are judged with.

    Returns
    -------
    findings
        One per step, with the later increment as `fit`, and from two steps on one for the sum.
    table
        One row per step and parameter: fit, rows_before, rows_after, parameter, shift and usual
        (posterior sds of the earlier increment), then what belongs to the whole step: hausman,
        predicted, df, p, contraction, contraction_expected, contraction_sd.
    """
    if len(fits) < 2:
        reason = f"drift needs at least two usable increments, got {len(fits)}"
        return [not_run("drift", reason, fits=tuple(fits))], _table([], context.names)
    judged = [
        check_drift_step(
            (increments.only(before), increments.only(after)),
            (rows[before], rows[after]),
            (fits[before], fits[after]),
            step_weight(looks),
            context,
        )
        for before, after in pairwise(range(len(fits)))
    ]
    findings = [finding for finding, _ in judged]
    steps = [step for _, step in judged if step is not None]
    if len(steps) > 1:
        findings.append(_finding(steps, None, tuple(fits), 0.5, context))
    return findings, _table(steps, context.names)


def check_drift_step(
    nested: tuple[Moments, Moments],
    rows: tuple[int, int],
    fits: tuple[str, str],
    weight: float,
    context: Context,
) -> tuple[Finding, NestedStep | None]:
    """Judge one step; `check_drift` says the same of it.

    Parameters
    ----------
    nested
        Posterior moments of the smaller fit and of the larger one, `(1, d)`, `(1, d, d)` and `(1,)`: `Moments.only`.
    rows, fits
        Their rows and names.
    weight
        Share of the family's error rate: `1 / (2 * looks)`, or 1 where one step is planned.
    context
        What all steps are judged with.

    Returns
    -------
    finding
        Of this step.
    step
        What it was judged by; None where it was not run.
    """
    before, after = map(in_double, nested)
    prior = in_double(context.prior)
    reason = why_not_comparable(before, prior) or why_not_comparable(after, prior)
    if rows[1] <= rows[0]:
        reason = f"an increment must grow, got {rows[0]} and then {rows[1]} rows"
    if not reason:
        step = measure_step(before, after, rows, fits[1], prior)
        if step.df:
            return _finding([step], step.fit, fits, weight, context), step
        reason = f"{rows[1]} rows identify no direction beyond the prior"
    return not_run("drift", reason, weight=weight, fit=fits[1], fits=fits), None


def _p(steps: list[NestedStep], dispersion: float) -> float:
    """Return the p-value of the sum over steps: both variances have to reject."""
    statistics = [sum(s.hausman for s in steps), sum(s.predicted for s in steps)]
    return float(chi2.sf(min(statistics) / dispersion, sum(s.df for s in steps)))


def _finding(
    steps: list[NestedStep],
    fit: str | None,
    fits: tuple[str, ...],
    weight: float,
    context: Context,
) -> Finding:
    """Return the finding of some steps; the one with the largest shift gives the effect and the parameter."""
    step, names = max(steps, key=lambda one: np.abs(one.shift).max()), context.names
    where = f"from {step.rows[0]} to {step.rows[1]} rows"
    if len(steps) > 1:
        where = f"over {len(steps)} steps, most {where},"
    j = int(np.argmax(np.abs(step.shift)))
    size, usual = float(abs(step.shift[j])), float(step.usual[j])
    moved = f"{rounded(size)} posterior sds where {rounded(usual)} is usual"
    message = f"{where} the posterior moved as expected: {names[j]} by {moved}"
    p = _p(steps, 1.0)
    unexplained = _p(steps, max(1.0, context.dispersion)) / weight < NOTABLE
    if notable(p, weight):
        message = f"{where} {names[j]} moved by {moved}{_cause(unexplained, context)}"
    few_new = min(s.growth for s in steps) < SMALLEST_GROWTH
    return Finding(
        family="drift",
        p=p,
        weight=weight,
        large=size > LARGE,
        effect=Effect("shift in posterior sds", size, size - 1.96 * usual, size + 1.96 * usual),
        parameter=names[j],
        fit=fit,
        kind="heterogeneous" if unexplained and context.ordered else "misfit",
        fits=fits,
        message=message
        + ("; indicative: let increments grow by a factor of 2" if few_new else "")
        + not_identified(step.n_dropped, len(names), "these rows"),
    )


def _cause(unexplained: bool, context: Context) -> str:
    if not unexplained:
        return (
            f", which the dispersion {rounded(context.dispersion)} of the subsets explains: the model claims too"
            " little variance"
        )
    if not context.ordered:
        return ", though rows come in random order: the model claims too little variance"
    return (
        ": the parameters change as data arrive: let them depend on time or on what arrived later"
    )


def _table(steps: list[NestedStep], names: Sequence[str]) -> pd.DataFrame:
    columns = ["fit", "rows_before", "rows_after", "parameter", "shift", "usual", "hausman"]
    columns += ["predicted", "df", "p", "contraction", "contraction_expected", "contraction_sd"]
    lines = [
        (s.fit, *s.rows, name, s.shift[j], s.usual[j], s.hausman, s.predicted, s.df, _p([s], 1.0))
        + (s.contraction, s.contraction_expected, s.contraction_sd)
        for s in steps
        for j, name in enumerate(names)
    ]
    return pd.DataFrame(lines, columns=columns)
