"""A table of the fits of a study in the terminal, renewed while they run."""

import contextlib
import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline.status import STATES, FitState, is_over, read_states
from scalecheck.runtime.durations import duration, interval

# Seconds between two looks at the files.
PAUSE = 2.0


# Numbers by chain: the heading of the column, the key in `progress.jsonl`, and how a number is written.
_NUMBERS: dict[str, tuple[str, Callable[[float], str]]] = {
    "step size": ("step_size", lambda x: f"{x:.2g}"),
    "leapfrogs": ("leapfrogs", lambda x: f"{x:.3g}" if x < 1000 else f"{x:.0f}"),
    "accept": ("acceptance_rate", lambda x: f"{x:.2f}"),
    "div": ("divergences", lambda x: f"{x:.0f}"),
    "cut": ("depth_saturated", lambda x: f"{x:.0%}"),
    "metric": ("metric_change", lambda x: f"{x:.2f}"),
}

# From all there is, chain by chain, to what a narrow terminal has room for, as ranges over chains.
_DRAFTS = (
    (True, ("fit", "rows", "phase", *_NUMBERS, "left", "note")),
    (False, ("fit", "rows", "phase", *_NUMBERS, "left", "note")),
    (False, ("fit", "phase", "step size", "leapfrogs", "div", "left", "note")),
    (False, ("fit", "phase", "leapfrogs", "left", "note")),
    (False, ("fit", "phase", "leapfrogs", "note")),
    (False, ("fit", "phase", "note")),
    (False, ("fit", "phase")),
    (False, ("fit",)),
)
_LONGEST_REASON = 32
_WIDEST = 10_000
_STYLES = {"running": "", "starting": "cyan", "done": "green"}


def watch(folder: StudyFolder, *, once: bool, console: Console | None = None) -> None:
    """Show the fits of a study until its verdict is there or the user ends it, or once.

    Parameters
    ----------
    once
        Whether to print the table as it is, and return.
    console
        Where to; by default the terminal.

    Raises
    ------
    StudyError
        When the folder is none of a study.
    """
    console = console or Console()
    states = read_states(folder, time.time())
    if once or is_over(folder, states):
        console.print(view(folder.path.name, states, console))
        return
    with contextlib.suppress(KeyboardInterrupt), Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(view(folder.path.name, states, console), refresh=True)
            if is_over(folder, states):
                return
            time.sleep(PAUSE)
            states = read_states(folder, time.time())


def view(study: str, states: Sequence[FitState], console: Console) -> Group:
    """Lay out the richest table that the console has room for, and a summary below it.

    Parameters
    ----------
    study
        Its name.
    states
        Of its fits, in the order of the rows.
    """
    table = Table()
    for by_chain, headings in _DRAFTS:
        table = _table(states, headings, by_chain)
        unbounded = console.options.update(max_width=_WIDEST)
        if Measurement.get(console, unbounded, table).maximum <= console.width:
            break
    return Group(table, Text(summary(study, states)))


def _table(states: Sequence[FitState], headings: Sequence[str], by_chain: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        side = "left" if heading in ("fit", "phase", "note") else "right"
        table.add_column(heading, justify=side, no_wrap=True, overflow="ellipsis")
    for one in states:
        cells = [
            _TEXTS[heading](one) if heading in _TEXTS else _numbers(one, heading, by_chain)
            for heading in headings
        ]
        table.add_row(*map(Text, cells), style=_style(one))
    return table


def _style(one: FitState) -> str:
    if one.stalled:
        return "bold red"
    return "yellow" if one.is_silent else _STYLES.get(one.state, "dim")


def _phase(one: FitState) -> str:
    if one.state != "running":
        return one.state
    done, total, warmup = min(one.told["iterations"]), one.told["total"], one.told["warmup"]
    if one.told["phase"] == "warmup":
        return f"warmup {done}/{warmup}"
    return f"sampling {done - warmup}/{total - warmup}"


def _numbers(one: FitState, heading: str, by_chain: bool) -> str:
    """Numbers of all chains, with a mark at the leapfrogs of one that stalls; or their range."""
    key, write = _NUMBERS[heading]
    values = one.told.get(key, [])
    if by_chain:
        marked = one.stalled if heading == "leapfrogs" else []
        written = ["-" if value is None else write(value) for value in values]
        return " ".join(f"{text}!" if i in marked else text for i, text in enumerate(written))
    known = [value for value in values if value is not None]
    if not known:
        return "-" if values else ""
    low, high = write(min(known)), write(max(known))
    return low if low == high else f"{low}..{high}"


def _left(one: FitState) -> str:
    """The time left with its interval; of a fit that has ended, what it took."""
    if one.record and one.state in ("done", "stopped"):
        return f"took {duration(sum(one.record.seconds.values()))}"
    return interval(one.told["seconds_left"]) if one.state == "running" else ""


def _note(one: FitState) -> str:
    notes = [f"chain {chain} stalls" for chain in one.stalled]
    if one.is_silent:
        notes.append(f"no news for {duration(one.silent)}")
    if one.record and one.record.reason:
        reason = one.record.reason
        is_long = len(reason) > _LONGEST_REASON  # the log and the report have it whole
        notes.append(f"{reason[: _LONGEST_REASON - 1]}…" if is_long else reason)
    return ", ".join(notes)


_TEXTS: dict[str, Callable[[FitState], str]] = {
    "fit": lambda one: one.fit,
    "rows": lambda one: f"{one.rows:,}",
    "phase": _phase,
    "left": _left,
    "note": _note,
}


def summary(study: str, states: Sequence[FitState]) -> str:
    """Count the fits, and say how long those that run will take.

    Fits that run do so side by side: the last to end is the one with most time left. What has not begun
    has no pace yet.

    Parameters
    ----------
    study
        Its name.
    states
        Of all its fits.
    """
    counts = {state: sum(one.state == state for one in states) for state in STATES}
    parts = [f"{counts['done']} of {len(states)} fits done"]
    parts += [f"{n} {state}" for state, n in counts.items() if n and state != "done"]
    left = [one.told["seconds_left"] for one in states if one.state == "running"]
    known = [one for one in left if None not in one]
    if known:
        most = [max(ends) for ends in zip(*known, strict=True)]
        open_end = counts["waiting"] + counts["starting"] or len(known) < len(left)
        parts.append(f"{interval(most)} left{' for those that run' if open_end else ''}")
    return f"{study}: {', '.join(parts)}"
