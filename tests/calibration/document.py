"""Write docs/calibration.md from the lines of simulated studies; what stands below its mark is kept."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from scenarios import DEFECTS, NULLS, STRUCTURES, TIME
from studies import Size
from summary import POOLED, Bar, Rate, bars, family_rates, missing, summarise

DOCUMENT = Path(__file__).parents[2] / "docs/calibration.md"
MARK = "<!-- What follows is written by hand; all above by tests/calibration/document.py. -->"

_HEAD = """# How often the verdict is right

Simulated studies, run whole through the library: NUTS in lanes, increments that start warm (the last also cold, and
compared), every family of checks, Holm, attribution. Made by

```sh
make calibrate
```

which took {minutes:.0f} minutes of processor time ({studies} studies, seeds {first} to {seeds} of each scenario, up to
{slowest:.1f} s a study); it resumes where it was stopped. One line per study is in
`tests/calibration/results/calibration.csv`, this page's numbers are in `summary.csv` beside it. Rates are in percent
with their standard errors. A study has K = 8 subsets of n rows, increments of n, 2n, 4n and 8n rows in the order of
arrival, and four axes: 8 sources, 40 groups, and two covariates in 40 bins; 4 chains of {warmup} warmup iterations and
{draws} draws, which go on where R-hat or ESS ask for more. The table of data structures has their own K and n.

![False alarms, power and p-values](../tests/calibration/results/calibration.svg)
"""


def write(lines: pd.DataFrame, size: Size) -> str:
    """Give the whole page, with what was written by hand in the one that stands."""
    rows = summarise(lines)
    head = _HEAD.format(
        minutes=lines["cpu_seconds"].sum() / 60,
        studies=f"{len(lines):,}",
        first=lines["seed"].min(),
        seeds=lines["seed"].max(),
        slowest=lines.groupby("scenario")["cpu_seconds"].mean().max(),
        warmup=size.warmup,
        draws=size.draws,
    )
    parts = [
        head,
        _nulls(rows),
        _families(lines, "null"),
        _structures(rows),
        _families(lines, "structure"),
        _defects(rows),
        _accepted(),
        _bars(bars(lines)),
    ]
    return "\n".join(parts) + f"\n{MARK}\n{_by_hand()}"


def _by_hand() -> str:
    if not DOCUMENT.exists():
        return ""
    return DOCUMENT.read_text(encoding="utf-8").partition(f"{MARK}\n")[2]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _nulls(rows: pd.DataFrame) -> str:
    chosen = rows[rows["scenario"].isin([*NULLS, POOLED["null"]])]
    body = [
        (_words(row["scenario"]), row["n"], row["studies"], *_alarms(row))
        for _, row in chosen.iterrows()
    ]
    header = ("null", "n", "studies", *_RATES)
    return "## False alarms\n\n" + _ALARMS + table(header, body)


def _structures(rows: pd.DataFrame) -> str:
    chosen = rows[rows["scenario"].isin([*STRUCTURES, POOLED["structure"]])]
    body = [
        (_words(row["scenario"]), row["k"], row["n"], row["studies"], *_alarms(row))
        for _, row in chosen.iterrows()
    ]
    header = ("null", "K", "n", "studies", *_RATES)
    return "## False alarms where data have a structure\n\n" + _STRUCTURES + table(header, body)


_RATES = ("alarms at 5 %", "alarms at 1 %", "inconclusive, %")


def _alarms(row: pd.Series) -> tuple[str, str, str]:
    inconclusive = f"{100 * row['inconclusive']:.0f}"
    return _rate(row, "alarms_05"), _rate(row, "alarms_01"), inconclusive


_ALARMS = """Any finding that is suspect or strong is a false alarm here, whether the study is inconclusive or not.
Every increment is looked at, which the rates include.

"""


_STRUCTURES = """True models again, of tables as users have them: censored lifetimes; masked outcomes; persons, who are
units and answer the same items; counties, of which every subset has rows; levels by index; slopes under a horseshoe;
grades, choices and shares; a mixture of two kinds; amounts that are often nothing. The axes are the 8 sources and,
where the model takes one, a covariate or a column of labels.

"""


def _families(lines: pd.DataFrame, kind: str) -> str:
    rates = family_rates(lines[lines["kind"] == kind])
    body = [tuple(row) for row in rates.itertuples(index=False)]
    return f"Each family on its own, over {POOLED[kind]}, before Holm:\n\n" + table(
        tuple(rates.columns), body
    )


def _defects(rows: pd.DataFrame) -> str:
    chosen = rows[rows["scenario"].isin(DEFECTS)]
    body = [
        (
            _words(row["scenario"]),
            row["kind"],
            row["studies"],
            _rate(row, "alarms_05"),
            _rate(row, "alarms_01"),
            _rate(row, "kind_right"),
            _rate(row, "kind_alone"),
            _rate(row, "accepted"),
        )
        for _, row in chosen.iterrows()
    ]
    header = (
        "defect",
        "kind",
        "studies",
        "found at 5 %",
        "found at 1 %",
        "kind right",
        "alone",
        "accepted",
    )
    return (
        "## Power and attribution\n\nOf those found at 5 %: what is named is of the right kind; the other kind is not"
        " said beside it; family and axis are among the accepted answers below.\n\n"
        + table(header, body)
    )


def _accepted() -> str:
    body = [
        (_words(name), ", ".join(_answer(*one) for one in sorted(scenario.accepted, key=str)))
        for name, scenario in DEFECTS.items()
    ]
    return (
        "Accepted answers. A source is five whole groups, so that what differs between one differs between"
        " the other; the two tie where both are certain.\n\n"
        + table(("defect", "accepted: family (axis)"), body)
    )


def _answer(family: str, axis: str | None) -> str:
    named = {None: "no axis", TIME: "time"}.get(axis, axis)
    return f"{family} ({named})"


def _bars(found: Sequence[Bar]) -> str:
    body = [(_words(bar.what), bar.seen, bar.bar, "yes" if bar.met else "**no**") for bar in found]
    short = missing(found)
    said = f"{len(short)} of {len(found)} fall short; why is below." if short else "All are met."
    return (
        f"## What it is held to\n\n{said} A twofold trajectory is the recorded leapfrogs of one subset of"
        " the hierarchical nulls, doubled: no change of the data does just that.\n\n"
        + table(("", "measured", "demanded", "met"), body)
    )


def _rate(row: pd.Series, name: str) -> str:
    value = row[name]
    if value != value:
        return ""
    return str(Rate(round(value * _base(row, name)), _base(row, name)))


def _base(row: pd.Series, name: str) -> int:
    """Studies that a rate is of: all, or those detected."""
    if name.startswith("alarms"):
        return int(row["studies"])
    return round(row["alarms_05"] * row["studies"])


def _words(name: str) -> str:
    return re.sub("_", " ", name)
