"""Drive the lanes of a batch of fits from their starts to their draws."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from scalecheck.sampler.blocks import Begin
from scalecheck.sampler.draws import Draws
from scalecheck.sampler.lane_run import STEPS, Anew, Run
from scalecheck.sampler.nuts import Potential, Settings
from scalecheck.sampler.progress import Progress
from scalecheck.sampler.snapshot import Saved, Snapshot
from scalecheck.sampler.streams import Streams

NDArray = np.ndarray


def sample_lanes(
    potential: Potential,
    arrays: Mapping[str, Any],
    starts: Mapping[str, Any],
    settings: Settings,
    *,
    key: jax.Array,
    draws: int,
    most_draws: int = 0,
    enough: Callable[[int, dict[str, NDArray]], bool] = lambda fit, z: True,
    steps: int = STEPS,
    slots: int | None = None,
    streams: Streams | None = None,
    begin: Begin | None = None,
    anew: Anew | None = None,
    stops_stalled: bool = False,
    most_gradients: int | None = None,
    on_block: Callable[[list[Progress]], None] = lambda told: None,
    keep: Callable[[Callable[[], Snapshot]], None] = lambda take: None,
    saved: Saved | None = None,
) -> Draws:
    """Sample all chains of all fits of one shape, a leapfrog of each at a time.

    A fit that ends makes room for one that waits. Where none waits and no more than half still run, it
    goes on with half of the places if what that saves is worth another compilation.

    Parameters
    ----------
    potential
        `arrays -> (z -> potential energy)` of one fit.
    arrays
        Data, `(fit, ...)`.
    starts
        Unconstrained sites, `(fit, chain, ...)`.
    key
        `(fit, 2)` one key per fit, split among its chains.
    draws
        Draws per chain.
    most_draws
        Draws per chain that a fit gets at most, where `enough` asks for more: `draws` at a time.
    enough
        Fit and its draws that are held `(chain, draw, ...)` -> whether they suffice.
    steps
        Steps of the loop between two looks of the host, at most.
    slots
        Fits that run at once; None for all.
    streams
        Sites whose draws are held, and what of the others is reduced to moments; None holds all.
    begin
        Step sizes and variances to begin warmup with, for a diagonal metric.
    anew
        Fit, chain and a number -> another start of that chain, by site: where a chain stalls in warmup,
        it begins anew there, at most twice. None lets it run.
    stops_stalled
        Whether a fit ends where a chain stalls in warmup; not with `anew`.
    most_gradients
        Leapfrogs that a chain may take, warmup and what was discarded included: its fit ends when all
        chains have their draws or took so many.
    on_block
        Called after every block, with the fits that ran in it.
    keep
        Called after every block with a function that takes a snapshot.
    saved
        Of a run with the same arguments: it goes on from there, and ends with the same bits.
    """
    run = Run(
        potential,
        dict(arrays),
        dict(starts),
        settings,
        key,
        draws,
        most_draws,
        enough,
        steps,
        slots,
        anew,
        stops_stalled,
        most_gradients,
        streams,
    )
    if begin is not None:
        run.begin_with(begin)
    if saved is not None:
        run.resume(saved)
    while run.ends.live.any():
        run.block(on_block)
        run.shrink()
        keep(run.snapshot)
    return run.result()
