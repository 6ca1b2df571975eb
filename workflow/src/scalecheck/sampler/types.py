"""What both engines share: the potential, the settings of NUTS, and what is seen of an iteration."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

# Numbers on the device: what a lane has one of; and a point, or a momentum, of a lane.
Number = Float[Array, ""]
Count = Int[Array, ""]
Flag = Bool[Array, ""]
Vector = Float[Array, " d"]

# On the host: whole numbers of fits, and of their chains.
ByFit = Int[np.ndarray, " fit"]
ByLane = Int[np.ndarray, "fit chain"]
ByChain = Int[np.ndarray, " chain"]

# Draws that are held of a fit, by site.
ByDraw = dict[str, Float[np.ndarray, "chain draw ..."]]

# Data -> (unconstrained sites -> potential energy), of one fit.
Potential = Callable[..., Callable[[Any], Number]]


class Settings(NamedTuple):
    """Settings of NUTS.

    Attributes
    ----------
    warmup
        Warmup iterations.
    target_accept
        Acceptance rate at which the step size is adapted.
    max_tree_depth
        Largest depth of a trajectory's tree.
    dense
        Blocks of sites with a dense metric; the others have a diagonal one.
    fisher
        Of lanes: adapt the diagonal metric to gradients, too, and the step size to the symmetric
        statistic of acceptance, as nutpie does.
    renews_metric
        Of lanes: whether warmup learns a metric; else it keeps the one that it began with.
    """

    warmup: int
    target_accept: float
    max_tree_depth: int
    dense: tuple[tuple[str, ...], ...]
    fisher: bool = False
    renews_metric: bool = True


class Iterations(NamedTuple):
    """What is seen of some iterations; leading dims `(fit, iteration, chain)`.

    Attributes
    ----------
    z
        Unconstrained sites.
    n_steps
        Leapfrog steps.
    acceptance_rate, energy, potential_energy, diverging, step_size
        As ArviZ names them; `step_size` is the one that the next iteration uses.
    """

    z: Any
    n_steps: Any
    acceptance_rate: Any
    energy: Any
    potential_energy: Any
    diverging: Any
    step_size: Any
