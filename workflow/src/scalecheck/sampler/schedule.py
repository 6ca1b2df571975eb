"""Warmup windows, and the blocks between which the host looks at the chains."""

from typing import NamedTuple

from numpyro.infer.hmc_util import build_adaptation_schedule


class Block(NamedTuple):
    """Iterations `start` to `stop` of every chain.

    Attributes
    ----------
    window
        Number of the warmup window that ends with this block, else None.
    warmup
        Whether its iterations adapt.
    """

    start: int
    stop: int
    window: int | None
    warmup: bool


def window_stops(warmup: int) -> tuple[int, ...]:
    """Iterations done at the end of each warmup window."""
    return tuple(window.end + 1 for window in build_adaptation_schedule(warmup)) if warmup else ()


def blocks(warmup: int, draws: int, size: int) -> list[Block]:
    """Cut a run into blocks of at most `size` iterations that end where warmup windows end.

    ::

        |-- window 0 --|- 1 -|---- 2 ----|-------- 3 --------|- 4 -|------ draws ------|
        |..size..|.....|.....|..size..|..|..size..|..size..|.|.....|..size..|..size..|.|
    """
    ends = [*window_stops(warmup), warmup + draws]
    found: list[Block] = []
    start = 0
    for number, end in enumerate(ends):
        while start < end:
            stop = min(start + size, end)
            closes = stop == end and end <= warmup
            found.append(Block(start, stop, number if closes else None, stop <= warmup))
            start = stop
    return found


def continue_blocks(start: int, draws: int, size: int) -> list[Block]:
    """Cut `draws` more iterations after `start` into blocks."""
    more = blocks(0, draws, size)
    return [one._replace(start=start + one.start, stop=start + one.stop) for one in more]
