"""Draw what the searches found: effective draws per gradient of each candidate, a panel for each target.

.venv/bin/python tests/benchmarks/geometry/picture.py docs/geometry.svg     # after make geometry
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

RESULTS = Path(__file__).parents[1] / "results" / "geometry.csv"
GOOD, BAD, INK = "#0072b2", "#8a8983", "#1d1d1b"
NAMES = {
    "two_dimensional": "two dimensions, correlated .9999 (depth 3)",
    "partially_correlated": "partially correlated (depth 3)",
    "equicorrelated": "200 dimensions, all correlated .999 (depth 5)",
    "horseshoe": "horseshoe regression, 25 columns",
}


def draw(table: pd.DataFrame) -> Figure:
    """Draw a panel for each target, as high as it has candidates; only a converged one has a rate to believe."""
    found = table[table["kind"].isin(["best", "search"])]
    sizes = [int((found["target"] == name).sum()) for name in NAMES]
    figure = Figure(figsize=(8, 0.5 * len(NAMES) + 0.27 * sum(sizes)), layout="constrained")
    FigureCanvasSVG(figure)
    panels = figure.subplots(len(NAMES), 1, gridspec_kw={"height_ratios": [n + 0.6 for n in sizes]})
    for panel, (name, title) in zip(panels, NAMES.items(), strict=True):
        _panel(panel, found[found["target"] == name], title)
    panels[-1].set_xlabel("effective draws per 1,000 gradients, the lowest of any scalar")
    return figure


def _panel(panel, rows, title):
    # What has draws, worst first, above what has none.
    rows = rows.sort_values("ess_per_1000", na_position="first").reset_index(drop=True)
    for place, row in rows.iterrows():
        is_good = row["status"] == "same"
        if row["ess_per_1000"] != row["ess_per_1000"]:
            panel.text(
                0.01,
                place,
                "no draws",
                transform=panel.get_yaxis_transform(),
                va="center",
                fontsize=9,
                color=BAD,
            )
            continue
        panel.plot(
            [row["low"], row["high"]], [place, place], color=GOOD if is_good else BAD, lw=1.6
        )
        panel.plot(
            row["ess_per_1000"],
            place,
            "o",
            ms=6,
            color=GOOD if is_good else BAD,
            mfc=GOOD if is_good else "white",
        )
    panel.set_xscale("log")
    panel.set_ylim(-0.6, len(rows) - 0.4)
    panel.set_yticks(range(len(rows)), rows["variant"], fontsize=10)
    for label, kind in zip(panel.get_yticklabels(), rows["kind"], strict=True):
        label.set_fontweight("bold" if kind == "best" else "normal")
    panel.set_title(title, loc="left", fontsize=10.5, color=INK)
    panel.grid(axis="x", color="#e3e1da", lw=0.8)
    panel.tick_params(length=0, which="both")
    panel.spines[["top", "right", "left"]].set_visible(False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    options = parser.parse_args()
    # A picture that says the same has the same bytes.
    mpl.rcParams.update({"svg.hashsalt": "geometry", "font.family": "DejaVu Sans"})
    draw(pd.read_csv(RESULTS)).savefig(options.file, metadata={"Date": None}, facecolor="white")
