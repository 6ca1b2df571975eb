"""What is compiled of a variational fit: windows of Adam's steps, each on the next rows."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.svi import SVIState
from numpyro.optim import Adam

from scalecheck.variational.guides import Guide

WINDOW = 200  # steps between two looks
THIN = 10  # steps between two iterates that are averaged
# Smaller steps than the last could not cross a posterior within a round.
STEP_SIZES = (0.05, 0.0125, 0.003, 0.0008)
ROUND = 10**6  # more steps than a round has: Adam's counter tells which round it is
_PROBES = 128  # draws by which two distributions are compared


class SviProblem(NamedTuple):
    """What is fitted.

    Attributes
    ----------
    guide
        The family.
    model
        A function of arrays `(rows, ...)` with the sites of the guide.
    arrays
        Model argument -> `(rows, ...)`.
    n_batch
        Rows of a minibatch; those of the arrays where there is none.
    n_shared
        Elements that all rows share.
    """

    guide: Guide
    model: Callable[..., None]
    arrays: Mapping[str, np.ndarray]
    n_batch: int
    n_shared: int

    @property
    def n_rows(self) -> int:
        """Rows of the arrays."""
        return len(next(iter(self.arrays.values())))

    def shuffled(self, key: jax.Array) -> dict[str, jax.Array]:
        """Give arrays `(rows, ...)` in a random order, of which minibatches are slices: each row is as frequent.

        The first rows come again at the end, for the slice that goes round.
        """
        if self.n_batch >= self.n_rows:
            return {name: jnp.asarray(values) for name, values in self.arrays.items()}
        order = np.asarray(jax.random.permutation(key, self.n_rows))
        order = np.append(order, order[: self.n_batch])
        return {name: jnp.asarray(values[order]) for name, values in self.arrays.items()}


class SviPrograms:
    """What is compiled for a problem, and serves all of its shape.

    Parameters
    ----------
    problem
        One of them.
    """

    def __init__(self, problem: SviProblem) -> None:
        self.svi = SVI(problem.model, problem.guide.function, Adam(_step_size), Trace_ELBO())
        self.window = _window(self.svi, problem.n_rows, problem.n_batch)
        self._guide = problem.guide
        self.start = jax.jit(self.svi.init)
        self.moments = jax.jit(self._moments)

    def params(self, flat: jax.Array) -> dict[str, Any]:
        """Give the parameters of the guide from the vector `(parameter,)` that is averaged."""
        return self.svi.constrain_fn(self._unravel(flat))

    def ravel(self, state: SVIState) -> jax.Array:
        """Give the parameters of a state, unconstrained, as a vector `(parameter,)`."""
        flat, self._unravel = ravel_pytree(self.svi.optim.get_params(state.optim_state))
        return flat

    def _moments(self, flat: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        draws = self._guide.draw(self.params(flat), key, _PROBES)
        return draws.mean(axis=0), draws.std(axis=0)


def _step_size(counter: jax.Array) -> jax.Array:
    sizes = jnp.array(STEP_SIZES, jnp.float32)
    return sizes[jnp.minimum(counter // ROUND, len(STEP_SIZES) - 1)]


def _window(svi: SVI, n_rows: int, n_batch: int) -> Callable[..., Any]:
    """Compile a window of steps, each on the next rows: `(state, arrays, start) -> state, losses, mean iterate`."""

    def rows(arrays: dict[str, jax.Array], start: jax.Array) -> dict[str, jax.Array]:
        if n_batch >= n_rows:
            return arrays
        return {
            name: jax.lax.dynamic_slice_in_dim(values, start, n_batch)
            for name, values in arrays.items()
        }

    @jax.jit
    def window(state: SVIState, arrays: dict[str, jax.Array], start: Any) -> Any:
        def step(carry: tuple[SVIState, jax.Array], _: None) -> tuple[Any, jax.Array]:
            state, start = carry
            state, loss = svi.update(state, rows(arrays, start))
            return (state, (start + n_batch) % n_rows), loss

        def few(carry: tuple[Any, jax.Array], _: None) -> tuple[Any, jax.Array]:
            at, total = carry
            at, losses = jax.lax.scan(step, at, length=THIN)
            return (at, total + flat(at[0])), losses

        def flat(state: SVIState) -> jax.Array:
            return ravel_pytree(svi.optim.get_params(state.optim_state))[0]

        first = (state, jnp.asarray(start)), jnp.zeros_like(flat(state))
        ((state, _), total), losses = jax.lax.scan(few, first, length=WINDOW // THIN)
        return state, losses.ravel(), total / (WINDOW // THIN)

    return window
