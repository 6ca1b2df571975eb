"""Which statistics a block of rows has, and the block as arrays from which they are computed.

Residuals are the normal scores z of ranks among replicates. They are correlated with covariates and
time, and compared between the levels of groups; `replicate_statistics` computes them.

At most `MOST_COVARIATES` covariates are used, the first `MOST_SLOPES` of them also in products with
time and groups. A group needs two rows per level on average, or its levels say nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Real
from scipy import sparse

MOST_COVARIATES = 20
MOST_SLOPES = 3

# A correlation above which two columns count as one.
SAME = 0.95

LOG_SCORE, LOW_TAIL = "log score", "lowest log scores"
MEAN, VARIANCE, SKEWNESS, KURTOSIS = "mean", "variance", "skewness", "kurtosis"
DISPERSION, SCORE = "score dispersion", "sum of scores"
VALUE = "share of a value"
LINEAR, SQUARE, SPREAD = "z ~ x", "z ~ x^2", "z^2 ~ x"
SPREAD_FIT, SQUARE_FIT = "z^2 ~ fit", "z ~ fit^2"
TIME, SLOPE_TIME, LAG = "z ~ time", "z x ~ time", "lag 1"
WITHIN_VARIANCE, WITHIN_KURTOSIS = "variance within levels", "kurtosis within levels"
GROUP, GROUP_SLOPE, GROUP_SPREAD = "z by g", "z x by g", "z^2 by g"

# Levels with fewer rows for each of their slopes have a mean alone taken out.
ROWS_PER_SLOPE = 5

# Sums of squares: only large ones say anything.
SUMS_OF_SQUARES = frozenset({SCORE, GROUP, GROUP_SLOPE, GROUP_SPREAD})


class Statistic(NamedTuple):
    """One statistic.

    Attributes
    ----------
    what
        Which: one of the constants of this module.
    column
        The covariate; of the share of a value, the value.
    group
        The group.
    used
        Whether the model uses the column: the group, where there is one.
    """

    what: str
    column: str | None = None
    group: str | None = None
    used: bool = True

    @property
    def name(self) -> str:
        """As tables have it: `z ~ distance^2`, `z distance by source`."""
        if self.what == VALUE:
            return f"share of {self.column}"
        if self.column is None and self.group is None:
            return self.what
        words = {"x": self.column, "x^2": f"{self.column}^2", "g": self.group}
        return " ".join(words.get(word) or word for word in self.what.split())


class BlockColumn(NamedTuple):
    """A column of the block.

    Attributes
    ----------
    name
        Of the table.
    values
        `(n,)` numbers, or codes of a group.
    used
        Whether the model uses it.
    """

    name: str
    values: Real[np.ndarray, " n"]
    used: bool


class Design(NamedTuple):
    """What is known of a block of n rows besides its outcome, the same for all members.

    Attributes
    ----------
    covariates, groups
        Columns of numbers, and of codes.
    ordered
        Whether the rows stand in the order of arrival.
    follows
        `(n,)` whether a row follows the one before it in the data.
    takes_part
        `(n,)` whether a row does: not one that the model masks, nor one at the end that only pads.
    taken_out
        Names of groups whose means, and slopes of the covariates, are taken out of the z-scores.
    """

    covariates: tuple[BlockColumn, ...]
    groups: tuple[BlockColumn, ...]
    ordered: bool
    follows: Bool[np.ndarray, " n"]
    takes_part: Bool[np.ndarray, " n"]
    taken_out: tuple[str, ...] = ()


class GroupArrays(NamedTuple):
    """A group as arrays.

    Attributes
    ----------
    by_row
        `(n, level)` 1 where a row is of a level.
    n_rows
        `(level,)` rows that take part.
    slopes
        `(n, slope)` centred covariates.
    squares
        `(slope, level)` sums of their squares.
    """

    by_row: sparse.csr_array
    n_rows: Float[np.ndarray, " level"]
    slopes: Float[np.ndarray, "n slope"]
    squares: Float[np.ndarray, "slope level"]


class Weights(NamedTuple):
    """A design as arrays.

    Attributes
    ----------
    row
        `(n,)` 1; 0 where a row takes no part.
    on_z, on_square
        `(n, q)` what z-scores and their squares are summed with, one column per statistic.
    pairs
        `(n - 1,)` 1 where a row follows the one before it and both take part; None where rows have no order.
    levels
        One per group.
    values
        Outcomes that are counted.
    taken_out
        `(n, t)` orthonormal columns whose part of the z-scores is taken out; None: nothing is.
    """

    row: Float[np.ndarray, " n"]
    on_z: Float[np.ndarray, "n q"]
    on_square: Float[np.ndarray, "n p"]
    pairs: Float[np.ndarray, " n-1"] | None
    levels: tuple[GroupArrays, ...]
    values: Float[np.ndarray, " value"]
    taken_out: Float[np.ndarray, "n t"] | None = None


def lay_out(
    design: Design, fitted: Float[np.ndarray, " n"], values: Sequence[float], *, scored: bool
) -> tuple[tuple[Statistic, ...], Weights]:
    """List the statistics of a design, and arrange it for `measure`.

    Columns that are constant in the rows that take part give no statistic.

    Parameters
    ----------
    design
        The block.
    fitted
        `(n,)` what the model predicts for each row.
    values
        Outcomes whose share is a statistic.
    scored
        Whether the gradients of the log likelihood will be given.

    Returns
    -------
    statistics
        In the order in which `measure` gives them.
    weights
        The design as arrays.
    """
    takes_part, row = design.takes_part, design.takes_part.astype(float)
    covariates = [c for c in design.covariates if _varies(c.values[takes_part])]
    covariates = covariates[:MOST_COVARIATES]
    slopes = [c for c in covariates if c.used][:MOST_SLOPES]
    groups = [c for c in design.groups if _has_levels(c.values[takes_part])]
    if design.taken_out:
        return _lay_out_within(design, row)
    on_z, on_square = _correlates(design, fitted, covariates, slopes, row)
    names = [Statistic(what) for what in (LOG_SCORE, LOW_TAIL, MEAN, VARIANCE, SKEWNESS, KURTOSIS)]
    names += [Statistic(what) for what in (DISPERSION, SCORE) if scored]
    names += [Statistic(VALUE, f"{value:g}") for value in values]
    names += [name for name, _ in on_z] + [name for name, _ in on_square]
    names += [Statistic(LAG)] if design.ordered else []
    for group in groups:
        names += [Statistic(GROUP, None, group.name, group.used)]
        names += [Statistic(GROUP_SPREAD, None, group.name, group.used)]
        names += [Statistic(GROUP_SLOPE, c.name, group.name, group.used) for c in slopes]
    weights = Weights(
        row,
        _centred_columns([values for _, values in on_z], row),
        _centred_columns([values for _, values in on_square], row),
        design.follows[1:] * row[1:] * row[:-1] if design.ordered else None,
        tuple(_levels(group, slopes, row) for group in groups),
        np.array(values, float),
    )
    return tuple(names), weights


def _lay_out_within(
    design: Design, row: Float[np.ndarray, " n"]
) -> tuple[tuple[Statistic, ...], Weights]:
    """List what is asked of the rows when some groups are taken out: what differences between levels leave alone.

    One more than that is measured: the share that levels have in the squares of the z-scores.
    """
    names = [Statistic(what) for what in (WITHIN_VARIANCE, WITHIN_KURTOSIS)]
    names += [Statistic(LAG)] if design.ordered else []
    nothing = np.zeros((len(row), 0))
    pairs = design.follows[1:] * row[1:] * row[:-1] if design.ordered else None
    x = _centred_columns([c.values for c in design.covariates if c.used], row)
    groups = [group for group in design.groups if group.name in design.taken_out]
    basis = _orthonormal(np.concatenate([_of_levels(g.values, x, row) for g in groups], axis=1))
    # Levels of the first may have a scale of their own: what is left is measured in it.
    levels = (_levels(groups[0], [], row),)
    weights = Weights(row, nothing, nothing, pairs, levels, np.zeros(0), basis)
    return tuple(names), weights


def columns_taken_out(design: Design) -> int:
    """Count the columns that taking out the groups of a design takes at most."""
    slopes = sum(c.used for c in design.covariates)
    levels = [len(np.unique(g.values)) for g in design.groups if g.name in design.taken_out]
    return sum(levels) * (1 + slopes)


def _of_levels(
    codes: Real[np.ndarray, " n"], x: Float[np.ndarray, "n slope"], row: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n column"]:
    """Give the columns of a group `(n, column)`: a constant of each level, and its slopes where it has rows enough."""
    level = np.unique(codes, return_inverse=True)[1]
    is_of = row[:, None] * (level[:, None] == np.arange(level.max() + 1))
    enough = is_of.sum(axis=0) >= ROWS_PER_SLOPE * (1 + x.shape[1])
    return np.concatenate([is_of, *(is_of[:, enough] * one[:, None] for one in x.T)], axis=1)


def _orthonormal(columns: Float[np.ndarray, "n column"]) -> Float[np.ndarray, "n t"]:
    """Give an orthonormal basis `(n, t)` of what columns span."""
    values, vectors = np.linalg.eigh(columns.T @ columns)
    kept = values > 1e-9 * max(float(values.max(initial=0.0)), 1e-30)
    return columns @ vectors[:, kept] / np.sqrt(values[kept])


def _varies(values: Real[np.ndarray, " n"]) -> bool:
    return bool(np.isfinite(values).all() and np.ptp(values) > 0)


def _has_levels(codes: Real[np.ndarray, " n"]) -> bool:
    return 2 <= len(np.unique(codes)) <= len(codes) / 2


def _centred(
    values: Real[np.ndarray, " n"], row: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Give values `(n,)` less their mean, in sds; zero where a row takes no part or all are equal."""
    values = np.where(row > 0, values.astype(float), 0.0)
    centred = row * (values - (values @ row) / row.sum())
    scale = np.sqrt((centred @ centred) / row.sum())
    # The share of a rounding error must not look like a covariate.
    return centred / scale if scale > 1e-9 * np.abs(values).max() else np.zeros(len(values))


_Correlates = list[tuple[Statistic, Real[np.ndarray, " n"]]]


def _correlates(
    design: Design,
    fitted: Float[np.ndarray, " n"],
    covariates: list[BlockColumn],
    slopes: list[BlockColumn],
    row: Float[np.ndarray, " n"],
) -> tuple[_Correlates, _Correlates]:
    """Give what z-scores are correlated with, and what their squares are, `(n,)` each."""
    on_z = [(Statistic(LINEAR, c.name, used=c.used), c.values) for c in covariates]
    on_square = [(Statistic(SPREAD, c.name, used=c.used), c.values) for c in covariates]
    for c in covariates:
        square = _centred(_centred(c.values, row) ** 2, row)
        # Of two values the square is no other function.
        if np.abs(square).any() and len(np.unique(c.values[design.takes_part])) > 2:
            on_z += [(Statistic(SQUARE, c.name, used=c.used), square)]
    if not _is_one_of(fitted, covariates, row):
        on_z += [(Statistic(SQUARE_FIT), _centred(fitted, row) ** 2)]
        on_square += [(Statistic(SPREAD_FIT), fitted)]
    if design.ordered:
        time = _centred(np.arange(len(row)), row)
        on_z += [(Statistic(TIME), time)]
        on_z += [(Statistic(SLOPE_TIME, c.name), _centred(c.values, row) * time) for c in slopes]
    return on_z, on_square


def _is_one_of(fitted: np.ndarray, covariates: list[BlockColumn], row: np.ndarray) -> bool:
    """Whether the prediction is nearly a covariate, whose own statistics can name it."""
    correlation = [_centred(c.values, row) @ _centred(fitted, row) / row.sum() for c in covariates]
    return any(abs(r) > SAME for r in correlation)


def _centred_columns(
    columns: Sequence[Real[np.ndarray, " n"]], row: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n q"]:
    return np.reshape([_centred(values, row) for values in columns], (-1, len(row))).T


def _levels(group: BlockColumn, slopes: list[BlockColumn], row: np.ndarray) -> GroupArrays:
    codes = np.unique(group.values, return_inverse=True)[1]
    by_row = sparse.csr_array((np.ones(len(codes)), codes, np.arange(len(codes) + 1)))
    x = _centred_columns([c.values for c in slopes], row)
    return GroupArrays(by_row, row @ by_row, x, (x**2).T @ by_row)
