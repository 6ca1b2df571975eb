"""Leapfrogs of a trajectory of NUTS on many standard normals, by step size.

    .venv/bin/python tests/benchmarks/resonance.py

All coordinates swing with one period, 2 pi. Where a whole tree of 2^k - 1 steps spans about half a
period, the next spans a whole one: its ends are close together and move alike, so that NUTS does not see
that it turned, and doubles again. Prints the mean and the most leapfrogs of 40 trajectories in 12,000
coordinates, by the transition of NumPyro.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import numpyro.infer  # noqa: E402

N_COORDINATES, N_TRAJECTORIES = 12_000, 40


def leapfrogs(step_size: float) -> np.ndarray:
    """Give the leapfrogs of each trajectory, `(trajectories,)`, from a draw of the distribution."""

    def potential(z: jax.Array) -> jax.Array:
        return 0.5 * (z**2).sum()

    kernel = numpyro.infer.NUTS(
        potential_fn=potential,
        step_size=step_size,
        adapt_step_size=False,
        adapt_mass_matrix=False,
    )
    mcmc = numpyro.infer.MCMC(kernel, num_warmup=0, num_samples=N_TRAJECTORIES, progress_bar=False)
    start = jax.random.normal(jax.random.PRNGKey(1), (N_COORDINATES,))
    mcmc.run(jax.random.PRNGKey(2), init_params=start, extra_fields=("num_steps",))
    return np.asarray(mcmc.get_extra_fields()["num_steps"])


if __name__ == "__main__":
    print("step size   mean   most")
    for step_size in (0.06, 0.07, 0.08, 0.09, 0.095, 0.1, 0.105, 0.11, 0.12, 0.14):
        steps = leapfrogs(step_size)
        print(f"{step_size:9.3f} {steps.mean():6.1f} {steps.max():6d}", flush=True)
