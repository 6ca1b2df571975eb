"""What a statistic says of the new rows, what to do, and what it would mean."""

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


class Meaning(NamedTuple):
    """What a large statistic would mean.

    Attributes
    ----------
    kind
        misfit or heterogeneous.
    axis
        Column along which; None where there is none.
    """

    kind: str
    axis: str | None


_SHIFTED = "something shifted, or the mean has the wrong form"

# By statistic: what follows `rows a to b` where it lies below its median, and where above. Of statistics that count
# upwards only, and of the low tail, which counts downwards only, one of the two is never a finding.
_SENTENCES = {
    statistic_design.LOG_SCORE: (
        "are less probable than the model's own predictions: it is too sure of them",
        "are more probable than the model's own predictions: it is too vague about them",
    ),
    statistic_design.LOW_TAIL: (
        "contain outcomes that the model calls next to impossible: look for outliers, heavier "
        "tails or a missing component",
        "contain fewer improbable outcomes than the model predicts",
    ),
    statistic_design.MEAN: (
        f"lie below what the model predicts: {_SHIFTED}",
        f"lie above what the model predicts: {_SHIFTED}",
    ),
    statistic_design.VARIANCE: (
        "vary less than the model predicts: its outcomes need a smaller dispersion",
        "vary more than the model predicts: allow for overdispersion",
    ),
    statistic_design.SKEWNESS: (
        "have a longer lower tail than the model predicts: let the likelihood be skewed",
        "have a longer upper tail than the model predicts: let the likelihood be skewed",
    ),
    statistic_design.KURTOSIS: (
        "have lighter tails than the model predicts: look for bounds or mixed groups",
        "have heavier tails than the model predicts: look for outliers",
    ),
    statistic_design.DISPERSION: (
        "scatter less than the likelihood says: its outcomes need a smaller dispersion",
        "scatter more than the likelihood says: allow for overdispersion",
    ),
    statistic_design.SCORE: (
        "agree with the parameters of the rows before them",
        "ask for other parameters than the rows before them: something changed",
    ),
    statistic_design.VALUE: (
        "are {x} less often than the model predicts: give that value a probability of its own",
        "are {x} more often than the model predicts: give that value a probability of its own",
    ),
    statistic_design.LINEAR: (
        "lie below the prediction where {x} is high and above it where {x} is low: {effect}",
        "lie above the prediction where {x} is high and below it where {x} is low: {effect}",
    ),
    statistic_design.SQUARE: (
        "lie below the prediction at both ends of {x}: {bend}",
        "lie above the prediction at both ends of {x}: {bend}",
    ),
    statistic_design.SPREAD: (
        "vary less than predicted where {x} is high: let the dispersion depend on {x}",
        "vary more than predicted where {x} is high: let the dispersion depend on {x}",
    ),
    statistic_design.SPREAD_FIT: (
        "vary less than predicted where the prediction is high: relate the dispersion to the mean",
        "vary more than predicted where the prediction is high: relate the dispersion to the mean",
    ),
    statistic_design.SQUARE_FIT: (
        "lie below both the lowest and the highest predictions: try another link, or let effects "
        "bend",
        "lie above both the lowest and the highest predictions: try another link, or let effects "
        "bend",
    ),
    statistic_design.TIME: (
        "fall over time against the prediction: let the level change over time",
        "rise over time against the prediction: let the level change over time",
    ),
    statistic_design.SLOPE_TIME: (
        "show an effect of {x} that falls over time: let it change over time",
        "show an effect of {x} that rises over time: let it change over time",
    ),
    statistic_design.LAG: (
        "alternate around the prediction: model how a row depends on the one before it",
        "resemble the row before them: model how a row depends on the one before it",
    ),
    statistic_design.GROUP: (
        "differ less by {g} than the model predicts",
        "differ by {g} more than the model predicts: {by_group}",
    ),
    statistic_design.GROUP_SLOPE: (
        "differ less by {g} in the effect of {x} than the model predicts",
        "differ by {g} in the effect of {x}: compare its units by {g}, or let it vary by {g}",
    ),
    statistic_design.GROUP_SPREAD: (
        "differ less by {g} in their spread than the model predicts",
        "differ by {g} in their spread: let the dispersion depend on {g}",
    ),
}


def sides(statistic: Statistic) -> int:
    """Which deviations count: 1 those above, -1 those below, 0 both."""
    if statistic.what == statistic_design.LOW_TAIL:
        return -1
    return int(statistic.what in statistic_design.SUMS_OF_SQUARES)


def sentence(statistic: Statistic, *, above: bool) -> str:
    """Say of the new rows what a deviation means, and what to do; to follow `rows a to b`."""
    x, g = statistic.column, statistic.group
    words = {
        "x": x,
        "g": g,
        "effect": "its effect has the wrong size or form"
        if statistic.used
        else f"{x}, which the model does not use, matters",
        "bend": f"let the effect of {x} bend"
        if statistic.used
        else f"{x}, which the model does not use, matters",
        "by_group": f"the effect of {g} has the wrong form or spread"
        if statistic.used
        else f"give each {g} an effect of its own",
    }
    return _SENTENCES[statistic.what][int(above)].format(**words)


def meaning(statistic: Statistic, setting: Setting) -> Meaning:
    """Attribute a deviation: to the model, or to what differs along an axis or over time."""
    axis = statistic.group or statistic.column
    if statistic.what in (statistic_design.TIME, statistic_design.SLOPE_TIME):
        return Meaning("heterogeneous", setting.time)
    if (
        statistic.what in (statistic_design.MEAN, statistic_design.SCORE)
        and setting.time
        and setting.learned
    ):
        return Meaning("heterogeneous", setting.time)
    if statistic.group or statistic.what in (
        statistic_design.LINEAR,
        statistic_design.SQUARE,
        statistic_design.SPREAD,
    ):
        return Meaning("misfit" if statistic.used else "heterogeneous", axis)
    return Meaning("misfit", None)
