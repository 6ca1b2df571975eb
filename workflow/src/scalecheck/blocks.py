"""How many rows are held at once: whatever goes through a table goes block by block."""

from collections.abc import Iterator

# Megabytes per column: enough that what a block costs beside its rows does not show.
ROWS = 2**18


def blocks(n_rows: int) -> Iterator[slice]:
    """Cut rows into slices of at most `ROWS`."""
    for start in range(0, n_rows, ROWS):
        yield slice(start, min(start + ROWS, n_rows))
