"""What the layout promises: the shop's colour where it can be read, links on products, and one line of greeting."""

from __future__ import annotations

import pytest

from segmentation_assets.messaging.layout import Brand, greeting_line, lay_out
from segmentation_assets.messaging.lint import Draft, lint_draft
from segmentation_assets.messaging.merge_fields import MERGE_FIELDS, merge_fields
from segmentation_assets_tests.messaging.message_samples import COPY, facts


def test_the_brand_s_colour_is_the_ground_of_the_button() -> None:
    assert "background-color:#0b5d4b" in lay_out(COPY, facts()).body_html
    html = lay_out(COPY, facts(), brand=Brand("#7a1f5c")).body_html
    assert "background-color:#7a1f5c" in html and "#0b5d4b" not in html


@pytest.mark.parametrize(
    ("colour", "said"),
    [
        ("#ff8800", "White letters on the accent colour #ff8800 have a contrast of 2.39; WCAG 2.1 asks for at least "
         "4.5: choose a darker colour."),
        ("#777777", "White letters on the accent colour #777777 have a contrast of 4.48; WCAG 2.1 asks for at least "
         "4.5: choose a darker colour."),
        ("green", "The accent colour is # and six hexadecimal digits, as in #0b5d4b."),
        ("#000000;}", "The accent colour is # and six hexadecimal digits, as in #0b5d4b."),
    ],
)  # fmt: skip
def test_a_colour_on_which_white_cannot_be_read_is_refused_with_the_figure(colour: str, said: str) -> None:
    with pytest.raises(ValueError, match="accent colour") as error:
        Brand(colour)
    assert str(error.value) == said


def test_the_darkest_grey_that_fails_and_the_lightest_that_passes_are_neighbours() -> None:
    assert Brand("#767676").accent_colour == "#767676"  # 4.54, the known limit for grey on white


def test_each_product_is_a_link_in_both_parts() -> None:
    laid = lay_out(COPY, facts("A & B", "C"))
    assert '<a class="ink" href="[[product_url_1]]"' in laid.body_html and ">A &amp; B</a>" in laid.body_html
    assert "- A & B: €110.00\n  [[product_url_1]]\n- C: €90.00\n  [[product_url_2]]\n" in laid.body_text


def test_the_greeting_falls_back_on_the_campaign_s_language() -> None:
    assert greeting_line("de") == "[[greeting|Hallo]] [[first_name|there]],"
    assert greeting_line("xx") == greeting_line() == "[[greeting|Hello]] [[first_name|there]],"
    assert lay_out(COPY, facts(), "de").body_text.startswith("[[greeting|Hallo]]")


def test_the_layout_uses_known_merge_fields_alone() -> None:
    laid = lay_out(COPY, facts())
    used = {name for text in (laid.body_text, laid.body_html) for name, _ in merge_fields(text)}
    assert used <= set(MERGE_FIELDS)
    assert used >= {"greeting", "first_name", "next_products", "pixel_url", "unsubscribe_url", "postal_address"}


def test_a_laid_out_draft_passes_lint() -> None:
    laid, book = lay_out(COPY, facts()), facts()
    draft = Draft(laid.subject, laid.preheader, laid.body_text, laid.body_html, laid.call_to_action)
    assert lint_draft(draft, book) == []
