"""Scores of the rows that were fitted: those of the largest increment, and of random subsets beside them."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from scalecheck.checks.moments import Moments
from scalecheck.checks.scores import Along, Replicates, Scores, lies_between, scores_of_units
from scalecheck.data import store
from scalecheck.evaluation.replicate_scores import no_replicate_scores, replicate_scores
from scalecheck.evaluation.row_scores import row_scores
from scalecheck.evaluation.study_data import StudyData
from scalecheck.evaluation.unit_scores import UnitScores, no_unit_scores, unit_codes, unit_scores
from scalecheck.results.study_fits import FitResult, StudyFits, moments
from scalecheck.study.settings import DataSettings

NO_INCREMENT = "no increment has a usable posterior"
# A subset is left out if the increment has more of its rows than this leaves: it would add little.
MOSTLY_NEW = 0.5
# Of more rows times levels, or levels times parameters, than these, sums of replicates by level take too much memory.
MOST_BY_LEVEL, MOST_SUMS = 2**24, 2**14


class FittedRows:
    """Rows of some fits, each once, and one estimate for all of them.

    Parameters
    ----------
    study_data
        Of the data that the fits saw.
    fits
        The first is the increment whose rows come first.
    values
        Columns `(rows,)`.

    Attributes
    ----------
    fits, values
        As given.
    pooled
        Moments of the posteriors of the fits together, `fit` of length one: their means weighed by precision. What
        that lacks from the estimate of all rows is taken out of the scores (docs/statistics.md, section 2).
    """

    def __init__(
        self, study_data: StudyData, fits: Sequence[FitResult], values: Mapping[str, np.ndarray]
    ) -> None:
        """Put the posteriors together."""
        self.fits, self.values = tuple(fits), values
        self.pooled = _together(moments(fits))
        self._likelihood = study_data.likelihood
        self._found: dict[bool, UnitScores | str] = {}

    @property
    def names(self) -> list[str]:
        """Names of the fits."""
        return [fit.task.fit for fit in self.fits]

    def scores(self, asked: Mapping[str, Along | str]) -> dict[str, Scores | str]:
        """Give the scores along each axis, of rows, or of whole units that have latent sites; or say why not.

        Parameters
        ----------
        asked
            What is asked of the rows along each axis, or why nothing is.
        """
        known = {name: along for name, along in asked.items() if not isinstance(along, str)}
        reasons = {name: along for name, along in asked.items() if isinstance(along, str)}
        if not self._likelihood.between:
            if reason := self._likelihood.no_row_checks():
                return dict.fromkeys(asked, reason)
            theta = self.pooled.mean[0]
            found = row_scores(self._likelihood, self.values, [*known.values()], theta)
            return {**reasons, **dict(zip(known, found, strict=True))}
        if reason := no_unit_scores(self._likelihood):
            return dict.fromkeys(asked, reason)
        return {**reasons, **{name: self._of_units(along) for name, along in known.items()}}

    def replicates(self, along: Along, rng: np.random.Generator) -> Replicates | None:
        """Give what draws replicates of the rows at the estimate and sums their scores: by level, then by contrast.

        None: there are no replicates of these rows.
        """
        n_rows, d = len(along.level), len(self.pooled.mean[0])
        n_columns = len(along.labels) + len(along.shapes)
        if n_rows * n_columns > MOST_BY_LEVEL or n_columns * d > MOST_SUMS:
            return None
        if no_replicate_scores(self._likelihood, n_rows):
            return None
        by_level = along.level[:, None] == np.arange(len(along.labels))
        contrast = np.concatenate([by_level, along.contrast], axis=1)
        theta = self.pooled.mean[0]
        return lambda n: replicate_scores(self._likelihood, self.values, theta, contrast, n, rng)

    def _of_units(self, along: Along) -> Scores | str:
        found = self._by_row(not lies_between(along, unit_codes(self._likelihood, self.values)))
        if isinstance(found, str):
            return found
        return scores_of_units(found.score, along, found.unit, self.pooled.covariance[0])

    def _by_row(self, crossed: bool) -> UnitScores | str:
        if crossed not in self._found:
            found = unit_scores(self._likelihood, self.fits[0], self.values, crossed=crossed)
            self._found[crossed] = found
        return self._found[crossed]


def _together(each: Moments) -> Moments:
    if len(each.mean) == 1:
        return each
    precision = np.linalg.pinv(each.covariance, hermitian=True)
    covariance = np.linalg.pinv(precision.sum(axis=0), hermitian=True)
    mean: Float[np.ndarray, " d"] = covariance @ np.einsum("fij,fj->i", precision, each.mean)
    return Moments(mean[None], covariance[None], each.ess.sum()[None])


def largest_increment(
    study_data: StudyData, study: StudyFits, data: DataSettings
) -> FittedRows | None:
    """Give the rows of the largest increment that can be used, in its order; or None."""
    usable = study.usable("increment")
    if not usable:
        return None
    return FittedRows(
        study_data, usable[-1:], study_data.columns(usable[-1].task.slices, data.axes)
    )


def all_rows(
    study_data: StudyData, study: StudyFits, data: DataSettings, largest: FittedRows | None
) -> FittedRows | None:
    """Give the rows of the largest increment and of the random subsets, each once.

    Rows that arrive first may all be of one level of an axis; random ones are of every level. Where rows depend on
    each other, or on latent sites of units, those of several fits have no scores at one estimate: the largest increment
    is given.

    Parameters
    ----------
    largest
        The largest increment; None: there is none.
    """
    likelihood, subsets = study_data.likelihood, study.usable("subset")
    if largest is None or not subsets or likelihood.between or likelihood.no_row_checks():
        return largest
    if likelihood.coupling.kind != "independent":
        return largest
    columns = [*data.axes, store.OBSERVATION]
    parts = [study_data.columns(largest.fits[0].task.slices, columns)]
    fits = [largest.fits[0]]
    for fit in subsets:
        own = study_data.columns(fit.task.slices, columns)
        new = ~np.isin(own[store.OBSERVATION], parts[0][store.OBSERVATION])
        if new.mean() >= MOSTLY_NEW:
            fits.append(fit)
            parts.append({name: values[new] for name, values in own.items()})
    if len(fits) == 1:
        return largest
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return FittedRows(study_data, fits, values)
