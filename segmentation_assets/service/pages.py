"""The pages people see: the way out, and the description of the data API.

What belongs here: filling templates. What does not: deciding anything. No page loads anything from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
    )


@lru_cache(maxsize=8)
def unsubscribe_page(shop_name: str) -> str:
    """The question, with its one button."""
    return _templates().get_template("unsubscribe.html.j2").render(shop_name=shop_name, is_done=False)


@lru_cache(maxsize=8)
def unsubscribe_done(shop_name: str) -> str:
    """The answer to the button."""
    return _templates().get_template("unsubscribe.html.j2").render(shop_name=shop_name, is_done=True)


def api_page(description: Mapping[str, Any]) -> str:
    """The OpenAPI description as a page to read."""
    routes = [
        {"method": method.upper(), "path": path, **told}
        for path, methods in description["paths"].items()
        for method, told in methods.items()
        if method != "head"
    ]
    shapes = description.get("components", {}).get("schemas", {})
    return _templates().get_template("api.html.j2").render(info=description["info"], routes=routes, shapes=shapes)
