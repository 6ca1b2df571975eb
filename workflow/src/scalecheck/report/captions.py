"""One sentence below each figure, with this study's numbers."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from scalecheck.report.effort_plot import sampled
from scalecheck.report.number_format import count, duration, large_count, number, span
from scalecheck.report.parameter_labels import full_label, shorten


def forest(fits: pd.DataFrame, estimates: pd.DataFrame, name: str) -> str:
    """Say how far the means of a parameter range over subsets, levels and increments."""
    usable = estimates[estimates["fit"].isin(fits[fits["usable"]]["fit"])]
    of_name = usable[(usable["parameter"] == name) & usable["mean"].notna()]
    subsets = of_name[of_name["kind"] == "subset"]["mean"]
    parts = []
    if len(subsets) > 1:
        parts.append(f"{span(subsets.min(), subsets.max())} over subsets")
    levels = of_name[of_name["kind"] == "level"]
    if len(levels) > 1:
        by_mean = levels.sort_values("mean").to_dict("records")
        low, high = by_mean[0], by_mean[-1]
        parts.append(
            f"from {number(low['mean'])} ({shorten(full_label(low), 40)}) "
            f"to {number(high['mean'])} ({shorten(full_label(high), 40)}) over levels"
        )
    read = f"{shorten(name, 40)} is {' and '.join(parts)}; " if parts else ""
    line = "the vertical line is the mean of the subsets" if len(subsets) else ""
    unusable = "" if fits["usable"].all() else "; ✕ marks fits that are not usable"
    tail = f"bars are 89 % intervals{f' and {line}' if line else ''}{unusable}."
    return f"{read}{tail}" if read else tail[0].upper() + tail[1:]


def contraction(increments: pd.DataFrame, name: str) -> str:
    """Compare the fall of the posterior sd with the square root of the growth."""
    rows = increments[(increments["parameter"] == name) & (increments["sd"] > 0)]
    rows = rows.sort_values("rows")
    if len(rows) < 2:
        return "A single usable increment shows no contraction."
    first, last = rows.iloc[0], rows.iloc[-1]
    promised = np.sqrt(last["rows"] / first["rows"])
    return (
        f"From {count(first['rows'])} to {count(last['rows'])} rows the posterior sd of "
        f"{shorten(name, 40)} shrank by a factor of "
        f"{number(first['sd'] / last['sd'], 2)}, where 1/√n promises {number(promised, 2)}."
    )


def cost(fits: pd.DataFrame, after_warmup: bool, expected: bool) -> str:
    """Give the ranges of leapfrogs and of the time per gradient.

    Parameters
    ----------
    fits
        Those that were done.
    after_warmup
        Whether the leapfrogs are those after warmup.
    expected
        Whether the leapfrogs that increments were expected to take are drawn.
    """
    after = " after warmup" if after_warmup else ""
    bars = "; broad bars are what the increments before lead to expect" if expected else ""
    leapfrogs, seconds = fits["leapfrogs_per_iteration"], fits["seconds_per_gradient"]
    if not (leapfrogs.notna().any() and seconds.notna().any()):
        return "No cost was recorded."
    few, many = fits.loc[seconds.idxmin()], fits.loc[seconds.idxmax()]
    return (
        f"A fit takes {span(leapfrogs.min(), leapfrogs.max())} leapfrogs per iteration{after}; "
        "a gradient "
        f"takes {duration(few['seconds_per_gradient'])} at {count(few['padded_rows'])} rows, those that pad "
        f"included, and {duration(many['seconds_per_gradient'])} at {count(many['padded_rows'])}; "
        f"points of the same number of rows are spread sideways{bars}."
    )


def outlook(forecast: Mapping[str, Any], *, are_warm: bool) -> str:
    """Give the interval of the forecast and what it rests on; say where increments start otherwise than that fit."""
    n = count(forecast["rows"])
    gradients, seconds = forecast["gradients"], forecast["seconds"]
    over = " This is over the budget." if forecast["over_budget"] else ""
    start = " It starts cold, as the first increment; the others started warm." if are_warm else ""
    return (
        f"All {n} rows with the same settings: about {large_count(gradients[1])} gradients "
        f"({large_count(gradients[0])} to {large_count(gradients[2])}) and {duration(seconds[1])} "
        f"({duration(seconds[0])} to {duration(seconds[2])}) on this device, compilation "
        f"included; bands are 90 % intervals from the usable increments.{start}{over}"
    )


def effort(fits: pd.DataFrame, means: pd.DataFrame, flagged: Collection[str]) -> str:
    """Compare the random subsets with each other, and say what marks mean.

    Parameters
    ----------
    fits
        Those that were done.
    means
        Leapfrogs and step size by fit.
    flagged
        Fits that a finding on cost names.
    """
    subsets = means[means.index.isin(fits[fits["kind"] == "subset"]["fit"])]["leapfrogs"]
    read = ""
    if len(subsets) > 1:
        ratio = subsets.max() / subsets.min()
        read = (
            "Subsets have equally many rows, so their effort should be alike: the slowest takes "
            f"{number(ratio, 2)} times the leapfrogs of the fastest. "
        )
    rings = "; rings mark what a finding names" if len(flagged) else ""
    return (
        f"{read}Small dots are chains, large marks the mean of a fit; within a group, fits stand in "
        f"the order of the plan, × compares with the median of the group{rings}."
    )


def history(table: pd.DataFrame, adaptation: pd.DataFrame) -> str:
    """Say how far the final step sizes of an increment's chains are apart, at most, and which chains stalled.

    Parameters
    ----------
    table
        `checks/history.csv`; may be empty.
    adaptation
        `checks/adaptation.csv`; may be empty.
    """
    apart = stalls = ""
    if len(adaptation):
        final = sampled(adaptation)
        final = final[(final["kind"] == "increment") & (final["step_size"] > 0)]
        by_fit = final.groupby("fit")["step_size"]
        ratio = (by_fit.max() / by_fit.min()).max() if len(final) else np.nan
        if np.isfinite(ratio):
            apart = f"; step sizes of one increment end at most {number(ratio, 2)} times apart"
    if len(table):
        found = table[table["stalled"] & (table["kind"] == "increment")]
        chains = found[["fit", "chain"]].drop_duplicates().to_dict("records")
        named = [f"chain {one['chain']} of {one['fit']}" for one in chains]
        if named:
            more = f" and {len(named) - 3} more" if len(named) > 3 else ""
            stalls = f"; ✕: {', '.join(named[:3])}{more} stalled, with over five times the leapfrogs of its siblings"
    return f"Each line is a chain of an increment, warmup ends at the dashed line{apart}{stalls}."


def health(done: pd.DataFrame) -> str:
    """Give the worst of every measure of health of the done fits."""
    if done.empty:
        return "No fit was done."
    usable = int(done["usable"].sum())
    sentence = f"{usable} of {len(done)} fits are usable"
    if done["divergences"].notna().any():
        total = int(done["divergences"].sum())
        sentence += f"; {count(total) if total else 'no'} divergence{'' if total == 1 else 's'}"
    if done["rhat_max"].notna().any():
        worst = done.loc[done["rhat_max"].idxmax()].to_dict()
        sentence += f"; the largest R-hat is {number(worst['rhat_max'], 4)} ({full_label(worst)})"
    if done["ess_min"].notna().any():
        worst = done.loc[done["ess_min"].idxmin()].to_dict()
        sentence += (
            f", the smallest effective sample {count(worst['ess_min'])} ({full_label(worst)})"
        )
    return f"{sentence}."
