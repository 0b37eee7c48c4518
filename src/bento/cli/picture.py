"""Who can reach whom as a picture (SVG): domains in the colours of their labels, and between them what they call.

What all of some domains may do to all of some others is one box with lines to
and from it, and not a line for each pair: of twenty domains that may all ask
each other there would be 380. So a line leads from who calls to what is
called, and on to whom. Dashed means that the person is asked first.

Pure, and no text gets into the picture unescaped. No script, no style sheet,
nothing from elsewhere: the picture shows the same in every viewer.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.sax.saxutils import escape

from bento.cli.layers import Layout, Point, Size, lay_out

MARGIN = 24.0
LETTER, BOLD = 6.7, 8.6
"""Width of a letter in a service's box and in a domain's. Wide enough for the fonts that a viewer may take."""
LINE, TALL = 15.0, 30.0
"""Height of a line of services, and of a domain's box."""
LONGEST, MOST = 40, 8
"""Letters in a line of services and lines in a box; the rest is told when the pointer rests there."""

INK, PAPER, PILL = "#2e3436", "#ffffff", "#f4f4f2"
UNKNOWN = "#888a85"


@dataclass(frozen=True, slots=True)
class Tie:
    """`source` may do `what` to `target`, if the person says yes where it `asks`."""

    source: str
    target: str
    what: str
    asks: bool = False


@dataclass(frozen=True, slots=True)
class Bundle:
    """Each of `sources` may do all of `what` to each of `targets` that is not itself."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    what: tuple[str, ...]
    asks: bool


def draw(ties: Iterable[Tie], colours: Mapping[str, str], title: str) -> str:
    """The picture as SVG. `colours`: of each domain, as `#rrggbb`."""
    bundles = bundled(ties)
    colours = {name: colour for name, colour in colours.items() if re.fullmatch("#[0-9a-f]{6}", colour)}
    shown = [_shown(bundle.what) for bundle in bundles]
    # A box of a bundle is known by its number, which is no domain's name.
    domains = sorted({name for bundle in bundles for name in (*bundle.sources, *bundle.targets)})
    sizes = {name: Size(BOLD * len(name) + 24, TALL) for name in domains}
    for at, lines in enumerate(shown):
        sizes[str(at)] = Size(LETTER * max(map(len, lines)) + 20, LINE * len(lines) + 8)
    layout = lay_out(sizes, [line for at, bundle in enumerate(bundles) for line in _lines(str(at), bundle)])
    width, height = layout.width + 2 * MARGIN, layout.height + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="{-MARGIN:.0f} {-MARGIN:.0f} {width:.0f} {height:.0f}" font-family="sans-serif">',
        f"<title>{escape(title)}</title>",
        f'<rect x="{-MARGIN:.0f}" y="{-MARGIN:.0f}" width="{width:.0f}" height="{height:.0f}" fill="{PAPER}"/>',
        *(part for at, bundle in enumerate(bundles) for part in _draw_lines(str(at), bundle, layout, colours)),
        *(
            part
            for at, (bundle, lines) in enumerate(zip(bundles, shown, strict=True))
            for part in _draw_bundle(bundle, lines, layout.places[str(at)], sizes[str(at)])
        ),
        *(part for name in domains for part in _draw_domain(name, layout.places[name], sizes[name], colours)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


# ---- from pairs to bundles -----------------------------------------------------------------------


def bundled(ties: Iterable[Tie]) -> list[Bundle]:
    """The same as `ties` in few bundles. Everything is in one of them, nothing else is, and nothing is twice."""
    reached: dict[tuple[str, bool], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for tie in ties:
        reached[tie.what, tie.asks][tie.source].add(tie.target)
    whats: dict[tuple[tuple[str, ...], tuple[str, ...], bool], list[str]] = defaultdict(list)
    for (what, asks), by_source in sorted(reached.items()):
        for sources, targets in _grouped(by_source):
            whats[sources, targets, asks].append(what)
    return [Bundle(sources, targets, tuple(what), asks) for (sources, targets, asks), what in whats.items()]


def _grouped(by_source: Mapping[str, set[str]]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Sources with the same targets together. Those that all reach each other have the same, but for themselves."""
    circles: dict[frozenset[str], list[str]] = defaultdict(list)
    for source, targets in sorted(by_source.items()):
        circles[frozenset((*targets, source))].append(source)
    groups = {circle: sources for circle, sources in circles.items() if len(sources) > 1}
    inside = {source for sources in groups.values() for source in sources}
    for source, targets in sorted(by_source.items()):
        if source not in inside:
            groups.setdefault(frozenset(targets), []).append(source)
    return [(tuple(sorted(sources)), tuple(sorted(targets))) for targets, sources in groups.items()]


def _lines(box: str, bundle: Bundle) -> list[tuple[str, str]]:
    """A domain on both sides has one line, with a point at either end."""
    outwards = [(box, name) for name in bundle.targets if name not in bundle.sources]
    return [(name, box) for name in bundle.sources] + outwards


def _shown(whats: Sequence[str]) -> list[str]:
    """`whats` as lines of bounded length and number."""
    lines = [""]
    for what in whats:
        what = what if len(what) <= LONGEST else f"{what[: LONGEST - 1]}\u2026"
        if lines[-1] and len(lines[-1]) + len(what) + 2 > LONGEST:
            lines[-1] += ","
            lines.append(what)
        else:
            lines[-1] += f", {what}" if lines[-1] else what
    return lines if len(lines) <= MOST else [*lines[: MOST - 1], "\u2026"]


# ---- drawing -------------------------------------------------------------------------------------


def _draw_domain(name: str, place: Point, size: Size, colours: Mapping[str, str]) -> list[str]:
    colour = colours.get(name, UNKNOWN)
    return [
        _box(place, size, radius=4, fill=colour, line=INK, dashed=name.startswith("@dispvm")),
        _text(name, place[0] + size.width / 2, place[1] + size.height / 2 + 4.5, _readable_on(colour), bold=True),
    ]


def _draw_bundle(bundle: Bundle, lines: Sequence[str], place: Point, size: Size) -> list[str]:
    whole = f"{', '.join(bundle.what)}{' (you are asked)' if bundle.asks else ''}"
    whole += f": from {', '.join(bundle.sources)} to {', '.join(bundle.targets)}"
    middle = place[0] + size.width / 2
    return [
        f"<g><title>{escape(whole)}</title>",
        _box(place, size, radius=10, fill=PILL, line=UNKNOWN, dashed=bundle.asks),
        *(_text(line, middle, place[1] + 4 + LINE * (at + 0.75), INK) for at, line in enumerate(lines)),
        "</g>",
    ]


def _draw_lines(box: str, bundle: Bundle, layout: Layout, colours: Mapping[str, str]) -> list[str]:
    """From each source in its colour, so that one can see whose line it is; to each target in that of the box."""
    drawn = []
    for start, end in _lines(box, bundle):
        colour = colours.get(start, UNKNOWN) if end == box else UNKNOWN
        points = layout.routes[start, end]
        dash = ' stroke-dasharray="5 4"' if bundle.asks else ""
        drawn.append(f'<path d="{_curve(points)}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
        drawn.append(_arrow(points[-2], points[-1], colour))
        if start in bundle.targets:
            drawn.append(_arrow(points[1], points[0], colour))
    return drawn


def _curve(points: Sequence[Point]) -> str:
    """Level where it begins, where it ends and at every knot."""
    path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        half = (x + to_x) / 2
        path += f" C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
    return path


def _arrow(before: Point, at: Point, colour: str) -> str:
    x, y = at
    back = -8 if before[0] < x else 8
    return f'<path d="M{x:.1f} {y:.1f} l{back} -4 v8 z" fill="{colour}"/>'


def _box(place: Point, size: Size, *, radius: int, fill: str, line: str, dashed: bool) -> str:
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return (
        f'<rect x="{place[0]:.1f}" y="{place[1]:.1f}" width="{size.width:.1f}" height="{size.height:.1f}"'
        f' rx="{radius}" fill="{fill}" stroke="{line}"{dash}/>'
    )


def _text(words: str, x: float, y: float, colour: str, *, bold: bool = False) -> str:
    font = 'font-size="14" font-weight="bold"' if bold else 'font-size="12"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {font} text-anchor="middle" fill="{colour}">{escape(words)}</text>'


def _readable_on(colour: str) -> str:
    """Black or white, by how bright the eye takes `colour` to be (the weights are those of Rec. 601)."""
    red, green, blue = bytes.fromhex(colour[1:])
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER
