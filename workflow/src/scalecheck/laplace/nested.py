"""Nested Laplace: the posterior of what units share, and of each unit given it, for one batch of rows.

H. Rue, S. Martino, N. Chopin, "Approximate Bayesian inference for latent Gaussian models by using integrated nested
Laplace approximations", JRSS B 71 (2009), whose units are integrated out as here; the integrals are corrected by
importance sampling, and the population is drawn by importance sampling or NUTS, not on a grid.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from scalecheck import diagnostics, sampler
from scalecheck.laplace import importance_draws
from scalecheck.laplace.importance_draws import Smoothed, SplitT
from scalecheck.laplace.marginal_density import (
    Evaluated,
    Integrated,
    MarginalDensity,
    Theta,
    are_many_lost,
)
from scalecheck.laplace.marginal_lanes import FoundMode, MarginalTarget
from scalecheck.laplace.marginal_potential import SITE
from scalecheck.laplace.population import REACH, PopulationMode, by_place, find_population_mode
from scalecheck.laplace.unit_summaries import summarise_block
from scalecheck.model.batches import Batch
from scalecheck.sampler import SavedRun, Snapshot

Log = Callable[[str], None]

# Draws of theta in a round of importance sampling, thetas at which units are looked at, draws that are given. Above so
# many rows each takes longer, and the posterior is nearer to a normal.
MANY_ROWS = 50_000
FEW_DRAWS, DRAWS, FEW_THETAS, THETAS, GIVEN = 256, 512, 100, 500, 1000
# Rounds at most; effective draws that are enough.
ROUNDS, FEW_ENOUGH, ENOUGH = 10, 64, 200
# Of NUTS on the corrected density: chains, iterations of warmup, draws of a chain at first, acceptance, depth of trees.
CHAINS, WARMUP, CHAIN_DRAWS, TARGET, DEPTH = 4, 150, 250, 0.8, 8
# Of keys: what each is for.
_ROUNDS, _UNITS, _NUTS = 0, 1, 2
# Of what is saved: what blocks gave, and a run of lanes.
_PART, _LANES = "part:", "lanes:"
# More blocks than this take long enough for a line now and then.
_FEW_BLOCKS = 2


@runtime_checkable
class Saver(Protocol):
    """What saves a run."""

    def saved(self) -> Any:
        """Give what was saved, or None."""
        ...

    def keep(self, take: Callable[[], Snapshot]) -> None:
        """Save what `take` gives, if it is time."""
        ...


class Audited(NamedTuple):
    """Draws of theta and what their integrals say.

    Attributes
    ----------
    thetas
        `(draw, d)`.
    weights, plain
        By corrected integrals, and by Laplace's method alone. Of draws by NUTS: relative to the density that they were
        drawn from, whose integrals have other random numbers.
    fewest
        Smallest effective number of a unit's draws, over all units and thetas.
    n_lost
        Pairs of a unit and a theta without a mode, and with few effective draws.
    """

    thetas: Float[np.ndarray, "draw d"]
    weights: Smoothed
    plain: Smoothed
    fewest: float
    n_lost: int


class MarginalChains(NamedTuple):
    """How NUTS on the marginal density ended: largest R-hat, smallest ESS, gradients."""

    rhat: float
    ess: float
    gradients: int


class NestedLaplace(NamedTuple):
    """An approximate posterior.

    Attributes
    ----------
    batch
        The rows, one fit.
    marginal
        The marginal density of what units share.
    mode
        Of the population.
    audited
        Weighted draws of the population; where NUTS ran, its draws and their audit.
    first
        Those from the t, where NUTS ran after it; else None.
    chains
        Of NUTS; None where it did not run.
    shared
        `(draw, d)` draws of the population, unconstrained; those of a row belong to the units' of the same row.
    own
        `(draw, unit, k)` draws of units, unconstrained; None where they were not asked for.
    statistics
        `(unit, k, statistic)` of units, on the model's scale.
    second_mass, missed_mass
        `(unit,)` share of each unit's mass that another mode has, and one that the draws of the integrals hardly reach.
    evaluations
        Of the marginal density, or of its first block, until draws of the population began.
    """

    batch: Batch
    marginal: MarginalDensity
    mode: PopulationMode
    audited: Audited
    first: Audited | None
    chains: MarginalChains | None
    shared: Float[np.ndarray, "draw d"]
    own: Float[np.ndarray, "draw unit k"] | None
    statistics: Float[np.ndarray, "unit k statistic"]
    second_mass: Float[np.ndarray, " unit"]
    missed_mass: Float[np.ndarray, " unit"]
    evaluations: int

    @property
    def khat(self) -> float:
        """Shape of the tail of the ratios that the weights are made of."""
        return self.audited.weights.khat

    @property
    def n_independent(self) -> float:
        """Effective number of draws of the population."""
        effective = self.audited.weights.effective
        if self.chains is None:
            return effective
        return effective * min(1.0, self.chains.ess / len(self.audited.thetas))

    def reason(self) -> str:
        """Say why it has not converged; empty where it has.

        Weights correct a mode that was not quite found, and draws by NUTS do not need it.
        """
        if not np.isfinite(self.mode.log_density):
            return "the marginal density of the population is finite nowhere that was tried"
        n_pairs = len(self.audited.thetas) * self.marginal.n_units
        if are_many_lost(self.audited.n_lost, n_pairs):
            return f"of {n_pairs:,} pairs of a unit and a draw of the population, {self.audited.n_lost:,} have no mode"
        if self.chains and not (
            self.chains.rhat <= diagnostics.HIGHEST_RHAT and self.chains.ess >= 400
        ):
            return f"NUTS on the marginal density has R-hat {self.chains.rhat:.3f} and ESS {self.chains.ess:.0f}"
        return ""


def approximate_nested(
    batch: Batch,
    key: jax.Array,
    log: Log,
    saver: Saver | None = None,
    *,
    exact: bool = False,
    keeps_units: bool = True,
) -> NestedLaplace:
    """Integrate the units of a batch out, and approximate what is left.

    Parameters
    ----------
    batch
        Of one fit, for which `why_not_by_unit` has no reason.
    key
        `(2,)` of all that is random.
    saver
        Saves the run while it goes on: a killed one ends with the same bits.
    exact
        Whether NUTS runs on the marginal density in any case.
    keeps_units
        Whether draws of units are wanted.
    """
    run = _Run(MarginalDensity(batch), key, log, saver)
    return run.approximate(batch, exact=exact, keeps_units=keeps_units)


def weigh_population(
    marginal: MarginalDensity, key: jax.Array, n_draws: int, enough: int
) -> tuple[PopulationMode, Audited]:
    """Find the mode of the population and weigh draws around it, and no more: for many small data sets.

    Parameters
    ----------
    key
        `(2,)`.
    n_draws, enough
        Draws of a round, and how many effective ones are wanted.
    """
    return _Run(marginal, key, lambda line: None, None).weigh(n_draws, enough)


def suffices(weights: Smoothed, enough: int) -> bool:
    """Tell by their k-hat and their effective number whether weighted draws can be used."""
    return weights.khat <= diagnostics.HIGHEST_KHAT and weights.effective >= enough


class _Run:
    """A run, and what of it is saved: evaluations in their order, the units' modes, and what blocks gave."""

    def __init__(
        self, marginal: MarginalDensity, key: jax.Array, log: Log, saver: Saver | None
    ) -> None:
        self.marginal, self.key, self.log, self.saver = marginal, key, log, saver
        self.seed = int(np.asarray(jax.random.key_data(key) if key.ndim == 0 else key)[-1])
        self.calls: list[Evaluated] = []
        self.number = 0
        self.parts: dict[str, np.ndarray] = {}
        self.lanes: SavedRun | None = None
        saved = saver.saved() if saver else None
        if saved is not None:
            self._restore(saved)

    def weigh(self, n_draws: int, enough: int) -> tuple[PopulationMode, Audited]:
        """Find the mode of the population; weigh draws from a t around it, and from where these say that it should be.

        All rounds count, weighed by the mixture of what they were drawn from: J.-M. Cornuet et al., "Adaptive multiple
        importance sampling", arXiv:0907.1254.
        """
        mode = find_population_mode(self.marginal, self.evaluate, self.settle, self.log)
        self.log(
            f"mode of the population found after {self.number} evaluations, to {mode.off:.2g} posterior sds"
        )
        coordinates, proposals = mode.coordinates, [self._proposal(mode)]
        drawn: list[np.ndarray] = []
        found: list[Integrated] = []
        while True:
            number = len(proposals)
            rng = np.random.default_rng([self.seed, _ROUNDS, number])
            drawn.append(proposals[-1].draw(rng, n_draws))
            found.append(self._integrate(f"round {number}", mode, coordinates.thetas(drawn[-1])))
            places = np.concatenate(drawn)
            joined = Integrated(*(np.concatenate(part) for part in zip(*found, strict=True)))
            # Of theta, not of its coordinates.
            log_q = importance_draws.log_mixture(proposals, places) - coordinates.log_volume(places)
            audited = _audited(coordinates.thetas(places), joined, log_q)
            weights = audited.weights
            self.log(
                f"round {number}: k-hat {weights.khat:.2f}, {weights.effective:.0f} effective of {len(places)} draws"
            )
            if suffices(weights, enough) or number == ROUNDS:
                return mode, audited
            proposals.append(importance_draws.adapted(proposals[-1], weights, places))

    def approximate(self, batch: Batch, *, exact: bool, keeps_units: bool) -> NestedLaplace:
        """Go through all stages."""
        marginal, log = self.marginal, self.log
        log(
            f"{marginal.n_units} units in {len(marginal.blocks)} blocks, {marginal.size} parameters are left"
        )
        is_large = marginal.n_rows > MANY_ROWS
        n_draws, enough = (FEW_DRAWS, FEW_ENOUGH) if is_large else (DRAWS, ENOUGH)
        mode, first = self.weigh(n_draws, enough)
        audited, chains = first, None
        if np.isfinite(mode.log_density) and (exact or not suffices(first.weights, enough)):
            thetas, chains = self._nuts(mode)
            sampled = self._integrate("nuts", mode, thetas).corrected
            audited = _audited(thetas, self._integrate("audit", mode, thetas, again=1), sampled)
            log(
                f"NUTS on the marginal: R-hat {chains.rhat:.3f}, ESS {chains.ess:.0f};"
                f" audit: k-hat {audited.weights.khat:.2f}"
            )
        n_thetas = FEW_THETAS if is_large else THETAS
        rng = np.random.default_rng([self.seed, _UNITS])
        chosen = audited.thetas[
            audited.weights.resample(rng, n_thetas if keeps_units else FEW_THETAS)
        ]
        n_each = GIVEN // len(chosen)
        own, statistics, second, missed = self._units(mode, chosen, n_each, keeps_units=keeps_units)
        shared = np.repeat(chosen, n_each, axis=0)
        if not keeps_units:
            shared = audited.thetas[audited.weights.resample(rng, GIVEN)]
        return NestedLaplace(
            batch, marginal, mode, audited, first if chains else None, chains,
            shared, own, statistics, second, missed, self.number,
        )  # fmt: skip

    # ---- evaluations, which are replayed where a run goes on

    def evaluate(
        self,
        theta: Theta,
        chosen: Sequence[int] | None = None,
        *,
        moves: bool = True,
        corrected: bool = False,
    ) -> Evaluated:
        """As `MarginalDensity.evaluate`: from what was saved, if it was."""
        self.number += 1
        if self.number <= len(self.calls):
            return self.calls[self.number - 1]
        found = self.marginal.evaluate(theta, chosen, moves=moves, corrected=corrected)
        self.calls.append(found)
        if len(self.marginal.blocks) > 1 and chosen is None and self.number % 10 == 0:
            self.log(f"{self.number} gradients, log density {found.value:.6g}")
        self._keep()
        return found

    def settle(self, theta: Theta, chosen: Sequence[int] | None = None) -> None:
        """As `MarginalDensity.settle`; a run that goes on has the modes and shapes already."""
        self.number += 1
        if self.number > len(self.calls):
            self.marginal.settle(theta, chosen)
            self.calls.append(Evaluated(0.0, np.zeros(self.marginal.size)))

    def _keep(self) -> None:
        if self.saver is not None:
            self.saver.keep(lambda: Snapshot(self._state(), {}))

    def _state(self) -> dict[str, np.ndarray]:
        calls = [np.array([one.value, *one.gradient]) for one in self.calls]
        return {
            "calls": np.array(calls).reshape(len(calls), -1),
            **self.marginal.state(),
            **{_PART + name: values for name, values in self.parts.items()},
        }

    def _restore(self, saved: SavedRun) -> None:
        state = saved.state
        of_lanes = {n.removeprefix(_LANES): v for n, v in state.items() if n.startswith(_LANES)}
        self.lanes = SavedRun(of_lanes, saved.news) if of_lanes else None
        self.calls = [Evaluated(float(one[0]), one[1:]) for one in state["calls"]]
        self.marginal.restore(state)
        self.parts = {
            name.removeprefix(_PART): values
            for name, values in state.items()
            if name.startswith(_PART)
        }

    # ---- draws of the population

    def _proposal(self, mode: PopulationMode) -> SplitT:
        """Measure how far the log density falls to either side of each axis, where it may not be nearly normal."""
        if self.marginal.n_rows > MANY_ROWS:
            sides = np.ones(len(mode.place))
            return SplitT(mode.place, mode.root, sides, sides)

        evaluate = by_place(functools.partial(self.evaluate, corrected=True), mode.coordinates)

        def drop(step: np.ndarray) -> float:
            return mode.log_density - evaluate(mode.place + step, moves=False).value

        drops = [[drop(side * axis) for axis in mode.root.T] for side in (REACH, -REACH)]
        above, below = importance_draws.split_scales(np.array(drops), REACH)
        return SplitT(mode.place, mode.root, above, below)

    def _integrate(
        self, name: str, mode: PopulationMode, thetas: np.ndarray, again: int = 0
    ) -> Integrated:
        """Log densities and what else is known of all units at thetas `(draw, d)`, each with its own prior."""
        parts = self._each_block(
            name, lambda n: self.marginal.integrate(n, thetas, mode.theta, again)._asdict()
        )
        return self.marginal.add_up(Integrated(**parts), thetas)

    def _each_block(
        self, name: str, work: Callable[[int], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Do some work for every block, some at once; what is done is saved: `(block, ...)` each."""
        n_blocks = len(self.marginal.blocks)
        at_once = max(len(os.sched_getaffinity(0)), n_blocks // 20)
        done = self._done(name)
        while (first := len(next(iter(done.values()), ()))) < n_blocks:
            chosen = range(first, min(first + at_once, n_blocks))
            found = self.marginal.each(work, chosen)
            for key in found[0]:
                new = np.stack([one[key] for one in found])
                done[key] = np.concatenate([done[key], new]) if key in done else new
                self.parts[f"{name}:{key}"] = done[key]
            if n_blocks > _FEW_BLOCKS:
                self.log(f"{name}: {chosen.stop} of {n_blocks} blocks")
            self._keep()
        return done

    def _done(self, name: str) -> dict[str, np.ndarray]:
        start = f"{name}:"
        return {n.removeprefix(start): v for n, v in self.parts.items() if n.startswith(start)}

    def _nuts(self, mode: PopulationMode) -> tuple[np.ndarray, MarginalChains]:
        """Sample the marginal density by NUTS, in posterior sds from its mode: thetas `(draw, d)`."""
        if not (done := self._done("chains")):
            z, gradients = self._sample(mode)
            done = {"z": z, "gradients": np.array(gradients)}
            self.parts |= {f"chains:{name}": values for name, values in done.items()}
            self.lanes = None
            self._keep()
        thetas = FoundMode(self.marginal, mode).thetas(done["z"])
        rhat, ess = diagnostics.rhat_and_ess(thetas)
        ended = MarginalChains(float(rhat.max()), float(ess.min()), int(done["gradients"]))
        return thetas.reshape(-1, thetas.shape[-1]), ended

    def _sample(self, mode: PopulationMode) -> tuple[np.ndarray, int]:
        """Draws `(chain, draw, d)`, and the gradients that they took."""
        target = MarginalTarget([FoundMode(self.marginal, mode)])
        key = np.asarray(jax.random.fold_in(self.key, _NUTS))
        options: dict[str, Any] = {}
        if self.saver is not None:
            options = {"keep": self._keep_lanes, "saved": self.lanes}
        draws = sampler.sample_lanes(
            target.potential,
            target.arrays,
            {SITE: target.starts_of(0, CHAINS, key)[None]},
            sampler.Settings(WARMUP, TARGET, DEPTH, ()),
            key=key[None],
            draws=CHAIN_DRAWS,
            most_draws=diagnostics.MOST_TIMES * CHAIN_DRAWS,
            enough=lambda fit, z: _converged(target.thetas_of(fit, z)),
            on_block=lambda told: self.log(_in_words(told[0])),
            **options,
        )
        gradients = sum(int(np.asarray(one).sum()) for one in draws.iterations[0].n_steps)
        return draws.z[0][SITE], gradients

    def _keep_lanes(self, take: Callable[[], Snapshot]) -> None:
        """Save the lanes, and all that came before them."""

        def both() -> Snapshot:
            own = take()
            lanes = {_LANES + name: values for name, values in own.state.items()}
            return Snapshot(self._state() | lanes, own.news)

        assert self.saver is not None
        self.saver.keep(both)

    # ---- units

    def _units(
        self, mode: PopulationMode, thetas: np.ndarray, n_each: int, *, keeps_units: bool
    ) -> tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray]:
        """Draws, statistics and masses of other modes, any and those missed, of all units."""
        marginal = self.marginal
        at, device = marginal.theta(mode.theta), marginal.theta(thetas)
        key = jax.random.fold_in(self.key, _UNITS)

        def one(number: int) -> dict[str, np.ndarray]:
            found = summarise_block(
                marginal.model,
                device,
                at,
                marginal.starts[number],
                marginal.blocks[number],
                jax.random.fold_in(key, number),
                n_each,
            )
            return (found if keeps_units else found._replace(draws=found.draws[:0]))._asdict()

        parts = self._each_block("units", one)
        sizes = [end - first for first, end in marginal.runs]
        statistics, second, missed = (
            np.concatenate([part[:size] for part, size in zip(parts[name], sizes, strict=True)])
            for name in ("statistics", "second_mass", "missed_mass")
        )
        own = [part[:, :size] for part, size in zip(parts["draws"], sizes, strict=True)]
        return np.concatenate(own, axis=1) if keeps_units else None, statistics, second, missed


def _audited(thetas: np.ndarray, found: Integrated, log_q: Float[np.ndarray, " draw"]) -> Audited:
    return Audited(
        thetas,
        importance_draws.smooth(found.corrected - log_q),
        importance_draws.smooth(found.plain - log_q),
        float(found.fewest.min()),
        int(found.lost.sum()),
    )


def _converged(thetas: Float[np.ndarray, "chain draw d"]) -> bool:
    rhat, ess = diagnostics.rhat_and_ess(thetas)
    return bool(rhat.max() <= diagnostics.HIGHEST_RHAT and ess.min() >= 400)


def _in_words(told: sampler.Progress) -> str:
    return f"NUTS on the marginal: {told.phase} {told.iterations.min()}/{told.total}"
