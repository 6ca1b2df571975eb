"""Why the posterior of a fit cannot be used, decided from its draws, and what to do about it.

R-hat says that chains disagree, not why: whether they are slow, sit in different modes, exchange
parameters that have no order, follow a direction that no row speaks of, or cannot move. Each has
another cure, and more draws are the cure of the first only. Rules are asked in turn; the first that
has an answer gives it. docs/inconclusive.md shows each with an example.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from scalecheck.checks.adaptation import COLLAPSED, LARGEST_GAP, PotentialGap, compare_potentials
from scalecheck.checks.chain_table import Sampling
from scalecheck.checks.finding import rounded
from scalecheck.diagnostics import (
    FAR_RHAT,
    HIGHEST_RHAT,
    MOST_TIMES,
    Health,
    lowest_ess,
    rhat_and_ess,
)

# What can be the matter with a fit that has draws; `stalled` and `capped` fits ended before they had theirs. Another is
# `divergences.BIASED`, which a second fit tells and not the draws.
CAUSES = ("slow", "few draws", "order", "sign", "divergent", "stuck", "modes", "unidentified")
CAUSES += ("improper", "cut", "still", "wandering")

# Of R-hat: below it a parameter is not looked at for what it has in common with others.
_NOTABLE_RHAT = 1.05
# Chains that agree once their elements are sorted, or a sign is fixed. R-hat^2 - 1 falls to a tenth as
# well: the squares of a slow series mix twice as fast, and that is no symmetry.
_AGREED_RHAT, _AGREED_SHARE = 1.1, 0.1
# The halves of a random walk differ by 1.4 of its sds, those of a chain of 16 effective draws by 0.5.
_SETTLED = 0.5
# Of draws within chains. Two regression coefficients that are merely badly centred reach .99.
_AS_ONE = 0.999
_DIFFERENT = 0.01  # p of potentials that differ
_MOST_DIVERGING = 0.05
_MOST_CUT = 0.5
_LEAST_MOVES = 0.05
_SCATTERED = 10  # between step sizes; those of chains that have arrived are within a factor of 2
_FEWEST_DRAWS = 50
_HUGE = 1e6  # on the unconstrained scale
_MOST_LOOKED_AT = 200  # parameters, those with the highest R-hat
_MOST_NAMED = 4


class FailedFit(NamedTuple):
    """A fit whose posterior cannot be used.

    Attributes
    ----------
    names
        `(d,)` of the compared parameters: `sigma`, `beta[0]`.
    z
        `(chain, draw, d)` unconstrained.
    sampling
        What its chains did.
    max_tree_depth, draws
        Settings; `draws` are those of a chain that were asked for at first.
    """

    names: Sequence[str]
    z: Float[np.ndarray, "chain draw d"]
    sampling: Sampling
    max_tree_depth: float
    draws: int


class Cause(NamedTuple):
    """One of `CAUSES`, and the sentence that says what to do."""

    name: str
    advice: str


class _Seen(NamedTuple):
    """A fit and what several rules ask of it; `rhat` and `ess` are `(d,)`."""

    fit: FailedFit
    rhat: Float[np.ndarray, " d"]
    ess: Float[np.ndarray, " d"]

    @property
    def bad(self) -> list[int]:
        """Numbers of the parameters that disagree as far as matters, the worst first."""
        worst = np.argsort(-self.rhat, kind="stable")[:_MOST_LOOKED_AT]
        far = max(_NOTABLE_RHAT, 1 + 0.1 * (min(float(self.rhat[worst[0]]), 10.0) - 1))
        return [int(i) for i in worst if self.rhat[i] > far]

    @property
    def worst(self) -> str:
        """Name of the worst parameter."""
        return self.fit.names[int(np.argmax(self.rhat))]


def explain(health: Health, fit: FailedFit) -> Health:
    """Add to the health of a fit that cannot be used what is the matter, and what to do."""
    cause = find_cause(fit)
    reason = f"{health.reason}: {cause.advice}"
    return health._replace(reason=reason, cause=cause.name, advice=cause.advice)


def find_cause(fit: FailedFit) -> Cause:
    """Find why the posterior of a fit cannot be used.

    Parameters
    ----------
    fit
        With at least one parameter.
    """
    fit = fit._replace(z=fit.z.astype("float64"))
    if not np.isfinite(fit.z).all():
        return _overflowing(fit)
    seen = _Seen(fit, *rhat_and_ess(fit.z))
    rules = _OF_FAR if seen.rhat.max() > FAR_RHAT else _OF_NEAR
    answers = (rule(seen) for rule in rules)
    return next(answer for answer in answers if answer is not None)


# ---- chains that mix


def _slow(seen: _Seen) -> Cause:
    """Chains that mix: R-hat^2 - 1 goes like one over the draws, ESS like the draws."""
    n_draws = seen.fit.z.shape[1]
    by_ess = lowest_ess(len(seen.fit.names)) / max(float(seen.ess.min()), 1.0)
    by_rhat = (float(seen.rhat.max()) ** 2 - 1) / (HIGHEST_RHAT**2 - 1)
    needed = _round_up(n_draws * max(by_ess, by_rhat))
    asked = _round_up(max(needed / MOST_TIMES, seen.fit.draws * 1.1))
    return Cause(
        "slow",
        f"the chains mix, but slowly: a chain needs about {needed} draws and has {n_draws}: raise"
        f" sampler.draws to {asked} (a fit goes on to {MOST_TIMES} times as many)",
    )


def _round_up(value: float) -> int:
    """Round up to two digits: no more is known."""
    unit = 10 ** max(0, math.floor(math.log10(max(value, 1.0))) - 1)
    return int(math.ceil(value / unit - 1e-9) * unit)


def _few_draws(seen: _Seen) -> Cause | None:
    n_draws = seen.fit.z.shape[1]
    if n_draws >= _FEWEST_DRAWS:
        return None
    return Cause(
        "few draws",
        f"{n_draws} draws of a chain are too few to tell what is the matter: raise sampler.draws to 500",
    )


# ---- chains that cannot move


def _overflowing(fit: FailedFit) -> Cause:
    name = fit.names[int(np.argmin(np.isfinite(fit.z).all(axis=(0, 1))))]
    return _improper(f"{name} is not finite in some draws", name)


def _improper(seen: str, name: str) -> Cause:
    return Cause(
        "improper",
        f"{seen}: neither the rows nor its prior hold it: give {name} a prior that does, or fix it",
    )


def _still(seen: _Seen) -> Cause | None:
    """Chains that keep their values."""
    z = seen.fit.z
    moves = (np.diff(z, axis=1) != 0).any(axis=2).mean(axis=1)
    if (moves < _LEAST_MOVES).all():
        size = rounded(float(np.median(seen.fit.sampling.step_size)))
        return Cause(
            "still",
            f"no chain moves (step size {size}): hardly any proposal is accepted: scale data and"
            " parameters to order 1, set sampler.precision to float64, or look where the density jumps",
        )
    if (moves < _LEAST_MOVES).any():
        return _not_arrived(seen, int(np.argmin(moves)), "does not move")
    return None


def _fixed(seen: _Seen) -> Cause | None:
    z = seen.fit.z
    fixed = np.flatnonzero((z == z[:, :1]).all(axis=1).any(axis=0))
    if not fixed.size:
        return None
    name = seen.fit.names[int(fixed[0])]
    return Cause(
        "still",
        f"{name} keeps one value while others move: its steps are below the digits of its numbers:"
        " scale it to order 1, set sampler.precision to float64, or fix it",
    )


def _scattered(seen: _Seen) -> Cause | None:
    """Chains of which several adapted to very different scales: they are still on their way."""
    size = np.sort(seen.fit.sampling.step_size)
    if len(size) < 3 or size[-1] < _SCATTERED * size[1]:
        return None
    return Cause(
        "stuck",
        f"the chains have not arrived (step sizes {rounded(float(size[0]))} to {rounded(float(size[-1]))}): the"
        " posterior is far narrower than where they start: centre and scale the columns, give priors of the size"
        f" of {_listed([seen.fit.names[i] for i in seen.bad])}, or raise sampler.warmup",
    )


def _not_arrived(seen: _Seen, chain: int, how: str) -> Cause:
    size, others = _step_sizes(seen.fit.sampling, chain)
    return Cause(
        "stuck",
        f"chain {chain} {how} (step size {rounded(size)}, the others {rounded(others)}) and is not where"
        " the others are: start it nearer (sampler.start), raise sampler.warmup, or change the parametrisation",
    )


def _step_sizes(sampling: Sampling, chain: int) -> tuple[float, float]:
    """Give the step size of a chain, and the median of the others'."""
    others = np.delete(sampling.step_size, chain)
    return float(sampling.step_size[chain]), float(np.median(others)) if others.size else np.nan


def _cut(seen: _Seen) -> Cause | None:
    share = float(_saturated(seen.fit).mean())
    if share <= _MOST_CUT:
        return None
    return Cause(
        "cut",
        f"{share:.0%} of the trees are cut at sampler.max_tree_depth: the chains creep through a density"
        f" of very different scales, or one that a prior does not hold: scale {seen.worst} and what"
        " it goes with, try sampler.metric: dense, or reparametrise",
    )


def _saturated(fit: FailedFit) -> Bool[np.ndarray, "chain draw"]:
    if np.isnan(fit.max_tree_depth):
        return np.zeros(fit.sampling.n_steps.shape, dtype=bool)
    return fit.sampling.n_steps >= 2**fit.max_tree_depth - 1


def _divergent(seen: _Seen) -> Cause | None:
    share = seen.fit.sampling.diverging.mean(axis=1)
    if share.mean() <= _MOST_DIVERGING:
        return None
    return Cause(
        "divergent",
        f"{share.mean():.0%} of the iterations diverge: the posterior narrows to a funnel or has an edge:"
        " write group effects non-centred (sampler.reparam), give their scale a tighter prior, or raise"
        " sampler.target_accept",
    )


# ---- parameters that nothing tells apart


def _order(seen: _Seen) -> Cause | None:
    """Elements of a site that trade places: sorted in every draw, the chains agree."""
    sites = [name for name, grid in _grids(seen) if _agrees_sorted(seen, grid)]
    if not sites:
        return None
    s = "s" if len(sites) == 1 else ""
    return Cause(
        "order",
        f"the elements of {_listed(sites)} trade places: they fit as well in any order, and the chains"
        f" found different ones: order {'it' if s else 'one of them'} (OrderedTransform), or give each element"
        " a prior of its own",
    )


def _grids(seen: _Seen) -> Iterator[tuple[str, np.ndarray]]:
    """Sites that disagree and have elements: the numbers of their parameters, in the shape of the site."""
    bad, names = set(seen.bad), seen.fit.names
    for site, numbers in _members(names).items():
        if bad & set(numbers) and names[numbers[0]] != site:
            inside = [names[number].removeprefix(f"{site}[")[:-1] for number in numbers]
            yield site, np.array(numbers).reshape(_shape(inside))


def _shape(labels: Sequence[str]) -> tuple[int, ...]:
    """Shape of a site from the labels of its elements, `0,1` or `high`; flat where labels hold commas of their own."""
    indices = [label.split(",") for label in labels]
    if len({len(index) for index in indices}) == 1:
        shape = tuple(len(set(along)) for along in zip(*indices, strict=True))
        if math.prod(shape) == len(labels):
            return shape
    return (len(labels),)


def _agrees_sorted(seen: _Seen, grid: np.ndarray) -> bool:
    """Whether chains agree in a site when its elements, or rows of them, are sorted in every draw.

    Only elements that disagree are sorted: among others, a slow one would disappear.
    """
    bad = set(seen.bad)
    for axis in range(grid.ndim):
        rows = np.moveaxis(grid, axis, 0).reshape(grid.shape[axis], -1)
        rows = rows[[any(int(i) in bad for i in row) for row in rows]]
        if len(rows) < 2:
            continue
        values = seen.fit.z[:, :, rows]  # (chain, draw, element, the rest)
        keys = sorted(range(rows.shape[1]), key=lambda k: -seen.rhat[rows[:, k]].max())[
            :_MOST_NAMED
        ]
        for key in keys:
            order = np.argsort(values[..., key], axis=2)[..., None]
            if _agrees(np.take_along_axis(values, order, axis=2), seen.rhat[rows]):
                return True
    return False


def _agrees(values: np.ndarray, before: np.ndarray) -> bool:
    """Whether draws `(chain, draw, ...)` agree that did not before they were changed."""
    flat = values.reshape(*values.shape[:2], -1)
    after = float(rhat_and_ess(flat)[0].max())
    return after <= _AGREED_RHAT and after**2 - 1 <= _AGREED_SHARE * (float(before.max()) ** 2 - 1)


def _sign(seen: _Seen) -> Cause | None:
    """Sites that change sign: with the sign of one element fixed in every draw, the chains agree."""
    bad, sites = set(seen.bad), []
    for name, numbers in _members(seen.fit.names).items():
        own = [i for i in numbers if i in bad]
        if own and _agrees_without_sign(seen, own):
            sites.append(name)
    if not sites or _gap(seen.fit.sampling) is not None:
        return None
    together = " together" if len(sites) > 1 else ""
    one = "one of them" if len(sites) > 1 else sites[0]
    return Cause(
        "sign",
        f"{_listed(sites)} change sign{together}: either sign fits as well, and the chains found"
        f" different ones: fix the sign of {one}, with a positive prior such as HalfNormal",
    )


def _members(names: Sequence[str]) -> dict[str, list[int]]:
    """Numbers of the parameters of each site."""
    found: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        # A label may hold brackets; no name of a site does.
        site = name.partition("[")[0] if name.endswith("]") else name
        found.setdefault(site, []).append(number)
    return found


def _agrees_without_sign(seen: _Seen, numbers: list[int]) -> bool:
    values = seen.fit.z[:, :, numbers]
    if (values > 0).all() or (values < 0).all():
        return False
    size = np.abs(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        clear = np.nan_to_num(size.mean(axis=(0, 1)) / size.std(axis=(0, 1)))
    sign = np.where(values[..., [int(np.argmax(clear))]] < 0, -1.0, 1.0)
    return _agrees(values * sign, seen.rhat[numbers])


def _apart(seen: _Seen) -> Cause | None:
    """Chains that have settled, in different places."""
    halves = _halves(seen)
    if np.median(halves) > _SETTLED:
        return None
    sampling, where = seen.fit.sampling, _listed([seen.fit.names[i] for i in seen.bad])
    if len(sampling.step_size) < 2:
        return None
    gap = _gap(sampling)
    if gap is None:
        return Cause(
            "modes",
            f"the chains sit in different modes of {where}, which fit equally well: parameters that can trade"
            " places or change sign: order them (OrderedTransform), fix a sign, or give priors that choose one",
        )
    size, others = _step_sizes(sampling, gap.chain)
    cut = float(_saturated(seen.fit)[gap.chain].mean())
    if gap.value > 0 and cut > _MOST_CUT:
        return _not_arrived(seen, gap.chain, f"creeps, {cut:.0%} of its trees cut,")
    unsettled = size < COLLAPSED * others or np.median(halves[gap.chain]) > _SETTLED
    if gap.value > 0 and unsettled:
        return _not_arrived(seen, gap.chain, "has not settled")
    side = "above" if gap.value > 0 else "below"
    return Cause(
        "modes",
        f"the chains sit in different modes of {where} and stay there (the potential of chain {gap.chain} lies"
        f" {rounded(abs(gap.value))} sds {side} the others'): no number of draws mends that: give priors that rule"
        " out the wrong mode, or starts in the right one (sampler.start)",
    )


def _gap(sampling: Sampling) -> PotentialGap | None:
    """Give the chain whose potential differs from the others'; None where all sample the same."""
    if len(sampling.step_size) < 2:
        return None
    gap = compare_potentials(sampling.potential, sampling.energy)
    return gap if abs(gap.value) > LARGEST_GAP and gap.p < _DIFFERENT else None


def _halves(seen: _Seen) -> Float[np.ndarray, "chain bad"]:
    """Difference between the halves of each chain, in sds of the chain: of the parameters that disagree."""
    z = seen.fit.z[:, :, seen.bad]
    first, second = np.array_split(z, 2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        differ = np.abs(first.mean(axis=1) - second.mean(axis=1)) / z.std(axis=1)
    return np.nan_to_num(differ)


def _unidentified(seen: _Seen) -> Cause | None:
    """Parameters that move as one within chains, and wander along what is left free."""
    bad = seen.bad
    z = seen.fit.z[:, :, bad]
    within = (z - z.mean(axis=1, keepdims=True)).reshape(-1, len(bad))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = (
            np.nan_to_num(np.corrcoef(within, rowvar=False)) if len(bad) > 1 else np.eye(1)
        )
    tied = np.abs(correlation) - np.eye(len(bad)) >= _AS_ONE
    if not tied.any():
        return None
    first = int(np.argmax(tied.sum(axis=1)))
    names = [seen.fit.names[bad[i]] for i in (first, *np.flatnonzero(tied[first]))]
    strongest = float(np.asarray(correlation)[first, np.argmax(tied[first])])
    return Cause(
        "unidentified",
        f"{_listed(names)} move as one (correlation {strongest:.5f}): the rows tell only one combination"
        f" of them: fix one, or give one a tighter prior",
    )


def _wandering(seen: _Seen) -> Cause:
    far = float(np.abs(seen.fit.z[:, :, seen.bad]).max())
    if far > _HUGE:
        return _improper(f"{seen.worst} wanders as far as {far:.1g}", seen.worst)
    return Cause(
        "wandering",
        f"the chains wander in {_listed([seen.fit.names[i] for i in seen.bad])} and settle nowhere: the rows"
        " speak of it little, or only together with what is not compared, such as effects of groups: tighten"
        " a prior, fix one of them, or reparametrise",
    )


def _listed(names: Sequence[str]) -> str:
    """Name a few, and count the rest."""
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} other parameters"
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


_OF_NEAR: tuple[Callable[[_Seen], Cause | None], ...] = (_order, _sign, _slow)
# What cannot move comes first: its draws say nothing. Symmetries before modes, of which they are a kind;
# modes before unidentified directions, as parameters of one mode may be that correlated and fine.
_OF_FAR: tuple[Callable[[_Seen], Cause | None], ...] = (
    _few_draws,
    _still,
    _order,
    _sign,
    _scattered,
    _fixed,
    _divergent,
    _apart,
    _unidentified,
    _cut,
    _wandering,
)
