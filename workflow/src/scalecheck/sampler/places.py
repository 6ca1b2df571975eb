"""The fits that step together, each in its place."""

from typing import Any, NamedTuple

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

    def with_fit(self, place: int, others: "Batch", number: int) -> "Batch":
        """Put one of other fits in a place."""
        fits = self.fits.copy()
        fits[place] = others.fits[number]
        return Batch(fits, *_put(self[1:], place, others[1:], number))

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


@jax.jit
def _put(parts: Any, place: Any, others: Any, number: Any) -> Any:
    """One program: a call for each of the many parts of a lane would take longer than a block of a small fit."""
    return jax.tree.map(lambda x, new: x.at[place].set(new[number]), parts, others)
