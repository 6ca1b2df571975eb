"""What a model predicts for a block of rows: replicates, and the statistics of each.

Programs simulate, score and measure a chunk of members at a time, and keep nothing but statistics. They
take the data as arguments, so that data sets of one shape share them.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Real, UInt32

from scalecheck.checks import replicate_statistics, surprise
from scalecheck.checks.moments import scaled_eigh
from scalecheck.checks.replicate_statistics import ReplicateStatistics
from scalecheck.checks.statistic_design import Design, Statistic, Weights, lay_out
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.model.density import Vector, log_prob_by_row, traced_at
from scalecheck.model.outcome import censored_part, uncensored
from scalecheck.model.rows import Rows
from scalecheck.model.sites import traced
from scalecheck.results.study_fits import FitResult

Function = Callable[..., Any]
Keys = UInt32[Array, "member 2"]
Flags = Bool[Array, " member"]
Outcomes = Real[Array, "member n"]

# ReplicateStatistics that one call of a program measures.
AT_ONCE = 1 + surprise.REPLICATES

# Rows times members that are held at a time, to stay in the cache.
HELD = 2**17

# Draws of what is hidden, over which a log score averages.
MIXTURE = 16

# Replicates from which the Fisher information is estimated; and parameters beyond which it costs too much.
FOR_INFORMATION = 32
MOST_SCORED = 64


class ParameterDraws(NamedTuple):
    """Parameters, drawn.

    Attributes
    ----------
    z
        `(draw, d)` compared parameters, unconstrained.
    hidden
        `(draw, ...)` on their supports, by site: what belongs to groups that earlier rows share. Sites of new units and
        of rows are not here: they come from their conditional prior.
    """

    z: Any
    hidden: dict[str, Any]

    def choose(self, n: int, rng: np.random.Generator) -> "ParameterDraws":
        """Choose n draws, without replacement where there are so many."""
        chosen = rng.choice(len(self.z), n, replace=len(self.z) < n)
        return ParameterDraws(
            self.z[chosen], {name: part[chosen] for name, part in self.hidden.items()}
        )


def posterior_draws(likelihood: Likelihood, before: FitResult) -> ParameterDraws:
    """Take the draws of a fit that other rows are predicted from.

    Parameters
    ----------
    likelihood
        Of the model.
    before
        The fit.

    Raises
    ------
    KeyError
        When `sampler.keep` left out a site that earlier rows share: ask `no_draws` first.
    """
    if not likelihood.vector.names and not likelihood.between:
        return ParameterDraws(np.zeros((1, 0)), {})  # each is the same
    z = before.z
    shared = {
        site.name: before.tree["posterior"][site.name].to_numpy() for site in likelihood.shared
    }
    hidden = {n: x.reshape(-1, *x.shape[2:]).astype("float64") for n, x in shared.items()}
    return ParameterDraws(z.reshape(z.shape[0] * z.shape[1], z.shape[2]), hidden)


def no_draws(likelihood: Likelihood, before: FitResult) -> str | None:
    """Say which draws are missing for a prediction, or None."""
    names = [site.name for site in likelihood.shared]
    missing = [name for name in names if name not in before.tree["posterior"]]
    if not missing:
        return None
    return f"the draws of {', '.join(missing)} were not kept: add it to sampler.keep"


class Gradients(NamedTuple):
    """How gradients of the log likelihood of rows are measured.

    Attributes
    ----------
    root
        `(d, d)`: times it, the gradient of a row has unit information.
    precision
        `(d, d)` inverse covariance of the sum of such gradients over the rows.
    """

    root: Float[np.ndarray, "d d"]
    precision: Float[np.ndarray, "d d"]


class Known(NamedTuple):
    """What the programs take besides the members, equal for all of them.

    Attributes
    ----------
    arrays
        Model argument -> `(n, ...)`.
    scoring
        Draws at which outcomes are scored: the posterior mean alone where nothing is hidden.
    key
        Draws what is hidden and not among those draws.
    gradients
        None where none are taken.
    weights
        Of the statistics.
    reference
        `(n, N_REFERENCE)` replicates, sorted in each row.
    outcome
        `(n,)` observed.
    """

    arrays: Mapping[str, Any]
    scoring: ParameterDraws
    key: PRNGKeyArray
    gradients: Gradients | None
    weights: Weights
    reference: Any
    outcome: Real[np.ndarray, " n"]


class Prediction(NamedTuple):
    """A block of rows and its predictive distribution, ready to be measured.

    Attributes
    ----------
    statistics
        What is measured.
    known
        What members share.
    draws
        Parameters of replicates.
    program
        `(draws, keys, is_observed, known) -> (member, q)`, compiled.
    """

    statistics: tuple[Statistic, ...]
    known: Known
    draws: ParameterDraws
    program: Function

    def observed(self, rng: np.random.Generator) -> Float[np.ndarray, "member q"]:
        """Measure the observed rows and then `surprise.REPLICATES` replicates, `(member, q)`."""
        return self._measure(rng, observed=True)

    def more(self, rng: np.random.Generator, n: int) -> Iterator[Float[np.ndarray, "chunk q"]]:
        """Measure `n` further replicates, `(chunk, q)` at a time."""
        for start in range(0, n, AT_ONCE):
            yield self._measure(rng, observed=False)[: n - start]

    def _measure(
        self, rng: np.random.Generator, *, observed: bool
    ) -> Float[np.ndarray, "member q"]:
        is_observed = np.zeros(AT_ONCE, bool)
        is_observed[0] = observed
        draws = self.draws.choose(AT_ONCE, rng)
        return np.asarray(self.program(draws, random_keys(rng, AT_ONCE), is_observed, self.known))


def random_keys(rng: np.random.Generator, n: int) -> UInt32[Array, "n 2"]:
    """Give n keys of JAX, `(n, 2)`."""
    return jax.random.split(jax.random.PRNGKey(int(rng.integers(2**31))), n)


def predict_block(
    likelihood: Likelihood,
    rows: Rows,
    draws: ParameterDraws,
    design: Design,
    rng: np.random.Generator,
) -> Prediction:
    """Predict a block of rows.

    Parameters
    ----------
    likelihood
        Of the model.
    rows
        The block, its outcome included. Where the true value is not observed, one was drawn
        (`observed_rows.complete`).
    draws
        Parameters of the replicates.
    design
        What is known of the rows.
    rng
        Draws replicates.
    """
    programs = replicate_programs(likelihood, rows.counts)
    n_drawn = replicate_statistics.N_REFERENCE + 1
    drawn, is_discrete = programs.simulate(
        draws.choose(n_drawn, rng), random_keys(rng, n_drawn), rows.arrays
    )
    reference = np.asarray(drawn, float)[:-1].T
    scoring = _scoring(likelihood, draws, rng)
    gradients = None
    if not likelihood.between and 0 < draws.z.shape[1] <= MOST_SCORED:
        row = design.takes_part.astype(float)
        few = np.ascontiguousarray(reference[:, :FOR_INFORMATION].T)
        information = np.asarray(programs.information(scoring.z[0], rows.arrays, few, row))
        gradients = _gradients(information, np.cov(draws.z, rowvar=False), int(row.sum()))
    counted = _counted(reference[design.takes_part]) if bool(is_discrete) else ()
    statistics, weights = lay_out(design, _fitted(reference), counted, scored=gradients is not None)
    outcome = np.asarray(rows.arrays[likelihood.model.outcome], float)
    ranked = np.sort(reference, axis=1)
    known = Known(rows.arrays, scoring, random_keys(rng, 1)[0], gradients, weights, ranked, outcome)
    return Prediction(statistics, known, draws, programs.members)


def _scoring(
    likelihood: Likelihood, draws: ParameterDraws, rng: np.random.Generator
) -> ParameterDraws:
    if likelihood.between:
        return draws.choose(MIXTURE, rng)
    return ParameterDraws(draws.z.mean(axis=0, keepdims=True), {})


def _gradients(
    information: Float[np.ndarray, "d d"], covariance: np.ndarray, n_rows: int
) -> Gradients:
    """Find how gradients are measured, from the information `(d, d)` of a row and the posterior covariance.

    Their sum varies with the rows, and with the parameters that the earlier rows leave open.
    """
    values, vectors, scale = scaled_eigh(information)
    # Directions in which the rows say nothing are left out.
    inverse = np.where(values > 1e-8, 1 / np.sqrt(np.maximum(values, 1e-8)), 0.0)
    root = scale[:, None] * vectors * inverse
    moved = root.T @ information
    opened = moved @ covariance.reshape(root.shape) @ moved.T
    return Gradients(root, np.linalg.inv(n_rows * np.eye(len(values)) + n_rows**2 * opened))


def _fitted(reference: Float[np.ndarray, "n replicate"]) -> Float[np.ndarray, " n"]:
    """Give the mean `(n,)` of finite replicates of each row."""
    finite = np.isfinite(reference)
    total = np.where(finite, reference, 0.0).sum(axis=1)
    return total / np.maximum(finite.sum(axis=1), 1)


def _counted(reference: Float[np.ndarray, "n replicate"]) -> tuple[float, ...]:
    """Give the least and the most frequent value, where there are more than two."""
    values, counts = np.unique(reference[:, :64], return_counts=True)
    if len(values) <= 2 or not np.isfinite(values).all():
        return ()
    return tuple(dict.fromkeys([float(values[0]), float(values[counts.argmax()])]))


class ReplicatePrograms(NamedTuple):
    """Compiled for a model of certain counts; by shape, as JAX does it.

    Attributes
    ----------
    simulate
        `(draws, keys, arrays) -> (draw, n), whether the outcome is discrete`.
    information
        `(z, arrays, outcomes (draw, n), row (n,) 0 where it takes no part) -> (d, d)`, mean outer
        product of a row's gradient.
    members
        `(draws, keys, is_observed, known) -> (member, q)`.
    """

    simulate: Function
    information: Function
    members: Function


def replicate_programs(likelihood: Likelihood, counts: Mapping[str, int]) -> ReplicatePrograms:
    """Give the programs of a model: the same for the same counts."""
    key = ("predictive", *sorted(counts.items()))
    outcome, vector = likelihood.model.outcome, likelihood.vector
    function, site = likelihood.function(counts), likelihood.observed
    return likelihood.program(key, lambda: _compile(_Model(function, site, outcome, vector)))


def _compile(model: "_Model") -> ReplicatePrograms:
    @jax.jit
    def simulate(
        draws: ParameterDraws, keys: Keys, arrays: Mapping[str, Any]
    ) -> tuple[Outcomes, bool]:
        def run(part: tuple[ParameterDraws, Keys]) -> Outcomes:
            return jax.vmap(lambda one, key: model.draw(one, arrays, key))(*part)

        width = _width(len(arrays[model.outcome]), len(keys))
        return _in_chunks(run, (draws, keys), width), model.is_discrete(arrays)

    @jax.jit
    def information(
        z: Float[Array, " d"],
        arrays: Mapping[str, Any],
        outcomes: Outcomes,
        row: Float[Array, " n"],
    ) -> Float[Array, "d d"]:
        score = row[:, None] * _scores(model, z, jnp.eye(len(z)), arrays, outcomes)
        flat = score.reshape(-1, len(z))
        return flat.T @ flat / (len(outcomes) * row.sum())

    @jax.jit
    def members(
        draws: ParameterDraws, keys: Keys, is_observed: Flags, known: Known
    ) -> Float[Array, "member q"]:
        def run(part: tuple[ParameterDraws, Keys, Flags]) -> Float[Array, "member q"]:
            return _measure(model, *part, known)

        return _in_chunks(run, (draws, keys, is_observed), _width(len(known.outcome), len(keys)))

    return ReplicatePrograms(simulate, information, members)


def _width(n: int, n_members: int) -> int:
    """ReplicateStatistics that are held at a time: a divisor of all, so that no remainder is compiled, too."""
    divisors = [width for width in range(1, n_members + 1) if n_members % width == 0]
    return max(width for width in divisors if width <= max(1, HELD // n))


def _in_chunks(run: Function, inputs: Any, width: int) -> Real[Array, "member k"]:
    """Map over the leading axis of all inputs, so many at a time."""
    parts = jax.tree.map(lambda x: x.reshape(len(x) // width, width, *x.shape[1:]), inputs)
    found = jax.lax.map(run, parts)
    return found.reshape(-1, *found.shape[2:])


class _Model(NamedTuple):
    """A model of arrays, asked at given parameters."""

    function: Function
    site: str
    outcome: str
    vector: Vector

    def draw(
        self, given: ParameterDraws, arrays: Mapping[str, Any], key: PRNGKeyArray
    ) -> Real[Array, " n"]:
        """Draw an outcome, and whatever is not given from its conditional prior, `(n,)`."""
        return self._observed(given, {**arrays, self.outcome: None}, key)["value"]

    def is_discrete(self, arrays: Mapping[str, Any]) -> bool:
        """Whether the outcome is."""
        return traced(self.function, arrays, jax.random.key(0))[self.site]["fn"].support.is_discrete

    def log_likelihood(
        self,
        given: ParameterDraws,
        arrays: Mapping[str, Any],
        outcome: Real[Array, " n"],
        key: PRNGKeyArray,
    ) -> Float[Array, " n"]:
        """Log likelihood of each row at a true value, `(n,)`."""
        as_taken = outcome.astype(arrays[self.outcome].dtype)
        site = self._observed(given, {**arrays, self.outcome: as_taken}, key)
        if censored_part(site["fn"]) is not None:
            site = {**site, "fn": uncensored(site["fn"]), "value": outcome}
        return log_prob_by_row(site)

    def log_score(self, known: Known, outcome: Real[Array, " n"]) -> Float[Array, " n"]:
        """Log predictive density of each row, averaged over the draws that score, `(n,)`."""
        n_draws = len(known.scoring.z)
        values = jax.vmap(
            lambda given, key: self.log_likelihood(given, known.arrays, outcome, key)
        )(known.scoring, jax.random.split(known.key, n_draws))
        return values[0] if n_draws == 1 else jax.nn.logsumexp(values, axis=0) - jnp.log(n_draws)

    def _observed(
        self, given: ParameterDraws, arrays: Mapping[str, Any], key: PRNGKeyArray
    ) -> dict[str, Any]:
        """Trace the observed site, other sites as given or from their conditional prior."""
        z = self.vector.unpack(jnp.asarray(given.z))
        hidden = lambda site: given.hidden.get(site["name"])  # noqa: E731
        return traced_at(self.function, z, arrays, others=hidden, key=key)[self.site]


def _measure(
    model: _Model, draws: ParameterDraws, keys: Keys, is_observed: Flags, known: Known
) -> Float[Array, "member q"]:
    """Simulate members, or take what was observed, and measure them: `(member, q)`."""
    replicates = jax.vmap(lambda one, key: model.draw(one, known.arrays, key))(draws, keys)
    outcomes = jnp.where(is_observed[:, None], known.outcome, replicates.astype(float))
    log_scores = jax.vmap(lambda outcome: model.log_score(known, outcome))(outcomes)
    member = ReplicateStatistics(outcomes.T, log_scores.T, *_forms(model, outcomes, known))
    return replicate_statistics.measure_replicates(known.weights, known.reference, member)


def _forms(
    model: _Model, outcomes: Outcomes, known: Known
) -> tuple[Float[Array, " member"], Float[Array, " member"]] | tuple[None, None]:
    """Give quadratic forms of the gradients of rows and of their sum, `(member,)` each, where taken."""
    if known.gradients is None:
        return None, None
    root, precision = known.gradients
    score = _scores(model, jnp.asarray(known.scoring.z[0]), root, known.arrays, outcomes)
    score = known.weights.row[:, None] * score
    total = score.sum(axis=1)
    dispersion = (score**2).sum(axis=(1, 2)) / known.weights.row.sum()
    return dispersion, jnp.einsum("mi,ij,mj->m", total, precision, total)


def _scores(
    model: _Model,
    z: Float[Array, " d"],
    root: Any,
    arrays: Mapping[str, Any],
    outcomes: Outcomes,
) -> Float[Array, "member n d"]:
    """Differentiate the log likelihood of rows at `z` along the columns of `root`, `(member, n, d)`."""

    def of_one(outcome: Real[Array, " n"]) -> Float[Array, "n d"]:
        def at(step: Float[Array, " d"]) -> Float[Array, " n"]:
            given = ParameterDraws(z + root @ step, {})
            return model.log_likelihood(given, arrays, outcome, jax.random.key(0))

        return jax.jacfwd(at)(jnp.zeros(len(z)))

    return jnp.nan_to_num(jax.vmap(of_one)(outcomes), posinf=0.0, neginf=0.0)
