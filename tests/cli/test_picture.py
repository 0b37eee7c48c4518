"""The picture of who can reach whom: everything is in it once, nothing overlaps, and no text gets out of its place."""

from itertools import combinations, product
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from bento.cli.layers import BETWEEN, Layout, Size, lay_out
from bento.cli.picture import UNKNOWN, Bundle, Tie, bundled, draw

SVG = "{http://www.w3.org/2000/svg}"
domains = st.sampled_from(["work", "vault", "random", "dom0", "@dispvm:web"])
ties = st.lists(st.builds(Tie, domains, domains, st.sampled_from(["a", "b", "c"]), st.booleans()), max_size=30).map(
    lambda made: [tie for tie in made if tie.source != tie.target]
)


def untied(bundles: list[Bundle]) -> list[Tie]:
    return [
        Tie(source, target, what, bundle.asks)
        for bundle in bundles
        for source, target, what in product(bundle.sources, bundle.targets, bundle.what)
        if source != target
    ]


@given(ties)
def test_bundles_say_what_the_ties_said_and_say_it_once(made: list[Tie]) -> None:
    said = untied(bundled(made))
    assert set(said) == set(made)
    assert len(said) == len(set(said))


def test_what_all_may_do_to_all_is_one_bundle_and_strangers_join_it() -> None:
    circle = ("a", "b", "c")
    everybody = [Tie(source, target, "s", True) for source, target in product(circle, circle) if source != target]
    assert bundled(everybody) == [Bundle(circle, circle, ("s",), True)]
    stranger = [Tie("x", target, "s", True) for target in circle]
    assert bundled([*everybody, *stranger]) == [Bundle((*circle, "x"), circle, ("s",), True)]


def test_services_between_the_same_domains_share_a_bundle_if_they_ask_alike() -> None:
    made = [Tie("a", "b", "s"), Tie("a", "b", "t"), Tie("a", "b", "u", asks=True)]
    assert bundled(made) == [Bundle(("a",), ("b",), ("s", "t"), False), Bundle(("a",), ("b",), ("u",), True)]


def drawn(made: list[Tie], **colours: str) -> ElementTree.Element:
    return ElementTree.fromstring(draw(made, colours, "reach"))


def words(picture: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


@given(ties)
def test_every_domain_has_one_box_and_every_bundle_one(made: list[Tie]) -> None:
    picture = drawn(made)
    names = {name for tie in made for name in (tie.source, tie.target)}
    assert sorted(word for word in words(picture) if word[0] not in "abc") == sorted(names)
    assert len(list(picture.iter(f"{SVG}rect"))) == 1 + len(names) + len(bundled(made))


def test_a_domain_is_in_its_colour_with_words_that_can_be_read_on_it() -> None:
    picture = drawn([Tie("work", "vault", "s")], work="#edd400", vault="#000000")
    fills = {text.text: text.get("fill") for text in picture.iter(f"{SVG}text")}
    assert {"#edd400", "#000000"} <= {rect.get("fill") for rect in picture.iter(f"{SVG}rect")}
    assert (fills["work"], fills["vault"]) == ("#2e3436", "#ffffff")


def test_what_is_no_colour_does_not_get_into_the_picture() -> None:
    text = draw([Tie("work", "vault", "s")], {"work": '"/><script>'}, "reach")
    assert "script" not in text
    assert UNKNOWN in text


def test_text_is_escaped_wherever_it_stands() -> None:
    evil = "</text><script>&\"'"
    picture = ElementTree.fromstring(draw([Tie("a", "b", evil)], {}, evil))
    assert {element.tag for element in picture.iter()} == {
        f"{SVG}{tag}" for tag in ("svg", "title", "rect", "path", "g", "text")
    }
    assert evil in words(picture)


def test_a_way_with_a_question_is_dashed() -> None:
    def dashes(asks: bool) -> set[str | None]:
        return {path.get("stroke-dasharray") for path in drawn([Tie("a", "b", "s", asks)]).iter(f"{SVG}path")}

    assert dashes(False) == {None}
    assert dashes(True) == {None, "5 4"}  # points of arrows are whole


def test_many_and_long_services_are_cut_short_and_told_whole_in_the_title() -> None:
    many = [Tie("a", "b", f"service-{at}-{'x' * 40}") for at in range(20)]
    picture = drawn(many)
    assert len(words(picture)) == 2 + 8
    assert all(len(word) <= 41 for word in words(picture))
    (title,) = [title.text or "" for group in picture.iter(f"{SVG}g") for title in group.iter(f"{SVG}title")]
    assert title.count("service-") == 20
    assert title.endswith(": from a to b")


def test_nobody_reaching_anybody_is_a_picture_too() -> None:
    assert words(drawn([])) == []


# ---- where things go -----------------------------------------------------------------------------

boxes = [f"d{at}" for at in range(5)]
pills = [f"p{at}" for at in range(5)]
steps_between = st.lists(
    st.tuples(st.sampled_from(boxes), st.sampled_from(pills))
    | st.tuples(st.sampled_from(pills), st.sampled_from(boxes)),
    max_size=30,
)
lines = steps_between.map(lambda made: [step for step in made if step[0] in boxes or step[0] in dict(made).values()])


def laid_out(steps: list[tuple[str, str]]) -> tuple[dict[str, Size], Layout]:
    sizes = {name: Size(40 + 10 * at, 20 + at) for at, name in enumerate([*boxes, *pills])}
    return sizes, lay_out(sizes, steps)


@given(lines)
def test_no_two_boxes_touch_and_all_are_within_the_picture(steps: list[tuple[str, str]]) -> None:
    sizes, layout = laid_out(steps)
    spans = {name: (x, x + sizes[name].width, y, y + sizes[name].height) for name, (x, y) in layout.places.items()}
    for left, right, top, bottom in spans.values():
        assert -0.01 <= left < right <= layout.width + 0.01
        assert -0.01 <= top < bottom <= layout.height + 0.01
    for one, other in combinations(spans.values(), 2):
        beside = one[1] <= other[0] or other[1] <= one[0]
        assert beside or one[3] + BETWEEN - 0.01 <= other[2] or other[3] + BETWEEN - 0.01 <= one[2]


@given(lines)
def test_every_line_goes_from_the_one_box_to_the_other_and_through_no_third(steps: list[tuple[str, str]]) -> None:
    sizes, layout = laid_out(steps)
    assert set(layout.routes) == set(steps)
    for (start, end), route in layout.routes.items():
        for name, (x, y) in ((start, route[0]), (end, route[-1])):
            left, top = layout.places[name]
            assert x in (left, left + sizes[name].width)
            assert abs(y - (top + sizes[name].height / 2)) < 0.01
        for x, y in route[1:-1]:
            for name, (left, top) in layout.places.items():
                assert not (left < x < left + sizes[name].width and top < y < top + sizes[name].height)
