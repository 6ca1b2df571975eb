"""Whether the new rows of all steps together are surprising.

A likelihood that is wrong is wrong at every step, and no step has many more than half of the rows. So
statistics, studentised in each step, are summed over steps, of the observed rows as of their replicates. Under the
model each step is a replicate of its own prediction given the rows before it, whatever the steps before it showed.

Formulas and sources: docs/statistics.md, section 4.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from scalecheck.checks import statistic_design, statistic_messages
from scalecheck.checks.finding import Finding, notable, rounded
from scalecheck.checks.member_ranks import Measured, Scale, rank_of_first
from scalecheck.checks.statistic_design import Statistic
from scalecheck.checks.statistic_messages import Setting
from scalecheck.checks.surprise import finding_of

# Share of the family's error rate: the other half is divided among the steps.
WEIGHT = 0.5

# What drift, form and the axes ask, mostly of more rows than these: here it would only be more to choose from. Steps
# ask it, too, where those families cannot run.
_ASKED_ELSEWHERE = frozenset(
    {
        statistic_design.MEAN,
        statistic_design.SCORE,
        statistic_design.LINEAR,
        statistic_design.SQUARE,
        statistic_design.TIME,
        statistic_design.SLOPE_TIME,
        statistic_design.GROUP,
        statistic_design.GROUP_SLOPE,
        statistic_design.GROUP_SPREAD,
    }
)


class StepMembers(NamedTuple):
    """The members of a step.

    Attributes
    ----------
    statistics
        What was measured.
    values
        `(S + 1, q)` of the observed rows, then of S replicates, studentised.
    first, last
        Numbers of the first and the last new row, from 1.
    n_rows
        New rows that were asked: steps weigh as their square roots.
    fits
        Fits that the step rests on.
    note
        What else it rests on; nothing where there is nothing to say.
    """

    statistics: tuple[Statistic, ...]
    values: Float[np.ndarray, "member q"]
    first: int
    last: int
    n_rows: int
    fits: tuple[str, ...]
    note: str


class StepAgain(NamedTuple):
    """A step that is measured once more, with many replicates.

    Attributes
    ----------
    statistics
        What is measured: other values may be frequent among other replicates.
    values
        `(S + 1, q)` of the observed rows, then of S replicates.
    more
        Further replicates `(chunk, q)`, of all steps in chunks of one length.
    """

    statistics: tuple[Statistic, ...]
    values: Measured
    more: Iterable[Float[np.ndarray, "chunk q"]]


def check_all_steps(
    steps: Sequence[StepMembers],
    again: Callable[[], Sequence[StepAgain]],
    *,
    setting: Setting,
    rng: np.random.Generator,
) -> Finding:
    """Rank the new rows of all steps among replicates of them.

    Parameters
    ----------
    steps
        At least two, in their order.
    again
        Measures each step once more; asked only where the observed rows are among the two most extreme.
    setting
        What meanings depend on.
    rng
        Breaks ties.

    Returns
    -------
    Finding
        Its effect is the leading statistic, studentised, plus and minus 1.96.
    """
    sizes = [step.n_rows for step in steps]
    sums = _Sums.over([step.statistics for step in steps], sizes)
    values = sums.of([step.values for step in steps])
    scale = Scale.of_sums(sums.statistics, values)
    largest = scale.extremeness(values).max(axis=1)
    p = rank_of_first(largest, lambda: _compared_again(again(), sizes), rng)
    leading = int(scale.extremeness(values[:1])[0].argmax())
    statistic, signed = sums.statistics[leading], float(scale.studentised(values[:1])[0, leading])
    return finding_of(
        statistic,
        signed,
        setting,
        p=p,
        weight=WEIGHT,
        fits=tuple(dict.fromkeys(fit for step in steps for fit in step.fits)),
        message=_message(statistic, signed, steps, notable(p, WEIGHT)),
    )


def _compared_again(
    steps: Sequence[StepAgain], sizes: Sequence[int]
) -> tuple[float, Iterable[Float[np.ndarray, " chunk"]]]:
    """Say how far out the observed rows are, and further replicates, `(chunk,)` at a time.

    Steps and their sum are studentised without the observed rows, as a single step is.
    """
    sums = _Sums.over([step.statistics for step in steps], sizes)
    own = [Scale.of(step.statistics, step.values[1:]) for step in steps]

    def summed(members: Iterable[np.ndarray]) -> np.ndarray:
        return sums.of([a.studentised(b) for a, b in zip(own, members, strict=True)])

    first = summed(step.values for step in steps)
    scale = Scale.of_sums(sums.statistics, first[1:])
    chunks = zip(*(step.more for step in steps), strict=True)
    further = (scale.extremeness(summed(chunk)).max(axis=1) for chunk in chunks)
    return float(scale.extremeness(first[:1]).max()), further


class _Sums(NamedTuple):
    """How steps are summed.

    Attributes
    ----------
    statistics
        All that some step has.
    on
        By step, `(q_step, q)` what its studentised statistics are multiplied by.
    """

    statistics: tuple[Statistic, ...]
    on: tuple[Float[np.ndarray, "own q"], ...]

    @classmethod
    def over(cls, asked: Sequence[Sequence[Statistic]], sizes: Sequence[int]) -> "_Sums":
        """Sum statistics of steps of these sizes; one that some steps lack is summed over the others."""
        every = dict.fromkeys(one for each in asked for one in each)
        statistics = tuple(one for one in every if one.what not in _ASKED_ELSEWHERE)
        on = [
            np.sqrt(n) * np.array([[float(one == all_) for all_ in statistics] for one in each])
            for each, n in zip(asked, sizes, strict=True)
        ]
        size = np.sqrt(sum((weights**2).sum(axis=0) for weights in on))
        return cls(statistics, tuple(weights / size for weights in on))

    def of(self, members: Sequence[np.ndarray]) -> Measured:
        """Sum members `(member, q_step)` of each step: `(member, q)`."""
        return np.sum([a @ b for a, b in zip(members, self.on, strict=True)], axis=0)


def _message(statistic: Statistic, signed: float, steps: Sequence[StepMembers], seen: bool) -> str:
    notes = dict.fromkeys(step.note for step in steps if step.note)
    note = "".join(f"; {one}" for one in notes)
    sds = f"{statistic.name}: {rounded(abs(signed))} sds"
    if not seen:
        return (
            f"{_rows(steps)}, {len(steps)} steps together, look like what was predicted"
            f" (largest deviation, {sds}){note}"
        )
    said = statistic_messages.sentence(statistic, above=signed > 0)
    return f"{_rows(steps)} {said} ({sds} from the predictions, over {len(steps)} steps){note}"


def _rows(steps: Sequence[StepMembers]) -> str:
    """Name the rows of steps, those in between left out that no step has."""
    spans: list[tuple[int, int]] = []
    for step in steps:
        first = spans.pop()[0] if spans and spans[-1][1] + 1 == step.first else step.first
        spans.append((first, step.last))
    return "rows " + " and ".join(f"{first} to {last}" for first, last in spans)
