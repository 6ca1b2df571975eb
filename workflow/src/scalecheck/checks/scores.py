"""Scores of a fit, of rows or of whole units, and what is asked of them along an axis."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

# Shapes of an ordered axis.
LINEAR, SQUARE, LOG = "linear", "square", "log"


class Along(NamedTuple):
    """What is asked along an axis.

    Attributes
    ----------
    labels
        Names of the levels, in the order of their codes.
    level
        `(n,)` codes.
    shapes
        Names of the directed tests of an ordered axis; none where the levels have no order.
    contrast
        `(n, shape)` values that the scores are multiplied by, each with mean 0 and mean square 1.
    """

    labels: tuple[str, ...]
    level: Int[np.ndarray, " n"]
    shapes: tuple[str, ...]
    contrast: Float[np.ndarray, "n shape"]

    @property
    def is_ordered(self) -> bool:
        """Whether a change-point makes sense, too."""
        return bool(self.shapes)


def unordered(labels: tuple[str, ...], level: Int[np.ndarray, " n"]) -> Along:
    """Ask whether levels without an order differ."""
    return Along(labels, level, (), np.zeros((len(level), 0)))


def ordered(
    labels: tuple[str, ...], level: Int[np.ndarray, " n"], values: Float[np.ndarray, " n"]
) -> Along:
    """Ask whether levels differ, and whether there is a slope, a bend or a logarithm along their values.

    Parameters
    ----------
    values
        `(n,)` of the column. It has a logarithm where all of them are positive.
    """
    linear = standardised(values)
    columns = {LINEAR: linear, SQUARE: left_over(linear**2, linear)}
    if values.min() > 0:
        columns[LOG] = standardised(np.log(values))
    told = {name: column for name, column in columns.items() if column.any()}
    contrast = np.stack([*told.values()], axis=1) if told else np.zeros((len(level), 0))
    return Along(labels, level, tuple(told), contrast)


def standardised(
    values: Float[np.ndarray, " n"], least: float | None = None
) -> Float[np.ndarray, " n"]:
    """Bring values to mean 0 and mean square 1; all zero where they are the same.

    Parameters
    ----------
    least
        Values whose sd is no larger count as equal; None: what rounding in double precision gives.
    """
    centred = values - values.mean()
    size = np.sqrt((centred**2).mean())
    rounding = 1e-13 * np.abs(values).max(initial=0.0) if least is None else least
    return centred / size if size > rounding else np.zeros_like(centred)


def left_over(
    values: Float[np.ndarray, " n"], linear: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Take the mean and the slope out, as for an orthogonal polynomial; all zero where nothing is left."""
    centred = values - values.mean()
    rest = centred - (centred @ linear) / len(linear) * linear
    return standardised(rest, 1e-9 * float(np.abs(values).max(initial=0.0)))


class Scores(NamedTuple):
    """Gradients of the log likelihood at the pooled estimate, of rows or of whole units.

    Attributes
    ----------
    score
        `(n, d)`, per row or unit.
    information
        `(level, d, d)`, minus the Hessian summed over the rows of each level.
    level
        `(n,)` codes of levels.
    contrast
        `(n, shape)`, as `Along` has it.
    along
        `(shape, d, d)`, minus the Hessian of each row times its contrast, summed.
    unit
        `(n,)` codes of exchangeable units, which are flipped whole; None: every entry by itself.
    covariance
        `(d, d)` posterior covariance, where the latent sites of units were averaged out.
    size
        `(n,)` rows of each entry where entries are whole units, whose levels may be permuted; None:
        entries are rows.
    """

    score: Float[np.ndarray, "n d"]
    information: Float[np.ndarray, "level d d"]
    level: Int[np.ndarray, " n"]
    contrast: Float[np.ndarray, "n shape"]
    along: Float[np.ndarray, "shape d d"]
    unit: Int[np.ndarray, " n"] | None = None
    covariance: Float[np.ndarray, "d d"] | None = None
    size: Int[np.ndarray, " n"] | None = None

    def rows(self) -> Int[np.ndarray, " level"]:
        """Return the rows of each level, `(level,)`."""
        return np.bincount(self.level, weights=self.size).astype(int)

    def units(self) -> Int[np.ndarray, " level"]:
        """Return the units of each level, `(level,)`."""
        if self.unit is None:
            return np.bincount(self.level)
        return np.bincount(np.unique(np.stack([self.level, self.unit]), axis=1)[0])


class ScoreSums(NamedTuple):
    """Scores of some data sets, summed over rows.

    Attributes
    ----------
    total
        `(set, d)`.
    along
        `(set, contrast, d)`, times each contrast.
    squares
        `(set, d)` of their squares.
    """

    total: Float[np.ndarray, "set d"]
    along: Float[np.ndarray, "set contrast d"]
    squares: Float[np.ndarray, "set d"]


def in_scale(found: ScoreSums, squares: Float[np.ndarray, " d"]) -> ScoreSums:
    """Scale the scores of each data set so that their squares sum to these `(d,)`: a wrong dispersion drops out."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(squares > 0, np.sqrt(squares / found.squares), 0.0)
    along = found.along * factor[:, None]
    return ScoreSums(found.total * factor, along, np.broadcast_to(squares, factor.shape))


Replicates = Callable[[int], Iterable[ScoreSums]]


def scaled_replicates(replicates: Replicates, squares: Float[np.ndarray, " d"]) -> Replicates:
    """Give replicates whose scores are in the scale of these sums of squares `(d,)`."""
    return lambda n: (in_scale(found, squares) for found in replicates(n))


def scores_of_units(
    score: Float[np.ndarray, "row d"],
    along: Along,
    unit: Int[np.ndarray, " row"],
    covariance: Float[np.ndarray, "d d"],
) -> Scores:
    """Sum scores of rows by unit, for models in which units have latent sites of their own.

    Rows of one unit depend on each other through its latent sites, so that the units are what is independent.
    Their information is not known, only its sum over all: the inverse of the posterior covariance. A level is
    expected to hold its share of that. Where it holds another, the null is wider than need be, never narrower.

    Along an axis that lies between units, each unit is one entry, and its level may be permuted. An
    axis that crosses units keeps its rows, whose signs are flipped by whole units: permuting levels
    within a unit rejects true models, because rows of a unit depend on each other.

    Parameters
    ----------
    score
        `(rows, d)`, which sum to the score of each unit.
    along
        What is asked of the rows.
    unit
        `(rows,)` codes.
    covariance
        `(d, d)` posterior covariance of the parameters.
    """
    _, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    size, level, contrast = None, along.level, along.contrast
    if lies_between(along, unit):
        size, level, contrast = np.bincount(unit), level[first], contrast[first]
        score = sums_by(unit, score)
    total = np.linalg.inv(covariance)
    share = np.bincount(level) / len(level)
    return Scores(
        score,
        share[:, None, None] * total,
        level,
        contrast,
        contrast.mean(axis=0)[:, None, None] * total,
        unit if size is None else None,
        covariance,
        size,
    )


def sums_by(
    codes: Int[np.ndarray, " n"], values: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "code d"]:
    """Sum values `(n, d)` by code `(n,)`: `(code, d)`."""
    found = np.zeros((int(codes.max()) + 1, values.shape[1]))
    for column, sums in zip(values.T, found.T, strict=True):
        sums[:] = np.bincount(codes, weights=column)
    return found


def lies_between(along: Along, unit: Int[np.ndarray, " row"]) -> bool:
    """Say whether the rows of each unit, coded `(rows,)`, have one level and one value of each contrast."""
    _, first, unit = np.unique(unit, return_index=True, return_inverse=True)
    own = first[unit]
    same_level = (along.level == along.level[own]).all()
    return bool(same_level and (along.contrast == along.contrast[own]).all())
