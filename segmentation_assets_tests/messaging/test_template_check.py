"""What a shop's own layout may say: what is not on the list is refused with its line and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.messaging import layout
from segmentation_assets.messaging.layout import Brand, lay_out, read_layout
from segmentation_assets.messaging.message_lint import Finding
from segmentation_assets.messaging.template_check import VARIABLES, LayoutError, check_template, compile_template
from segmentation_assets_tests.messaging.message_samples import COPY, facts

BUILT_IN = Path(layout.__file__).parent / "templates" / "email.html.j2"
NAMES = ", ".join(sorted(VARIABLES))
FILTERS = "default, e, escape, length, lower, title, trim, upper"


def _said(source: str) -> list[str]:
    found = check_template(source)
    assert all((finding.rule, finding.severity) == ("template", "error") for finding in found)
    return [finding.detail for finding in found]


def test_the_built_in_layout_passes_its_own_check() -> None:
    assert check_template(BUILT_IN.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "", "plain [[unsubscribe_url]]", "{{ subject|upper|trim }}", "{{ subject|default('none') }}{# note #}",
        "{% for p in products %}{{ p.name }} {{ p.price|e }} {{ p.url }}{% else %}none{% endfor %}",
        "{% if products|length > 3 and not offer %}x{% elif language == 'de' %}y{% else %}z{% endif %}",
        "{{ 'a' if products else 'b' }}", "{% raw %}{% x %}{% endraw %}",
        "{% for p in products if p.price %}{{ p.name }}{% endfor %}",
    ],
)  # fmt: skip
def test_names_constants_conditions_and_one_loop_are_permitted(source: str) -> None:
    assert check_template(source) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ 'a' * 10**9 }}", "Line 1: arithmetic is not permitted in a layout."),
        ("\n\n{{ subject ~ subject }}", "Line 3: arithmetic is not permitted in a layout."),
        ("{{ '%0999999999d' % 1 }}", "Line 1: arithmetic is not permitted in a layout."),
        ("{% for i in range(10**9) %}{% endfor %}", "Line 1: a loop is over products alone."),
        ("{% for i in subject %}{% endfor %}", "Line 1: a loop is over products alone."),
        ("{% for i in [1, 2] %}{% endfor %}", "Line 1: a loop is over products alone."),
        ("{% for a, b in products %}{% endfor %}",
         "Line 1: a loop has one name of its own, as in: for product in products."),
        ("{% for subject in products %}{% endfor %}",
         "Line 1: a loop has one name of its own, as in: for product in products."),
        ("{% for p in products recursive %}{% endfor %}", "Line 1: a recursive loop is not permitted in a layout."),
        ("{% for p in products %}\n{% for q in products %}{% endfor %}{% endfor %}",
         "Line 2: a loop in a loop is not permitted in a layout."),
        ("{{ ''.__class__ }}", "Line 1: .__class__ is not permitted; a product has name, price, url."),
        ("{{ subject.upper }}", "Line 1: .upper is not permitted; a product has name, price, url."),
        ("{% for p in products %}{{ p.__init__ }}{% endfor %}",
         "Line 1: .__init__ is not permitted; a product has name, price, url."),
        ("{% for p in products %}{{ p.name.x }}{% endfor %}",
         "Line 1: .x is not permitted; a product has name, price, url."),
        ("{{ products[0] }}", "Line 1: access by index is not permitted in a layout."),
        ("{{ subject['__class__'] }}", "Line 1: access by index is not permitted in a layout."),
        ("{{ subject|format(1) }}", f"Line 1: the filter 'format' is not permitted; there are {FILTERS}."),
        ("{{ 'x'|center(10**9) }}", f"Line 1: the filter 'center' is not permitted; there are {FILTERS}."),
        ("{{ subject|safe }}", f"Line 1: the filter 'safe' is not permitted; there are {FILTERS}."),
        ("{{ products|map(attribute='x')|join }}", f"Line 1: the filter 'join' is not permitted; there are {FILTERS}."),
        ("{{ subject|upper(1) }}", "Line 1: the filter 'upper' takes no arguments here."),
        ("{% filter upper %}x{% endfilter %}", "Line 1: a filter block is not permitted in a layout."),
        ("{{ subject() }}", "Line 1: a call is not permitted in a layout."),
        ("{{ lipsum(9999) }}", "Line 1: a call is not permitted in a layout."),
        ("{{ config }}", f"Line 1: there is no variable 'config'; there are {NAMES}."),
        ("{{ self }}", f"Line 1: there is no variable 'self'; there are {NAMES}."),
        ("{% for p in products %}{{ loop }}{% endfor %}",
         f"Line 1: there is no variable 'loop'; there are {NAMES}."),
        ("{% for p in products %}{% else %}{{ p }}{% endfor %}",
         f"Line 1: there is no variable 'p'; there are {NAMES}."),
        ("{% include 'x' %}", "Line 1: include is not permitted in a layout."),
        ("{% import 'x' as y %}", "Line 1: import is not permitted in a layout."),
        ("{% from 'x' import y %}", "Line 1: import is not permitted in a layout."),
        ("{% extends 'x' %}", "Line 1: inheritance is not permitted in a layout."),
        ("{% block a %}{% endblock %}", "Line 1: inheritance is not permitted in a layout."),
        ("{% macro a() %}{% endmacro %}", "Line 1: a macro is not permitted in a layout."),
        ("{% set a = 1 %}", "Line 1: set is not permitted in a layout."),
        ("{% set a %}x{% endset %}", "Line 1: set is not permitted in a layout."),
        ("{% with a = 1 %}{% endwith %}", "Line 1: with is not permitted in a layout."),
        ("{{ subject is defined }}", "Line 1: a test is not permitted in a layout."),
        ("{{ [1, 2] }}", "Line 1: a list of its own is not permitted in a layout."),
        ("{{ 'a' in subject }}", "Line 1: the comparison 'in' is not permitted in a layout."),
        ("{% autoescape false %}{{ subject }}{% endautoescape %}",
         "Line 1: autoescape is not permitted in a layout."),
        ("{% do x %}", "Line 1: this is no Jinja2: Encountered unknown tag 'do'."),
        ("a\n{{ subject", "Line 2: this is no Jinja2: unexpected end of template, expected 'end of print statement'."),
        ("{% if offer %}" * 7 + "{% endif %}" * 7, "Line 1: if and for are nested more than 6 deep."),
        ("{{ " + "(" * 25_000 + "1" + ")" * 25_000 + " }}", "The layout is nested too deeply to be read."),
        ("x" * 60_001, "The layout has 60,001 characters; at most 60,000 are read."),
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_the_line_and_the_reason(source: str, said: str) -> None:
    assert _said(source)[0] == said
    with pytest.raises(LayoutError) as error:
        compile_template(source)
    assert str(error.value).startswith(f"The layout cannot be used. {said}")


def test_a_merge_field_that_there_is_not_is_named_with_its_line() -> None:
    (finding,) = check_template("a\n<p>[[birth_date]]</p> [[first_name|you]]")
    assert finding == Finding(
        "unknown_merge_field", "error",
        "Line 2: there is no merge field [[birth_date]]; there are campaign_url, first_name, greeting, next_products, "
        "pixel_url, postal_address, product_url_1, product_url_2, product_url_3, product_url_4, product_url_5, "
        "product_url_6, shop_name, unsubscribe_url.",
    )  # fmt: skip


PIECES = (
    "{{", "}}", "{%", "%}", " for p in products ", " endfor ", " if ", " endif ", "subject", "products", "p.name",
    "|upper", "|length", "*", "10**9", "(", ")", "~", "[", "]", " ",
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_what_passes_renders_little_whatever_was_typed(pieces: list[str]) -> None:
    source = "".join(pieces)
    if check_template(source):
        return
    said = dict.fromkeys(VARIABLES, "x" * 10)
    products = [{"name": "n", "price": "p", "url": "u"}] * 6
    assert len(compile_template(source).render({**said, "products": products})) < 10_000


def test_a_shop_s_own_layout_takes_the_place_of_the_built_in_one(tmp_path: Path) -> None:
    path = tmp_path / "layout.html"
    path.write_text("<p>{{ subject }}</p>{% for p in products %}<a href={{ p.url }}>{{ p.name }}</a>{% endfor %}")
    laid = lay_out(COPY, facts("A & B", "C"), brand=Brand(layout=read_layout(path)))
    assert laid.body_html == (
        "<p>First look: A &amp; B</p><a href=[[product_url_1]]>A &amp; B</a><a href=[[product_url_2]]>C</a>"
    )


def test_a_layout_that_cannot_be_read_says_what_to_mend(tmp_path: Path) -> None:
    path = tmp_path / "layout.html"
    with pytest.raises(LayoutError) as error:
        read_layout(path)
    assert str(error.value) == f"The layout {path} does not exist: mend [sender] layout in segmentation.toml."
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LayoutError) as error:
        read_layout(path)
    assert str(error.value) == f"The layout {path} is not UTF-8 text: save it as UTF-8."
    with pytest.raises(LayoutError) as error:
        read_layout(tmp_path)
    assert str(error.value) == f"The layout {tmp_path} cannot be read: Is a directory."
    path.write_text("{{ 'a' * 9 }}")
    with pytest.raises(LayoutError, match=r"^The layout cannot be used\. Line 1: arithmetic is not permitted"):
        read_layout(path)


def test_a_missing_variable_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segmentation_assets.messaging.template_check.VARIABLES", {**VARIABLES, "slogan": "new"})
    with pytest.raises(LayoutError) as error:
        lay_out(COPY, facts(), brand=Brand(layout="{{ slogan }}"))
    assert str(error.value) == "The layout names something that a message does not have: 'slogan' is undefined."


def test_a_layout_that_is_nested_without_end_is_a_finding() -> None:
    (found,) = check_template("{{ subject" + "|e" * 2_000 + " }}")
    assert found.detail == "The layout is nested too deeply to be read."
