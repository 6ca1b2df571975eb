"""Rates, their standard errors, and what they are held to, from the lines of simulated studies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scenarios import BOTH, DEFECTS, SCENARIOS
from scipy.stats import binom

from scalecheck.checks.verdict import FAMILIES

POOLED = {"null": "all nulls", "structure": "all structures"}
HIERARCHICAL = ("centred", "noncentred")


class Rate(NamedTuple):
    """So many of so many."""

    seen: int
    total: int

    @property
    def value(self) -> float:
        """NaN of none."""
        return self.seen / self.total if self.total else float("nan")

    @property
    def error(self) -> float:
        """Half the width of Wilson's 68 % interval: a standard error that is not 0 where nothing was seen."""
        if not self.total:
            return float("nan")
        p, n = self.value, self.total
        return float(np.sqrt(p * (1 - p) / n + 1 / (4 * n**2)) / (1 + 1 / n))

    def __str__(self) -> str:
        """In percent, with the standard error."""
        if not self.total:
            return ""
        return f"{100 * self.value:.1f} ± {100 * self.error:.1f}"


class Bar(NamedTuple):
    """What a rate is held to.

    Attributes
    ----------
    what
        In words.
    seen
        As measured.
    bar
        As demanded.
    met
        Whether it is.
    """

    what: str
    seen: str
    bar: str
    met: bool


def read(path: Path) -> pd.DataFrame:
    """Read the lines of simulated studies; texts that are empty stay texts."""
    texts = dict.fromkeys(("family", "axis", "beside_family", "beside_axis", "unusable"), str)
    # By default pandas reads the kind "null" as missing.
    table = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
    return table.fillna(dict.fromkeys(texts, ""))


def rate(seen: pd.Series) -> Rate:
    """Count what is true."""
    return Rate(int(seen.sum()), len(seen))


def alarms(lines: pd.DataFrame, alpha: float) -> pd.Series:
    """Whether anything was suspect or strong."""
    return lines["smallest_p_adjusted"] < alpha


def kind_is_right(lines: pd.DataFrame) -> pd.Series:
    """Whether what is named, the family and the axis, is of the defect's kind."""
    scenarios = lines["scenario"].map(SCENARIOS)
    right = [
        scenario.kind in (BOTH, named_kind(line, scenario.covariates))
        and (scenario.kind != BOTH or (line["misfit"] and line["heterogeneous"]))
        for (_, line), scenario in zip(lines.iterrows(), scenarios, strict=True)
    ]
    return pd.Series(right, index=lines.index, dtype=bool)


def named_kind(line: Mapping[str, Any] | pd.Series, covariates: Sequence[str]) -> str:
    """Along an axis both kinds may be seen; that of the axis that is named is the first."""
    if line["family"] == "heterogeneity":
        return "misfit" if line["axis"] in covariates else "heterogeneous"
    return "misfit" if line["misfit"] else "heterogeneous" if line["heterogeneous"] else ""


def kind_is_alone(lines: pd.DataFrame) -> pd.Series:
    """Whether the kind of the defect is said, and one that it does not have is not."""
    truth = lines["scenario"].map(lambda name: SCENARIOS[name].kind)
    misfit, heterogeneous = (lines[kind].astype(bool) for kind in ("misfit", "heterogeneous"))
    return (misfit == truth.isin(["misfit", BOTH])) & (
        heterogeneous == truth.isin(["heterogeneous", BOTH])
    )


def is_accepted(lines: pd.DataFrame) -> pd.Series:
    """Whether family and axis are among the accepted answers, of two defects those of both."""
    right = [_is_accepted(line) for _, line in lines.iterrows()]
    return pd.Series(right, index=lines.index, dtype=bool)


def _is_accepted(line: pd.Series) -> bool:
    scenario = SCENARIOS[line["scenario"]]
    first = (line["family"], line["axis"] or None)
    second = (line["beside_family"], line["beside_axis"] or None)
    if scenario.kind != BOTH:
        return first in scenario.accepted
    named = {first, second}
    return bool(named & scenario.accepted) and bool(named & scenario.accepted_beside)


def summarise(lines: pd.DataFrame) -> pd.DataFrame:
    """Give a row per scenario, in the order of scenarios.py, and one of all nulls of each kind: shares from 0 to 1."""
    names = [name for name in SCENARIOS if (lines["scenario"] == name).any()]
    rows = [_row(name, lines[lines["scenario"] == name]) for name in names]
    pooled = [(name, lines[lines["kind"] == kind]) for kind, name in POOLED.items()]
    return pd.DataFrame(rows + [_row(name, nulls) for name, nulls in pooled if len(nulls)])


def _row(name: str, lines: pd.DataFrame) -> dict[str, object]:
    detected = lines[alarms(lines, 0.05)]
    defect = name in DEFECTS
    kind = rate(kind_is_right(detected)) if defect else Rate(0, 0)
    alone = rate(kind_is_alone(detected)) if defect else Rate(0, 0)
    accepted = rate(is_accepted(detected)) if defect else Rate(0, 0)
    five, one = (rate(alarms(lines, alpha)) for alpha in (0.05, 0.01))
    return {
        "scenario": name,
        "kind": SCENARIOS[name].kind if name in SCENARIOS else "null",
        "n": _distinct(lines["n"]),
        "k": _distinct(lines["k"]),
        "studies": len(lines),
        "inconclusive": (lines["verdict"] == "inconclusive").mean(),
        "alarms_05": five.value,
        "se_05": five.error,
        "alarms_01": one.value,
        "se_01": one.error,
        "kind_right": kind.value,
        "se_kind": kind.error,
        "kind_alone": alone.value,
        "accepted": accepted.value,
        "se_accepted": accepted.error,
        "called_heterogeneous": lines["heterogeneous"].astype(bool).mean(),
        **{family: _family_rate(lines, family, 0.05).value for family in FAMILIES},
        "effort_doubled": rate(lines["effort_doubled_p"].dropna() < 0.05).value,
        "cpu_seconds": lines["cpu_seconds"].mean(),
    }


def _distinct(sizes: pd.Series) -> str:
    return "/".join(str(size) for size in sorted(set(sizes)))


def _family_rate(lines: pd.DataFrame, family: str, alpha: float) -> Rate:
    """Share of studies, among those where the family ran, that it rejects on its own."""
    return rate(lines[f"{family}_p"].dropna() < alpha)


def family_rates(nulls: pd.DataFrame) -> pd.DataFrame:
    """False alarms of each family on its own, over these nulls, before Holm: a row per family."""
    rows: list[dict[str, object]] = []
    for family in FAMILIES:
        five, one = (_family_rate(nulls, family, alpha) for alpha in (0.05, 0.01))
        rows.append({"family": family, "studies": five.total, "at 5 %": five, "at 1 %": one})
    return pd.DataFrame(rows)


def bars(lines: pd.DataFrame) -> list[Bar]:
    """Hold what was measured to what is promised."""
    nulls = lines[lines["kind"] == "null"]
    found: list[Bar] = []
    if len(nulls):
        found += [
            Bar("null studies", str(len(nulls)), "at least 1,200", len(nulls) >= 1200),
            _between("false alarms at 5 %, all nulls", rate(alarms(nulls, 0.05)), 0.035, 0.055),
            _between("false alarms at 1 %, all nulls", rate(alarms(nulls, 0.01)), 0.005, 0.015),
            _worst("the worst null", nulls, 0.07),
        ]
    structures = lines[lines["kind"] == "structure"]
    if len(structures):
        found += [
            _at_most("false alarms at 5 %, all structures", rate(alarms(structures, 0.05)), 0.055),
            _worst("the worst structure", structures, 0.07),
        ]
    for name in (name for name in DEFECTS if (lines["scenario"] == name).any()):
        found += _defect_bars(name, lines[lines["scenario"] == name])
    return found + _effort_bars(lines[lines["scenario"].isin(HIERARCHICAL)])


def _worst(what: str, nulls: pd.DataFrame, share: float) -> Bar:
    """No null may be significantly above this share: one-sided, at .01 divided by the number of nulls."""
    groups = {name: rate(alarms(part, 0.05)) for name, part in nulls.groupby("scenario")}
    p = {name: binom.sf(one.seen - 1, one.total, share) for name, one in groups.items()}
    worst = min(p, key=lambda name: p[name])
    return Bar(
        what,
        f"{worst} {groups[worst]} (p = {p[worst]:.2g})",
        f"not above {100 * share:g} % at p < {0.01 / len(p):.2g}",
        bool(p[worst] >= 0.01 / len(p)),
    )


def _defect_bars(name: str, lines: pd.DataFrame) -> list[Bar]:
    detected = lines[alarms(lines, 0.05)]
    found = [_at_least(f"{name}: power at 5 %", rate(alarms(lines, 0.05)), 0.90)]
    if len(detected):
        found += [
            _at_least(f"{name}: kind right", rate(kind_is_right(detected)), 0.95),
            _at_least(f"{name}: family and axis accepted", rate(is_accepted(detected)), 0.90),
        ]
    if name == "overdispersion":
        called = rate(lines["heterogeneous"].astype(bool))
        found.append(_at_most(f"{name}: called heterogeneous", called, 0.05))
    return found


def _effort_bars(hierarchical: pd.DataFrame) -> list[Bar]:
    ran = hierarchical.dropna(subset=["effort_p"])
    if not len(ran):
        return []
    doubled = rate(ran["effort_doubled_p"].dropna() < 0.05)
    return [
        _at_most(
            "effort: false alarms", rate(ran["effort_status"].isin(["suspect", "strong"])), 0.01
        ),
        _at_least("effort: a twofold trajectory found", doubled, 0.90),
    ]


def _at_most(what: str, one: Rate, bar: float) -> Bar:
    return Bar(what, str(one), f"at most {100 * bar:g}", one.value <= bar)


def _between(what: str, one: Rate, low: float, high: float) -> Bar:
    return Bar(what, str(one), f"{100 * low:g} to {100 * high:g}", low <= one.value <= high)


def _at_least(what: str, one: Rate, bar: float) -> Bar:
    return Bar(what, str(one), f"at least {100 * bar:g}", one.value >= bar)


def missing(found: Sequence[Bar]) -> list[Bar]:
    """Give what is not met."""
    return [bar for bar in found if not bar.met]
