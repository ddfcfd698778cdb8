"""Layout: the same words, facts and links as plain text and as HTML.

What belongs here: greeting, footer, product lines, the brand and the HTML template. What does not: the copy itself,
judging a shop's own template (`template_check`), and filling in merge fields (`personalise`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jinja2

from segmentation_assets.language.facts import FactBook
from segmentation_assets.language.rendering import render
from segmentation_assets.messaging.copywriter import Copy
from segmentation_assets.messaging.merge_fields import PRODUCT_PLACES
from segmentation_assets.messaging.message_lint import LEAST_CONTRAST, contrast
from segmentation_assets.messaging.personalise import GREETINGS
from segmentation_assets.messaging.template_check import LONGEST_SOURCE, LayoutError, compile_template

SIGN_OFF = "Best wishes,"
WHY = "You get this e-mail because you agreed to news from [[shop_name]]."

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class Brand:
    """What is the shop's own in the looks of a message.

    `accent_colour` is the ground of the button, #rrggbb; its letters are white. `layout` is the source of the shop's
    own layout (Jinja2; `read_layout` reads it), empty for the built-in one. ValueError when white letters cannot be
    read on the colour: WCAG 2.1, success criterion 1.4.3, asks for a contrast of 4.5.
    """

    accent_colour: str = "#0b5d4b"
    layout: str = ""

    def __post_init__(self) -> None:
        if not _COLOUR.fullmatch(self.accent_colour):
            raise ValueError("The accent colour is # and six hexadecimal digits, as in #0b5d4b.")
        ratio = contrast("#ffffff", self.accent_colour)
        if ratio < LEAST_CONTRAST:
            raise ValueError(
                f"White letters on the accent colour {self.accent_colour} have a contrast of {ratio:.2f}; WCAG 2.1 "
                f"asks for at least {LEAST_CONTRAST}: choose a darker colour."
            )


#: The looks of a shop that has set none.
PLAIN_BRAND = Brand()


@dataclass(frozen=True)
class Laid:
    """A laid-out message: every field rendered, merge fields still open."""

    subject: str
    preheader: str
    body_text: str
    body_html: str
    call_to_action: str


def greeting_line(language: str = "en") -> str:
    """The line of greeting, in merge fields: the fallback is the word of the campaign's language."""
    return f"[[greeting|{GREETINGS.get(language, GREETINGS['en'])}]] [[first_name|there]],"


def read_layout(path: Path) -> str:
    """The source of a shop's own layout. LayoutError when the file is missing, too long, no text or not permitted."""
    try:
        with path.open(encoding="utf-8") as file:
            source = file.read(LONGEST_SOURCE + 1)
    except FileNotFoundError:
        raise LayoutError(f"The layout {path} does not exist: mend [sender] layout in segmentation.toml.") from None
    except UnicodeDecodeError:
        raise LayoutError(f"The layout {path} is not UTF-8 text: save it as UTF-8.") from None
    except OSError as error:
        raise LayoutError(f"The layout {path} cannot be read: {error.strerror}.") from None
    compile_template(source)
    return source


@lru_cache(maxsize=1)
def _built_in() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("segmentation_assets.messaging", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("email.html.j2")


@lru_cache(maxsize=8)
def _own(source: str) -> jinja2.Template:
    return compile_template(source)


def product_lines(facts: FactBook) -> list[dict[str, str]]:
    """Name, price and link of each product among the facts (product1, price1, ...), rendered; the link is open."""
    lines = []
    for place in range(1, PRODUCT_PLACES + 1):
        if not facts.has(f"product{place}", f"price{place}"):
            break
        lines.append(
            {
                "name": render(f"{{{{product{place}}}}}", facts),
                "price": render(f"{{{{price{place}|exact}}}}", facts),
                "url": f"[[product_url_{place}]]",
            }
        )
    return lines


def lay_out(copy: Copy, facts: FactBook, language: str = "en", brand: Brand = PLAIN_BRAND) -> Laid:
    """Text and HTML of one draft. Names from the data are escaped in HTML; text keeps them as they are.

    LayoutError when the shop's own layout is not permitted, or names what there is not.
    """
    said = {
        name: render(getattr(copy, name), facts)
        for name in ("subject", "preheader", "opening", "offer", "closing", "call_to_action")
    }
    products, greeting = product_lines(facts), greeting_line(language)
    lines = [
        greeting, "", said["opening"], "",
        *(line for product in products for line in (f"- {product['name']}: {product['price']}", f"  {product['url']}")),
        "",
        said["offer"], "",
        f"{said['call_to_action']}: [[campaign_url]]",
        # After the offer, which is not about these. Empty, it is the blank line before the closing words; filled in, it
        # brings one before itself and one behind.
        "[[next_products]]",
        said["closing"], "",
        SIGN_OFF, "[[shop_name]]", "",
        "-- ", WHY, "Unsubscribe: [[unsubscribe_url]]", "[[postal_address]]", "",
    ]  # fmt: skip
    template = _own(brand.layout) if brand.layout else _built_in()
    try:
        html = template.render(
            language=language, greeting=greeting, sign_off=SIGN_OFF, why=WHY, products=products,
            accent_colour=brand.accent_colour, **said,
        )  # fmt: skip
    except jinja2.UndefinedError as error:
        raise LayoutError(f"The layout names something that a message does not have: {error.message}.") from None
    return Laid(said["subject"], said["preheader"], "\n".join(lines), html, said["call_to_action"])
