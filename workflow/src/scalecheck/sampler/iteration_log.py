"""What the chains of a batch did so far: appended block by block, never rewritten."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int

from scalecheck.sampler.types import Iterations

_DISCARDED = -1  # instead of a number of iterations: what the chain did before is forgotten


class News(NamedTuple):
    """What was appended to a log.

    Attributes
    ----------
    parts
        Fit, chain, iterations (-1 where the chain was restarted), and draws of each part.
    iterations
        Of all parts, joined, `(n, ...)`.
    """

    parts: Int[np.ndarray, "part 4"]
    iterations: Iterations


NO_NEWS = News(np.zeros((0, 4), int), Iterations(*[np.zeros(0)] * len(Iterations._fields)))


class IterationLog:
    """Iterations of all chains of all fits, of which some are ahead of others.

    `done` and `leapfrogs`, `(fit, chain)` both, count the iterations and what they took.

    Parameters
    ----------
    n_fits, n_chains
        Numbers.
    warmup
        Iterations whose positions are not kept.
    """

    def __init__(self, n_fits: int, n_chains: int, warmup: int) -> None:
        self.warmup = warmup
        self.done = np.zeros((n_fits, n_chains), int)
        self.leapfrogs = np.zeros((n_fits, n_chains), int)
        self._parts: list[list[list[Iterations]]] = [
            [[] for _ in range(n_chains)] for _ in range(n_fits)
        ]
        self._news: list[tuple[int, int, Iterations | None]] = []

    def append(self, fit: int, chain: int, seen: Iterations) -> None:
        """Add iterations `(n, ...)` of a chain; positions only where they are draws."""
        n_warmup = int(np.clip(self.warmup - self.done[fit, chain], 0, len(seen.n_steps)))
        # Copies, or each would keep the whole block in memory.
        kept = jax.tree.map(np.copy, seen._replace(z=seen.z[n_warmup:]))
        self._add(fit, chain, kept)
        self._news.append((fit, chain, kept))

    def _add(self, fit: int, chain: int, kept: Iterations) -> None:
        self._parts[fit][chain].append(kept)
        self.done[fit, chain] += len(kept.n_steps)
        self.leapfrogs[fit, chain] += int(kept.n_steps.sum())

    def discard(self, fit: int, chain: int) -> None:
        """Forget what a chain did: it is restarted."""
        self._forget(fit, chain)
        self._news.append((fit, chain, None))

    def _forget(self, fit: int, chain: int) -> None:
        self._parts[fit][chain].clear()
        self.done[fit, chain] = self.leapfrogs[fit, chain] = 0

    def cut(self, fit: int, n: int, empty: Iterations) -> None:
        """Keep the first n iterations of every chain of a fit; `empty` is what none looks like."""
        for parts in self._parts[fit]:
            whole = _join([empty, *parts])
            draws = whole.z[: max(0, n - self.warmup)]
            parts[:] = [jax.tree.map(lambda x: x[:n], whole)._replace(z=draws)]

    def joined(self, fit: int) -> Iterations:
        """All iterations of a fit `(chain, iteration)`, and its draws `(chain, draw, d)`."""
        chains = [_join(parts) for parts in self._parts[fit]]
        return jax.tree.map(lambda *parts: np.stack(parts), *chains)

    def steps_to(self, fit: int, total: int) -> float:
        """Leapfrogs until the slowest chain of a fit has `total` iterations, at its pace so far."""
        pace = self.leapfrogs[fit] / np.maximum(self.done[fit], 1)
        return float(((total - self.done[fit]) * pace).max())

    def news(self) -> News | None:
        """Give what was appended since the last call; None where nothing was."""
        news, self._news = self._news, []
        parts = [part for _, _, part in news if part is not None]
        if not parts:  # a chain that is restarted has just ended a window
            return None
        rows = [
            (fit, chain, _DISCARDED, 0)
            if part is None
            else (fit, chain, len(part.n_steps), len(part.z))
            for fit, chain, part in news
        ]
        return News(np.array(rows), _join(parts))

    def restore(self, news: News) -> None:
        """Append what `news` gave."""
        start = draw = 0
        for fit, chain, n, n_draws in news.parts.tolist():
            if n == _DISCARDED:
                self._forget(fit, chain)
                continue
            own = jax.tree.map(lambda x, i=start, n=n: x[i : i + n], news.iterations)
            z = news.iterations.z[draw : draw + n_draws]
            self._add(fit, chain, own._replace(z=z))
            start, draw = start + n, draw + n_draws


def _join(parts: list[Iterations]) -> Iterations:
    return jax.tree.map(lambda *parts: np.concatenate(parts), *parts)
