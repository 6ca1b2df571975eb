"""Fit an approximation to many data sets simulated from the prior."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck.errors import StudyError
from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.laplace import nested
from scalecheck.laplace.marginal_density import MarginalDensity, are_many_lost
from scalecheck.model import density
from scalecheck.model.batches import Batch
from scalecheck.model.outcome import describe_outcome, why_not_simulated
from scalecheck.model.sites import observed_site
from scalecheck.runtime.program import Log
from scalecheck.sampler import Snapshot
from scalecheck.study.settings import ApproximationSettings
from scalecheck.variational import approximation, optimise, svi_programs, target
from scalecheck.variational.vsbc import Symmetry, judge_symmetry

# Draws of each approximation, to count those below the truth; of nested Laplace, whose draws are weighted.
_DRAWS, _WEIGHTED, _ENOUGH = 500, 192, 64


def simulate_approximations(
    batch: Batch,
    settings: ApproximationSettings,
    key: jax.Array,
    log: Log,
    checkpointer: Checkpointer | None = None,
) -> Symmetry:
    """Draw parameters and outcomes, fit each data set, and test the symmetry of the errors.

    Parameters
    ----------
    batch
        One fit, whose rows but for the outcome every data set has.
    settings
        `simulate` data sets.
    key
        `(2,)` of all that is random.
    checkpointer
        Saves what the data sets so far gave.

    Raises
    ------
    StudyError
        When the outcome is censored.
    """
    observed = observed_site(batch.bound, batch.sites).name
    if describe_outcome(batch.function, observed, batch.arrays_of()).censored:
        reason = why_not_simulated(observed)
        raise StudyError(f"{batch.bound.file}: approximation.simulate must be 0: {reason}")
    starting, drawing, fitting = jax.random.split(key, 3)
    fit = (
        _by_laplace(batch) if settings.method == "laplace" else _by_guide(batch, settings, starting)
    )
    keys = jax.random.split(drawing, settings.simulate)
    truth, outcomes = _data_sets(batch, keys)
    below = np.zeros(truth.shape)
    converged = np.zeros(len(truth), bool)
    n_done = 0
    if checkpointer is not None and (saved := checkpointer.saved()) is not None:
        below, converged = saved.state["below"], saved.state["converged"]
        n_done = int(saved.state["n_done"])
    for number, key in list(enumerate(jax.random.split(fitting, settings.simulate)))[n_done:]:
        below[number], converged[number] = fit(outcomes[number], truth[number], key)
        state = {"below": below, "converged": converged, "n_done": np.array(number + 1)}
        if checkpointer is not None:
            checkpointer.keep(partial(Snapshot, state, {}))
        if (number + 1) % 10 == 0:
            log(f"simulated data sets: {number + 1} of {settings.simulate}")
    return judge_symmetry(batch.vector.names, below, converged)


# Outcome `(rows,)`, truth `(n_shared,)` and key -> probability below the truth `(n_shared,)`, whether it converged.
_Fit = Callable[[np.ndarray, np.ndarray, jax.Array], tuple[np.ndarray, bool]]


def _by_guide(batch: Batch, settings: ApproximationSettings, key: jax.Array) -> _Fit:
    layout = target.layout_of(batch)
    problem = approximation.problem_of(batch, layout, settings, key)
    programs = svi_programs.SviPrograms(problem)
    draw = jax.jit(lambda params, key: problem.guide.draw(params, key, _DRAWS))

    def fit(outcome: np.ndarray, truth: np.ndarray, key: jax.Array) -> tuple[np.ndarray, bool]:
        one = problem._replace(arrays={**problem.arrays, batch.bound.outcome: outcome})
        found = optimise.maximise(one, programs, settings.steps, key, lambda line: None)
        drawn = np.asarray(draw(found.params, key))[:, : layout.n_shared]
        return (drawn < truth).mean(axis=0), found.converged

    return fit


def _by_laplace(batch: Batch) -> _Fit:
    marginal = MarginalDensity(batch)

    def fit(outcome: np.ndarray, truth: np.ndarray, key: jax.Array) -> tuple[np.ndarray, bool]:
        marginal.renew(batch.bound.outcome, outcome)
        _, found = nested.weigh_population(marginal, key, _WEIGHTED, _ENOUGH)
        # Of data that importance draws do not do for, NUTS on the marginal density would be wanted.
        is_lost = are_many_lost(found.n_lost, len(found.thetas) * marginal.n_units)
        trusted = nested.suffices(found.weights, _ENOUGH) and not is_lost
        return found.weights.weight @ (found.thetas < truth), trusted

    return fit


def _data_sets(batch: Batch, keys: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """True parameters `(data set, n_shared)`, unconstrained, and outcomes `(data set, rows)`."""
    function, outcome = batch.function, batch.bound.outcome
    observed = observed_site(batch.bound, batch.sites).name
    latent = [site.name for site in batch.sites if site.kind == "latent"]
    arrays = batch.arrays_of()

    @jax.jit
    def draw(key: jax.Array, arrays: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        parameters, noise = jax.random.split(key)
        drawn = density.prior_draws(function, latent, arrays, parameters[None])
        values = {name: value[0] for name, value in drawn.items()}
        z = density.unconstrain(function, values, arrays)
        outcomes = density.draw_outcome(function, observed, outcome, values, arrays, noise)
        return batch.vector.pack(z), outcomes.astype(arrays[outcome].dtype)

    drawn = [draw(key, {name: jnp.asarray(v) for name, v in arrays.items()}) for key in keys]
    return np.stack([np.asarray(z) for z, _ in drawn]), np.stack([np.asarray(y) for _, y in drawn])
