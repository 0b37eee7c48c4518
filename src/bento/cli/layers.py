"""Boxes and the lines between them, put in columns from left to right so that a person can follow the lines.

The known way of doing it (Sugiyama and others, 1981): a box stands as many
columns to the right as it is lines away from where the lines begin; a line
over several columns is kept from the boxes in between by knots; columns are
sorted until few lines cross; and last each box moves as near to the middle of
its neighbours as the others let it.

Pure: from sizes to places, and the same places each time. What is drawn there
is not this module's business. Lengths are those of the picture's own unit.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

Point = tuple[float, float]

BETWEEN = 16.0
"""Between boxes of one column, one above the other."""

KNOT = 8.0
"""Height that a line takes on its way through a column."""

CORRIDOR = 64.0
"""Between two columns, where the lines run."""

SWEEPS = 24
ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Size:
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """`places`: each box's upper left corner. `routes`: of each line, from the first box to the second, its points."""

    width: float
    height: float
    places: Mapping[str, Point]
    routes: Mapping[tuple[str, str], tuple[Point, ...]]


def lay_out(sizes: Mapping[str, Size], lines: Iterable[tuple[str, str]]) -> Layout:
    """Where the boxes `sizes` go, whose order decides what is all one otherwise, and how the `lines` run.

    There are two kinds of boxes, and each line joins one of either kind; to each of the second kind some line leads.
    So no line begins and ends in one column.
    """
    lines = list(dict.fromkeys(lines))
    column = _columns(list(sizes), lines)
    forward = dict.fromkeys((a, b) if column[a] < column[b] else (b, a) for a, b in lines)
    chains = {step: _chain(step, column) for step in forward}
    heights = {name: size.height for name, size in sizes.items()}
    for chain in chains.values():
        for knot in chain[1:-1]:
            heights[knot] = KNOT
            column[knot] = column[chain[0]] + chain.index(knot)
    near: dict[str, tuple[list[str], list[str]]] = {name: ([], []) for name in heights}
    for chain in chains.values():
        for left, right in pairwise(chain):
            near[left][1].append(right)
            near[right][0].append(left)
    rows = _sorted(_rows(heights, column), near)
    middles = _middles(rows, near, heights)
    lefts, width = _lefts(rows, sizes)
    top = min((middles[name] - heights[name] / 2 for name in heights), default=0.0)
    places = {
        name: (
            lefts[column[name]][0] + (lefts[column[name]][1] - size.width) / 2,
            middles[name] - size.height / 2 - top,
        )
        for name, size in sizes.items()
    }
    bottom = max((middles[name] + heights[name] / 2 for name in heights), default=0.0)

    def points(chain: Sequence[str]) -> tuple[Point, ...]:
        (first, *knots, last) = chain
        way: list[Point] = [(places[first][0] + sizes[first].width, middles[first] - top)]
        for knot in knots:
            left, wide = lefts[column[knot]]
            way += [(left, middles[knot] - top), (left + wide, middles[knot] - top)]
        return (*way, (places[last][0], middles[last] - top))

    routes = {}
    for line in lines:
        turned = line not in chains
        way = points(chains[(line[1], line[0]) if turned else line])
        routes[line] = way[::-1] if turned else way
    return Layout(width, bottom - top, places, routes)


def _columns(names: Sequence[str], lines: Sequence[tuple[str, str]]) -> dict[str, int]:
    """How many lines away each is from the nearest of those that nothing leads to; where all do, from the first."""
    after: dict[str, list[str]] = defaultdict(list)
    led_to = {end for _, end in lines}
    for start, end in lines:
        after[start].append(end)
    column: dict[str, int] = {}
    roots = [name for name in names if name not in led_to]
    for starts in (roots, *([name] for name in names)):
        ready = [name for name in starts if name not in column]
        column.update(dict.fromkeys(ready, 0))
        for name in ready:  # which grows meanwhile
            new = [to for to in dict.fromkeys(after[name]) if to not in column]
            column.update(dict.fromkeys(new, column[name] + 1))
            ready += new
    return column


def _chain(step: tuple[str, str], column: Mapping[str, int]) -> list[str]:
    """The boxes at both ends, and in each column between them a knot. No box's name has a NUL in it."""
    start, end = step
    return [start, *(f"{start}\0{end}\0{at}" for at in range(column[start] + 1, column[end])), end]


def _rows(heights: Mapping[str, float], column: Mapping[str, int]) -> list[list[str]]:
    rows: list[list[str]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for name in heights:
        rows[column[name]].append(name)
    return rows


Near = Mapping[str, tuple[list[str], list[str]]]
"""Of each box and knot, its neighbours in the columns to the left and to the right."""


def _sorted(rows: list[list[str]], near: Near) -> list[list[str]]:
    """The columns in an order with few crossings: each by the middle of its neighbours, to and fro, the best kept."""
    best, fewest = [list(row) for row in rows], _crossings(rows, near)
    for sweep in range(SWEEPS):
        side = sweep % 2
        for row in rows[1:] if side == 0 else rows[-2::-1]:
            place = {name: at for other in rows for at, name in enumerate(other)}
            here = {name: at for at, name in enumerate(row)}

            def middle(
                name: str, side: int = side, place: dict[str, int] = place, here: dict[str, int] = here
            ) -> float:
                others = near[name][side]
                return sum(place[one] for one in others) / len(others) if others else here[name]

            row.sort(key=middle)
        if (count := _crossings(rows, near)) < fewest:
            best, fewest = [list(row) for row in rows], count
    return best


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _crossings(rows: list[list[str]], near: Near) -> int:
    count = 0
    for left, right in pairwise(rows):
        place = {name: at for at, name in enumerate(right)}
        seen = [0] * len(right)
        for name in left:
            ends = [place[to] for to in near[name][1]]
            count += sum(sum(seen[end + 1 :]) for end in ends)
            for end in ends:
                seen[end] += 1
    return count


def _middles(rows: list[list[str]], near: Near, heights: Mapping[str, float]) -> dict[str, float]:
    """The height of each one's middle: near that of its neighbours, in the order that the columns have."""
    middles: dict[str, float] = {}
    for row in rows:
        at = 0.0
        for name in row:
            middles[name] = at + heights[name] / 2
            at += heights[name] + BETWEEN
        for name in row:
            middles[name] -= at / 2
    for turn in range(ROUNDS):
        for row in rows if turn % 2 == 0 else rows[::-1]:
            wished = []
            for name in row:
                others = [middles[one] for side in near[name] for one in side]
                wished.append(_mean(others, middles[name]))
            middles.update(zip(row, _apart(wished, [heights[name] for name in row]), strict=True))
    return middles


def _apart(wished: Sequence[float], heights: Sequence[float]) -> list[float]:
    """The places nearest to those `wished` (least squares) that keep the order and leave room between.

    Less the room that those above need, places need only not decrease: neighbours that would are put at their mean.
    """
    rooms = [0.0]
    for above, below in pairwise(heights):
        rooms.append(rooms[-1] + (above + below) / 2 + BETWEEN)
    pools: list[tuple[float, int]] = []
    for wish, room in zip(wished, rooms, strict=False):
        total, count = wish - room, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / count:
            total, count = total + pools[-1][0], count + pools[-1][1]
            pools.pop()
        pools.append((total, count))
    flat = [total / count for total, count in pools for _ in range(count)]
    return [place + room for place, room in zip(flat, rooms, strict=False)]


def _lefts(rows: list[list[str]], sizes: Mapping[str, Size]) -> tuple[list[tuple[float, float]], float]:
    """Where each column begins and how wide it is; and the width of all."""
    lefts, at = [], 0.0
    for row in rows:
        wide = max((sizes[name].width for name in row if name in sizes), default=0.0)
        lefts.append((at, wide))
        at += wide + CORRIDOR
    return lefts, max(at - CORRIDOR, 0.0)
