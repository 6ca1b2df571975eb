"""Whether covariates act in the form that the model gives them.

A model that takes a covariate says how it acts. The scores of one fit tell whether a term is missing: the square
of a covariate, its logarithm, the product of two. All terms are asked together, of the same replicates: a term is
largest in few rows, where random signs of skewed scores are no null, and their variance hides what it should show.
Where outcomes cannot be replicated, signs have to do.

Formulas and sources: docs/statistics.md, section 8.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Real

from scalecheck.checks.finding import Effect, Finding, not_run, notable, rounded
from scalecheck.checks.score_statistics import SATURATED, Null
from scalecheck.checks.score_test import CHUNK, N_FLIPS, N_FLIPS_MORE, random_signs
from scalecheck.checks.scores import (
    LINEAR,
    LOG,
    SQUARE,
    Along,
    Replicates,
    Scores,
    left_over,
    scaled_replicates,
    standardised,
)
from scalecheck.checks.standardised_scores import (
    StandardisedScores,
    along_contrast,
    leaks,
    standardise_scores,
)

PRODUCT = "product"
LARGE = 4.0
# Products of more covariates than this are not asked: their number grows with its square.
MOST_CROSSED = 12
# With fewer rows for each parameter neither signs nor replicates are a null: estimating takes too much from the scores.
FEWEST_ROWS = 10


class Term(NamedTuple):
    """A term that a model might lack.

    Attributes
    ----------
    what
        `linear`, which only tells what the model has; `square`, `log` or `product`.
    columns
        The covariate, or both of a product.
    """

    what: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        """Write the term as a formula."""
        one = self.columns[0]
        written = {LOG: f"log({one})", SQUARE: f"{one}^2", LINEAR: one}
        return written.get(self.what) or " x ".join(self.columns)


class Terms(NamedTuple):
    """All terms that are asked.

    Attributes
    ----------
    each
        The terms, linear ones first.
    along
        Their values, with one level that has all rows.
    """

    each: tuple[Term, ...]
    along: Along


def terms_of(columns: Mapping[str, Real[np.ndarray, " row"]]) -> Terms:
    """List the terms of some covariates `(rows,)`, those that differ from one another on these rows.

    Parameters
    ----------
    columns
        Numbers by name.
    """
    linear = {name: standardised(values.astype(float)) for name, values in columns.items()}
    linear = {name: values for name, values in linear.items() if values.any()}
    found = {Term(LINEAR, (name,)): values for name, values in linear.items()}
    for name, values in linear.items():
        found[Term(SQUARE, (name,))] = left_over(values**2, values)
        if columns[name].min() > 0:
            found[Term(LOG, (name,))] = standardised(np.log(columns[name].astype(float)))
    if len(linear) <= MOST_CROSSED:
        for one, other in combinations(linear, 2):
            found[Term(PRODUCT, (one, other))] = standardised(linear[one] * linear[other])
    found = {term: values for term, values in found.items() if values.any()}
    n_rows = len(next(iter(columns.values())))
    contrast = np.stack([*found.values()], axis=1) if found else np.zeros((n_rows, 0))
    level = np.zeros(n_rows, int)
    return Terms(tuple(found), Along(("all rows",), level, tuple(map(str, found)), contrast))


class _Asked(NamedTuple):
    """What is asked: terms of parameters.

    Attributes
    ----------
    term, parameter
        `(pair,)`.
    entries
        `(unit, pair)` scores of units, of unit variance.
    on_total, on_along
        `(d, pair)` what sums of scores, and of scores times the contrast of the term, are multiplied by.
    number
        `(pair,)` contrast of the term.
    """

    term: tuple[Term, ...]
    parameter: tuple[int, ...]
    entries: Float[np.ndarray, "unit pair"]
    on_total: Float[np.ndarray, "d pair"]
    on_along: Float[np.ndarray, "d pair"]
    number: tuple[int, ...]

    def sums(
        self, total: Float[np.ndarray, "set d"], along: Float[np.ndarray, "set contrast d"]
    ) -> Float[np.ndarray, "set pair"]:
        """Give the score of each term, from sums of scores, and of scores times contrasts."""
        of_term = np.einsum("spd,dp->sp", along[:, list(self.number)], self.on_along)
        return of_term - total @ self.on_total


def check_form(
    terms: Terms,
    scores: Scores,
    replicates: Replicates | None = None,
    *,
    names: Sequence[str],
    fits: Sequence[str],
    weight: float,
    rng: np.random.Generator,
) -> tuple[Finding, pd.DataFrame]:
    """Test whether a term is missing.

    Parameters
    ----------
    terms
        From `terms_of`.
    scores
        Of all rows, along `terms.along`.
    replicates
        Gives so many replicates of the rows at the same estimate, some at a time; None: there are none. Then, and where
        a replicate has no finite score, signs are flipped.
    names
        `(d,)` names of the parameters.
    fits
        Those whose rows they are, the largest increment first.
    weight
        Share of the family's error rate.
    rng
        Flips the signs, where they are.

    Returns
    -------
    finding
        Its effect is the score of the leading term in its sds, plus and minus 1.96.
    table
        One row per term and parameter that was asked: term, parameter, z (score in its sds), leading.
    """
    where = {"fit": fits[0], "fits": tuple(fits), "kind": "misfit"}
    if not all(
        np.isfinite(part).all() for part in (scores.score, scores.information, scores.along)
    ):
        return not_run("form", "a score is not a number", weight=weight, **where), pd.DataFrame()
    n_rows, d = scores.score.shape
    if n_rows < FEWEST_ROWS * d:
        few = f"form needs at least {FEWEST_ROWS} rows for each of the {d} parameters, got {n_rows}"
        return not_run("form", few, weight=weight, **where), pd.DataFrame()
    flow = standardise_scores(
        scores._replace(contrast=scores.contrast[:, :0], along=scores.along[:0])
    )
    if flow is None:
        return not_run(
            "form", "the rows have no information on any parameter", weight=weight, **where
        ), pd.DataFrame()
    asked = _asked(terms, scores, flow)
    if not asked.term:
        return not_run("form", _nothing(terms), weight=weight, **where), pd.DataFrame()
    null = replicates and _replicated(asked, scores, replicates)
    if not null:
        null = asked.entries.sum(axis=0), _flipped(asked, flow.regained_by_all, rng)
    z, measured = null
    p, leading = _p_value(z, measured, weight)
    size, name = float(abs(z[leading])), names[asked.parameter[leading]]
    finding = Finding(
        family="form",
        p=p,
        weight=weight,
        large=size > LARGE,
        effect=Effect(f"score of {asked.term[leading]} in sds", size, size - 1.96, size + 1.96),
        axis=" and ".join(asked.term[leading].columns),
        parameter=name,
        message=_message(asked.term[leading], name, size, terms, notable(p, weight)),
        **where,
    )
    columns = {
        "term": [str(term) for term in asked.term],
        "parameter": [names[number] for number in asked.parameter],
        "z": z,
        "leading": np.arange(len(z)) == leading,
    }
    return finding, pd.DataFrame(columns)


def _nothing(terms: Terms) -> str:
    if not terms.each:
        return "no covariate of the model is a number that varies"
    return "every term that was asked is one that the model has"


def _asked(terms: Terms, scores: Scores, flow: StandardisedScores) -> _Asked:
    """Choose what is asked: a term of those parameters that its covariates are linear in, else of all."""
    coordinates = scores.score @ flow.root
    of_parameters = np.linalg.pinv(flow.root)
    size = (of_parameters**2).sum(axis=0)
    leak = leaks(flow.root, scores.information.sum(axis=0), scores.along)
    linear: dict[str, set[int]] = {}
    found: list[tuple[int, int, float, np.ndarray]] = []
    for number, term in enumerate(terms.each):
        contrast = scores.contrast[:, number]
        entries = along_contrast(flow.unit_of_entry, coordinates, contrast, leak[number])
        own = ((entries @ of_parameters) ** 2).sum(axis=0)
        varies = own > SATURATED * size
        if term.what == LINEAR:
            linear[term.columns[0]] = set(np.flatnonzero(~varies & (size > 0)).tolist())
            continue
        # With a slope on the covariate, what its term is added to is what the slope is added to.
        together = set.intersection(*(linear[name] for name in term.columns))
        for j in np.flatnonzero(varies):
            if j in together or not together:
                sd = float(np.sqrt(own[j]))
                found.append((number, int(j), sd, entries @ of_parameters[:, j] / sd))
    if not found:
        nothing = np.zeros((len(flow.root), 0))
        return _Asked((), (), nothing, nothing, nothing, ())
    numbers, parameters, sds, entries = zip(*found, strict=True)
    on = of_parameters[:, list(parameters)] / np.array(sds)
    return _Asked(
        tuple(terms.each[number] for number in numbers),
        parameters,
        np.stack(entries, axis=1),
        flow.root @ np.einsum("pji,jp->ip", leak[list(numbers)], on),
        flow.root @ on,
        numbers,
    )


# So many terms `(some, pair)` under the null, a part at a time.
_Measured = Callable[[int], Iterator[Float[np.ndarray, "some pair"]]]


def _p_value(
    z: Float[np.ndarray, " pair"], measured: _Measured, weight: float
) -> tuple[float, int]:
    """Return the p-value of the term that deviates most, and its number."""
    null = Null(np.concatenate([*measured(N_FLIPS)]), np.cbrt(z[None] ** 2))
    if null.n_exceeding <= 1:
        for more in measured(math.ceil(N_FLIPS_MORE / weight)):
            null.add(more)
    return null.p, int(null.deviation.argmax())


def _flipped(asked: _Asked, regained: float, rng: np.random.Generator) -> _Measured:
    """Flip signs of units."""
    entries = asked.entries.astype(np.float32)
    width = max(1, CHUNK // len(entries))

    def flipped(n: int) -> Iterator[Float[np.ndarray, "flip pair"]]:
        for start in range(0, n, width):
            sums = random_signs(min(width, n - start), len(entries), rng) @ entries
            yield np.cbrt((sums.astype(float) * regained) ** 2)

    return flipped


def _replicated(
    asked: _Asked, scores: Scores, replicates: Replicates
) -> tuple[Float[np.ndarray, " pair"], _Measured] | None:
    """Return the observed terms in sds of replicates, and what replicates do; None where one has no finite score.

    All are in the scale of the observed scores, parameter by parameter: that takes a wrong dispersion out, which
    `agreement` and `surprise` look for.
    """
    score, (n_rows, d) = scores.score, scores.score.shape
    # At the estimate scores are smaller than at the truth, where those of replicates are.
    squares = (score**2).sum(axis=0) * n_rows / (n_rows - d)
    scaled = scaled_replicates(replicates, squares)
    first = np.concatenate([asked.sums(one.total, one.along) for one in scaled(N_FLIPS)])
    if not np.isfinite(first).all():
        return None
    sd = first.std(axis=0)
    sd = np.where(sd > 0, sd, np.inf)

    def measured(n: int) -> Iterator[Float[np.ndarray, "replicate pair"]]:
        # What the sds were taken from comes first.
        further = (asked.sums(one.total, one.along) for one in scaled(n))
        for terms in (first,) if n == N_FLIPS else further:
            # What is not a number deviates as much as anything.
            yield np.nan_to_num(np.cbrt((terms / sd) ** 2), nan=np.inf)

    along = np.einsum("nc,nd->cd", scores.contrast, score)[None]
    return asked.sums(score.sum(axis=0)[None], along)[0] / sd, measured


def _message(term: Term, name: str, size: float, terms: Terms, seen: bool) -> str:
    sds = f"{rounded(size)} sds"
    if not seen:
        return f"no square, logarithm or product of covariates is missing by more than chance (most: {term}, {sds})"
    if term.what == PRODUCT:
        one, other = term.columns
        return f"the effects of {one} and {other} depend on each other ({name}, {sds}): add {term}"
    (column,) = term.columns
    log = f"log({column}) or " if Term(LOG, (column,)) in terms.each else ""
    return f"the effect of {column} bends ({name}, {sds}): {log}a quadratic term fits what is seen"
