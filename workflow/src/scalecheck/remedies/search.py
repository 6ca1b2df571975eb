"""Try candidates one after the other, each with the same gradients, and say which is best."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from scalecheck.errors import NotEnoughMemory
from scalecheck.remedies import neutra, problem, propose, ranking
from scalecheck.remedies.candidate import AS_IT_IS, KINDS, NEUTRA, Candidate, combined
from scalecheck.remedies.problem import Problem, TrialResult
from scalecheck.remedies.search_checkpoint import Kept
from scalecheck.runtime.program import Log


class SearchResult(NamedTuple):
    """What a search found.

    Attributes
    ----------
    table
        A row per candidate, as `ranking.rank_trials` gives it, with `kind` and `failure`.
    best
        The candidate with the highest rate of those that give the same posterior; None where none converged.
    lines
        What to paste into the study file; empty where the fit is best as it is, or no key says it.
    """

    table: pd.DataFrame
    best: Candidate | None
    lines: str


class _Search:
    """Candidates tried so far, in their order."""

    def __init__(self, one: Problem, log: Log, kept: Kept | None) -> None:
        self.problem, self.log, self.kept = one, log, kept
        self.candidates: dict[str, Candidate] = {}
        self.seen: dict[str, TrialResult] = {}
        self.summaries: dict[str, ranking.TrialSummary | None] = {}

    def add(self, candidate: Candidate) -> TrialResult:
        """Try a candidate, unless it was, here or before the search was killed."""
        name = candidate.name
        if name not in self.seen:
            before = self.kept.read(name) if self.kept else None
            run = before or self._try(candidate)
            self.candidates[name], self.seen[name] = candidate, run
            self.summaries[name] = ranking.summarise_trial(run.trial)
            n_draws = run.trial.z.shape[1]
            told = f"{n_draws} draws of {int(run.trial.gradients.sum())} gradients"
            self.log(f"{name}: {run.failure or told}{', kept' if before else ''}")
        return self.seen[name]

    def _try(self, candidate: Candidate) -> TrialResult:
        is_flow = candidate.kind == NEUTRA
        try:
            run = (
                neutra.try_neutra(self.problem, self.log)
                if is_flow
                else problem.try_candidate(self.problem, candidate, _quiet)
            )
        except NotEnoughMemory as error:
            if candidate.kind == AS_IT_IS:
                raise
            # Not kept: where there is more memory, a search that goes on tries it again.
            return problem.failed_trial(self.problem, str(error))
        if self.kept:
            self.kept.write(candidate.name, run)
        return run

    def table(self) -> pd.DataFrame:
        """Rank what was tried so far."""
        trials = {name: seen.trial for name, seen in self.seen.items()}
        return ranking.rank_trials(trials, self.problem.vector.names, self.summaries)

    def best_draws(self) -> np.ndarray:
        """Draws `(chain, draw, d)` of the candidate to learn from: the best, or else that of the highest ESS."""
        found = self.table()
        good = found[found["status"] == "same"]
        row = good.iloc[0] if len(good) else found.sort_values("ess", ascending=False).iloc[0]
        return self.seen[str(row["candidate"])].trial.z

    def combine(self) -> None:
        """Add the best of each other kind to the best of all, as long as that helps."""
        good = [self.candidates[name] for name in self._qualified()]
        if not good:
            return
        best = good[0]
        for kind in KINDS:
            of_kind = [
                one for one in good if one.kind == kind and not set(one.changes) & set(best.changes)
            ]
            if not of_kind or not self._helps(of_kind[0]):
                continue
            both = combined(best, of_kind[0])
            self.add(both)
            if self._qualified()[0] == both.name:
                best = both

    def _qualified(self) -> list[str]:
        found = self.table()
        return [str(name) for name in found[found["status"] == "same"]["candidate"]]

    def _helps(self, candidate: Candidate) -> bool:
        """Whether a candidate alone is better than the fit as it is, or that has not converged."""
        names = self._qualified()
        return AS_IT_IS not in names or names.index(candidate.name) < names.index(AS_IT_IS)


def search_remedies(one: Problem, log: Log, kept: Kept | None = None) -> SearchResult:
    """Search: the fit as it is, every kind alone, what its draws suggest, the best of each together, at last NeuTra.

    The last only where none of the others gave what a fit needs (R-hat at most 1.01 and an ESS of 400) within its
    gradients, and the model has from 2 to 100 scalars.

    Parameters
    ----------
    kept
        Of the same search, which was killed; what is tried is added to it. Without it nothing is kept.
    """
    run = _Search(one, log, kept)
    first = run.add(Candidate(AS_IT_IS, {}))
    for candidate in propose.first_candidates(one, first):
        run.add(candidate)
    for candidate in propose.candidates_from_draws(one, run.best_draws()):
        run.add(candidate)
    run.combine()
    has_flow = neutra.FEWEST_SCALARS <= one.n_scalars <= neutra.MOST_SCALARS
    if has_flow and not ranking.has_reached(run.table()):
        run.add(Candidate(NEUTRA, {}))
    table = run.table()
    table["kind"] = [run.candidates[name].kind for name in table["candidate"]]
    table["failure"] = [run.seen[name].failure for name in table["candidate"]]
    same = table[table["status"] == "same"]
    best = run.candidates[str(same["candidate"].iloc[0])] if len(same) else None
    return SearchResult(table, best, best.lines(one.settings) if best else "")


def _quiet(line: str) -> None:
    """Leave out a line of progress: a search has one per candidate."""


_SHOWN = {
    "candidate": "candidate",
    "status": "posterior",
    "ess_per_1000": "ESS per 1000 gradients",
    "gain": "gain",
    "ess": "ESS",
    "slowest": "slowest",
    "rhat": "R-hat",
    "draws": "draws",
}


def search_as_text(found: SearchResult, title: str) -> str:
    """Show a search to a person: its table, and what to paste."""
    table = found.table
    shown = pd.DataFrame({head: _cells(table, name) for name, head in _SHOWN.items()})
    return "\n".join([title, "", shown.to_string(index=False), "", *advice(found)])


def advice(found: SearchResult) -> Sequence[str]:
    """Say in lines what to do."""
    if found.table["failure"].all():
        return [f"No candidate could be sampled: {found.table['failure'].iloc[0]}"]
    if found.best is None:
        return [
            "No candidate converged within its gradients: raise --gradients, or change the model."
        ]
    if found.best.kind == AS_IT_IS:
        return ["Nothing that was tried is better than the fit as it is."]
    if not found.lines:
        return [
            "Best is NeuTra, which no key of the study file says: train a flow (numpyro.infer.reparam)."
        ]
    return ["Best of these; to paste into the study file:", "", found.lines]


def _cells(table: pd.DataFrame, name: str) -> list[str]:
    match name:
        case "ess_per_1000":
            parts = zip(table["ess_per_1000"], table["low"], table["high"], strict=True)
            return [f"{x:.3g} ({low:.3g}-{high:.3g})" if x == x else "" for x, low, high in parts]
        case "gain":
            parts = zip(table["gain"], table["gain_low"], table["gain_high"], strict=True)
            return [f"x {x:.3g} ({low:.3g}-{high:.3g})" if x == x else "" for x, low, high in parts]
        case "ess":
            return [f"{x:.0f}" if x == x else "" for x in table[name]]
        case "rhat":
            return [f"{x:.3f}" if x == x else "" for x in table[name]]
        case _:
            return ["" if value != value else str(value) for value in table[name]]
