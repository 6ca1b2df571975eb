"""Few scenarios in a few minutes, with bounds that a broken formula cannot pass: what CI runs.

Seeds are fixed, so that a run either is in bounds or something was changed. The nulls are those on
which formulas are known to break: few rows per parameter, a prior as narrow as the posterior, units;
and of data structures those that each need a rule of their own.
At 5 % a bound on alarms is passed by chance once in a thousand; the bounds on the p-values of each
family say that they are neither too small nor too large.
"""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from scenarios import DEFECTS, NULLS, STRUCTURES
from scipy.stats import binom
from studies import Size
from summary import Bar, Rate, alarms, is_accepted, kind_is_right, missing, rate, read

SCENARIOS = [
    *("linear", "strong_prior", "noncentred"),
    *("censored", "counties_8", "index"),
    *("groups", "drift", "contamination"),
]
# Most of the time is compiling: so a scenario is one batch, batches of a model have the same shapes, and increments
# that grow threefold are fewer.
SIZE = Size(
    nulls=16, structures=16, defects=16, batch=16, warmup=300, draws=250, rows=100, factor=3
)

# Families that must see each defect on their own at n = 100.
EYES = {
    "groups": ("heterogeneity",),
    "drift": ("heterogeneity", "drift", "surprise"),
    "contamination": ("agreement", "surprise"),
}
UNLIKELY = 1e-3
# Mean p of nulls: about 0.5 where a family makes one exact test, more where several share its error rate.
MEAN_P = {
    "agreement": (0.35, 0.85),
    "heterogeneity": (0.35, 0.95),
    "form": (0.35, 0.75),
    "drift": (0.4, 0.95),
    "surprise": (0.4, 0.95),
}


def report(path: Path) -> int:
    """Print what is held to which bound; 1 where one is broken."""
    found = bars(read(path))
    for bar in found:
        print(f"{'    ' if bar.met else 'FAIL'} {bar.what}: {bar.seen}, {bar.bar}")
    return int(bool(missing(found)))


def bars(lines: pd.DataFrame) -> list[Bar]:
    """Hold the lines to bounds."""
    nulls = lines[lines["scenario"].isin(NULLS)]
    found = [*_null_bars("all families", alarms(nulls, 0.05), alarms(nulls, 0.01))]
    for family in MEAN_P:
        found += _family_bars(nulls, family)
    found += _structure_bars(lines[lines["scenario"].isin(STRUCTURES)])
    for name in (name for name in DEFECTS if (lines["scenario"] == name).any()):
        found += _defect_bars(name, lines[lines["scenario"] == name])
    return found + _effort_bars(nulls)


def _null_bars(what: str, five: pd.Series, one: pd.Series) -> Iterable[Bar]:
    for alpha, seen in ((0.05, five), (0.01, one)):
        most = int(binom.isf(UNLIKELY, len(seen), alpha))
        share = rate(seen)
        yield _counted(f"{what}: false alarms at {alpha:g}", share, most=most)


def _family_bars(nulls: pd.DataFrame, family: str) -> list[Bar]:
    p = nulls[f"{family}_p"].dropna()
    low, high = MEAN_P[family]
    mean = float(p.mean())
    # Half of the nulls at least: the score test does not run everywhere.
    ran = Bar(f"{family}: ran", f"{len(p)} times", "in half at least", 2 * len(p) >= len(nulls))
    spread = Bar(
        f"{family}: mean p of nulls", f"{mean:.2f}", f"{low} to {high}", low <= mean <= high
    )
    return [ran, spread, *_null_bars(family, p < 0.05, p < 0.01)]


def _structure_bars(lines: pd.DataFrame) -> Iterable[Bar]:
    """Alarms of each family, too: one that a structure fools is one of seven, and Holm dilutes it."""
    yield from _null_bars("structures, all families", alarms(lines, 0.05), alarms(lines, 0.01))
    for family in MEAN_P:
        p = lines[f"{family}_p"].dropna()
        yield from _null_bars(f"structures, {family}", p < 0.05, p < 0.01)


def _defect_bars(name: str, lines: pd.DataFrame) -> list[Bar]:
    detected = lines[alarms(lines, 0.05)]
    found = [_share(f"{name}: found at 5 %", rate(alarms(lines, 0.05)), 0.9)]
    found += [
        _share(f"{name}: seen by {family}", rate(lines[f"{family}_p"] < 0.05), 0.75)
        for family in EYES[name]
    ]
    return [
        *found,
        _share(f"{name}: kind right", rate(kind_is_right(detected)), 0.75),
        _share(f"{name}: family and axis accepted", rate(is_accepted(detected)), 0.75),
    ]


def _effort_bars(nulls: pd.DataFrame) -> list[Bar]:
    hierarchical = nulls.dropna(subset=["effort_doubled_p"])
    doubled = rate(hierarchical["effort_doubled_p"] < 0.05)
    alone = rate(nulls["effort_p"] < 0.05)
    return [
        _counted("effort: false alarms on its own", alone, most=2),
        _share("effort: a twofold trajectory found", doubled, 0.8),
    ]


def _counted(what: str, one: Rate, most: int) -> Bar:
    return Bar(what, f"{one.seen} of {one.total}", f"at most {most}", one.seen <= most)


def _share(what: str, one: Rate, least: float) -> Bar:
    return Bar(what, f"{one.seen} of {one.total}", f"at least {least:.0%}", one.value >= least)
