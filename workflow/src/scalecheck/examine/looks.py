"""What was seen of an increment as it ended, left beside it: what comes later reads it and computes nothing again.

A look holds findings before any error rate is asked of them, so that another `verdict.alpha` judges the same look.
Its identity says what went into it. No JAX here: to judge what was seen takes none.
"""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scalecheck.checks.finding import Effect, Finding
from scalecheck.checks.statistic_design import Statistic
from scalecheck.checks.summed_surprise import StepMembers
from scalecheck.checks.verdict import is_strong_alone
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.files.record import FitRecord
from scalecheck.fitting.fit_identity import digest_columns
from scalecheck.model import source
from scalecheck.runtime.versions import digest_of_library
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import Study


class SurprisedStep(NamedTuple):
    """What surprise found of one step.

    Attributes
    ----------
    finding
        Of the step.
    table
        A row per statistic.
    members
        From which all steps are judged together; None where the step was not measured.
    """

    finding: Finding
    table: pd.DataFrame
    members: StepMembers | None


class Look(NamedTuple):
    """What was seen of an increment.

    Attributes
    ----------
    findings
        Of all families that look at increments as they end, but for surprise.
    surprised
        What surprise found; None where it was not asked.
    """

    findings: list[Finding]
    surprised: SurprisedStep | None


def reason_to_stop(look: Look, alpha: float) -> str:
    """Judge a look: the reason to stop after this increment, or nothing.

    Only findings that the whole study is bound to call strong end the increments: adjusted as if every
    family were tested on its own (Bonferroni), which bounds Holm's adjustment from above.

    Parameters
    ----------
    look
        At the increment that ended last.
    alpha
        Family-wise rate of false alarms.
    """
    own = [look.surprised.finding] if look.surprised else []
    strong = [one for one in [*look.findings, *own] if is_strong_alone(one, alpha)]
    return strong[0].message if strong else ""


def identify_look(
    folder: StudyFolder, study: Study, so_far: Sequence[tuple[PlannedFit, FitRecord]], planned: int
) -> str:
    """Digest of all that the look at the last of some increments depends on.

    Parameters
    ----------
    folder
        Of the study's results.
    study
        `seed`, `data` and `model`.
    so_far
        Increments and their records, the one that is looked at last.
    planned
        Planned number of increments, among which the error rate is shared.
    """
    (task, _) = so_far[-1]
    told = {
        "library": digest_of_library(),
        "seed": study.seed,
        "data": dataclasses.asdict(study.data),
        "model": dataclasses.asdict(study.model),
        "source": source.digest(study.model.file),
        "increments": [_told(*one) for one in so_far],
        "planned": planned,
        # Surprise groups rows by the axes, which the model need not take.
        "axes": digest_columns(folder, [task], study.data.axes)[task.fit],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=list).encode()).hexdigest()


def _told(task: PlannedFit, record: FitRecord) -> list[Any]:
    # Surprise reads the rows, and the draws need not tell them: a model may have no latent site.
    digest = (record.sha256 or {}).get("posterior.nc")
    return [task.fit, task.rows, record.status, record.identity, digest]


def read_look(folder: StudyFolder, fit: str, identity: str) -> Look | None:
    """Read the look at an increment; None where there is none with this identity, or it is damaged."""
    content = formats.peek_json(folder.look(fit)) or {}
    if content.get("identity") != identity:
        return None
    try:
        surprised = content["surprised"]
        return Look(
            [_finding(one) for one in content["findings"]], surprised and _surprised(surprised)
        )
    except (KeyError, TypeError, ValueError):
        return None


def write_look(folder: StudyFolder, fit: str, identity: str, look: Look) -> None:
    """Leave the look at an increment beside it."""
    content = {
        "identity": identity,
        "findings": [_told_finding(one) for one in look.findings],
        "surprised": look.surprised and _told_surprised(look.surprised),
    }
    formats.write_json(folder.look(fit), content)


def _told_finding(finding: Finding) -> dict[str, Any]:
    return dataclasses.asdict(finding) | {"effect": finding.effect and finding.effect._asdict()}


def _told_surprised(step: SurprisedStep) -> dict[str, Any]:
    members = step.members
    return {
        "finding": _told_finding(step.finding),
        "table": step.table.to_dict("list"),
        "members": members
        and members._asdict()
        | {
            "statistics": [one._asdict() for one in members.statistics],
            # Thousands of numbers: as text they would be four times as long.
            "values": base64.b64encode(members.values.astype("<f4").tobytes()).decode(),
        },
    }


def _surprised(content: Mapping[str, Any]) -> SurprisedStep:
    table, told = pd.DataFrame(content["table"]), content["members"]
    members = None
    if told:
        statistics = tuple(Statistic(**one) for one in told["statistics"])
        values = np.frombuffer(base64.b64decode(told["values"]), "<f4")
        members = StepMembers(
            **told
            | {
                "statistics": statistics,
                "values": values.reshape(-1, len(statistics)),
                "fits": tuple(told["fits"]),
            }
        )
    return SurprisedStep(_finding(content["finding"]), table, members)


def _finding(content: Mapping[str, Any]) -> Finding:
    effect = Effect(**content["effect"]) if content["effect"] else None
    return Finding(**{**content, "effect": effect, "fits": tuple(content["fits"])})
