"""Fits whose units are integrated out: NUTS over what units share, then draws of the units (`sampler.marginalise`).

The integrals are those of nested Laplace, by importance sampling in each unit. With the same random numbers
at every draw they are a smooth density, which NUTS samples. An audit asks what other random numbers would have given.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, UInt32

from scalecheck import diagnostics, sampler
from scalecheck.errors import StudyError
from scalecheck.fitting import compilations, memory
from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.fitting.gradient_timing import time_gradients
from scalecheck.laplace import independent_units, marginal_potential
from scalecheck.laplace.integral_audit import IntegralAudit, audit_integrals
from scalecheck.laplace.marginal_density import MarginalDensity, plan_batch
from scalecheck.laplace.marginal_lanes import FoundMode, MarginalTarget
from scalecheck.laplace.marginal_potential import SITE
from scalecheck.laplace.population import PopulationMode, find_population_mode
from scalecheck.laplace.unit_draws import draw_sites
from scalecheck.laplace.unit_model import unit_model_of
from scalecheck.laplace.unit_proposals import N_INNER
from scalecheck.model.batches import Batch
from scalecheck.runtime.program import Log
from scalecheck.sampler import BlockStream, Draws, Reduced, SavedRun, Snapshot, Streams
from scalecheck.sampler.draws import Clock
from scalecheck.sampler.types import ByDraw
from scalecheck.study.settings import SamplerSettings

# Draws of a chain whose units are drawn at once; numbers that these may have at most, and copies of them.
_AT_ONCE, _NUMBERS, _COPIES = 64, 2**22, 6
# Of what is saved: the modes.
_MODE = "mode:"
# Newton steps that a unit's mode takes from draw to draw, about.
_STEPS = 5


class Marginalised(NamedTuple):
    """A batch after sampling.

    Attributes
    ----------
    draws
        Of all its fits and sites; what is said of iterations is of NUTS over what units share.
    seconds_per_gradient
        `(fit,)` of the marginal density, one chain.
    """

    draws: Draws
    seconds_per_gradient: Float[np.ndarray, " fit"]


def sample_marginalised(
    batch: Batch,
    settings: SamplerSettings,
    keys: UInt32[Array | np.ndarray, "fit pair 2"],
    log: Log,
    *,
    streams: Streams | None,
    checkpointer: Checkpointer | None,
    **options: Any,
) -> Marginalised:
    """Find the mode of each fit, sample what its units share, and draw the units.

    Parameters
    ----------
    keys
        `(fit, 2, 2)` two of each fit: of its starts and units, and of its lanes.
    streams
        Sites that are held, and those that are reduced to moments.
    checkpointer
        Saves the lanes while they run, and the modes that they are measured from.
    **options
        Of `sampler.sample_lanes`: `slots`, `on_block`, `stops_stalled`.

    Raises
    ------
    StudyError
        When the density is finite nowhere that was tried.
    """
    clock = _PhaseClock()
    saved = checkpointer.saved() if checkpointer is not None else None
    fits = [
        _read_mode(one, i, saved) if saved else _find_mode(batch, one, log, task.fit)
        for i, (one, task) in enumerate(
            zip(_densities_of(batch, np.asarray(keys[:, 0])), batch.tasks, strict=True)
        )
    ]
    target = MarginalTarget(fits)
    clock.end("warmup")
    draws = _sample_shared(target, settings, np.asarray(keys), checkpointer, saved, options)
    clock.add_draws(draws)
    seconds = np.array([_time_gradient(target, draws, i) for i in range(len(fits))])
    clock.skip()
    z = [one[SITE] for one in draws.z]
    ended = _draw_units(batch, fits, z, streams, np.asarray(keys[:, 0]))
    audits = [_audit(one, own) if own.size else None for one, own in zip(fits, z, strict=True)]
    clock.end("sampling")
    for task, audit in zip(batch.tasks, audits, strict=True):
        if audit is not None:
            log(f"{task.fit}: {audit.in_words()}")
    joint = draws._replace(
        z=[held for held, _ in ended],
        seconds=clock.wall,
        cpu_seconds=clock.cpu,
        reduced=[one for _, one in ended if one is not None] or None,
        audits=audits,
    )
    return Marginalised(joint, seconds)


class _PhaseClock(Clock):
    """Seconds by phase, of which what was compiled is told apart."""

    def __init__(self) -> None:
        super().__init__()
        self._compiled = compilations.so_far()

    def end(self, phase: str) -> None:
        """End a phase, `warmup` or `sampling`."""
        new = compilations.so_far().since(self._compiled)
        elapsed = time.perf_counter() - self.last[0]
        share = min(1.0, (new.tracing + new.lowering + new.compiling) / elapsed)
        self.lap(**{"compile": share, phase: 1 - share})
        self._compiled = compilations.so_far()

    def add_draws(self, draws: Draws) -> None:
        """Add what lanes have measured themselves."""
        self.add(draws.seconds, draws.cpu_seconds)
        self.skip()

    def skip(self) -> None:
        """Leave out what was since the last phase."""
        self.last = time.perf_counter(), time.process_time()
        self._compiled = compilations.so_far()


def _sample_shared(
    target: MarginalTarget,
    settings: SamplerSettings,
    keys: UInt32[np.ndarray, "fit pair 2"],
    checkpointer: Checkpointer | None,
    saved: SavedRun | None,
    options: dict[str, Any],
) -> Draws:
    """Sample what units share, in posterior sds from the modes."""
    fits = target.fits

    def restart(fit: int, chain: int, times: int) -> dict[str, Any]:
        return {SITE: target.starts_of(fit, settings.chains, keys[fit, 0], times)[chain]}

    def enough(fit: int, z: ByDraw) -> bool:
        return not diagnostics.gains_by_draws(target.thetas_of(fit, z))

    def keep(take: Callable[[], Snapshot]) -> None:
        def with_modes() -> Snapshot:
            own = take()
            return Snapshot(own.state | _state_of_modes(fits), own.news)

        assert checkpointer is not None
        checkpointer.keep(with_modes)

    starts = [target.starts_of(i, settings.chains, keys[i, 0]) for i in range(len(fits))]
    if settings.on_stall == "restart":
        options |= {"restart": restart}
    with contextlib.ExitStack() as stack:
        if checkpointer is not None:
            stack.enter_context(checkpointer.answering_signals())
            options |= {"keep": keep, "saved": saved and _of_lanes(saved)}
        return sampler.sample_lanes(
            target.potential,
            target.arrays,
            {SITE: np.stack(starts)},
            nuts_settings(settings),
            key=keys[:, 1],
            draws=settings.draws,
            most_draws=diagnostics.MOST_TIMES * settings.draws,
            enough=enough,
            most_gradients=settings.max_gradients,
            **options,
        )


def _time_gradient(target: MarginalTarget, draws: Draws, fit: int) -> float:
    """Seconds of one gradient of one chain of a fit; NaN without draws."""
    z = draws.z[fit][SITE]
    if not z.shape[1]:
        return float("nan")
    arrays = jax.device_put(target.arrays_of(fit))
    return time_gradients(target.potential, {SITE: z[:, -1]}, arrays) / len(z)


def _audit(fit: FoundMode, z: Float[np.ndarray, "chain draw d"]) -> IntegralAudit:
    return audit_integrals(*fit, fit.thetas(z).reshape(-1, z.shape[-1]))


def _state_of_modes(fits: Sequence[FoundMode]) -> dict[str, np.ndarray]:
    state: dict[str, np.ndarray] = {}
    for number, (marginal, mode) in enumerate(fits):
        each = mode._asdict() | marginal.state()
        state |= {f"{_MODE}{number}:{name}": np.asarray(one) for name, one in each.items()}
    return state


def _of_lanes(saved: SavedRun) -> SavedRun:
    own = {name: one for name, one in saved.state.items() if not name.startswith(_MODE)}
    return SavedRun(own, saved.news)


def _read_mode(marginal: MarginalDensity, number: int, saved: SavedRun) -> FoundMode:
    """Read the mode of a fit: draws that were saved are measured from it."""
    start = f"{_MODE}{number}:"
    found = {
        name.removeprefix(start): value
        for name, value in saved.state.items()
        if name.startswith(start)
    }
    marginal.restore(found)
    log_density, off = float(found["log_density"]), float(found["off"])
    mode = PopulationMode(found["place"], found["root"], log_density, off, found["scale"])
    return FoundMode(marginal, mode)


def nuts_settings(settings: SamplerSettings) -> sampler.Settings:
    """Settings of NUTS over what units share: a diagonal metric is learned beside the sds of the mode."""
    return sampler.Settings(settings.warmup, settings.target_accept, settings.max_tree_depth, ())


def _densities_of(batch: Batch, keys: UInt32[np.ndarray, "fit 2"]) -> list[MarginalDensity]:
    """Give the marginal density of each fit, its random numbers by its key: an approximation of its rows has others."""
    plan = plan_batch(batch)
    # Even numbers: the audit takes the odd one that follows.
    numbers = [2 + 2 * int(one[1] >> 3) for one in keys]
    return [MarginalDensity(batch, i, plan, one) for i, one in enumerate(numbers)]


def _refuse(batch: Batch) -> None:
    """Refuse a model whose units cannot be integrated out: say why."""
    if reason := independent_units.why_not_by_unit(batch):
        raise StudyError(
            f"{batch.bound.file}: sampler.marginalise is units, but {reason}: leave the key out"
        )


def forecast_memory(
    batch: Batch, settings: SamplerSettings, joint: memory.BatchMemory, slots: int
) -> memory.BatchMemory:
    """Forecast what a batch takes: lanes of the marginal density, draws of units, and draws of all sites.

    Parameters
    ----------
    joint
        What it takes where the units are sampled.
    slots
        Fits whose lanes step together.

    Raises
    ------
    StudyError
        When the units of the model cannot be integrated out: says why.
    """
    _refuse(batch)
    one, n_fits = MarginalDensity(batch), len(batch.tasks)
    arrays = {
        name: np.broadcast_to(values, (n_fits, *values.shape))
        for name, values in marginal_potential.shapes_of(one).items()
    }
    lanes = memory.batch_memory(
        marginal_potential.potential_of(one.model),
        arrays,
        {SITE: np.broadcast_to(np.zeros((), one.dtype), (n_fits, settings.chains, one.size))},
        nuts_settings(settings),
        None,
        at_once=slots,
        in_block=slots,
        room=None,
        draws=settings.draws,
    )
    n_thetas = settings.chains * _at_once(one, settings.chains)
    of_units = n_thetas * one.n_units * one.model.n_own * np.dtype(one.dtype).itemsize
    # Rows lie there as the model takes them, too.
    return memory.BatchMemory(
        lanes.host._replace(
            data=lanes.host.data + joint.host.data, draws=joint.host.draws + _COPIES * of_units
        ),
        lanes.device,
    )


def _at_once(marginal: MarginalDensity, n_chains: int) -> int:
    """Draws of a chain whose units are drawn at once: as many as bound what these take."""
    size = n_chains * marginal.n_units * marginal.model.n_own
    return int(np.clip(_NUMBERS // size, 1, _AT_ONCE))


def densities_per_gradient(batch: Batch) -> int:
    """Say how many gradients of all rows one of the marginal density takes, about."""
    return N_INNER + _STEPS * (unit_model_of(batch).n_own + 1)


def _find_mode(batch: Batch, marginal: MarginalDensity, log: Log, name: str) -> FoundMode:
    mode = find_population_mode(
        marginal, marginal.evaluate, marginal.settle, lambda line: log(f"{name}: {line}")
    )
    if not np.isfinite(mode.log_density):
        raise StudyError(
            f"{batch.bound.file}: {name}: the density is finite nowhere that was tried, units integrated out: leave"
            " sampler.marginalise out to be told which row is to blame"
        )
    return FoundMode(marginal, mode)


def _draw_units(
    batch: Batch,
    fits: Sequence[FoundMode],
    z: Sequence[Float[np.ndarray, "chain _ d"]],
    streams: Streams | None,
    keys: UInt32[np.ndarray, "fit 2"],
) -> list[tuple[ByDraw, Reduced | None]]:
    """Draw the units of each fit: sites that are held, `(chain, draw, ...)`, and what the others are reduced to."""
    stream: BlockStream | None = None
    found: list[tuple[ByDraw, Reduced | None]] = []
    for number, (fit, own, key) in enumerate(zip(fits, z, keys, strict=True)):
        arrays = {name: values[None] for name, values in batch.arrays_of(number).items()}
        # At the mode: shapes, and where chains without draws ended.
        at_mode = np.repeat(fit.mode.theta[None, None], len(own), axis=0)
        first = draw_sites(fit.marginal, at_mode, key)
        if stream is None:
            stream = BlockStream(streams, first, arrays)
        else:
            stream.begin(arrays)
        found.append(_draw_units_of_fit(fit, fit.thetas(own), stream, first, key))
    return found


def _draw_units_of_fit(
    fit: FoundMode,
    thetas: Float[np.ndarray, "chain draw d"],
    stream: BlockStream,
    first: dict[str, Float[np.ndarray, "1 chain ..."]],
    key: UInt32[np.ndarray, "2"],
) -> tuple[ByDraw, Reduced | None]:
    n_chains, n_draws, _ = thetas.shape
    at_once = _at_once(fit.marginal, n_chains)
    held, last = [{name: first[name][:0] for name in stream.flow.held}], first
    for begin in range(0, n_draws, at_once):
        some = thetas[:, begin : begin + at_once]
        n_some = some.shape[1]
        # Calls of one shape.
        some = np.concatenate([some, np.repeat(some[:, -1:], at_once - n_some, axis=1)], axis=1)
        drawn = draw_sites(fit.marginal, some, jax.random.fold_in(key, begin))
        stream.add({name: v[None] for name, v in drawn.items()}, np.array([n_some], "int32"))
        held.append({name: drawn[name][:n_some] for name in stream.flow.held})
        last = {name: v[n_some - 1 : n_some] for name, v in drawn.items()}
    joined = {
        name: np.concatenate([part[name] for part in held]).swapaxes(0, 1)
        for name in stream.flow.held
    }
    (reduced,) = stream.finish(last) or [None]
    return joined, reduced
