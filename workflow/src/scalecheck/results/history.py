"""How the chains of a study ran, from their first iteration on: the table that the report draws."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from scalecheck.results.study_fits import FitResult, StudyFits
from scalecheck.sampler.stall import stalled

# Iterations of a row, at most: leapfrogs are a mean over them.
SPAN = 25
COLUMNS = ("fit", "kind", "chain", "start", "stop", "warmup", "leapfrogs", "step_size", "stalled")


def history_table(study: StudyFits) -> pd.DataFrame:
    """Tabulate every fit that was done.

    Returns
    -------
    DataFrame
        One row per fit, chain and up to `SPAN` iterations of one window of the warmup, or of the draws:
        fit, kind, chain, start and stop (iterations done before and after), warmup, leapfrogs (mean
        per iteration), step_size (at the end), stalled (whether the chain does, by the windows that
        have ended).
    """
    rows = [row for fit in study.done.values() for row in _rows(fit)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(fit: FitResult) -> list[Mapping[str, Any]]:
    n_steps, step_size = _whole(fit, "n_steps"), _whole(fit, "step_size")
    windows = [window.stop for window in fit.record.windows]
    edges = np.unique([*range(0, n_steps.shape[1], SPAN), *windows, n_steps.shape[1]])
    by_window = [part.mean(axis=1) for part in np.split(n_steps, windows, axis=1)[:-1]]
    rows: list[Mapping[str, Any]] = []
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        n_ended = int(np.searchsorted(windows, stop, side="right"))
        flags = stalled(np.reshape(by_window[:n_ended], (n_ended, len(n_steps))))
        rows += [
            {
                "fit": fit.task.fit,
                "kind": fit.task.kind,
                "chain": chain,
                "start": start,
                "stop": stop,
                "warmup": bool(windows and stop <= windows[-1]),
                "leapfrogs": float(n_steps[chain, start:stop].mean()),
                "step_size": float(step_size[chain, stop - 1]),
                "stalled": bool(flags[chain]),
            }
            for chain in range(len(n_steps))
        ]
    return rows


def _whole(fit: FitResult, name: str) -> np.ndarray:
    """A statistic of every iteration, `(chain, iteration)`."""
    groups = (fit.tree[group] for group in ("warmup_sample_stats", "sample_stats"))
    return np.concatenate([group[name].to_numpy() for group in groups], axis=1)
