"""Replicates of rows: outcomes that a model draws at given parameters, and what it says of outcomes.

Programs are asked about a block of rows and so many replicates at a time, and take the data as arguments, so that all
blocks of a study share them. Discrete outcomes of known families are drawn by NumPy (`discrete_draws`), others by
NumPyro. A replicate is a function of its parameters and its key alone, whatever is drawn beside it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Real, UInt32

from scalecheck.checks.replicate_statistics import z_scores
from scalecheck.evaluation import discrete_draws
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.row_blocks import RowBlock, RowBlocks
from scalecheck.model.density import Vector, log_prob_by_row, traced_at
from scalecheck.model.outcome import censored_part, uncensored
from scalecheck.model.sites import traced

Function = Callable[..., Any]
Keys = UInt32[np.ndarray, "member 2"]
Outcomes = Real[Array, "member row"]


class ParameterDraws(NamedTuple):
    """Parameters, drawn, in the precision in which the model was fitted.

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

    def in_double(self) -> "ParameterDraws":
        """Give the same in double precision."""
        return jax.tree.map(lambda one: np.asarray(one, "float64"), self)

    def take(self, chosen: Any) -> "ParameterDraws":
        """Take some draws by number."""
        return ParameterDraws(
            self.z[chosen], {name: part[chosen] for name, part in self.hidden.items()}
        )

    def choose(self, n: int, rng: np.random.Generator) -> "ParameterDraws":
        """Choose n draws, without replacement where there are so many."""
        return self.take(rng.choice(len(self.z), n, replace=len(self.z) < n))


def random_keys(rng: np.random.Generator, n: int) -> Keys:
    """Give n keys of JAX's form, `(n, 2)`."""
    return rng.integers(2**32, size=(n, 2), dtype="uint32")


class Scoring(NamedTuple):
    """How outcomes are scored.

    Attributes
    ----------
    at
        Draws at which they are: the posterior mean alone where nothing is hidden.
    key
        `(2,)` draws what is hidden and not among those draws.
    root
        `(d, d)` the log likelihood of a row is differentiated along its columns; None where it is not.
    """

    at: ParameterDraws
    key: UInt32[np.ndarray, " 2"]
    root: Float[np.ndarray, "d d"] | None


class ReplicatePrograms(NamedTuple):
    """What a model is asked of a block of rows; compiled by shape, as JAX does it.

    Attributes
    ----------
    draw
        `(draws, keys, arrays, number of the block) -> outcomes (draw, rows)`, or their parameters where NumPy draws.
    family
        Of the outcome, where NumPy draws; or None.
    information
        `(z, arrays, outcomes (draw, rows), row (rows,) 0 where it takes no part) -> (d, d)`, sum over rows and draws
        of the outer product of a row's gradient.
    score
        `(outcomes (member, rows), scoring, arrays, number, row, reference (rows, N_REFERENCE)) -> Scored`.
    scores
        `(z, root (d, k), arrays, outcomes (member, rows)) -> (member, rows, k)`, the log likelihood of each row
        differentiated along the columns of the root; not compiled.
    """

    draw: Function
    family: discrete_draws.Family | None
    information: Function
    score: Function
    scores: Function


class Scored(NamedTuple):
    """What is known of members, for a block of rows.

    Attributes
    ----------
    z
        `(member, rows)` normal scores of ranks among the reference.
    log_score
        `(member, rows)` log predictive density.
    dispersion
        `(member,)` squared gradients of rows, summed; None where none are taken.
    gradient
        `(member, d)` gradients of rows, summed; None where none are taken.
    """

    z: Any
    log_score: Any
    dispersion: Any
    gradient: Any


def draw_replicates(
    likelihood: Likelihood, blocks: RowBlocks, draws: ParameterDraws, keys: Keys
) -> Float[np.ndarray, "member row"]:
    """Draw an outcome of all rows for each of some parameters `(member, ...)` and keys `(member, 2)`."""
    programs, width = replicate_programs(likelihood, blocks.counts), blocks.at_once
    # What NumPy draws from needs no more digits than the fit had, and a special function of twice as many takes eight
    # times as long.
    in_double = programs.family is None or draws.z.dtype == "float64"
    draws = draws.in_double() if in_double else draws
    found = np.empty((len(keys), blocks.n_rows))
    for start in range(0, len(keys), width):
        # All shapes are the same, so that no remainder is compiled, too.
        own = np.minimum(np.arange(start, start + width), len(keys) - 1)
        members, chosen = found[start : start + width], draws.take(own)
        for block in blocks.blocks:
            with jax.enable_x64(in_double):
                given = programs.draw(chosen, keys[own], block.arrays, np.uint32(block.number))
            into = members[:, block.rows]
            if programs.family is None:
                into[:] = np.asarray(given)[: len(into), : into.shape[1]]
            else:
                _draw_by_numpy(programs.family, given, keys[own], block, into)
    return found


def _draw_by_numpy(
    family: discrete_draws.Family, given: Any, keys: Keys, block: RowBlock, into: np.ndarray
) -> None:
    """Draw the rows `(member, row)` of a block; those that only pad are drawn as well, whatever the block holds."""
    given = jax.tree.map(np.asarray, given)
    shape = block.is_row.shape
    for number, outcome in enumerate(into):
        own = jax.tree.map(lambda one, number=number: np.atleast_1d(one[number]), given)
        drawn = discrete_draws.draw_outcome(family, own, keys[number], block.number, shape)
        outcome[:] = drawn[: len(outcome)]


def replicate_programs(likelihood: Likelihood, counts: Mapping[str, int]) -> ReplicatePrograms:
    """Give the programs of a model: the same for the same counts."""

    def build() -> ReplicatePrograms:
        outcome, vector = likelihood.model.outcome, likelihood.vector
        function, site = likelihood.function(counts), likelihood.observed
        return _compile(_Model(function, site, outcome, vector), _family(likelihood))

    return likelihood.program(("replicates", *sorted(counts.items())), build)


def _family(likelihood: Likelihood) -> discrete_draws.Family | None:
    """Find the family of the outcome by a trace; nothing is computed."""
    rows = likelihood.rows(likelihood.few)
    found: list[discrete_draws.Family | None] = []

    def look(arrays: Any) -> Any:
        site = traced(likelihood.function(rows.counts), arrays, jax.random.key(0))
        found.append(discrete_draws.family_of(uncensored(site[likelihood.observed]["fn"])))

    jax.eval_shape(look, rows.arrays)
    return found[0]


def _compile(model: "_Model", family: discrete_draws.Family | None) -> ReplicatePrograms:
    @jax.jit
    def draw(draws: ParameterDraws, keys: Any, arrays: Any, number: Any) -> Any:
        def one(given: ParameterDraws, key: Any) -> Any:
            key = jax.random.fold_in(key, number)
            if family is None:
                return model.draw(given, arrays, key).astype(float)
            return discrete_draws.parameters_of(family, model.distribution(given, arrays, key))

        return jax.vmap(one)(draws, keys)

    @jax.jit
    def information(z: Any, arrays: Any, outcomes: Any, row: Any) -> Float[Array, "d d"]:
        score = row[:, None] * _scores(model, z, jnp.eye(len(z)), arrays, outcomes)
        flat = score.reshape(-1, len(z))
        return flat.T @ flat

    @jax.jit
    def score(
        outcomes: Any, scoring: Scoring, arrays: Any, number: Any, row: Any, reference: Any
    ) -> Scored:
        key = jax.random.fold_in(scoring.key, number)
        log_score = jax.vmap(lambda one: model.log_score(scoring.at, key, arrays, one))(outcomes)
        dispersion = gradient = None
        if scoring.root is not None:
            found = _scores(model, scoring.at.z[0], scoring.root, arrays, outcomes)
            found = row[:, None] * found
            dispersion, gradient = (found**2).sum(axis=(1, 2)), found.sum(axis=1)
        z = z_scores(reference, outcomes.T).T
        return Scored(z, log_score, dispersion, gradient)

    def scores(z: Any, root: Any, arrays: Any, outcomes: Any) -> Float[Array, "member row k"]:
        return _scores(model, z, root, arrays, outcomes)

    return ReplicatePrograms(draw, family, information, score, scores)


class _Model(NamedTuple):
    """A model of arrays, asked at given parameters."""

    function: Function
    site: str
    outcome: str
    vector: Vector

    def draw(self, given: ParameterDraws, arrays: Any, key: PRNGKeyArray) -> Real[Array, " row"]:
        """Draw an outcome, and whatever is not given from its conditional prior, `(rows,)`."""
        return self._observed(given, {**arrays, self.outcome: None}, key)["value"]

    def distribution(self, given: ParameterDraws, arrays: Any, key: PRNGKeyArray) -> Any:
        """Give the distribution that `draw` draws from."""
        unknown = {**arrays, self.outcome: None}
        return uncensored(self._observed(given, unknown, key, drawn=False)["fn"])

    def log_likelihood(
        self, given: ParameterDraws, arrays: Any, outcome: Real[Array, " row"], key: PRNGKeyArray
    ) -> Float[Array, " row"]:
        """Log likelihood of each row at a true value, `(rows,)`."""
        as_taken = outcome.astype(arrays[self.outcome].dtype)
        site = self._observed(given, {**arrays, self.outcome: as_taken}, key)
        if censored_part(site["fn"]) is not None:
            site = {**site, "fn": uncensored(site["fn"]), "value": outcome}
        return log_prob_by_row(site)

    def log_score(
        self, at: ParameterDraws, key: PRNGKeyArray, arrays: Any, outcome: Real[Array, " row"]
    ) -> Float[Array, " row"]:
        """Log predictive density of each row, averaged over the draws that score, `(rows,)`."""
        n_draws = len(at.z)
        values = jax.vmap(lambda given, key: self.log_likelihood(given, arrays, outcome, key))(
            at, jax.random.split(key, n_draws)
        )
        return values[0] if n_draws == 1 else jax.nn.logsumexp(values, axis=0) - jnp.log(n_draws)

    def _observed(
        self, given: ParameterDraws, arrays: Any, key: PRNGKeyArray, *, drawn: bool = True
    ) -> dict[str, Any]:
        """Trace the observed site, other sites as given or from their conditional prior; the outcome, too, if drawn."""

        def other(site: dict[str, Any]) -> Any:
            if site["name"] == self.site and not drawn:
                return jnp.zeros(site["fn"].shape())
            return given.hidden.get(site["name"])

        z = self.vector.unpack(jnp.asarray(given.z))
        return traced_at(self.function, z, arrays, others=other, key=key)[self.site]


def _scores(
    model: _Model,
    z: Float[Array, " d"],
    root: Any,
    arrays: Mapping[str, Any],
    outcomes: Outcomes,
) -> Float[Array, "member row d"]:
    """Differentiate the log likelihood of rows at `z` along the columns of `root`, `(member, rows, d)`."""

    def of_one(outcome: Real[Array, " row"]) -> Float[Array, "row d"]:
        def at(step: Float[Array, " d"]) -> Float[Array, " row"]:
            given = ParameterDraws(z + root @ step, {})
            return model.log_likelihood(given, arrays, outcome, jax.random.key(0))

        return jax.jacfwd(at)(jnp.zeros(len(z)))

    return jnp.nan_to_num(jax.vmap(of_one)(outcomes), posinf=0.0, neginf=0.0)
