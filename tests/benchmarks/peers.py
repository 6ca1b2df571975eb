"""Other samplers on the problems of targets.py: blackjax, nutpie, and a loop of fresh `MCMC` objects.

The first two are no dependencies: `pip install blackjax nutpie`; where one is missing, its line is left
out. Each gives what `engines.run` gives of ours.
"""

import importlib.util
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpyro.infer import MCMC, NUTS
from targets import Problem

from scalecheck.model import density

CHAINS, WARMUP, DRAWS = 4, 500, 500


class Sampled(NamedTuple):
    """What a peer took, and its draws of each fit by site, `(chain, draw, ...)`.

    Attributes
    ----------
    cpu_seconds, compile_cpu_seconds
        Of sampling, and of what comes before.
    gradients
        Leapfrogs of all chains, warmup included; NaN where they are not counted.
    z
        By fit.
    """

    cpu_seconds: float
    compile_cpu_seconds: float
    gradients: float
    z: list[dict[str, np.ndarray]]


def blackjax_fit_by_fit(problem: Problem, starts: dict[str, Any], seed: int) -> Sampled:
    """Window adaptation and NUTS of blackjax, chains under vmap, one program for all fits."""
    import blackjax

    def chain(key: jax.Array, z: Any, arrays: Any) -> Any:
        energy = density.potential(problem.model)(**arrays)
        log_density = lambda z: -energy(z)  # noqa: E731
        adapt, sample = jax.random.split(key)
        warm = blackjax.window_adaptation(blackjax.nuts, log_density, target_acceptance_rate=0.8)
        (state, tuned), info = warm.run(adapt, z, num_steps=WARMUP)
        step = blackjax.nuts(log_density, **tuned).step

        def move(state: Any, key: jax.Array) -> Any:
            state, info = step(key, state)
            return state, (state.position, info.num_integration_steps)

        _, (z, n_steps) = jax.lax.scan(move, state, jax.random.split(sample, DRAWS))
        return z, n_steps.sum() + info.info.num_integration_steps.sum()

    fits = jax.jit(jax.vmap(chain, (0, 0, None)))
    keys = jax.random.split(jax.random.PRNGKey(seed), (len(problem.arrays["y"]), CHAINS))
    arguments = [
        (keys[i], _of(starts, i), {k: jnp.asarray(v[i]) for k, v in problem.arrays.items()})
        for i in range(len(keys))
    ]
    began = time.process_time()
    program = fits.lower(*arguments[0]).compile()
    compiled = time.process_time()
    found = [jax.block_until_ready(program(*one)) for one in arguments]
    seconds = time.process_time() - compiled
    z = [jax.tree.map(np.asarray, one) for one, _ in found]
    return Sampled(seconds, compiled - began, sum(int(n.sum()) for _, n in found), z)


def nutpie_fit_by_fit(problem: Problem, starts: dict[str, Any], seed: int) -> Sampled:
    """Sample with nutpie, which calls a compiled energy and gradient through Python."""
    import nutpie
    from nutpie.compiled_pyfunc import from_pyfunc

    flat, unravel = ravel_pytree(jax.tree.map(lambda x: x[0, 0], starts))

    @jax.jit
    def both(x: jax.Array, arrays: Any) -> Any:
        energy = density.potential(problem.model)(**arrays)
        return jax.value_and_grad(lambda x: -energy(unravel(x)))(x)

    began = time.process_time()
    arrays = {name: jnp.asarray(values[0]) for name, values in problem.arrays.items()}
    jax.block_until_ready(both(flat, arrays))
    compiled = time.process_time()
    z, gradients = [], 0
    for i in range(len(problem.arrays["y"])):
        own = {name: jnp.asarray(values[i]) for name, values in problem.arrays.items()}

        def log_density(x: np.ndarray, own: Any = own) -> tuple[float, np.ndarray]:
            value, gradient = both(jnp.asarray(x, "float32"), own)
            return float(value), np.asarray(gradient, "float64")

        model = from_pyfunc(
            len(flat),
            lambda f=log_density: f,
            lambda *_: lambda x, **_: {"x": x},
            [np.dtype("float64")],
            [(len(flat),)],
            ["x"],
        )
        tree = nutpie.sample(
            model,
            draws=DRAWS,
            tune=WARMUP,
            chains=CHAINS,
            cores=1,
            seed=seed + i,
            progress_bar=False,
        )
        z.append({"x": tree["posterior"]["x"].to_numpy()})
        for group in ("sample_stats", "warmup_sample_stats"):
            gradients += int(tree[group]["n_steps"].to_numpy().sum())
    return Sampled(time.process_time() - compiled, compiled - began, gradients, z)


def fresh_mcmc(problem: Problem, starts: dict[str, Any], seed: int) -> Sampled:
    """What most people write: a new `MCMC` for every subset, chains vectorised. It compiles each time."""
    z = []
    began = time.process_time()
    for i in range(len(problem.arrays["y"])):
        sampler = MCMC(
            NUTS(problem.model),
            num_warmup=WARMUP,
            num_samples=DRAWS,
            num_chains=CHAINS,
            chain_method="vectorized",
            progress_bar=False,
        )
        own = {name: jnp.asarray(values[i]) for name, values in problem.arrays.items()}
        sampler.run(jax.random.PRNGKey(seed + i), **own)
        z.append(jax.tree.map(np.asarray, sampler.get_samples(group_by_chain=True)))
    # Compiling is part of what it takes, each time: it cannot be told apart. To count the gradients of
    # warmup would take a second program.
    return Sampled(time.process_time() - began, 0.0, np.nan, z)


def _of(starts: dict[str, Any], fit: int) -> dict[str, jax.Array]:
    return {name: jnp.asarray(values[fit]) for name, values in starts.items()}


PEERS: dict[str, Callable[[Problem, dict[str, Any], int], Sampled]] = {
    "blackjax, fit by fit": blackjax_fit_by_fit,
    "nutpie, fit by fit": nutpie_fit_by_fit,
    "a loop of fresh MCMC": fresh_mcmc,
}
_NEEDS = {"blackjax, fit by fit": "blackjax", "nutpie, fit by fit": "nutpie"}


def at_hand() -> list[str]:
    """Names of the peers that are installed."""
    return [name for name in PEERS if name not in _NEEDS or importlib.util.find_spec(_NEEDS[name])]
