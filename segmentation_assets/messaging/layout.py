"""Layout: the same words, facts and links as plain text and as HTML.

What belongs here: greeting, footer, product lines and the HTML template. What does not: the copy itself, and filling
in merge fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import jinja2

from segmentation_assets.language.facts import FactBook
from segmentation_assets.language.rendering import render
from segmentation_assets.messaging.copywriter import Copy

GREETING = "Hello [[first_name|there]],"
SIGN_OFF = "Best wishes,"
WHY = "You get this e-mail because you agreed to news from [[shop_name]]."


@dataclass(frozen=True)
class Laid:
    """A laid-out message: every field rendered, merge fields still open."""

    subject: str
    preheader: str
    body_text: str
    body_html: str
    call_to_action: str


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("segmentation_assets.messaging", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("email.html.j2")


def product_lines(facts: FactBook) -> list[dict[str, str]]:
    """Name and price of each product among the facts (product1, price1, ...), rendered."""
    lines = []
    for place in range(1, 7):
        if not facts.has(f"product{place}", f"price{place}"):
            break
        lines.append(
            {
                "name": render(f"{{{{product{place}}}}}", facts),
                "price": render(f"{{{{price{place}|exact}}}}", facts),
            }
        )
    return lines


def lay_out(copy: Copy, facts: FactBook, language: str = "en") -> Laid:
    """Text and HTML of one draft. Names from the data are escaped in HTML; text keeps them as they are."""
    said = {
        name: render(getattr(copy, name), facts)
        for name in ("subject", "preheader", "opening", "offer", "closing", "call_to_action")
    }
    products = product_lines(facts)
    text = "\n".join(
        [
            GREETING,
            "",
            said["opening"],
            "",
            *(f"- {product['name']}: {product['price']}" for product in products),
            "",
            said["offer"],
            "",
            f"{said['call_to_action']}: [[campaign_url]]",
            "",
            said["closing"],
            "",
            SIGN_OFF,
            "[[shop_name]]",
            "",
            "-- ",
            WHY,
            "Unsubscribe: [[unsubscribe_url]]",
            "[[postal_address]]",
            "",
        ]
    )
    html = _template().render(
        language=language, greeting=GREETING, sign_off=SIGN_OFF, why=WHY, products=products, **said
    )
    return Laid(said["subject"], said["preheader"], text, html, said["call_to_action"])
