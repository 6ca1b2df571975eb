"""What units share: the mode of its marginal density, and how wide that is."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize

from scalecheck.laplace.marginal_density import Evaluated, MarginalDensity, Theta

# Evaluations of L-BFGS at most; steps by which the Hessian is found, in prior and in posterior sds.
_MOST_ITERATIONS, _FIRST_STEP, _STEP = 200, 0.02, 0.5
# No direction is wider than so many prior sds.
_WIDEST = 3.0
# Hessians, and Newton steps with each, at most; how near to the mode is enough, and how far it may be off: posterior
# sds.
_POLISH, _AT_MODE, _NEAR = 3, 0.1, 0.5

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


class Evaluate(Protocol):
    """What gives the log density and its gradient."""

    def __call__(
        self,
        theta: Theta,
        chosen: Sequence[int] | None = None,
        *,
        moves: bool = True,
        corrected: bool = False,
    ) -> Evaluated:
        """Evaluate at `theta` `(d,)`, of some blocks or all: whether modes move, whether integrals are corrected."""
        ...


def find_population_mode(
    marginal: MarginalDensity, evaluate: Evaluate, log: Callable[[str], None]
) -> PopulationMode:
    """Find the mode of the corrected density: by L-BFGS of one block, of all by Laplace's method, and then corrected.

    The error of Laplace's method is of each unit: in posterior sds it grows with the root of their number.

    Parameters
    ----------
    evaluate
        As `marginal.evaluate`.
    log
        Takes a line per stage.
    """
    first = [0]
    prior_root = np.diag(marginal.prior.sd)
    theta = _descend(lambda t: evaluate(t, first), marginal.prior.median, prior_root)
    hessian = _hessian(lambda t: evaluate(t, first, moves=False), theta, _FIRST_STEP * prior_root)
    log(f"mode of the first of {len(marginal.blocks)} blocks found")
    # The prior is part of both; a direction that the data do not narrow is as wide as before.
    share = marginal.n_units / (marginal.runs[0][1] - marginal.runs[0][0])
    root = _root_of_inverse(hessian * share, prior_root)
    theta = _descend(evaluate, theta, root)
    log("mode of all blocks by Laplace's method found")
    theta = _descend(lambda t: evaluate(t, corrected=True), theta, root)
    log("mode of all blocks, corrected, found")
    return _polish(
        lambda t, moves: evaluate(t, moves=moves, corrected=True), theta, root, prior_root
    )


def _polish(
    evaluate: Callable[[Theta, bool], Evaluated], theta: Theta, root: Matrix, prior_root: Matrix
) -> PopulationMode:
    """Go to the mode by Newton's method, with Hessians by differences of gradients in the sds of the one before."""
    at, off = evaluate(theta, True), np.inf
    for _ in range(_POLISH):
        hessian = _hessian(lambda t: evaluate(t, False), theta, _STEP * root)
        root = _root_of_inverse(hessian, prior_root)
        for _ in range(_POLISH):
            move = root.T @ at.gradient
            off = float(np.linalg.norm(move))
            if off <= _AT_MODE:
                return PopulationMode(theta, root, at.value, off, at.n_lost)
            new = evaluate(theta + min(1.0, 1.0 / off) * root @ move, True)
            if not new.value > at.value:
                break
            theta, at = theta + min(1.0, 1.0 / off) * root @ move, new
        if off <= _NEAR:
            break
    return PopulationMode(theta, root, at.value, off, at.n_lost)


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


def _hessian(evaluate: Callable[[Theta], Evaluated], theta: Theta, steps: Matrix) -> Matrix:
    """Hessian of minus the log density by differences of its gradients along the columns of `steps`."""
    changes = [
        evaluate(theta - step).gradient - evaluate(theta + step).gradient for step in steps.T
    ]
    moved = np.linalg.solve(steps.T, np.array(changes) / 2)
    return (moved + moved.T) / 2


def _root_of_inverse(hessian: Matrix, prior_root: Matrix) -> Matrix:
    """Square root of the inverse of a Hessian, no direction wider than some prior sds."""
    inner = prior_root.T @ hessian @ prior_root
    values, vectors = np.linalg.eigh(np.nan_to_num(inner))
    values = np.maximum(values, 1 / _WIDEST**2)
    return prior_root @ vectors / np.sqrt(values)
