"""NeuTra: sample in the coordinates of a flow that was trained to map a standard normal to the posterior."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoBNAFNormal
from numpyro.infer.reparam import NeuTraReparam
from numpyro.optim import Adam

from scalecheck.errors import NotEnoughMemory
from scalecheck.model.binding import first_line
from scalecheck.model.sites import Site
from scalecheck.remedies.problem import CHAINS, Problem, TrialResult, failed_trial, try_batch
from scalecheck.runtime.program import Log

# A flow of more takes longer to compile than the whole search; there is none of a single scalar.
FEWEST_SCALARS, MOST_SCALARS = 2, 100
_STEPS, _STEP_SIZE = 2000, 3e-3
_SHARED = "auto_shared_latent"


def try_neutra(problem: Problem, log: Log) -> TrialResult:
    """Train a block neural autoregressive flow, and sample in its coordinates with what is left of the gradients.

    M. Hoffman et al., "NeuTra-lizing Bad Geometry in Hamiltonian Monte Carlo Using Neural Transport"
    (arXiv:1903.03704). Each step of the training is one gradient, which all chains share. A flow that cannot be
    trained has no draws.
    """
    batch, function = problem.batch, problem.batch.function
    arrays = {name: jnp.asarray(values) for name, values in batch.arrays_of().items()}
    steps = max(1, min(_STEPS, problem.gradients // 4))
    guide = AutoBNAFNormal(function, num_flows=1, hidden_factors=[8, 8])
    svi = SVI(function, guide, Adam(_STEP_SIZE), Trace_ELBO())
    log(f"neutra: {steps} steps of a flow")
    try:
        found = svi.run(jax.random.PRNGKey(problem.seed), steps, progress_bar=False, **arrays)
    except RuntimeError as error:  # NumPyro finds no start, or XLA fails
        if str(error).startswith("RESOURCE_EXHAUSTED"):  # which says nothing of the flow
            raise NotEnoughMemory(first_line(error)) from None
        return failed_trial(problem, first_line(error))
    flow = NeuTraReparam(guide, found.params)
    d = problem.n_scalars
    latent = Site(_SHARED, "latent", (d,), (f"{_SHARED}_dim_0",))
    observed = tuple(site for site in batch.sites if site.kind == "observed")
    moved = batch._replace(function=flow.reparam(function), sites=(latent, *observed))
    moved = moved._replace(vector=moved.vector._replace(names=(), shapes={_SHARED: (d,)}))
    unpack = jax.jit(jax.vmap(jax.vmap(lambda x: guide._unpack_latent(flow.transform(x)))))

    def in_model(draws: dict[str, np.ndarray]) -> Any:
        return unpack(jnp.asarray(draws[_SHARED]))

    settings = dataclasses.replace(
        problem.settings,
        reparam={},
        metric="diagonal",
        start="prior",  # the flow's standard normal: other starts know only the sites of the model
        max_gradients=problem.gradients - steps // CHAINS,
    )
    seen = try_batch(problem, moved, settings, log, in_model)
    spent = seen.trial.gradients + steps / CHAINS
    return seen._replace(trial=seen.trial._replace(gradients=spent))
