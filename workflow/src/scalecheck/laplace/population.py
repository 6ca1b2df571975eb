"""What units share: the mode of its marginal density, and how wide that is."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from scalecheck.laplace.marginal_density import Evaluated, MarginalDensity, Theta

# Evaluations of L-BFGS at most; steps by which the Hessian is found, in prior and in posterior sds.
_MOST_ITERATIONS, _FIRST_STEP, _STEP = 200, 0.02, 0.5
# No direction is wider than so many prior sds.
_WIDEST = 3.0
# Newton steps at the end, and how far in posterior sds the mode may be off.
_POLISH, _NEAR = 4, 0.05

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
        At the mode.
    off
        How far from the mode it may be, in posterior sds.
    n_lost
        Units whose own modes were not found there.
    """

    theta: Theta
    root: Matrix
    log_density: float
    off: float
    n_lost: int

    @property
    def converged(self) -> bool:
        """Whether the population's mode and those of all units were found."""
        return self.off <= _NEAR and not self.n_lost


Evaluate = Callable[[Theta, Sequence[int] | None, bool], Evaluated]


def find_population_mode(
    marginal: MarginalDensity, evaluate: Evaluate, log: Callable[[str], None]
) -> PopulationMode:
    """Find the mode on the first block by L-BFGS in prior sds, then on all blocks in the sds that these give.

    Parameters
    ----------
    evaluate
        As `marginal.evaluate`: theta, blocks, whether modes move.
    log
        Takes a line per stage.
    """
    first = [0]
    prior_root = np.diag(marginal.prior.sd)
    theta = _descend(lambda t: evaluate(t, first, True), marginal.prior.median, prior_root)
    # Their own modes are still where the first block began.
    hessian = hessian_by_differences(
        lambda t: evaluate(t, first, False), theta, _FIRST_STEP * prior_root
    )
    root = root_of_inverse(hessian, prior_root)
    log(f"mode of the first of {len(marginal.blocks)} blocks found")
    if len(marginal.blocks) > 1:
        # The prior is part of both; a direction that the data do not narrow is as wide as before.
        share = marginal.n_units / (marginal.runs[0][1] - marginal.runs[0][0])
        root = root_of_inverse(hessian * share, prior_root)
        theta = _descend(lambda t: evaluate(t, None, True), theta, root)
        log("mode of all blocks found")
    at, off = evaluate(theta, None, True), np.inf
    for _ in range(_POLISH):
        hessian = hessian_by_differences(lambda t: evaluate(t, None, False), theta, _STEP * root)
        root = root_of_inverse(hessian, prior_root)
        for _ in range(_POLISH):
            move = root @ (root.T @ at.gradient)
            off = float(np.linalg.norm(root.T @ at.gradient))
            if off <= _NEAR:
                return PopulationMode(theta, root, at.value, off, at.n_lost)
            length = min(1.0, 1.0 / off)
            new = evaluate(theta + length * move, None, True)
            if not new.value > at.value:
                break
            theta, at = theta + length * move, new
        log(f"{off:.2g} sds from the mode")
    return PopulationMode(theta, root, at.value, off, at.n_lost)


def renew_root(marginal: MarginalDensity, evaluate: Evaluate, theta: Theta, root: Matrix) -> Matrix:
    """Square root of the inverse of the Hessian at another theta `(d,)`, given the one where it was found before."""
    hessian = hessian_by_differences(lambda t: evaluate(t, None, False), theta, _STEP * root)
    return root_of_inverse(hessian, np.diag(marginal.prior.sd))


def _descend(evaluate: Callable[[Theta], Evaluated], start: Theta, root: Matrix) -> Theta:
    """Go down by L-BFGS in coordinates in which `root` is one."""
    best = [-np.inf, start]

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        theta = start + root @ x
        found = evaluate(theta)
        if not (np.isfinite(found.value) and np.isfinite(found.gradient).all()):
            # Out of where anything is finite: the line search goes back.
            return 1e3 + abs(best[0]) * 2, np.zeros_like(x)
        if found.value > best[0]:
            best[:] = found.value, theta
        return -found.value, -(root.T @ found.gradient)

    options: dict[str, Any] = {"maxiter": _MOST_ITERATIONS, "gtol": 0.1, "maxcor": 20}
    minimize(objective, np.zeros(len(start)), jac=True, method="L-BFGS-B", options=options)
    return best[1]


def hessian_by_differences(
    evaluate: Callable[[Theta], Evaluated], theta: Theta, steps: Matrix
) -> Matrix:
    """Hessian of minus the log density by differences of its gradients along the columns of `steps`."""
    changes = [
        evaluate(theta - step).gradient - evaluate(theta + step).gradient for step in steps.T
    ]
    moved = np.linalg.solve(steps.T, np.array(changes) / 2)
    return (moved + moved.T) / 2


def root_of_inverse(hessian: Matrix, prior_root: Matrix) -> Matrix:
    """Square root of the inverse of a Hessian, no direction wider than some prior sds."""
    inner = prior_root.T @ hessian @ prior_root
    values, vectors = np.linalg.eigh(np.nan_to_num(inner))
    values = np.maximum(values, 1 / _WIDEST**2)
    return prior_root @ vectors / np.sqrt(values)
