"""What a study could not see, from what was run and on how many rows."""

from collections.abc import Iterator, Mapping
from typing import Any

from scalecheck.checks.surprise import MOST_PREDICTED
from scalecheck.report.inputs import ReportInputs
from scalecheck.report.number_format import count
from scalecheck.report.parameter_labels import listed
from scalecheck.report.sentences import FAMILIES, OF_STEPS, axes_of, findings_with

_BLIND = {
    "agreement": "Agreement of random subsets is blind to drift, to clusters and units, and to a "
    "wrong mean: every random subset shares them.",
    "heterogeneity": "Heterogeneity was looked for along {axes} only; it is blind to any axis that "
    "was not supplied, and to a wrong dispersion.",
    "form": "Form knows squares, logarithms and products of the numbers that the model takes, and no other shapes.",
    "drift": "Drift is blind to anything that is exchangeable in time.",
    "surprise": "Surprise sees only what its {statistics} measure{after}.",
    "effort": "Effort is blind to misfit where it leaves the geometry alone, as in plain "
    "generalised linear models; it speaks of hierarchies and funnels.",
    "scaling": "Scaling sees jumps of the cost: what grows steadily is a price, not a fault.",
    "adaptation": "Adaptation says whether the sampler worked, never whether the model fits.",
}


def blind_spots(inputs: ReportInputs) -> list[str]:
    """Say what this study could not see: nothing about a check that did not run but that it did not."""
    parts = (_families, _absent, _units, _looks, _rows, _fits, _sizes)
    return [sentence for part in parts for sentence in part(inputs)]


def _ran(inputs: ReportInputs) -> dict[str, list[Mapping[str, Any]]]:
    """Findings that ran, by family."""
    ran: dict[str, list[Mapping[str, Any]]] = {}
    for finding in findings_with(inputs.verdict, "pass", "suspect", "strong"):
        ran.setdefault(finding["family"], []).append(finding)
    return ran


def _families(inputs: ReportInputs) -> Iterator[str]:
    ran = _ran(inputs)
    axes = axes_of(ran.get("heterogeneity", []))
    named = listed(axes, 6) if axes else "the given axes"
    for family, sentence in _BLIND.items():
        if family in ran:
            known = {"axes": named, "statistics": _statistics(inputs), "after": _after(inputs)}
            yield sentence.format(**known)


def _statistics(inputs: ReportInputs) -> str:
    table = inputs.table("surprise")
    n = table["statistic"].nunique() if "statistic" in table else 0
    return f"{n} statistics" if n > 1 else "statistics"


def _after(inputs: ReportInputs) -> str:
    """Which rows surprise saw: all of them where nothing had to be learned first."""
    increments = inputs.fits[inputs.fits["kind"] == "increment"]["fit"]
    seen = {one["where"]["fit"] for one in _ran(inputs).get("surprise", [])}
    return (
        ""
        if increments.head(1).isin(seen).any()
        else ", and only in rows that came after the first increment"
    )


def _absent(inputs: ReportInputs) -> Iterator[str]:
    """Families that did not run, and axes of those that did."""
    ran, silent = _ran(inputs), findings_with(inputs.verdict, "not run")
    for family, question in FAMILIES.items():
        reasons = [one["message"] for one in silent if one["family"] == family]
        if family not in ran:
            why = f": {reasons[0].rstrip('.')}" if reasons else ""
            yield f"Not looked at: {question} ({family} did not run{why})."
    unseen = [one for one in silent if one["family"] in ran]
    for axis in axes_of(unseen):
        yield f"Nothing was tested along {axis}: see “Not run” above for the reason."


def _units(inputs: ReportInputs) -> Iterator[str]:
    if not _ran(inputs):
        return
    unit = inputs.settings["data"]["unit"]
    if not unit:
        yield "Rows were taken as independent of each other: no column names their unit."
    else:
        yield (
            f"Of each {unit} only what all of them share was compared; whole units were "
            "taken as independent."
        )


def _looks(inputs: ReportInputs) -> Iterator[str]:
    looked = {
        one["where"]["fit"]
        for family in OF_STEPS
        for one in _ran(inputs).get(family, [])
        if one["where"]["fit"]
    }
    if len(looked) > 1:
        yield (
            f"The increments were looked at {len(looked)} times. Half of the error rate is divided among "
            "the looks: a change at one of them alone can stay below."
        )


def _rows(inputs: ReportInputs) -> Iterator[str]:
    used, total = inputs.verdict["rows"]["used"], inputs.verdict["rows"]["total"]
    increments = inputs.done[inputs.done["kind"] == "increment"]
    if "surprise" in _ran(inputs) and increments["rows"].diff().max() > MOST_PREDICTED:
        yield (
            f"Of larger blocks of new rows, {count(MOST_PREDICTED)} were predicted, in runs of neighbours:"
            " surprise did not see the others."
        )
    if used < total:
        yield (
            f"{count(total - used)} of {count(total)} rows were in no fit: trouble that is rare, "
            "or that only comes late, can hide there."
        )


def _fits(inputs: ReportInputs) -> Iterator[str]:
    fits = inputs.fits
    skipped = int((fits["status"] == "skipped").sum())
    unusable = int((~inputs.done["usable"]).sum())
    if skipped:
        which = "1 increment was" if skipped == 1 else f"{count(skipped)} increments were"
        yield f"{which} skipped: the rows that only they would have added were not seen."
    stopped = int((fits["status"] == "stopped").sum())
    if stopped:
        yield f"{_fit_s(stopped)} stopped before there were draws: nothing was compared there."
    if unusable:
        yield f"{_fit_s(unusable)} done but cannot be used: no posterior was compared there."


def _fit_s(n: int) -> str:
    return "1 fit was" if n == 1 else f"{count(n)} fits were"


def _sizes(inputs: ReportInputs) -> Iterator[str]:
    """Sizes below which error rates were measured to be too high (docs/calibration.md)."""
    n_parameters = inputs.estimates["parameter"].nunique()
    least = max(100, 20 * n_parameters)
    small = int((inputs.done["rows"] < least).sum())
    if small and _ran(inputs):
        yield (
            f"{_fit_s(small)} smaller than {count(least)} rows (100, or 20 for each parameter): "
            "p-values that rest on them are indicative."
        )
    said = [
        one
        for one in findings_with(inputs.verdict, "pass", "suspect", "strong")
        if "indicative" in one["message"]
    ]
    if said:
        families = list(dict.fromkeys(one["family"] for one in said))
        yield f"Indicative only, by the size of its groups or steps: {listed(families)}."
