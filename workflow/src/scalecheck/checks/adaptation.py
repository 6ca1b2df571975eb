"""Whether warmup worked: do all chains of an increment sample at the same potential energy?

The chain means of the potential are compared by an F test whose error is the larger of two: from
batch means within chains, and from their effective number of draws. What else was seen of step
sizes, trees and metrics names the cause. Fits whose posterior cannot be used are judged, too: where their
chains differ, this is the family that says so. Where the test sees nothing in them it was not run: chains
so slow that no test can tell them apart have not agreed.

Formulas and sources: docs/statistics.md, section 7.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import f as fisher

from scalecheck.checks import chain_table
from scalecheck.checks.chain_table import Chains
from scalecheck.checks.finding import Effect, Finding, half_width, not_run, notable, rounded
from scalecheck.checks.warm_start_audit import Audit
from scalecheck.diagnostics import array_stats

# A chain whose typical potential is a whole sd off is elsewhere than the others.
LARGEST_GAP = 1.0
# Trees that were cut this often: their chain hardly moves, however many leapfrogs it takes.
MOST_SATURATED = 0.05
HALF = 0.5  # of the trees: what is said of a fit begins with it
# Few, so that they are long: by batches alone, 4 AR(1) chains of 250 draws reject 4.8/0.8 % at 5/1 % for
# rho .8 and 5 batches, but 14/3.8 % for .95 and 28/12 % for .97. With the effective number beside them these
# are 2.5/0, 5.0/1.0 and 11/3.8 %: a potential with 10 effective draws of a chain remains too few.
BATCHES = 5
COLLAPSED = 0.25  # of the median step size of the other chains
LOW_ACCEPTANCE = 0.15  # below the target
LARGEST_METRIC_RATIO = 4.0  # between the variances that two chains adapted to


class PotentialGap(NamedTuple):
    """The chain whose mean potential is farthest from the others'.

    Attributes
    ----------
    chain
        Its number.
    value, scale
        Difference and its standard error, in sds of the potential.
    df
        Degrees of freedom of the error.
    p
        Of the F test over all chains.
    """

    chain: int
    value: float
    scale: float
    df: int
    p: float

    @property
    def effect(self) -> Effect:
        """The absolute difference with an 89 % interval."""
        size, width = abs(self.value), half_width(self.scale, self.df)
        return Effect("gap of a chain in sds of the potential", size, size - width, size + width)


def compare_potentials(
    potential: Float[np.ndarray, "chain draw"], energy: Float[np.ndarray, "chain draw"]
) -> PotentialGap:
    """Compare the chains' mean potentials.

    The unit is the sd of the potential of a normal posterior, sqrt(d / 2): the root of the mean
    kinetic energy, whatever number of parameters the model has.

    Parameters
    ----------
    potential, energy
        `(chain, draw)`, at least two chains.
    """
    n_chains, n_draws = potential.shape
    potential = potential.astype("float64")
    size = n_draws // BATCHES
    batches = potential[:, n_draws - BATCHES * size :].reshape(n_chains, BATCHES, size).mean(axis=2)
    error = max(batches.var(axis=1, ddof=1).mean() / BATCHES, _squared_mcse(potential))
    means = batches.mean(axis=1)
    df = n_chains * (BATCHES - 1)
    spread = float(means.var(ddof=1))
    # Chains that never move leave no error to compare with.
    p = float(fisher.sf(spread / error, n_chains - 1, df)) if error > 0 else float(spread == 0)
    unit = np.sqrt(np.median((energy.astype("float64") - potential).mean(axis=1)))
    others = (means.sum() - means) / (n_chains - 1)
    worst = int(np.argmax(np.abs(means - np.median(means))))
    scale = np.sqrt(error * n_chains / (n_chains - 1)) / unit
    return PotentialGap(worst, float((means - others)[worst] / unit), float(scale), df, p)


def _squared_mcse(potential: Float[np.ndarray, "chain draw"]) -> float:
    """Mean over chains of the squared standard error of their means; 0 where nothing moves."""
    errors = array_stats.mcse(potential[None], method="mean", chain_axis=0, draw_axis=2)
    return float(np.nan_to_num(np.square(errors).mean()))


def check_adaptation(
    increments: Sequence[Chains],
    weight: float,
    others: Sequence[Chains] = (),
    stopped: Mapping[str, str] | None = None,
) -> tuple[list[Finding], pd.DataFrame]:
    """Judge the chains of every increment; tabulate all fits.

    Parameters
    ----------
    increments
        Every increment that was fitted.
    weight
        Share of the error rate of each: 1 / planned increments.
    others
        Further fits, for the table only.
    stopped
        Increments that were ended without draws, and why.

    Returns
    -------
    findings
        One per increment; the effect is the gap of the chain that is farthest off. Of one that was ended
        without draws there is nothing to test: its finding says why, and what to change.
    table
        As `chain_table.tabulate_chains` gives it, of all these fits.
    """
    table = chain_table.tabulate_chains([*increments, *others])
    findings = [check_adaptation_step(fit, weight) for fit in increments]
    for fit, reason in (stopped or {}).items():
        findings.append(not_run("adaptation", f"{fit}: {reason}", weight=weight, fit=fit))
    return findings or [not_run("adaptation", "no increment was fitted", weight=1.0)], table


def check_adaptation_step(fit: Chains, weight: float) -> Finding:
    """Judge the chains of one increment.

    Parameters
    ----------
    fit
        The increment.
    weight
        Share of the error rate: 1 / planned increments.
    """
    reason = _problem(fit)
    if reason:
        return not_run("adaptation", reason, weight=weight, fit=fit.fit)
    seen = compare_potentials(fit.sampling.potential, fit.sampling.energy)
    # Two questions of one increment share its part of the error rate.
    if fit.audit is not None and 2 * fit.audit.p < min(1.0, 2 * seen.p):
        return _audit_finding(fit, fit.audit, weight)
    if fit.audit is not None:
        seen = seen._replace(p=min(1.0, 2 * seen.p))
    alarm = notable(seen.p, weight)
    if not alarm and (reason := _undecided(fit, seen)):
        return not_run("adaptation", reason, weight=weight, fit=fit.fit)
    saturated = fit.saturated(fit.sampling.n_steps)[seen.chain]
    message = _alarm_message if alarm else _agreement_message
    return Finding(
        family="adaptation",
        p=seen.p,
        weight=weight,
        large=bool(abs(seen.value) > LARGEST_GAP or saturated > MOST_SATURATED),
        effect=seen.effect,
        fit=fit.fit,
        fits=(fit.fit,),
        message=message(fit, seen),
    )


def _audit_finding(fit: Chains, audit: Audit, weight: float) -> Finding:
    """Say how far a warm start is from the cold one that it was compared with."""
    p, name = min(1.0, 2 * audit.p), fit.parameters[audit.parameter]
    words = (
        f"{fit.fit}: started warm, the {audit.statistic} of {name} is {rounded(abs(audit.gap))} sds"
        " from that of a cold start"
    )
    alarm = (
        f"{words}: one of the two has not converged: set increments.warm to false, or raise warmup"
    )
    return Finding(
        family="adaptation",
        p=p,
        weight=weight,
        large=abs(audit.gap) > LARGEST_GAP,
        effect=None,
        parameter=name,
        fit=fit.fit,
        fits=(fit.fit,),
        message=alarm if notable(p, weight) else f"{words}: no more than chance",
    )


def _problem(fit: Chains) -> str:
    n_chains, n_draws = fit.sampling.potential.shape
    if n_chains < 2:
        return "one chain has no others to be compared with: set sampler.chains to 4"
    if n_draws < 2 * BATCHES:
        return f"adaptation needs at least {2 * BATCHES} draws per chain, got {n_draws}"
    if not np.isfinite(fit.sampling.potential).all():
        return f"the potential energy of {fit.fit} is not finite"
    kinetic = (fit.sampling.energy - fit.sampling.potential).mean(axis=1)
    if np.median(kinetic) <= 0 and not fit.parameters:
        return "the model has no parameters: nothing moves"
    if np.median(kinetic) <= 0:
        size = f"{np.abs(fit.sampling.potential).max():.1g}"
        return (
            f"{fit.fit}: the chains have no kinetic energy beside a potential of {size}: its numbers have no digits"
            " left for it: scale the data to order 1, or set sampler.precision to float64"
        )
    if (fit.sampling.potential == fit.sampling.potential[0, 0]).all():
        return f"{fit.fit}: no chain moves from its start: {fit.advice or 'change the parametrisation'}"
    return ""


def _undecided(fit: Chains, seen: PotentialGap) -> str:
    """Why chains that no test tells apart cannot be said to agree; empty where they can."""
    if abs(seen.value) > LARGEST_GAP:
        slow = "but each chain moves so slowly that no test can tell whether that is chance"
        return f"{_gap_in_words(fit, seen)}, {slow}: {fit.advice or _cause(fit, seen.chain)}"
    return f"{fit.fit} cannot be used: {fit.reason}" if fit.reason else ""


def _gap_in_words(fit: Chains, seen: PotentialGap) -> str:
    side = "above" if seen.value > 0 else "below"
    return (
        f"{fit.fit}: the potential of chain {seen.chain} lies {rounded(abs(seen.value))} sds {side}"
        " that of the others"
    )


def _alarm_message(fit: Chains, seen: PotentialGap) -> str:
    """Name the chain that is off, and the likeliest cause."""
    why = fit.advice or _cause(fit, seen.chain)
    return f"{_gap_in_words(fit, seen)}: {why}" + (f"; {fit.capped}" if fit.capped else "")


def _cause(fit: Chains, chain: int) -> str:
    sampling = fit.sampling
    share = fit.saturated(sampling.n_steps)[chain]
    others = float(np.median(np.delete(sampling.step_size, chain)))
    if share > MOST_SATURATED:
        return (
            f"its trees are cut at sampler.max_tree_depth in {share:.0%} of the iterations: raise"
            " sampler.warmup or max_tree_depth, or change the parametrisation"
        )
    if sampling.step_size[chain] < COLLAPSED * others:
        return (
            f"its step size collapsed to {rounded(sampling.step_size[chain])} where the others take"
            f" {rounded(others)}: raise sampler.warmup, or change the parametrisation"
        )
    if sampling.diverging[chain].any():
        return (
            f"{sampling.diverging[chain].sum()} of its iterations diverge: raise sampler.target_accept,"
            " or change the parametrisation"
        )
    return (
        "it is stuck in another mode or not there yet: raise sampler.warmup; if it stays, look for"
        " parameters that can trade places"
    )


def _agreement_message(fit: Chains, seen: PotentialGap) -> str:
    """Say that chains agree, and what else there is to know."""
    sampling = fit.sampling
    saturated = fit.saturated(sampling.n_steps).mean()
    low = fit.target_accept - sampling.acceptance_rate.mean(axis=1)
    spread = float(chain_table.metric_spread(fit.windows[-1]).max()) if fit.windows else 1.0
    agree = f"the chains agree on the potential within {rounded(abs(seen.value))} sds"
    cut = f"{saturated:.0%} of the trees are cut: raise sampler.max_tree_depth"
    if saturated > HALF:
        # Such chains agree, as their draws suffice; but what they cost is the news.
        said = [f"{fit.fit}: {cut}, or change the parametrisation", agree]
    else:
        said = [f"{fit.fit}: {agree}"]
    if fit.capped:
        said.append(f"{fit.capped}: raise sampler.max_gradients")
    if fit.discarded:
        said.append(f"chains begun anew because they stalled in warmup: {fit.discarded}")
    if MOST_SATURATED < saturated <= HALF:
        said.append(cut)
    if fit.diverged:
        said.append(fit.diverged)
    if low.max() > LOW_ACCEPTANCE:
        missed = rounded(float(low.max()))
        said.append(f"chain {np.argmax(low)} accepts {missed} less than its target")
    if spread > LARGEST_METRIC_RATIO:
        said.append(f"the chains' metrics differ {rounded(spread)} times: raise sampler.warmup")
    return "; ".join(said)
