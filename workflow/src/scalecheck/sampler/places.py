"""The fits that step together, each in its place."""

from typing import NamedTuple

import jax
import numpy as np

from scalecheck.sampler.blocks import State

NDArray = np.ndarray


class Batch(NamedTuple):
    """Fits that still run, in the shape that is compiled for so many.

    Attributes
    ----------
    fits
        Numbers of the fits; some only fill the shape and rest.
    state
        Their lanes.
    arrays
        Their data.
    """

    fits: NDArray
    state: State
    arrays: dict[str, jax.Array]

    def with_fit(self, place: int, other: "Batch") -> "Batch":
        """Put a fit, a batch of its own, in a place."""
        put = lambda x, new: x.at[place].set(new[0])  # noqa: E731
        fits = self.fits.copy()
        fits[place] = other.fits[0]
        state = jax.tree.map(put, self.state, other.state)
        arrays = {name: put(values, other.arrays[name]) for name, values in self.arrays.items()}
        return Batch(fits, state, arrays)

    def only(self, chosen: NDArray) -> "Batch":
        """Take the fits at `(fit,)` places; of all of them nothing is copied."""
        if np.array_equal(chosen, np.arange(len(self.fits))):
            return self
        take = lambda x: x[chosen]  # noqa: E731
        return Batch(
            self.fits[chosen],
            jax.tree.map(take, self.state),
            {name: values[chosen] for name, values in self.arrays.items()},
        )
