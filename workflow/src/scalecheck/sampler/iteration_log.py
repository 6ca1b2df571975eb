"""What the chains of a batch did so far: appended block by block, never rewritten."""

from collections.abc import Mapping

import jax
import numpy as np

from scalecheck.sampler.types import Iterations

NDArray = np.ndarray

_DISCARDED = -1  # instead of a number of iterations: what the chain did before is forgotten


class History:
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
        """Forget what a chain did: it begins anew."""
        self._forget(fit, chain)
        self._news.append((fit, chain, None))

    def _forget(self, fit: int, chain: int) -> None:
        self._parts[fit][chain].clear()
        self.done[fit, chain] = self.leapfrogs[fit, chain] = 0

    def cut(self, fit: int, n: int, empty: Iterations) -> None:
        """Keep the first n iterations of every chain of a fit; `empty` is what none looks like."""
        for parts in self._parts[fit]:
            whole = jax.tree.map(lambda *parts: np.concatenate(parts), empty, *parts)
            draws = whole.z[: max(0, n - self.warmup)]
            parts[:] = [jax.tree.map(lambda x: x[:n], whole)._replace(z=draws)]

    def joined(self, fit: int) -> Iterations:
        """All iterations of a fit `(chain, iteration)`, and its draws `(chain, draw, d)`."""
        chains = [
            jax.tree.map(lambda *parts: np.concatenate(parts), *parts) for parts in self._parts[fit]
        ]
        return jax.tree.map(lambda *parts: np.stack(parts), *chains)

    def steps_to(self, fit: int, total: int) -> float:
        """Leapfrogs until the slowest chain of a fit has `total` iterations, at its pace so far."""
        pace = self.leapfrogs[fit] / np.maximum(self.done[fit], 1)
        return float(((total - self.done[fit]) * pace).max())

    def news(self) -> dict[str, NDArray]:
        """Give what was appended since the last call, as arrays.

        `parts` is `(part, 4)`: fit, chain, iterations (-1 where it began anew), draws; the fields of all
        parts are joined, `(n, ...)`.
        """
        news, self._news = self._news, []
        if not news:
            return {}
        rows = [
            (fit, chain, _DISCARDED, 0)
            if part is None
            else (fit, chain, len(part.n_steps), len(part.z))
            for fit, chain, part in news
        ]
        parts = [part for _, _, part in news if part is not None]
        if not parts:
            return {"parts": np.array(rows)}
        joined = jax.tree.map(lambda *parts: np.concatenate(parts), *parts)
        return {"parts": np.array(rows), **joined._asdict()}

    def restore(self, news: Mapping[str, NDArray]) -> None:
        """Append what `news` gave, in the same shapes."""
        if not news:
            return
        parts = news["parts"]
        own = iter(_cut(news, parts[parts[:, 2] != _DISCARDED]))
        for fit, chain, n, _ in parts.tolist():
            if n == _DISCARDED:
                self._forget(fit, chain)
            else:
                self._add(fit, chain, next(own))


def _cut(news: Mapping[str, NDArray], parts: NDArray) -> list[Iterations]:
    """Cut joined fields into parts `(part, 4)`. Draws are fewer than iterations."""
    if not len(parts):
        return []
    cuts = {name: np.cumsum(parts[:-1, 3 if name == "z" else 2]) for name in Iterations._fields}
    fields = {name: np.split(news[name], cut) for name, cut in cuts.items()}
    return [
        Iterations(**{name: values[i] for name, values in fields.items()})
        for i in range(len(parts))
    ]
