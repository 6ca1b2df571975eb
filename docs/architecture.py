"""Draw the packages of the library and their imports: `python docs/architecture.py` writes architecture.svg.

The arrows are read from the import statements. An arrow that follows from others is left out: `pipeline`
imports `files`, but so does `study`, which `pipeline` reaches anyway.
"""

import ast
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
LIBRARY = HERE.parent / "workflow/src/scalecheck"
PICTURE = HERE / "architecture.svg"

# In CSS pixels.
WIDTH, BOX, HEIGHT, BEND, GAP, STEP, MARGIN = 720, 118, 34, 26, 22, 78, 20
SWEEPS = 24

Imports = Mapping[str, frozenset[str]]


class Node(NamedTuple):
    """A box in a layer; a bend of a long arrow where `bends` says of which."""

    package: str
    layer: int
    bends: str = ""


def imports() -> Imports:
    """Packages that each package imports from, by the statements in its files."""
    found: dict[str, set[str]] = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        package = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        found.setdefault(package, set()).update(_imported_by(path))
    del found["__init__"]
    return {name: frozenset(used & found.keys()) - {name} for name, used in found.items()}


def _imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("scalecheck."))


def arrows(imported: Imports | None = None) -> set[tuple[str, str]]:
    """Pairs of a package and one that it imports from, without those that follow from others."""
    imported = imports() if imported is None else imported
    reached = {name: _reached(imported, name) for name in imported}
    return {
        (name, used)
        for name, direct in imported.items()
        for used in direct
        if not any(used in reached[other] for other in direct - {used})
    }


def _reached(imported: Imports, name: str) -> set[str]:
    return set(imported[name]).union(*(_reached(imported, used) for used in imported[name]))


def layers_of(imported: Imports) -> dict[str, int]:
    """Layer of each package: one below the lowest of those that it imports from."""
    found: dict[str, int] = {}
    while len(found) < len(imported):
        for name, used in imported.items():
            if name not in found and used <= found.keys():
                found[name] = 1 + max((found[other] for other in used), default=-1)
    return found


def _paths(drawn: set[tuple[str, str]], layer: Mapping[str, int]) -> dict[str, list[Node]]:
    """Nodes that each arrow runs through, by its identifier: a bend in every layer between."""
    found: dict[str, list[Node]] = {}
    for name, used in sorted(drawn):
        identifier = f"{name}-imports-{used}"
        between = range(layer[name] - 1, layer[used], -1)
        bends = [Node(name, number, identifier) for number in between]
        found[identifier] = [Node(name, layer[name]), *bends, Node(used, layer[used])]
    return found


def _size(node: Node) -> float:
    return BEND if node.bends else BOX


def _places(layers: list[list[Node]], neighbours: Mapping[Node, list[Node]]) -> dict[Node, float]:
    """Give each node a horizontal place near its neighbours, none over another."""
    x = {node: MARGIN + 70.0 * i for layer in layers for i, node in enumerate(layer)}
    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 else layers[::-1]:
            near = {
                node: _mean([x[other] for other in neighbours[node]], x[node]) for node in layer
            }
            layer.sort(key=lambda node: near[node])
            x.update(_apart(layer, near))
    return x


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _apart(layer: list[Node], near: Mapping[Node, float]) -> dict[Node, float]:
    """Push the nodes of a layer apart, within the picture, as little as an equal share allows."""
    needed = [(_size(a) + _size(b)) / 2 + GAP for a, b in itertools.pairwise(layer)]
    offsets = [0.0, *itertools.accumulate(needed)]
    # The nearest places in order, with these distances, are a monotone regression of what is left of them.
    blocks: list[list[float]] = []
    for node, offset in zip(layer, offsets, strict=True):
        blocks.append([near[node] - offset])
        while len(blocks) > 1 and _mean(blocks[-2], 0) > _mean(blocks[-1], 0):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    starts = [_mean(block, 0) for block in blocks for _ in block]
    low = MARGIN + _size(layer[0]) / 2
    high = WIDTH - MARGIN - _size(layer[-1]) / 2 - offsets[-1]
    return {
        node: min(max(start, low), high) + offset
        for node, start, offset in zip(layer, starts, offsets, strict=True)
    }


def _curve(points: list[tuple[float, float]]) -> str:
    """Give a path from the top of a box up to the bottom of another, through bends."""
    parts = [f"M{points[0][0]:.0f},{points[0][1]:.0f}"]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        middle = (y0 + y1) / 2
        parts.append(f"C{x0:.0f},{middle:.0f} {x1:.0f},{middle:.0f} {x1:.0f},{y1:.0f}")
    return " ".join(parts)


def _ends(x: Mapping[Node, float], here: Node, others: list[Node]) -> dict[Node, float]:
    """Spread the ends of arrows along the side of a box, in the order of where they come from."""
    order = sorted(others, key=lambda node: x[node])
    width = min(BOX - 30, 22 * (len(order) - 1))
    step = width / max(1, len(order) - 1)
    return {node: x[here] - width / 2 + step * i for i, node in enumerate(order)}


class Layout(NamedTuple):
    """Horizontal places: of nodes, and of the ends of arrows at the top and the bottom of each."""

    x: Mapping[Node, float]
    top: Mapping[Node, Mapping[Node, float]]
    bottom: Mapping[Node, Mapping[Node, float]]


def _lay_out(nodes: set[Node], paths: Iterable[list[Node]]) -> Layout:
    layers = [sorted(n for n in nodes if n.layer == i) for i in range(_n_layers(nodes))]
    links = [pair for path in paths for pair in itertools.pairwise(path)]
    up = {node: [b for a, b in links if a == node] for node in nodes}
    down = {node: [a for a, b in links if b == node] for node in nodes}
    x = _places(layers, {node: up[node] + down[node] for node in nodes})
    top, bottom = ({n: _ends(x, n, others[n]) for n in nodes} for others in (up, down))
    return Layout(x, top, bottom)


def _n_layers(nodes: set[Node]) -> int:
    return 1 + max(node.layer for node in nodes)


def _middle(node: Node) -> float:
    return MARGIN + HEIGHT / 2 + STEP * node.layer


def _arrow(layout: Layout, identifier: str, path: list[Node]) -> str:
    first = layout.top[path[0]][path[1]], _middle(path[0]) - HEIGHT / 2
    last = layout.bottom[path[-1]][path[-2]], _middle(path[-1]) + HEIGHT / 2 + 3
    curve = _curve([first, *((layout.x[node], _middle(node)) for node in path[1:-1]), last])
    return f'<path id="{identifier}" d="{curve}" marker-end="url(#head)"/>'


def _box(x: float, node: Node) -> str:
    left, top = x - BOX / 2, _middle(node) - HEIGHT / 2
    return (
        f'<g id="{node.package}"><rect x="{left:.0f}" y="{top:.0f}" width="{BOX}" height="{HEIGHT}" rx="6"'
        ' fill="#eef3f8" stroke="#8fa3b7"/>'
        f'<text x="{x:.0f}" y="{_middle(node) + 5:.0f}">{node.package}</text></g>'
    )


_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
_HEAD = (
    '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    '<path d="M0,0.5 L8,4 L0,7.5 z" fill="#5b6b7b"/></marker>'
)


def draw(imported: Imports) -> str:
    """Give the picture as SVG: what imports nothing is at the top, every arrow points up."""
    layer = layers_of(imported)
    paths = _paths(arrows(imported), layer)
    packages = [Node(name, number) for name, number in sorted(layer.items())]
    layout = _lay_out({*packages}.union(*paths.values()), paths.values())
    height = 2 * MARGIN + STEP * max(layer.values()) + HEIGHT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' font-family="{_FONT}" font-size="14">',
        "<title>Packages of scalecheck and what they import</title>",
        _HEAD,
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<g fill="none" stroke="#5b6b7b" stroke-width="1.4">',
        *(_arrow(layout, name, path) for name, path in paths.items()),
        "</g>",
        '<g text-anchor="middle" fill="#16202a">',
        *(_box(layout.x[node], node) for node in packages),
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(imports()))
