"""What lanes sample where units are integrated out: what units share, in posterior sds from its mode."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt32

from scalecheck import sampler
from scalecheck.laplace import marginal_potential
from scalecheck.laplace.marginal_density import MarginalDensity
from scalecheck.laplace.marginal_potential import SITE
from scalecheck.laplace.population import PopulationMode
from scalecheck.sampler.types import ByDraw

# Starts are so many times as far from the mode as draws of a normal: R-hat sees chains that meet.
_APART = 2.0
# A start that has no finite density is taken half as far from the mode, so many times at most.
_HALVINGS = 10


class FoundMode(NamedTuple):
    """The marginal density of the rows of one fit, and the mode that draws are measured from."""

    marginal: MarginalDensity
    mode: PopulationMode

    def thetas(self, z: Float[np.ndarray, "*draw d"]) -> Float[np.ndarray, "*draw d"]:
        """Map draws in posterior sds from the mode to what units share."""
        mode = self.mode
        return mode.coordinates.thetas(mode.place + z.astype("float64") @ mode.root.T)


class MarginalTarget:
    """What lanes take of the fits of a batch: the potential, and its arrays, `(fit, ...)`."""

    def __init__(self, fits: Sequence[FoundMode]) -> None:
        self.fits = fits
        self.potential = marginal_potential.potential_of(fits[0].marginal.model)
        each = [marginal_potential.arrays_of(one.marginal, one.mode) for one in fits]
        # One fit of many rows is not copied.
        self.arrays = {
            name: values[None] if len(each) == 1 else np.stack([one[name] for one in each])
            for name, values in each[0].items()
        }

    def arrays_of(self, fit: int) -> dict[str, np.ndarray]:
        """Give the arrays of one fit: their shapes are without `fit`."""
        return {name: values[fit] for name, values in self.arrays.items()}

    def starts_of(
        self, fit: int, n_chains: int, key: UInt32[np.ndarray, "2"], times: int = 0
    ) -> Float[np.ndarray, "chain d"]:
        """Draw starts around the mode, nearer to it where their density is not finite; others each time."""
        marginal = self.fits[fit].marginal
        rng = np.random.default_rng([*key.astype("uint32").tolist(), times])
        z = (_APART * rng.standard_normal((n_chains, marginal.size))).astype(marginal.dtype)
        for _ in range(_HALVINGS):
            is_good = sampler.is_finite(self.potential, {SITE: z}, self.arrays_of(fit))
            if is_good.all():
                return z
            z = np.where(is_good[:, None], z, z / 2)
        # The density is finite at the mode itself.
        return np.zeros_like(z)

    def thetas_of(self, fit: int, z: ByDraw) -> Float[np.ndarray, "chain draw d"]:
        """Map the draws of a fit to what units share."""
        return self.fits[fit].thetas(z[SITE])
