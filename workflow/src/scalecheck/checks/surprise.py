"""Whether new rows are surprising under the posterior of the rows before them.

Replicates of the new rows are drawn from the posterior of the previous increment. Under the model
the observed rows are one more replicate, so the rank of any statistic among them is its p-value,
without asymptotics (posterior SBC, arXiv:2502.03279). The family's statistic is the largest of
several studentised ones: the smallest of their ranks ties.

Formulas and sources: docs/statistics.md, section 4.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from scalecheck.checks import statistic_design, statistic_messages
from scalecheck.checks.finding import Effect, Finding, notable, rounded
from scalecheck.checks.member_ranks import Measured, Scale, rank, rank_of_first
from scalecheck.checks.statistic_design import Statistic
from scalecheck.checks.statistic_messages import Setting

LARGE = 4.0

REPLICATES = 999

# Where the observed is among the first two, so many more are drawn, over the weight of the step: a p of
# 2 in 3,000 is strong after the correction for seven families, and for looks as the weight says.
MORE = 3_000

# Of more new rows than this, some are left out.
MOST_PREDICTED = 30_000


class NewRows(NamedTuple):
    """Which rows are new.

    Attributes
    ----------
    fit
        The increment that they belong to.
    first, last
        Numbers of the first and the last new row, from 1.
    before
        Rows of the increment that predicts.
    fits
        Fits that the comparison rests on.
    weight
        Share of the family's error rate.
    note
        What else the comparison rests on; nothing where there is nothing to say.
    """

    fit: str
    first: int
    last: int
    before: int
    fits: tuple[str, ...]
    weight: float
    note: str = ""


def n_more(weight: float) -> int:
    """Further replicates that resolve whether a step of this share of the error rate is strong."""
    return int(np.ceil(MORE / weight))


def check_surprise(
    statistics: Sequence[Statistic],
    values: Measured,
    more: Callable[[], Iterable[Float[np.ndarray, "chunk q"]]],
    *,
    step: NewRows,
    setting: Setting,
    rng: np.random.Generator,
) -> tuple[Finding, pd.DataFrame]:
    """Rank the new rows among replicates of them.

    Parameters
    ----------
    statistics
        What was measured.
    values
        `(S + 1, q)` of the observed rows, then of S replicates.
    more
        Gives the statistics `(chunk, q)` of further replicates, a chunk at a time; asked only where
        the observed rows are among the two most extreme.
    step
        The new rows.
    setting
        What meanings depend on.
    rng
        Breaks ties among equal statistics.

    Returns
    -------
    finding
        Its effect is the leading statistic, studentised, plus and minus 1.96 of its own sds under
        the model.
    table
        One row per statistic that varies: fit, statistic, observed, median, sd (of the observed and
        all replicates), studentised (signed), p (its own rank), leading.
    """
    scale = Scale.of(statistics, values)

    def longer() -> tuple[float, Iterable[np.ndarray]]:
        # Studentised without the observed, which is exchangeable with the further replicates only then.
        own = Scale.of(statistics, values[1:])
        further = (own.extremeness(chunk).max(axis=1) for chunk in more())
        return float(own.extremeness(values[:1]).max()), further

    p = rank_of_first(scale.extremeness(values).max(axis=1), longer, rng)
    leading = _leading(statistics, values, scale)
    signed = float(scale.studentised(values[:1])[0, leading])
    message = _message(statistics[leading], signed, step, notable(p, step.weight))
    finding = finding_of(
        statistics[leading],
        signed,
        setting,
        p=p,
        weight=step.weight,
        fit=step.fit,
        fits=step.fits,
        message=message,
    )
    return finding, _table(step.fit, statistics, values, scale, leading, rng)


def finding_of(statistic: Statistic, signed: float, setting: Setting, **known: Any) -> Finding:
    """Give the finding that a statistic leads, so many sds out.

    Parameters
    ----------
    **known
        `p`, `weight`, `fit`, `fits` and `message` of `Finding`.
    """
    size = abs(signed)
    kind, axis = statistic_messages.meaning(statistic, setting)
    effect = Effect(f"studentised {statistic.name}", size, size - 1.96, size + 1.96)
    return Finding(
        family="surprise", large=size > LARGE, effect=effect, axis=axis, kind=kind, **known
    )


def _leading(statistics: Sequence[Statistic], values: Measured, scale: Scale) -> int:
    """Return the statistic that says what the deviation means.

    It is the one that is furthest out; but the sum of scores in its own sds, without the cube
    root. For that sum stays near zero whatever is wrong with a model that was wrong before, too: if
    it is large, then something changed, and says more than what it changed first.
    """
    extremeness = scale.extremeness(values[:1])[0]
    for j, statistic in enumerate(statistics):
        if statistic.what == statistic_design.SCORE:
            own = values[:, j]
            extremeness[j] = (own[0] - np.median(own)) / max(float(own.std()), 1e-30)
    return int(extremeness.argmax())


def _message(statistic: Statistic, signed: float, step: NewRows, seen: bool) -> str:
    sds = f"{statistic.name}: {rounded(abs(signed))} sds"
    rows = f"rows {step.first} to {step.last}"
    note = f"; {step.note}" if step.note else ""
    before = f"after {step.before} rows" if step.before else "of the model"
    if not seen:
        predicts = f"the model predicts {before}" if step.before else "the model predicts"
        return f"{rows} look like what {predicts} (largest deviation, {sds}){note}"
    said = statistic_messages.sentence(statistic, above=signed > 0)
    return f"{rows} {said} ({sds} from the prediction {before}){note}"


def _table(
    fit: str,
    statistics: Sequence[Statistic],
    values: Measured,
    scale: Scale,
    leading: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    columns = {
        "fit": fit,
        "statistic": [statistic.name for statistic in statistics],
        "observed": values[0],
        "median": np.median(values, axis=0),
        "sd": values.std(axis=0),
        "studentised": scale.studentised(values[:1])[0],
        "p": [rank(column, rng) for column in scale.extremeness(values).T],
        "leading": np.arange(len(statistics)) == leading,
    }
    table = pd.DataFrame(columns)
    return table[table["sd"] > 0].reset_index(drop=True)
