"""What a statistic says of the new rows, what to do, and what it would mean."""

import re
from typing import NamedTuple

from scalecheck.checks import statistic_design
from scalecheck.checks.statistic_design import Statistic


class Setting(NamedTuple):
    """What a statistic means depends on.

    Attributes
    ----------
    time
        Name of the order of arrival; None where rows come in random order.
    learned
        Whether parameters were learned from earlier rows, so that new ones can differ from those.
    """

    time: str | None
    learned: bool


# What follows `rows a to b`, by statistic. Of `[one|other]` the first is said where it lies below its median, the
# second where it lies above; of `<one|other>` the first where the model uses the column. Where one side only is ever
# a finding, there is no other.
_SENTENCES = {
    statistic_design.LOG_SCORE: "are [less|more] probable than the model's own predictions:"
    " it is too [sure of|vague about] them",
    statistic_design.LOW_TAIL: "contain outcomes that the model calls next to impossible:"
    " look for outliers, heavier tails or a missing component",
    statistic_design.MEAN: "lie [below|above] what the model predicts:"
    " something shifted, or the mean has the wrong form",
    statistic_design.VARIANCE: "vary [less|more] than the model predicts:"
    " [its outcomes need a smaller dispersion|allow for overdispersion]",
    statistic_design.SKEWNESS: "have a longer [lower|upper] tail than the model predicts:"
    " let the likelihood be skewed",
    statistic_design.KURTOSIS: "have [lighter|heavier] tails than the model predicts:"
    " look for [bounds or mixed groups|outliers]",
    statistic_design.WITHIN_VARIANCE: "vary more than the model predicts: allow for overdispersion",
    statistic_design.WITHIN_KURTOSIS: "have heavier tails than the model predicts: look for outliers",
    statistic_design.DISPERSION: "scatter [less|more] than the likelihood says:"
    " [its outcomes need a smaller dispersion|allow for overdispersion]",
    statistic_design.SCORE: "ask for other parameters than the rows before them: something changed",
    statistic_design.VALUE: "are {x} [less|more] often than the model predicts:"
    " give that value a probability of its own",
    statistic_design.LINEAR: "lie [below|above] the prediction where {x} is high"
    " and [above|below] it where {x} is low:"
    " <its effect has the wrong size or form|{x}, which the model does not use, matters>",
    statistic_design.SQUARE: "lie [below|above] the prediction at both ends of {x}:"
    " <let the effect of {x} bend|{x}, which the model does not use, matters>",
    statistic_design.SPREAD: "vary [less|more] than predicted where {x} is high:"
    " let the dispersion depend on {x}",
    statistic_design.SPREAD_FIT: "vary [less|more] than predicted where the prediction is high:"
    " relate the dispersion to the mean",
    statistic_design.SQUARE_FIT: "lie [below|above] both the lowest and the highest predictions:"
    " try another link, or let effects bend",
    statistic_design.TIME: "[fall|rise] over time against the prediction:"
    " let the level change over time",
    statistic_design.SLOPE_TIME: "show an effect of {x} that [falls|rises] over time:"
    " let it change over time",
    statistic_design.LAG: "[alternate around the prediction|resemble the row before them]:"
    " model how a row depends on the one before it",
    statistic_design.GROUP: "differ by {g} more than the model predicts:"
    " <the effect of {g} has the wrong form or spread|give each {g} an effect of its own>",
    statistic_design.GROUP_SLOPE: "differ by {g} in the effect of {x}:"
    " compare its units by {g}, or let it vary by {g}",
    statistic_design.GROUP_SPREAD: "differ by {g} in their spread:"
    " let the dispersion depend on {g}",
}


def sides(statistic: Statistic) -> int:
    """Which deviations count: 1 those above, -1 those below, 0 both."""
    if statistic.what == statistic_design.LOW_TAIL:
        return -1
    # A scale that was estimated from levels together is too large for what is left within them.
    within = (statistic_design.WITHIN_VARIANCE, statistic_design.WITHIN_KURTOSIS)
    return int(statistic.what in statistic_design.SUMS_OF_SQUARES or statistic.what in within)


def sentence(statistic: Statistic, *, above: bool) -> str:
    """Say of the new rows what a deviation means, and what to do; to follow `rows a to b`."""
    said = re.sub(r"\[(.*?)\|(.*?)\]", r"\2" if above else r"\1", _SENTENCES[statistic.what])
    said = re.sub(r"<(.*?)\|(.*?)>", r"\1" if statistic.used else r"\2", said)
    return said.format(x=statistic.column, g=statistic.group)


def meaning(statistic: Statistic, setting: Setting) -> tuple[str, str | None]:
    """Attribute a deviation: to the model, or to what differs along an axis or over time.

    Returns
    -------
    kind
        misfit or heterogeneous.
    axis
        Column along which; None where there is none.
    """
    what = statistic.what
    over_time = what in (statistic_design.TIME, statistic_design.SLOPE_TIME)
    changed = what in (statistic_design.MEAN, statistic_design.SCORE)
    if over_time or (changed and setting.time and setting.learned):
        return "heterogeneous", setting.time
    along = (statistic_design.LINEAR, statistic_design.SQUARE, statistic_design.SPREAD)
    if statistic.group or what in along:
        kind = "misfit" if statistic.used else "heterogeneous"
        return kind, statistic.group or statistic.column
    return "misfit", None
