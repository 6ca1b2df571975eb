"""Fits that ended before they had their draws: what is left of them, and what to say."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scalecheck import sampler
from scalecheck.sampler import Stopped
from scalecheck.study.settings import SamplerSettings

NDArray = np.ndarray

# As few draws as `sampler.draws` may ask for: with fewer, a fit is given up.
LEAST_DRAWS = 10


def stopped_of(draws: sampler.Draws, number: int) -> Stopped | None:
    """Give how a fit of a batch was ended; None where it has its draws."""
    return next((one for one in draws.stopped if one.fit == number), None)


def is_without_draws(draws: sampler.Draws, number: int, warmup: int) -> bool:
    """Whether a fit of a batch was ended with fewer draws than a posterior needs."""
    one = stopped_of(draws, number)
    return one is not None and min(one.iterations) - warmup < LEAST_DRAWS


def reason_of(stopped: Stopped, n_steps: NDArray, settings: SamplerSettings) -> str:
    """Say why a fit was ended, in one clause without what to change.

    Parameters
    ----------
    stopped
        How it was.
    n_steps
        `(chain, iteration)` leapfrogs of the iterations that all chains have.
    settings
        Of the fit.
    """
    if stopped.why == "capped":
        return _capped(stopped, settings)
    windows = sampler.stall_windows(settings.warmup, stopped.iterations[0])
    return "; ".join(_stalled(chain, n_steps, windows) for chain in stopped.chains)


def _capped(stopped: Stopped, settings: SamplerSettings) -> str:
    done = [stopped.iterations[chain] for chain in stopped.chains]
    phase = "in warmup" if min(done) < settings.warmup else "after warmup"
    asked = settings.warmup + settings.draws
    # All chains have what was asked for where the fit went on for more draws.
    of = f"of {asked}" if min(stopped.iterations) < asked else f"on the way to more than {asked}"
    return (
        f"{_chains(stopped.chains)} reached sampler.max_gradients ({settings.max_gradients}) {phase}, at"
        f" iteration {', '.join(map(str, done))} {of}"
    )


def _stalled(chain: int, n_steps: NDArray, windows: Sequence[tuple[int, int]]) -> str:
    siblings = np.delete(n_steps, chain, axis=0)
    own = [n_steps[chain, start:stop].mean() for start, stop in windows]
    others = [np.median(siblings[:, start:stop].mean(axis=1)) for start, stop in windows]
    where = " and ".join(f"{start + 1}-{stop}" for start, stop in windows)
    took = " and ".join(f"{one:.4g}" for one in own)
    usual = " and ".join(f"{one:.4g}" for one in others)
    return (
        f"chain {chain} stalled in warmup: in iterations {where} it took {took} leapfrogs per iteration,"
        f" where the median of the others took {usual}"
    )


def _chains(chains: Sequence[int]) -> str:
    if len(chains) == 1:
        return f"chain {chains[0]}"
    *first, last = map(str, chains)
    return f"chains {', '.join(first)} and {last}"


def remedy_of(why: str) -> str:
    """Say what to change so that a fit is not ended for this."""
    if why == "capped":
        return "raise sampler.max_gradients, or change the parametrisation"
    return "raise sampler.warmup, change the parametrisation, or set sampler.on_stall to restart"


def how_it_ended(draws: sampler.Draws, number: int, settings: SamplerSettings) -> dict[str, Any]:
    """Give what a record says of the end of a fit.

    `status` is `stopped` of one that was ended with too few draws, else `done`; `reason` is why, and what to
    change; `capped` and `stalled` are the chains that were the cause and what all chains did by then, or None.
    """
    stopped = stopped_of(draws, number)
    if stopped is None:
        return {"status": "done", "reason": "", "capped": None, "stalled": None}
    why = reason_of(stopped, draws.iterations[number].n_steps, settings)
    seen = {name: list(getattr(stopped, name)) for name in ("chains", "iterations", "leapfrogs")}
    cause = {"capped": None, "stalled": None, stopped.why: {**seen, "reason": why}}
    if not is_without_draws(draws, number, settings.warmup):
        return {"status": "done", "reason": "", **cause}
    return {"status": "stopped", "reason": f"{why}: {remedy_of(stopped.why)}", **cause}


def beyond(draws: sampler.Draws, number: int) -> list[int]:
    """Leapfrogs of each chain beyond the iterations that all have, where a fit was ended."""
    stopped = stopped_of(draws, number)
    kept = draws.iterations[number].n_steps.sum(axis=1)
    return [] if stopped is None else (np.array(stopped.leapfrogs) - kept).tolist()
