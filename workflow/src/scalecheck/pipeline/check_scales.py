"""Columns and parameters on scales where warmup finds no metric, found before the fits: units are easily changed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from scalecheck.data import store
from scalecheck.errors import StudyError
from scalecheck.model import density, sites
from scalecheck.model.rows import make_rows
from scalecheck.pipeline.check_rows import StoredRows
from scalecheck.study.plan import Slice
from scalecheck.study.settings import SamplerSettings

# Measured with y = a + b x, 1,000 rows, x of sd 1 about a mean m, four chains of 500 to 1,000 iterations of warmup and
# up to 2,000 draws, trees of 1,023 leapfrogs: m = 1,000, R-hat 1.6 with half of the trees cut; 3,000 and 10,000, chains
# that do not move (R-hat 6e15), also with a prior of sd 10 for a (3.4). Where the model writes b (x - 10,000): R-hat
# 1.00, 5 leapfrogs. A year, 2010 with sd 5, lies 402 sds away: R-hat 1.3 to 1.6, which fewer rows or a narrower prior
# for a mend, and the fits tell.
_FAR = 1000.0
_LEAPFROGS = 300.0  # the same model with a prior that ties a down needs fewer, and is let through
# Of a slope with a posterior sd of 3e-5: R-hat 1.00, 151 leapfrogs; of 3e-6: 3.0, 444; of 3e-8: 12, 749. For warmup
# draws variances towards 1e-3 with the weight of 5 draws (Stan): after a window of 500 no sd is below this.
_NARROWEST = float(np.sqrt(1e-3 * 5 / 505))
_TOO_NARROW = 300.0  # times
# The posterior is looked at, which takes seconds, only with values so large or priors so narrow, or a column so far.
_LARGE, _SMALL = 1e3, 1e-3
_ROWS, _DRAWS = 1000, 4
_HUGE = 1e100  # whose square float64 still holds, summed over rows


class ColumnScale(NamedTuple):
    """Mean and standard deviation of a column."""

    mean: float
    sd: float


def check_scales(
    stored: StoredRows,
    function: Callable[..., Any],
    observed: sites.Site,
    compared: Sequence[sites.Site],
    prior: tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]],
    sampler: SamplerSettings,
    seed: int,
) -> None:
    """Refuse a column far from zero that the model does not centre, and a parameter too narrow to be sampled.

    The leapfrogs of NUTS go like the square root of the condition number of the posterior's precision, seen through
    the metric that warmup learns. The Fisher information of some rows and the prior tell this precision, at the mean
    of the prior: at draws from a wide one every outcome would be sure, and rows would tell nothing. A column is to
    blame where there were far fewer leapfrogs if it was centred.

    Parameters
    ----------
    function
        The bound model as a function of its arrays, whose rows have a log likelihood each.
    prior
        Mean `(d,)` and covariance `(d, d)` of the compared sites, unconstrained.

    Raises
    ------
    StudyError
        Names the file and the column, or the site.
    """
    prior_sd = np.sqrt(np.diag(prior[1]))
    # What differs from zero by its Monte Carlo error would be far from it where a prior is wide.
    mean = np.where(np.abs(prior[0]) > 5 * prior_sd / np.sqrt(density.PRIOR_DRAWS), prior[0], 0.0)
    if sampler.metric != "diagonal" or sampler.reparam or not (prior_sd > 0).all():
        return
    if not len(prior_sd):
        return
    values = _some_rows(stored)
    numbers = [name for name in stored.bound.covariates if stored.meta.labels[name] is None]
    columns = {name: ColumnScale(values[name].mean(), values[name].std()) for name in numbers}
    far = {name: one for name, one in columns.items() if abs(one.mean) >= _FAR * one.sd > 0}
    large = {name: one for name, one in columns.items() if np.hypot(*one) > _LARGE}
    if not (far or large or (prior_sd < _SMALL).any()):
        return
    scores = _Scores(stored, function, observed, compared, mean, seed)
    covariances = _covariances(scores, values, prior_sd)
    if covariances is None:
        return
    needed = _leapfrogs(covariances)
    for name, one in far.items():
        centred = _covariances(scores, {**values, name: values[name] - one.mean}, prior_sd)
        if needed > _LEAPFROGS and centred is not None and _leapfrogs(centred) < needed / 10:
            raise StudyError(
                f"{stored.meta.file}: column {name} lies {abs(one.mean) / one.sd:.0f} standard deviations from zero, so"
                f" that chains hardly move: subtract {one.mean:.6g} from it, in the file or in the model"
            )
    sds = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2)).max(axis=0)
    if needed > _LEAPFROGS and sds.min() * _TOO_NARROW < _NARROWEST:
        name = scores.vector.names[int(sds.argmin())]
        units = ", ".join(f"{column} (sd {one.sd:.2g})" for column, one in large.items())
        raise StudyError(
            f"{stored.bound.file}: the posterior sd of {name} would be about {sds.min():.1g}, and warmup learns none"
            f" below {_NARROWEST:.1g}: use larger units, days for seconds, for what it multiplies"
            f"{f': {units}' if units else ''}"
        )


def _some_rows(stored: StoredRows) -> dict[str, np.ndarray]:
    part = Slice("random", 0, min(_ROWS, stored.meta.n_rows))
    values = store.read_rows(stored.folder.data, [part], stored.bound.columns)
    return {
        name: column if stored.meta.labels[name] is not None else column.astype("float64")
        for name, column in values.items()
    }


class _Scores:
    """Gradients of each row's log likelihood, of an outcome that the model draws itself, at the prior mean."""

    def __init__(
        self,
        stored: StoredRows,
        function: Callable[..., Any],
        observed: sites.Site,
        compared: Sequence[sites.Site],
        mean: Float[np.ndarray, " d"],
        seed: int,
    ) -> None:
        self._mean = mean
        self._stored, self._function, self._name = stored, function, observed.name
        first = stored.first().arrays
        self.vector = density.vector_of(function, compared, first, stored.meta.labels)
        self._keys = jax.random.split(jax.random.key(seed), _DRAWS)
        self._of = jax.jit(jax.vmap(self._at, in_axes=(0, None)))

    def __call__(self, values: Mapping[str, np.ndarray]) -> Float[np.ndarray, "draw row d"]:
        """Give the gradients of these rows, `(rows,)` by column."""
        bound, labels = self._stored.bound, self._stored.meta.labels
        arrays = make_rows(bound, values, labels, precision="float64").arrays
        with jax.enable_x64(True):
            return np.asarray(self._of(self._keys, arrays))

    def _at(self, key: jax.Array, arrays: dict[str, jax.Array]) -> Float[Array, "row d"]:
        mean = jnp.asarray(self._mean)
        unobserved = {**arrays, self._stored.bound.outcome: None}
        drawn = density.traced_at(self._function, self.vector.unpack(mean), unobserved, key=key)
        made = {**arrays, self._stored.bound.outcome: drawn[self._name]["value"]}
        fixed = density.latent_values(drawn)

        def log_likelihood(vector: jax.Array) -> jax.Array:
            trace = density.traced_at(
                self._function,
                self.vector.unpack(vector),
                made,
                others=lambda site: fixed.get(site["name"]),
                key=key,
            )
            return density.log_prob_by_row(trace[self._name])

        return jax.jacfwd(log_likelihood)(mean)


def _covariances(
    scores: _Scores, values: Mapping[str, np.ndarray], prior_sd: Float[np.ndarray, " d"]
) -> Float[np.ndarray, "draw d d"] | None:
    """Covariances of normal approximations to the posterior, by drawn outcome; None where a score is too large."""
    each = scores(values)
    if not (np.abs(each) < _HUGE).all():
        return None
    information = np.einsum("nri,nrj->nij", each, each)
    # Inverted as correlations: the scales of parameters may be as far apart as those of columns.
    precision = information + np.diag(1 / prior_sd**2)
    scale = np.sqrt(np.diagonal(precision, axis1=1, axis2=2))
    scales = scale[:, :, None] * scale[:, None, :]
    return np.linalg.inv(precision / scales) / scales


def _leapfrogs(covariances: Float[np.ndarray, "draw d d"]) -> float:
    """How many leapfrogs a trajectory across the posterior has, for the drawn outcome with the fewest."""
    found = []
    for covariance in covariances:
        metric = np.sqrt(np.diag(covariance) + _NARROWEST**2)
        ends = np.linalg.eigvalsh(covariance / np.outer(metric, metric))
        found.append(np.sqrt(ends[-1] / max(ends[0], np.finfo("float64").tiny)))
    return float(min(found))
