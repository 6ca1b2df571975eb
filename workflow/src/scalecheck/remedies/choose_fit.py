"""The fit of a study that is searched: the smallest one that shows the trouble. Nothing here imports JAX."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scalecheck.errors import StudyError
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder

# Families of the cost and the health of a fit.
FAMILIES = ("effort", "scaling", "adaptation")


class Choice(NamedTuple):
    """A fit and why it is searched; no fit, where none shows trouble and none is wanted."""

    fit: str
    reason: str


def choose_fit(
    findings: Sequence[Mapping[str, Any]],
    fits: Sequence[Mapping[str, Any]],
    alpha: float,
    *,
    always: bool,
) -> Choice:
    """Choose the smallest fit that a finding on cost names, or that cannot be used.

    At alpha itself, before p-values are adjusted: as for a second fit of a subset, a search is cheap where the
    full fit is not.

    Parameters
    ----------
    findings
        Rows of findings.csv.
    fits
        Rows of fits.csv.
    always
        Whether to take the first increment, or else the first fit, where none shows trouble.
    """
    spoken = [one for one in findings if one["family"] in FAMILIES and one["p"] < alpha]
    reasons = {str(one["fit"]): str(one["message"]) for one in reversed(spoken)}
    for one in fits:
        if one["status"] == "stopped" or (one["status"] == "done" and not one["usable"]):
            reasons.setdefault(str(one["fit"]), f"{one['fit']} cannot be used: {one['reason']}")
    ran = [one for one in fits if one["status"] in ("done", "stopped")]
    troubled = [one for one in ran if one["fit"] in reasons]
    if troubled:
        smallest = min(troubled, key=lambda one: one["rows"])["fit"]
        return Choice(smallest, reasons[smallest])
    if not always or not ran:
        return Choice(
            "", "effort, scaling and adaptation have nothing to say, and every fit can be used"
        )
    first = next((one for one in ran if one["kind"] == "increment"), ran[0])["fit"]
    return Choice(first, "no fit shows trouble")


def choose_fit_of_study(folder: StudyFolder, alpha: float, *, always: bool) -> Choice:
    """Choose by the tables of a study.

    Raises
    ------
    StudyError
        When its fits are not checked.
    """
    tables = [folder.table(name) for name in ("findings", "fits")]
    for path in tables:
        if not path.is_file():
            raise StudyError(f"{path}: not there: run the study first (make report)")
    findings, fits = (formats.read_table(path).to_dict("records") for path in tables)
    return choose_fit(findings, fits, alpha, always=always)


def write_no_search(folder: StudyFolder, choice: Choice) -> None:
    """Write that nothing was searched: a table without a row, and the reason."""
    formats.write_text(folder.remedies_table, "candidate,status\n")
    nothing = {"gradients": None, "chains": None, "best": None, "lines": "", "advice": []}
    formats.write_json(folder.remedies, {"fit": None, "reason": choice.reason, **nothing})
