"""Starts from Pathfinder, as BlackJAX has it: the best of the normal approximations along a path of L-BFGS."""

import importlib.util
from collections.abc import Callable

import jax

from scalecheck.errors import StudyError
from scalecheck.model.density import Sites

# Draws that estimate the evidence lower bound along a path, and the mean of the best approximation.
_DRAWS = 50


def is_installed() -> bool:
    """Whether BlackJAX, which is an extra, is there."""
    return importlib.util.find_spec("blackjax") is not None


def require_blackjax() -> None:
    """Ask for BlackJAX.

    Raises
    ------
    StudyError
        Where it is not installed.
    """
    if not is_installed():
        raise StudyError(
            "sampler.start is pathfinder, which needs BlackJAX: install scalecheck with the extra pathfinder"
            " (python -m pip install -e '.[pathfinder]')"
        )


def load_pathfinder() -> Callable[..., Sites]:
    """Give a function that follows a path from some sites, and draws from its best approximation.

    Its arguments are a key, the energy of unconstrained sites, the sites where the path begins, and the factor by
    which the draw is further from the mean of the approximation. L. Zhang et al., "Pathfinder: Parallel
    quasi-Newton variational inference", ProgressLog of Machine Learning Research 23:306 (2022).

    Raises
    ------
    StudyError
        Where BlackJAX is not installed.
    """
    require_blackjax()
    # An extra, which need not be there.
    from blackjax.vi import pathfinder  # pyright: ignore[reportMissingImports]

    def draw(key: jax.Array, energy: Callable[[Sites], jax.Array], z: Sites, wider: float) -> Sites:
        searching, drawing = jax.random.split(key)
        state, _ = pathfinder.approximate(searching, lambda z: -energy(z), z, num_samples=_DRAWS)
        draws, _ = pathfinder.sample(drawing, state, _DRAWS)
        return jax.tree.map(lambda x: x.mean(0) + wider * (x[0] - x.mean(0)), draws)

    return draw
