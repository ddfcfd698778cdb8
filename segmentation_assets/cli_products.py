"""The commands `segmentation products`: which products may be offered, and which of them a marketer chooses.

What belongs here: reading the published tables, asking whether a product can be chosen, and printing. What does not:
the rules (`merchandising.promotable`) and keeping a choice (`state.choices`).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segmentation_assets.cli_shared import (
    HomeOption,
    listed,
    out,
    print_table,
    require_published,
    say_next,
    sentences,
    utc_now,
)
from segmentation_assets.settings import Home, SettingsError, find_home
from segmentation_assets.state.choices import ChoiceError
from segmentation_assets.warehouse.connection import connect

if TYPE_CHECKING:
    import polars as pl

    from segmentation_assets.state.choices import ProductChoice

products_app = typer.Typer(
    name="products",
    help="See which products may be offered and what a discount costs, and choose those of the next campaigns.",
    no_args_is_help=True,
)

#: What puts a choice into the tables.
_NEXT = "run --job campaigns"
#: Columns of campaigns.promotable_products that the commands read; the numbers are decimals there.
_TEXTS = ("product_id", "name", "reason", "is_promotable", "is_chosen")
_NUMBERS = (
    "list_price", "unit_cost", "stock_quantity", "safety_stock", "discount_share", "offer_price", "margin_amount",
    "margin_share", "margin_floor_share", "break_even_uplift",
)  # fmt: skip

Row = Mapping[str, Any]


@products_app.command("list")
def list_products(
    all_: Annotated[
        bool, typer.Option("--all", help="Also products that may not be offered, with the reason.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of objects instead of a table.")] = False,
    home: HomeOption = None,
) -> None:
    """The products that may be offered, the best match first: price, stock, margin, and the uplift a discount needs.

    Margins are per unit, after the discount. The uplift is how many more units must sell for the discount to earn as
    much as none. The best match is the expected margin of the product's best audience.
    """
    from segmentation_assets.merchandising.promotable import NOT_CHOSEN

    with sentences():
        place = find_home(home)
        frame, currency = _published(place)
        choices = {choice.product_id: choice for choice in _choices(place)}
        rows = frame.rows(named=True)
        # What only was not chosen stays listed: it is what could be chosen in the place of another.
        shown = [
            row
            for row in rows
            if all_ or row["is_promotable"] or row["reason"] == NOT_CHOSEN or row["product_id"] in choices
        ]
        if as_json:
            told = [_as_json(row, choices.get(row["product_id"])) for row in shown]
            sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
            return
        if not rows:
            out.print("The catalogue has no products, so there is nothing to choose.")
            return
        if shown:
            header = (
                "product",
                "name",
                "price",
                "stock",
                "discount",
                "margin",
                "uplift needed",
                "best match",
                "chosen",
            )
            print_table(
                (*header, "is"), [_cells(row, choices.get(row["product_id"]), currency) for row in shown],
                right=header[2:-1],
            )  # fmt: skip
        offered = sum(row["is_promotable"] for row in rows)
        hint = "" if all_ else " `segmentation products list --all` says why the others may not."
        out.print(f"{offered:,} of {len(rows):,} products may be offered.{hint}", soft_wrap=True)
        _say_choices(rows, choices, place)


@products_app.command("choose")
def choose(
    products: Annotated[list[str], typer.Argument(metavar="PRODUCT...", help="Ids; or a name that only one has.")],
    discount: Annotated[
        float | None, typer.Option(help="Off the list price: 0.15 is fifteen percent. Else the plan decides.")
    ] = None,
    customers: Annotated[int | None, typer.Option(help="Size of the audience. Else the plan decides.")] = None,
    home: HomeOption = None,
) -> None:
    """Choose products: from now on campaigns are made of the chosen ones alone. A new choice replaces the old one."""
    from segmentation_assets.state.choices import check_choice, choose_products
    from segmentation_assets.state.store import open_state

    with sentences():
        place = find_home(home)
        check_choice(discount, customers)
        frame, currency = _published(place)
        rows = _at_discount(_resolved(frame, products), discount)
        refused = [
            f"- {row['product_id']} {row['name']}: {why}" for row in rows if (why := _refusal(row, discount, currency))
        ]
        if refused:
            raise ChoiceError("\n".join(("Nothing was chosen, because this cannot be offered:", *refused)))
        with open_state(place.state) as store:
            choose_products(
                store, [row["product_id"] for row in rows], discount, customers,
                chosen_at=utc_now(),
            )  # fmt: skip
        for row in rows:
            size = "" if customers is None else f", for {customers:,} customers"
            words = f"{row['product_id']} {row['name']} is chosen{size}: {_offer_told(row, discount, currency)}"
            out.print(words, soft_wrap=True, markup=False)
            if row["changed_by"] == "filter":
                note = f"! A filter excludes it, and a choice does not: {row['reason']} (campaigns.filters)"
                out.print(note, soft_wrap=True, markup=False, style="yellow")
        say_next(place, _NEXT, "It is in the campaigns after")


@products_app.command("clear")
def clear(
    products: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids; all without one.")] = None,
    home: HomeOption = None,
) -> None:
    """Take choices back, all of them where no product is named; with none left every good product is offered again."""
    from segmentation_assets.state.choices import choices_in_force, clear_choices
    from segmentation_assets.state.store import open_state

    with sentences():
        place = find_home(home)
        if not place.state.exists():
            raise SettingsError(f"Nothing was run in {place.path} yet, so nothing is chosen.")
        with open_state(place.state) as store:
            cleared = clear_choices(store, tuple(dict.fromkeys(products or ())))
            left = choices_in_force(store)
        if not cleared:
            out.print("Nothing was chosen, so there is nothing to clear.")
            return
        now = (
            f"{_counted(len(left), 'is', 'are')} still chosen: {listed([choice.product_id for choice in left])}."
            if left
            else "Nothing is chosen now, so every product that may be offered is."
        )
        words = f"{listed([choice.product_id for choice in cleared])} {'is' if len(cleared) == 1 else 'are'} no longer"
        out.print(f"{words} chosen. {now}", soft_wrap=True, markup=False)
        say_next(place, _NEXT, "The campaigns follow after")


def _published(place: Home) -> tuple[pl.DataFrame, str]:
    """The products with the expected margin of their best match, that one first, and the currency.

    SettingsError where nothing was published, or by a version that did not know choices.
    """
    require_published(place)
    with connect(place.published, read_only=True) as con:
        columns = con.execute(
            "select table_name, column_name from duckdb_columns() where schema_name = 'campaigns' "
            "and table_name in ('promotable_products', 'product_segment_matches')"
        ).fetchall()
        lacking = {*_TEXTS, *_NUMBERS} - {column for table, column in columns if table == "promotable_products"}
        if lacking:
            raise SettingsError(
                f"The published copy in {place.path} does not say yet which products may be chosen. "
                "`segmentation run` renews it."
            )
        best = "select null::varchar as product_id, null::double as margin where false"
        if ("product_segment_matches", "expected_margin_amount") in columns:
            best = (
                "select product_id, max(expected_margin_amount)::double as margin "
                "from campaigns.product_segment_matches group by product_id"
            )
        frame = con.sql(
            f"select {', '.join(f'p.{name}' for name in _TEXTS)}, "
            f"{', '.join(f'p.{name}::double as {name}' for name in _NUMBERS)}, b.margin as expected_margin_amount "
            f"from campaigns.promotable_products as p left join ({best}) as b on b.product_id = p.product_id "
            "order by b.margin desc nulls last, p.product_id"
        ).pl()
        currency = con.execute("select currency from raw.source").fetchall()[0][0]
    return frame, str(currency)


def _choices(place: Home) -> list[ProductChoice]:
    from segmentation_assets.state.choices import choices_in_force
    from segmentation_assets.state.store import open_state

    if not place.state.exists():
        return []
    with open_state(place.state) as store:
        return choices_in_force(store)


def _resolved(frame: pl.DataFrame, words: Sequence[str]) -> pl.DataFrame:
    """The rows of the products named, by id or by a name that only one product has; says which id a name meant."""
    import polars as pl

    folded = frame.select("product_id", name=pl.col("name").str.replace_all(r"\s+", " ").str.to_lowercase())
    known = set(frame["product_id"])
    found: dict[str, None] = {}
    problems: list[str] = []
    for word in (given.strip() for given in words):
        if word in known:
            found[word] = None
            continue
        ids = folded.filter(pl.col("name") == " ".join(word.split()).lower())["product_id"].sort().to_list()
        if len(ids) == 1:
            out.print(f"{word!r} is product {ids[0]}.", soft_wrap=True, markup=False)
            found[ids[0]] = None
        elif ids:
            problems.append(f"{word!r} is the name of {len(ids)} products, {listed(ids)}; choose by id.")
        else:
            problems.append(f"There is no product {word!r}. `segmentation products list --all` shows those there are.")
    if problems:
        raise ChoiceError("\n".join(problems))
    return frame.filter(pl.col("product_id").is_in(list(found))).sort("product_id")


def _at_discount(frame: pl.DataFrame, discount: float | None) -> list[dict[str, Any]]:
    """The rows with the largest discount that holds the margin floor, whether `discount` does, and what could help."""
    import polars as pl

    from segmentation_assets.merchandising.promotable import changed_by_a_choice, holds_floor, largest_discount

    floor = pl.col("margin_floor_share")
    rows = frame.with_columns(
        largest=largest_discount(floor), is_held=holds_floor(pl.lit(discount or 0.0), floor)
    ).to_dicts()
    for row in rows:
        row["changed_by"] = "choice" if row["is_promotable"] else changed_by_a_choice(row["reason"])
    return rows


def _refusal(row: Row, discount: float | None, currency: str) -> str:
    """Why the product cannot be chosen at this discount; empty when it can."""
    if row["changed_by"] is None:
        return str(row["reason"])
    if row["stock_quantity"] is not None and row["stock_quantity"] - row["safety_stock"] < 1:
        # The published reason is of the margin, which comes first; a better discount brings no stock.
        return (
            f"Stock of {math.floor(row['stock_quantity'])} is not above the safety level of "
            f"{math.ceil(row['safety_stock'])}."
        )
    floor = f"the floor of {row['margin_floor_share'] * 100:g}%"
    if row["largest"] is None:
        return f"{_margin_told(row, 0.0, currency)}, below {floor}; it cannot be offered at any discount."
    holds = f"The largest discount that holds it is {row['largest'] * 100:g}% (--discount {row['largest']:g})."
    if not row["is_held"]:
        return f"{_margin_told(row, discount or 0.0, currency)}, below {floor}. {holds}"
    # A discount chosen before goes with the old choice; one of the plan comes back.
    if discount is None and row["changed_by"] == "margin" and "after the chosen " not in row["reason"]:
        return f"{row['reason']} {holds}"
    return ""


def _margin_told(row: Row, discount: float, currency: str, *, is_below: bool = True) -> str:
    """Price, cost and margin at a discount; one below the floor is cut, so that it never reads as the floor."""
    from segmentation_assets.language.rendering import money

    price = round(row["list_price"] * (1 - discount), 4)
    full, paid, cost = (money(amount, currency, exact=True) for amount in (row["list_price"], price, row["unit_cost"]))
    at = f"{full} less {discount * 100:.4g}%, which is {paid}," if discount else f"the list price of {full}"
    sold = f"{at} at a cost of {cost}"
    if price <= 0:
        return f"{sold} leaves nothing"
    percent = round((price - row["unit_cost"]) / price * 100, 6)
    percent = math.floor(percent * 10) / 10 if is_below else round(percent, 1)
    return f"{sold} is a margin of {percent:g}%"


def _offer_told(row: Row, discount: float | None, currency: str) -> str:
    """What an accepted offer earns."""
    if discount is None:
        return f"at the plan's discounts, of which it bears up to {row['largest'] * 100:g}%."
    price = round(row["list_price"] * (1 - discount), 4)
    full, after = row["list_price"] - row["unit_cost"], price - row["unit_cost"]
    words = _margin_told(row, discount, currency, is_below=False)
    if discount and after > 0:
        words += f", and {_uplift(full / after - 1)} more units must sell to earn as much as without the discount"
    return f"{words}."


def _cells(row: Row, choice: ProductChoice | None, currency: str) -> tuple[str, ...]:
    from segmentation_assets.language.rendering import money

    def paid(name: str) -> str:
        return "" if row[name] is None else money(row[name], currency, exact=True)

    margin = "" if row["margin_share"] is None else f"{paid('margin_amount')} ({row['margin_share'] * 100:.1f}%)"
    return (
        row["product_id"],
        row["name"],
        paid("list_price"),
        "unknown" if row["stock_quantity"] is None else f"{row['stock_quantity']:,.0f}",
        f"{row['discount_share'] * 100:.3g}%",
        margin,
        "" if row["break_even_uplift"] is None else _uplift(row["break_even_uplift"]),
        paid("expected_margin_amount"),
        _choice_told(choice),
        "offered" if row["is_promotable"] else row["reason"],
    )


def _uplift(share: float) -> str:
    return f"{math.ceil(round(share * 100, 6)):,}%"


def _choice_told(choice: ProductChoice | None) -> str:
    if choice is None:
        return ""
    words = "yes" if choice.discount_share is None else f"{choice.discount_share * 100:.3g}% off"
    return words if choice.audience_customers is None else f"{words}, {choice.audience_customers:,} customers"


def _as_json(row: Row, choice: ProductChoice | None) -> dict[str, Any]:
    return {
        **{name: value for name, value in row.items() if name != "is_chosen"},
        "is_chosen": choice is not None,
        "chosen_discount_share": choice.discount_share if choice else None,
        "chosen_audience_customers": choice.audience_customers if choice else None,
    }


def _say_choices(rows: Sequence[Row], choices: Mapping[str, ProductChoice], place: Home) -> None:
    """What is chosen, and whether the published tables are of these choices."""
    if choices:
        words = f"{_counted(len(choices), 'is', 'are')} chosen: {listed(list(choices))}; campaigns are made of these."
        out.print(words, soft_wrap=True, markup=False)
    if gone := sorted(set(choices) - {row["product_id"] for row in rows}):
        out.print(f"Chosen, but not in the catalogue: {listed(gone)}.", soft_wrap=True, markup=False)
    published = {row["product_id"]: row["discount_share"] for row in rows if row["is_chosen"]}
    is_same = set(published) == set(choices) and all(
        choice.discount_share is None or math.isclose(choice.discount_share, published[product_id])
        for product_id, choice in choices.items()
    )
    if not is_same:
        say_next(place, _NEXT, "These figures are from before the choices in force; they are renewed by")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} product{'' if number == 1 else 's'} {one if number == 1 else many}"
