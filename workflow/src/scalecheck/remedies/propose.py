"""What might help: candidates of each kind, from the model and from what was seen of those before."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scalecheck.fitting.starts import pathfinder
from scalecheck.model.reparam import Reparameterisation, affine, unwrap, why_not
from scalecheck.model.sites import traced
from scalecheck.remedies.block_metric import MOST_DENSE, blocks_of, correlated
from scalecheck.remedies.candidate import Candidate
from scalecheck.remedies.problem import Problem, TrialResult, slices_of_sites

# Sites that are recentred one by one: each costs two candidates.
_MOST_SITES = 4
_DIVISIONS = 10  # of the centredness that is learnt
_MOST_DRAWS = 2000


def recentrable(problem: Problem) -> list[str]:
    """Latent sites whose location or scale depends on others: recentring the rest changes no geometry."""
    function, arrays = problem.batch.function, problem.batch.arrays_of()

    def parameters(key: jax.Array) -> dict[str, Any]:
        sites = traced(function, arrays, key)
        return {
            name: affine(unwrap(site["fn"]), 0.0)
            for name, site in sites.items()
            if site["type"] == "sample" and not why_not(site)
        }

    one, other = (parameters(jax.random.key(seed)) for seed in (1, 2))
    return [name for name in one if not all(map(np.array_equal, one[name], other[name]))]


def first_candidates(problem: Problem, seen: TrialResult) -> list[Candidate]:
    """Candidates that need no draws: of the model, and of what was seen of it as it is."""
    found = [*_less_centred(problem), *_dense(problem)]
    settings = problem.settings
    if seen.saturated > 0.01 and settings.max_tree_depth < 20:
        depth = min(20, max(10, settings.max_tree_depth + 2))
        found.append(Candidate("max_tree_depth", {"max_tree_depth": depth}))
    if seen.divergences and settings.target_accept < 0.95:
        found.append(Candidate("target_accept", {"target_accept": 0.95}))
    is_slow_to_begin = seen.warmup_share > 0.5 and settings.start in ("prior", "uniform")
    if is_slow_to_begin and pathfinder.is_installed():
        found.append(Candidate("start", {"start": "pathfinder"}))
    return found


def _less_centred(problem: Problem) -> list[Candidate]:
    names = [n for n in recentrable(problem) if problem.settings.reparam.get(n, 1.0) == 1.0]
    some = names[:_MOST_SITES]
    together = [dict.fromkeys(names, 0.0)] if len(names) > 1 else []
    each = [{name: c} for name in some for c in (0.0, 0.5)]
    return [Candidate("reparam", {"reparam": one}) for one in [*each, *together]]


def _dense(problem: Problem) -> list[Candidate]:
    is_small = 1 < problem.n_scalars <= MOST_DENSE and problem.settings.metric != "dense"
    return [Candidate("metric", {"metric": "dense"})] if is_small else []


def candidates_from_draws(problem: Problem, z: np.ndarray) -> list[Candidate]:
    """Candidates from draws `(chain, draw, d)`: blocks of correlated sites, and a centredness that is learnt."""
    if z.shape[1] < 10:
        return []
    blocks = blocks_of(slices_of_sites(problem.vector), correlated(problem, z))
    names = [site.name for site in problem.latent]
    found = []
    if blocks and sorted(blocks[0]) != sorted(names) and blocks != problem.settings.metric:
        found.append(Candidate("metric", {"metric": blocks}))
    learnt = learn_centredness(problem, z)
    if learnt and any(0.1 <= c <= 0.9 and c != 0.5 for c in learnt.values()):
        found.append(Candidate("reparam", {"reparam": learnt}))
    return found


def learn_centredness(problem: Problem, z: np.ndarray) -> dict[str, float]:
    """Choose the centredness of each site, of a grid, that brings draws nearest to independent normals.

    That is the sum over its coordinates of the log sd, plus the mean log factor by which they are wider in the model:
    up to a constant the Kullback-Leibler divergence of the best independent normals from the draws. (As
    arXiv:1906.03028 learns it, with the divergence the other way round and no draws.) Draws are `(chain, draw, d)`.
    """
    names = [n for n in recentrable(problem) if n in problem.vector.shapes][:_MOST_SITES]
    if not names or len(problem.vector.shapes) < len(problem.latent):
        return {}
    flat = z.reshape(-1, z.shape[-1])
    flat = jnp.asarray(flat[:: max(1, len(flat) // _MOST_DRAWS)])
    grid = [step / _DIVISIONS for step in range(_DIVISIONS + 1)]
    losses = {name: _losses(problem, name, grid)(flat) for name in names}
    # Draws so far out that a coordinate overflows say nothing for that centredness.
    finite = {name: np.nan_to_num(found, nan=np.inf) for name, found in losses.items()}
    return {name: grid[int(np.argmin(found))] for name, found in finite.items()}


def _losses(problem: Problem, name: str, grid: Sequence[float]) -> Callable[..., jax.Array]:
    """Compile draws `(draw, d)` to the loss of each centredness of a site."""
    function = problem.batch.function
    arrays = {key: jnp.asarray(values) for key, values in problem.batch.arrays_of().items()}

    def loss(flat: jax.Array, c: float) -> jax.Array:
        moved = Reparameterisation(function, ((name, c),))

        def one(vector: jax.Array) -> tuple[jax.Array, jax.Array]:
            w = moved.from_model(problem.vector.unpack(vector), arrays)
            # Coordinate by coordinate the map is affine: its slope is what the energy gains.
            there = lambda x: moved.to_model({**w, name: x}, arrays)[name].sum()  # noqa: E731
            return w[name], jnp.log(jax.grad(there)(w[name])).sum()

        w, log_slope = jax.vmap(one)(flat)
        return jnp.log(w.reshape(len(w), -1).std(axis=0)).sum() + log_slope.mean()

    return jax.jit(lambda flat: jnp.stack([loss(flat, c) for c in grid]))
