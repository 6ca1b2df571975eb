"""The sentences of the page: what the verdict means, and what to do about it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from scalecheck.report import number_format
from scalecheck.report.number_format import count, duration, is_missing, number, p_value, text
from scalecheck.report.parameter_labels import full_label, listed, place

FAMILIES = {
    "agreement": "whether subsets agree",
    "heterogeneity": "whether parameters are the same along an axis",
    "form": "whether covariates act as the model says",
    "drift": "whether estimates settle as rows arrive",
    "surprise": "whether new rows look as predicted",
    "effort": "whether one fit needs far more work than others",
    "scaling": "whether the cost grows steadily",
    "adaptation": "whether warmup worked",
}
_BROKEN = {
    "agreement": "subsets disagree more than their posteriors allow",
    "heterogeneity": "its parameters are not the same everywhere",
    "form": "a covariate acts in another form",
    "drift": "its estimates do not settle as rows arrive",
    "surprise": "new rows do not look as it predicts",
    "effort": "some fits need far more work than others",
    "scaling": "its cost jumps as rows arrive",
    "adaptation": "the sampler cannot adapt to it",
}
_ADVICE = {
    "agreement": "Give the likelihood a free dispersion or heavier tails, and look for rows that "
    "it calls nearly impossible.",
    "heterogeneity": "Let {parameter} vary along {axis}, or change whether and how {axis} enters "
    "the model.",
    "form": "Plot residuals against {axis}; add the term that is named, or a curve.",
    "drift": "Plot the rows in their order of arrival; let {parameter} change over it, or find the "
    "rows that came late.",
    "surprise": "Simulate the new rows from the earlier posterior and look where they differ.",
    "effort": "Compare the rows of this fit with those of the others; if its chains crawl through "
    "a funnel, centre the group effects or stop centring them.",
    "scaling": "Fit the rows that are new on their own: if they stay expensive, they need another "
    "model; if not, the chains were stuck.",
    "adaptation": "Plot the slow chains before trusting any draw; raise sampler.warmup, or "
    "reparametrise.",
}
OF_POSTERIORS = ("agreement", "heterogeneity", "form", "drift", "surprise")
OF_COST = ("effort", "scaling", "adaptation")
OF_STEPS = ("drift", "surprise")  # each step, and then all of them together
_LOUD = ("strong", "suspect")
_PRECEDENCE = ("heterogeneity", "form", "surprise", "agreement", "drift", *OF_COST)


class Card(NamedTuple):
    """A finding that somebody must act on, in the words of the page."""

    status: str
    family: str
    place: str
    message: str
    sure: str
    effect: str
    advice: str


def headline(verdict: Mapping[str, Any], fits: pd.DataFrame) -> str:
    """Say the verdict in one plain sentence."""
    kind = verdict["verdict"]
    if kind == "adequate":
        return "The model holds on the rows that were tried."
    if kind == "inconclusive":
        bad = len(_unusable(fits))
        if not bad:
            return "No verdict yet: too little could be checked."
        of = len(fits[fits["status"] != "skipped"])
        return f"No verdict yet: {bad} of {of} fits cannot be trusted."
    verb = "breaks" if kind == "breaks" else "may break"
    loud = loud_findings(verdict)
    axes = axes_of([finding for finding in loud if finding["status"] == loud[0]["status"]])
    if axes:
        return f"The model {verb} along {listed(axes)}."
    return f"The model {verb}: {_BROKEN[loud[0]['family']]}."


def explanation(verdict: Mapping[str, Any]) -> str:
    """Say what kind of failure it is, and how soon it showed."""
    certain = verdict["verdict"] == "breaks"
    rows = verdict["rows"]
    claims = []
    if verdict["misfit"]:
        wrong = "is wrong" if certain else "may be wrong"
        claims.append(f"its likelihood or its functional form {wrong}")
    if verdict["heterogeneous"]:
        differ = "are not" if certain else "may not be"
        claims.append(f"its parameters {differ} the same everywhere")
    if claims:
        sentence = " and ".join(claims)
        if rows["first_seen"] is not None:
            seen = f"{count(rows['first_seen'])} of {count(rows['total'])}"
            sentence += f"; {seen} rows were enough to see it"
        return f"{sentence[0].upper()}{sentence[1:]}."
    if verdict["verdict"] == "adequate":
        return f"Nothing contradicts it in {count(rows['used'])} rows, in any check that ran."
    if verdict["verdict"] == "inconclusive":
        return "The checks cannot say more until this is repaired."
    return "What was seen speaks of the sampler, not of the likelihood."


def next_step(verdict: Mapping[str, Any], fits: pd.DataFrame) -> str:
    """Say what to do next."""
    kind = verdict["verdict"]
    if kind == "adequate":
        over = verdict["forecast"] and verdict["forecast"]["over_budget"]
        goes_on = _in_its_place(verdict) if over else "Go on to the full fit."
        return f"{goes_on} Read first what these checks could not see."
    if kind == "inconclusive":
        return f"{_repair(verdict, fits)} Then run the study again."
    advice = _advice(loud_findings(verdict)[0])
    if kind == "breaks":
        return f"Do not pay for the full fit yet. {advice} Then run the study again."
    return f"Look before you pay for the full fit: rerun with more or larger subsets. {advice}"


def _in_its_place(verdict: Mapping[str, Any]) -> str:
    """Say what to do instead of a full fit that is over the budget."""
    instead = {
        "": "raise it, or fit fewer rows.",
        "believable": "use the approximation of all rows.",
        "means only": "use the means of the approximation of all rows, not its intervals.",
        "do not use": "raise the budget, or fit fewer rows; the approximation is not to be used.",
    }
    approximation = verdict["approximation"]
    believed = approximation["verdict"] if approximation else ""
    return f"The full fit is over the budget: {instead[believed]}"


def key_numbers(verdict: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of a number and what it counts."""
    rows = verdict["rows"]
    used, total, seen = (rows[name] for name in ("used", "total", "first_seen"))
    trouble = [] if loud_findings(verdict) else [("none", "signs of trouble")]
    if seen is not None:
        trouble = [(count(seen), "rows when trouble was first seen")]
    pairs = [
        (count(total), "rows in the data"),
        (count(used), f"rows used ({number_format.percent(used / total)})"),
        *trouble,
        (number_format.large_count(verdict["gradients"]), "gradients"),
        (duration(verdict["seconds"]), "of fitting, compilation included"),
    ]
    return pairs + _forecast(verdict["forecast"])


def cards(verdict: Mapping[str, Any], fits: pd.DataFrame) -> list[Card]:
    """Word the strong findings, then the suspect ones."""
    return [_card(finding, fits) for finding in loud_findings(verdict)]


def loud_findings(verdict: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Strong findings, then suspect ones; among them what decided, a second defect, and axes: they name causes."""
    decided = verdict["attribution"]
    second = decided.get("beside") or {}

    def order(finding: Mapping[str, Any]) -> tuple:
        family, axis = finding["family"], finding["where"]["axis"]
        return (
            _LOUD.index(finding["status"]),
            (family, axis) != (decided["family"], decided["axis"]),
            (family, axis) != (second.get("family"), second.get("axis")),
            _PRECEDENCE.index(family),
            finding["p_adjusted"],
            finding["p"],
        )

    return sorted(findings_with(verdict, *_LOUD), key=order)


def findings_with(verdict: Mapping[str, Any], *statuses: str) -> list[Mapping[str, Any]]:
    """Select the findings of the given statuses, in the order of the file."""
    return [finding for finding in verdict["findings"] if finding["status"] in statuses]


def effect(finding: Mapping[str, Any]) -> str:
    """Write an effect with its interval: `dispersion: 1.7 [1.4, 2.1]`; empty when there is none."""
    found = finding["effect"]
    if not found or is_missing(found["value"]):
        return ""
    size = number_format.estimate(found["value"], found["low"], found["high"])
    return f"{found['name'].replace('_', ' ')}: {size}"


def simulated(verdict: Mapping[str, Any]) -> str:
    """Say how the study ranks among studies simulated from the model; empty where none were."""
    p = verdict["p_simulated"]
    if p is None:
        return ""
    return (
        f"The whole plan was also run on data simulated from the model; the smallest p-value of "
        f"this study ranks at {p_value(p)} among theirs."
    )


def not_run(verdict: Mapping[str, Any], fits: pd.DataFrame) -> list[tuple[str, str]]:
    """List the checks that did not run, each with its reason."""
    pairs = []
    for finding in findings_with(verdict, "not run"):
        where = place(finding["where"], fits)
        family = finding["family"]
        pairs.append((f"{family}, {where}" if where else family, finding["message"]))
    named = {finding["family"] for finding in verdict["findings"]}
    missing = [(family, "no finding was recorded.") for family in FAMILIES if family not in named]
    return list(dict.fromkeys(pairs + missing))


def _card(finding: Mapping[str, Any], fits: pd.DataFrame) -> Card:
    of_sum = finding["family"] in OF_STEPS and not finding["where"]["fit"]
    return Card(
        finding["status"],
        finding["family"],
        place(finding["where"], fits) or ("all steps together" if of_sum else ""),
        finding["message"],
        _sure(finding),
        effect(finding),
        _advice(finding),
    )


def _sure(finding: Mapping[str, Any]) -> str:
    sure = f"{p_value(finding['p'])}; {p_value(finding['p_adjusted'])} adjusted for all checks"
    if finding["p_simulated"] is None:
        return sure
    return f"{sure}; {p_value(finding['p_simulated'])} among simulated studies"


def _advice(finding: Mapping[str, Any]) -> str:
    where = finding["where"]
    return _ADVICE[finding["family"]].format(
        axis=where["axis"] or "this axis", parameter=where["parameter"] or "the parameters"
    )


def axes_of(findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Axes that findings name, each once."""
    axes = [finding["where"]["axis"] for finding in findings]
    return list(dict.fromkeys(axis for axis in axes if axis))


def _forecast(forecast: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if not forecast or not forecast["seconds"]:
        return []
    low, median, high = forecast["seconds"]
    over = ", over the budget" if forecast["over_budget"] else ""
    pairs = [
        (duration(median), f"forecast for all rows ({duration(low)} to {duration(high)}){over}")
    ]
    if forecast["price"]:
        low, median, high = forecast["price"]
        pairs.append((number(median), f"price of that ({number(low)} to {number(high)})"))
    return pairs


def _unusable(fits: pd.DataFrame) -> list[dict[str, Any]]:
    """Fits that a verdict needs and cannot use: no level is needed, its axis is tested on other rows."""
    needed = (fits["status"] != "skipped") & (fits["kind"] != "level")
    return fits[needed & ~fits["usable"]].to_dict("records")


def _repair(verdict: Mapping[str, Any], fits: pd.DataFrame) -> str:
    bad = _unusable(fits)
    why = verdict["reason"].rstrip(".")
    if len(bad) == 1:
        return f"Repair {full_label(bad[0])}: {text(bad[0]['reason']).rstrip('.')}."
    if bad and why:
        # One sentence for each cause, by the verdict.
        return f"Repair {listed([full_label(fit) for fit in bad])}. {why[:1].upper()}{why[1:]}."
    return f"{why[:1].upper()}{why[1:]}." if why else "Repair the fits that the findings name."
