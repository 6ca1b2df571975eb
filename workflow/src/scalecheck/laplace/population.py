"""What units share: the mode of its marginal density, and how wide that is."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from scalecheck.laplace.marginal_density import Evaluated, MarginalDensity, Theta

# Evaluations of L-BFGS at most; steps by which the Hessian is found, in prior and in posterior sds.
_MOST_ITERATIONS, _FIRST_STEP, _STEP = 200, 0.1, 1.0
# Places at which a finite density is looked for.
_STARTS = 20
# No direction is wider than so many prior sds.
_WIDEST = 3.0
# Hessians at most; how near to the mode is enough, and how far it may be off and the Hessian from it: posterior sds.
_POLISH, _AT_MODE, _NEAR = 3, 0.1, 0.5
# Of more blocks gradients take long, and the density is nearly normal: differences to one side do.
_MANY_BLOCKS = 32

Matrix = Float[np.ndarray, "d d"]


class PopulationMode(NamedTuple):
    """Where the marginal density is highest.

    Attributes
    ----------
    theta
        `(d,)`.
    root
        `(d, d)` with `root @ root.T` the inverse of the Hessian of minus the log density there.
    log_density
        At the mode; no finite number where none was found.
    off
        How far from the mode it may be, in posterior sds.
    """

    theta: Theta
    root: Matrix
    log_density: float
    off: float


# As `MarginalDensity.evaluate`.
Evaluate = Callable[..., Evaluated]


def find_population_mode(
    marginal: MarginalDensity,
    evaluate: Evaluate,
    settle: Callable[..., None],
    log: Callable[[str], None],
) -> PopulationMode:
    """Find the mode of the corrected density by L-BFGS: of one block by Laplace's method, then corrected; then of all.

    The error of Laplace's method is of each unit: in posterior sds it grows with the root of their number.

    Parameters
    ----------
    evaluate, settle
        As those of `marginal`.
    log
        Takes a line per stage.
    """
    n_blocks, prior_root = len(marginal.blocks), np.diag(marginal.prior.sd)

    def of_first(theta: Theta, *, moves: bool = True) -> Evaluated:
        return evaluate(theta, [0], moves=moves, corrected=True)

    def of_all(theta: Theta, *, moves: bool = True) -> Evaluated:
        return evaluate(theta, moves=moves, corrected=True)

    theta = _descend(lambda t: evaluate(t, [0]), _start(marginal, evaluate), prior_root)
    settle(theta, [0])
    theta = _descend(of_first, theta, prior_root)
    hessian = _hessian(of_first, theta, _FIRST_STEP * prior_root)
    log(f"mode of the first of {n_blocks} blocks found")
    # The prior is part of both; a direction that the data do not narrow is as wide as before.
    share = marginal.n_units / (marginal.runs[0][1] - marginal.runs[0][0])
    root = _root_of_inverse(hessian * share, prior_root)
    if n_blocks > 1:
        settle(theta)
        theta = _descend(of_all, theta, root)
        log("mode of all blocks found")
    return _polish(of_all, theta, root, prior_root, one_sided=n_blocks > _MANY_BLOCKS)


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
    evaluate: Evaluate,
    theta: Theta,
    root: Matrix,
    prior_root: Matrix,
    *,
    one_sided: bool,
) -> PopulationMode:
    """Go to the mode by L-BFGS in the sds of a Hessian by differences, until that is the Hessian of the mode."""
    at, off = evaluate(theta), np.inf
    for _ in range(_POLISH):
        known = at.gradient if one_sided else None
        root = _root_of_inverse(_hessian(evaluate, theta, _STEP * root, known), prior_root)
        before, off = theta, float(np.linalg.norm(root.T @ at.gradient))
        if off > _AT_MODE:
            theta = _descend(evaluate, theta, root)
            at = evaluate(theta)
            off = float(np.linalg.norm(root.T @ at.gradient))
        moved = float(np.linalg.norm(np.linalg.solve(root, theta - before)))
        if max(off, moved) <= _NEAR:
            break
    return PopulationMode(theta, root, at.value, off)


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


def _hessian(
    evaluate: Evaluate,
    theta: Theta,
    steps: Matrix,
    known: Theta | None = None,
) -> Matrix:
    """Hessian of minus the log density by differences of its gradients along the columns of `steps`.

    Parameters
    ----------
    known
        `(d,)` gradient at theta, for differences to one side, which take half as long; None for both sides.
    """
    above = np.array([evaluate(theta + step, moves=False).gradient for step in steps.T])
    if known is None:
        below = np.array([evaluate(theta - step, moves=False).gradient for step in steps.T])
        changes = (below - above) / 2
    else:
        changes = known - above
    moved = np.linalg.solve(steps.T, changes)
    return (moved + moved.T) / 2


def _root_of_inverse(hessian: Matrix, prior_root: Matrix) -> Matrix:
    """Square root of the inverse of a Hessian, no direction wider than some prior sds."""
    inner = prior_root.T @ hessian @ prior_root
    values, vectors = np.linalg.eigh(np.nan_to_num(inner))
    # Far from a mode some are negative: as wide as they are curved.
    values = np.maximum(np.abs(values), 1 / _WIDEST**2)
    return prior_root @ vectors / np.sqrt(values)
