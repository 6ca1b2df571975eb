"""What units share: the mode of its marginal density, and how wide that is, in coordinates that make it near normal."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import minimize

from scalecheck.laplace.coordinates import Coordinates, coordinates_at
from scalecheck.laplace.marginal_density import Evaluated, MarginalDensity, Theta

# Evaluations of L-BFGS at most; steps by which the Hessian is found, in prior and in posterior sds.
_MOST_ITERATIONS, _FIRST_STEP, _STEP = 200, 0.1, 1.0
# Places at which a finite density is looked for.
_STARTS = 20
# How far from the mode both sides are compared, in posterior sds; by how much less the density falls in a long tail.
REACH, _LESS = 1.5, 0.8
# No direction is wider than so many prior sds.
_WIDEST = 3.0
# Hessians at most; how near to the mode is enough, and how far it may be off and the Hessian from it: posterior sds.
_POLISH, _AT_MODE, _NEAR = 3, 0.1, 0.5
# So many blocks, evenly chosen, know the Hessian well enough, and are a start for all.
_SOME_BLOCKS = 32

Matrix = Float[np.ndarray, "d d"]


class PopulationMode(NamedTuple):
    """Where the marginal density of the coordinates of theta is highest.

    Attributes
    ----------
    place
        `(d,)` coordinates of the mode.
    root
        `(d, d)` with `root @ root.T` the inverse of the Hessian of minus the log density there.
    log_density
        At the mode; no finite number where none was found.
    off
        How far from the mode it may be, in posterior sds.
    scale
        `(d,)` of the coordinates.
    """

    place: Theta
    root: Matrix
    log_density: float
    off: float
    scale: Theta

    @property
    def coordinates(self) -> Coordinates:
        """How theta depends on its coordinates."""
        return Coordinates(self.scale)

    @property
    def theta(self) -> Theta:
        """Theta `(d,)` at the mode."""
        return self.coordinates.thetas(self.place)


# As `MarginalDensity.evaluate`.
Evaluate = Callable[..., Evaluated]


def find_population_mode(
    marginal: MarginalDensity,
    evaluate: Evaluate,
    settle: Callable[..., None],
    log: Callable[[str], None],
) -> PopulationMode:
    """Find the mode of the corrected density by L-BFGS: of one block (by Laplace's method first), of some, of all.

    The error of Laplace's method is of each unit: in posterior sds it grows with the root of their number.

    Parameters
    ----------
    evaluate, settle
        As those of `marginal`.
    log
        Takes a line per stage.
    """
    n_blocks, prior_root = len(marginal.blocks), np.diag(marginal.prior.sd)
    some = sorted(
        set(np.linspace(0, n_blocks - 1, min(n_blocks, _SOME_BLOCKS)).astype(int).tolist())
    )

    def of_first(theta: Theta, *, moves: bool = True) -> Evaluated:
        return evaluate(theta, [0], moves=moves, corrected=True)

    def of_some(theta: Theta, *, moves: bool = True) -> Evaluated:
        return evaluate(theta, some, moves=moves, corrected=True)

    def of_all(theta: Theta, *, moves: bool = True) -> Evaluated:
        return evaluate(theta, moves=moves, corrected=True)

    def root_of(hessian: Matrix, chosen: Sequence[int], prior_root: Matrix) -> Matrix:
        # The prior is part of both; a direction that the data do not narrow is as wide as before.
        n_units = sum(end - first for first, end in (marginal.runs[number] for number in chosen))
        return _root_of_inverse(hessian * (marginal.n_units / n_units), prior_root)

    theta = _descend(lambda t: evaluate(t, [0]), _start(marginal, evaluate), prior_root)
    settle(theta, [0])
    theta = _descend(of_first, theta, prior_root)
    root = root_of(_hessian(of_first, theta, _FIRST_STEP * prior_root), [0], prior_root)
    log(f"mode of the first of {n_blocks} blocks found")
    if len(some) < n_blocks:
        settle(theta, some)
        theta = _descend(of_some, theta, root)
        log(f"mode of {len(some)} of {n_blocks} blocks found")
    # Shapes of units are those near the mode, also of one block: the mode by Laplace's method may be far from it.
    settle(theta)
    theta = _descend(of_all, theta, root)
    if n_blocks > 1:
        log("mode of all blocks found")

    has_tail = _long_tails(of_some, theta, root, marginal.model.by_logarithm)
    coordinates = coordinates_at(theta, has_tail)

    place = coordinates.of_thetas(theta)
    slopes = np.exp(-coordinates.log_slopes(place))[:, None]

    def root_at(place: Theta, root: Matrix) -> Matrix:
        hessian = _hessian(by_place(of_some, coordinates), place, _STEP * root)
        return root_of(hessian, some, slopes * prior_root)

    found = _polish(by_place(of_all, coordinates), root_at, place, slopes * root)
    return PopulationMode(*found, scale=coordinates.scale)


def by_place(evaluate: Evaluate, coordinates: Coordinates) -> Evaluate:
    """Give the log density of coordinates, and its gradient, by that of theta: both functions of `(d,)`."""

    def of_place(place: Theta, *, moves: bool = True) -> Evaluated:
        found = evaluate(coordinates.thetas(place), moves=moves)
        value = found.value + float(coordinates.log_volume(place))
        return Evaluated(value, coordinates.gradient(place, found.gradient))

    return of_place


def _start(marginal: MarginalDensity, evaluate: Evaluate) -> Theta:
    """Give the median of the prior, or a place about as wide as the prior where the density is a number."""
    rng, prior = np.random.default_rng(0), marginal.prior
    for reach in np.linspace(0, 1, _STARTS):
        theta = prior.median + reach * prior.sd * rng.standard_normal(len(prior.median))
        found = evaluate(theta, [0], moves=False)
        if np.isfinite(found.value) and np.isfinite(found.gradient).all():
            return theta
    return prior.median


def _polish(
    evaluate: Evaluate, root_at: Callable[[Theta, Matrix], Matrix], place: Theta, root: Matrix
) -> tuple[Theta, Matrix, float, float]:
    """Go to the mode by L-BFGS in the sds of a Hessian by differences, until that is the Hessian of the mode.

    Gives the mode, its root, the log density there and how far off it may be.

    Parameters
    ----------
    root_at
        Gives a new root at a place, given the one before.
    """
    at, off = evaluate(place), np.inf
    for _ in range(_POLISH):
        root = root_at(place, root)
        before, off = place, float(np.linalg.norm(root.T @ at.gradient))
        if off > _AT_MODE:
            place = _descend(evaluate, place, root)
            at = evaluate(place)
            off = float(np.linalg.norm(root.T @ at.gradient))
        moved = float(np.linalg.norm(np.linalg.solve(root, place - before)))
        if max(off, moved) <= _NEAR:
            break
    return place, root, at.value, off


def _long_tails(
    evaluate: Evaluate, theta: Theta, root: Matrix, by_logarithm: Bool[np.ndarray, " d"]
) -> Bool[np.ndarray, " d"]:
    """Tell which logarithms have a long tail to the left: the density falls less there than to the right.

    The slope at `theta`, where the density of some blocks alone is not highest, is taken off.
    """
    found = np.zeros(len(theta), bool)
    at, covariance = evaluate(theta, moves=False), root @ root.T
    for i in np.flatnonzero(by_logarithm):
        # Where the others go along.
        step = REACH * covariance[:, i] / np.sqrt(covariance[i, i])
        left, right = (
            at.value + at.gradient @ off - evaluate(theta + off, moves=False).value
            for off in (-step, step)
        )
        found[i] = left < _LESS * right
    return found


def _descend(evaluate: Callable[[Theta], Evaluated], start: Theta, root: Matrix) -> Theta:
    """Go down by L-BFGS in coordinates in which `root` is one."""
    best = [-np.inf, start]

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        theta = start + root @ x
        found = evaluate(theta)
        if not (np.isfinite(found.value) and np.isfinite(found.gradient).all()):
            # Out of where anything is finite: the line search goes back.
            return 1e3 + 2 * abs(np.nan_to_num(best[0], neginf=0.0)), np.zeros_like(x)
        if found.value > best[0]:
            best[:] = found.value, theta
        return -found.value, -(root.T @ found.gradient)

    options: dict[str, Any] = {"maxiter": _MOST_ITERATIONS, "gtol": 0.1, "maxcor": 20}
    minimize(objective, np.zeros(len(start)), jac=True, method="L-BFGS-B", options=options)
    return best[1]


def _hessian(evaluate: Evaluate, theta: Theta, steps: Matrix) -> Matrix:
    """Hessian of minus the log density by differences of its gradients along the columns of `steps`."""
    above = np.array([evaluate(theta + step, moves=False).gradient for step in steps.T])
    below = np.array([evaluate(theta - step, moves=False).gradient for step in steps.T])
    moved = np.linalg.solve(steps.T, (below - above) / 2)
    return (moved + moved.T) / 2


def _root_of_inverse(hessian: Matrix, prior_root: Matrix) -> Matrix:
    """Square root of the inverse of a Hessian, no direction wider than some prior sds."""
    inner = prior_root.T @ hessian @ prior_root
    values, vectors = np.linalg.eigh(np.nan_to_num(inner))
    # Far from a mode some are negative: as wide as they are curved.
    values = np.maximum(np.abs(values), 1 / _WIDEST**2)
    return prior_root @ vectors / np.sqrt(values)
