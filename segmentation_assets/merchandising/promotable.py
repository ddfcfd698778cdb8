"""Which products may be offered, and why the others may not.

What belongs here: the rules of stock, margin, activity, sensitivity and age over the catalogue, the filters and the
choices of a marketer, and what a discount does to a product's margin. What does not: who should be offered them
(`matching`), how many of them are planned (`offer_plan`), and which choice is in force (`choices`, `state.choices`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Literal

import polars as pl

from segmentation_assets.language.facts import clean_name
from segmentation_assets.merchandising.plan import RATE_DAYS, CampaignSpec, ProductFilters, empty_table, table_schema

_TABLE = "campaigns/promotable_products"

#: What is said of a good product that nobody chose while others are chosen.
NOT_CHOSEN = "Not among the products chosen."
#: How the sentences begin that a filter gives as its reason.
_STOCK_FILTER, _COVER_FILTER = "Units above the safety level: ", "Days that its stock lasts: "
_MARGIN_FILTER, _PRICE_FILTER = "Margin after the discount: ", "List price: "
_CATEGORY_FILTER, _BRAND_FILTER, _AGEING_FILTER = "Category: ", "Brand: ", "Days since it was last sold: "
_FILTERS = (
    _STOCK_FILTER, _COVER_FILTER, _MARGIN_FILTER, _PRICE_FILTER, _CATEGORY_FILTER, _BRAND_FILTER, _AGEING_FILTER,
)  # fmt: skip
_BELOW_FLOOR = re.compile(r"Margin of \S+ (?:at the list price|after .*) is below the floor of |Nothing is left of its")
#: Names that a filter's sentence lists; the rest are counted.
_MOST_NAMES = 6

#: A name stands in the e-mail as it is, so a name that presses or promises makes the e-mail do so.
_LOUD_NAME = (
    r"(?i)\b(hurry|flash sale|last chance|act now|act fast|ends soon|ends today|today only|limited time|don.t miss|"
    r"selling fast|almost gone|while stocks last|urgent|guaranteed?|risk-free|cheapest|miracle|once in a lifetime)\b|!!"
)
# Names of ordinary words and single spaces: `clean_name` leaves them as they are. It takes 2 s for 200,000 names.
_PLAIN_WORD = r"[A-Za-z0-9À-ſ&'’.,()+%!#-]+"
_PLAIN_NAME = rf"^{_PLAIN_WORD}(?: {_PLAIN_WORD})*$"
_LONGEST = 80
# Money has four digits and shares nine; a float that misses the floor by less than this holds it.
_TOLERANCE = 1e-9

#: A rule: the rows that break it, and the sentence that says so with its numbers.
_Rule = tuple[pl.Expr, pl.Expr]


def in_categories(terms: tuple[str, ...]) -> pl.Expr:
    """Whether category or subcategory holds one of `terms` as whole words, in any case, singular or plural.

    Words are told apart by anything that is no letter or digit, the underscore too: `red_wine` and `Wines` are wine.
    """
    words = [
        r"[\W_]+".join(re.escape(word) for word in term.lower().split()).removesuffix("s") + "s?"
        for term in terms
        if term.strip()
    ]
    if not words:
        return pl.lit(value=False)
    pattern = rf"(?:^|[\W_])(?:{'|'.join(words)})(?:$|[\W_])"
    return pl.any_horizontal(
        pl.col(column).fill_null("").str.to_lowercase().str.contains(pattern) for column in ("category", "subcategory")
    )


def holds_floor(discount: pl.Expr, floor: pl.Expr) -> pl.Expr:
    """Whether margin over offer price is at or above `floor` at `discount`, of `list_price` and `unit_cost`.

    `discount` and `floor` are shares. Both the exact price and the price to four digits, which is what is written,
    must hold it, and something must be left to pay. False where price or cost is null.
    """
    exact = pl.col("list_price") * (1 - discount)
    held = [
        (price > 0) & (price - pl.col("unit_cost") >= floor * price - _TOLERANCE) for price in (exact, exact.round(4))
    ]
    return (held[0] & held[1]).fill_null(value=False)


def largest_discount(floor: pl.Expr) -> pl.Expr:
    """The largest discount at which `holds_floor`, in whole tenths of a percent; null when not even none does.

    From price * (1 - d) - cost >= floor * price * (1 - d): d = 1 - cost / (price * (1 - floor)).
    """
    limit = 1 - pl.col("unit_cost") / (pl.col("list_price") * (1 - floor))
    tenths = (limit * 1000 + 1e-6).floor().clip(0, 999) / 1000
    # Rounding to a written price can take the last tenth away.
    return pl.coalesce(
        pl.when(holds_floor(candidate, floor)).then(candidate)
        for candidate in (tenths, (tenths - 0.001).clip(0, 1), pl.lit(0.0))
    )


def spare_stock() -> pl.Expr:
    """Units that may be sold, of `stock_quantity` and `safety_stock`; null where stock is not known."""
    stock, safety = (pl.col(name).cast(pl.Float64) for name in ("stock_quantity", "safety_stock"))
    return (stock - safety.fill_null(0.0)).round(3)  # as many digits as stock is written with


def changed_by_a_choice(reason: str) -> Literal["filter", "choice", "margin"] | None:
    """What would have to change for an excluded product to be offered, None when no choice of a marketer can do it.

    `reason` is that of campaigns.promotable_products. "choice": it only was not chosen. "margin": another discount
    may hold the floor. "filter": a filter of the settings excludes it, which a discount may change too.
    """
    if reason == NOT_CHOSEN:
        return "choice"
    if reason.startswith(_FILTERS):
        return "filter"
    return "margin" if _BELOW_FLOOR.match(reason) else None


def promotable_products(
    products: pl.DataFrame,
    inventory: pl.DataFrame | None,
    sales: pl.DataFrame,
    choices: pl.DataFrame,
    *,
    spec: CampaignSpec,
    as_of: date,
) -> pl.DataFrame:
    """`campaigns.promotable_products`: one row per product of the catalogue, or sold or chosen without being in it.

    `products` is clean.products; `inventory` is clean.inventory, or None (or empty) when the source has none: the
    rules and filters of stock are then off and every reason says so. `sales` is campaigns.product_sales, `choices`
    campaigns.product_choices (empty: nothing is chosen, and every product may be offered).

    The discount of a product is the chosen one, else the largest of the plan's discounts at which margin over offer
    price is at or above the floor; a product that holds the floor only at full price may be offered at full price.
    The first rule a product breaks is its reason, in this order: the hard rules, a sku shared with a product that is
    offered instead, the filters of `spec.filters`, the choices. Profit and cover are at the rate of the last 90 days.
    """
    if products.is_empty() and sales.is_empty() and choices.is_empty():
        return empty_table(_TABLE)
    has_stock = inventory is not None and not inventory.is_empty()
    frame = _with_stock(_catalogue(products, sales, choices, spec, as_of), inventory if has_stock else None, spec)
    frame = _with_margin(frame, spec)
    return _with_reason(frame, spec, as_of, has_stock=has_stock, has_choices=not choices.is_empty()).select(
        pl.col(name).cast(dtype) for name, dtype in table_schema(_TABLE).items()
    )


def _catalogue(
    products: pl.DataFrame, sales: pl.DataFrame, choices: pl.DataFrame, spec: CampaignSpec, as_of: date
) -> pl.DataFrame:
    """Products with what they sold and how they were chosen, sorted by id; prices rounded as they are written."""
    catalogue = products.select(
        pl.col("product_id", "retailer_id", "sku", "name", "brand", "category", "subcategory").cast(pl.String),
        pl.col("launched_on").cast(pl.Date),
        pl.col("is_active").cast(pl.Boolean),
        pl.col("list_price", "unit_cost").cast(pl.Float64),
        is_catalogued=pl.lit(value=True),
    )
    sold = sales.select(
        pl.col("product_id").cast(pl.String),
        pl.col("units_last_90_days", "median_unit_price").cast(pl.Float64),
        pl.col("last_sold_on").cast(pl.Date),
        is_sold=pl.lit(value=True),
    )
    chosen = choices.select(
        pl.col("product_id").cast(pl.String),
        chosen_discount=pl.col("discount_share").cast(pl.Float64),
        is_chosen=pl.lit(value=True),
    )
    frame = (
        catalogue.join(sold, on="product_id", how="full", coalesce=True)
        .join(chosen, on="product_id", how="full", coalesce=True)
        .sort("product_id")
        .with_columns(
            pl.col("is_catalogued", "is_sold", "is_chosen").fill_null(value=False),
            pl.col("units_last_90_days").fill_null(0.0).round(3),
            pl.coalesce("list_price", "median_unit_price").round(4).alias("list_price"),
            _clean_names().alias("name"),
            days_since_sale=(pl.lit(as_of) - pl.col("last_sold_on")).dt.total_days(),
        )
    )
    return frame.with_columns(
        pl.when(pl.col("name").fill_null("") == "").then("product_id").otherwise("name").alias("name"),
        pl.col("unit_cost").round(4),
        is_sensitive=in_categories(spec.sensitive_categories),
        is_age_restricted=in_categories(spec.age_restricted_categories),
        margin_floor_share=pl.lit(spec.margin_floor_share),
    )


def _clean_names() -> pl.Expr:
    """`clean_name` of every name, in Python only for those that it could change."""
    name = pl.col("name")
    is_plain = name.str.contains(_PLAIN_NAME) & ~name.str.contains(r"(?i)www\.") & (name.str.len_chars() <= _LONGEST)
    rest = pl.when(is_plain).then(None).otherwise(name)
    cleaned = rest.map_batches(
        lambda names: pl.Series(
            names.name, [None if text is None else clean_name(text) for text in names.to_list()], dtype=pl.String()
        ),
        return_dtype=pl.String(),
    )
    return pl.when(is_plain).then(name).otherwise(cleaned)


def _with_stock(frame: pl.DataFrame, inventory: pl.DataFrame | None, spec: CampaignSpec) -> pl.DataFrame:
    if inventory is None:
        nothing = pl.lit(None, dtype=pl.Float64())
        return frame.with_columns(stock_quantity=nothing, safety_stock=nothing, cover_days=nothing)
    stock = inventory.group_by("product_id").agg(pl.col("stock_quantity").cast(pl.Float64).sum().round(3))
    units_per_day = pl.col("units_last_90_days") / RATE_DAYS
    days = pl.col("stock_quantity").clip(0) / units_per_day
    return (
        frame.join(stock, on="product_id", how="left", maintain_order="left")
        .with_columns(
            pl.col("stock_quantity").fill_null(0.0),
            safety_stock=(spec.safety_stock + spec.cover_days * units_per_day).round(3),
        )
        .with_columns(cover_days=pl.when(units_per_day > 0).then(days.round(9)).otherwise(None))
    )


def _with_margin(frame: pl.DataFrame, spec: CampaignSpec) -> pl.DataFrame:
    price, cost, units = pl.col("list_price"), pl.col("unit_cost"), pl.col("units_last_90_days")
    floor, margin, full = pl.col("margin_floor_share"), pl.col("margin_amount"), pl.col("full_margin_amount")
    # From the smallest discount up, so that the largest bearable one wins; a null margin bears none.
    planned = pl.lit(None, dtype=pl.Float64())
    for discount in spec.discounts:
        planned = pl.when(holds_floor(pl.lit(discount), floor)).then(pl.lit(discount)).otherwise(planned)
    return (
        frame.with_columns(
            discount_share=pl.coalesce("chosen_discount", planned, pl.lit(min(spec.discounts))),
            is_discount_chosen=pl.col("chosen_discount").is_not_null(),
        )
        .with_columns(
            offer_price=(price * (1 - pl.col("discount_share"))).round(4),
            full_margin_amount=(price - cost).round(4),
            is_bearable=holds_floor(pl.col("discount_share"), floor),
        )
        .with_columns(margin_amount=(pl.col("offer_price") - cost).round(4))
        .with_columns(
            margin_share=pl.when(pl.col("offer_price") > 0)
            .then((margin / pl.col("offer_price")).round(9))
            .otherwise(None),
            profit_before_amount=(units * full).round(4),
            profit_after_amount=(units * margin).round(4),
            break_even_uplift=pl.when(margin > 0).then((full / margin - 1).round(9)).otherwise(None),
        )
    )


def _with_reason(
    frame: pl.DataFrame, spec: CampaignSpec, as_of: date, *, has_stock: bool, has_choices: bool
) -> pl.DataFrame:
    """`is_promotable` and `reason`: the first rule that a product breaks, else what speaks for it."""
    hard = _hard_rules(spec, as_of, has_stock=has_stock)
    wanted = _filter_rules(spec.filters, has_stock=has_stock)
    if has_choices:
        wanted.append((~pl.col("is_chosen"), pl.lit(NOT_CHOSEN)))
    # Only a product that is offered itself can be offered in the place of another.
    frame = _with_twin(frame.with_columns(is_offerable=~_is_any(hard + wanted)))
    shared = pl.format(
        "Its sku {} is also that of {}, which is offered instead.",
        _one_line(pl.col("sku")),
        pl.col("twin_id"),
    )
    rules = [*hard, (pl.col("twin_id").is_not_null(), shared), *wanted]
    reason = _good_reason(spec, has_stock=has_stock)
    for is_problem, sentence in reversed(rules):
        reason = pl.when(is_problem.fill_null(value=False)).then(sentence).otherwise(reason)
    return frame.with_columns(reason=reason, is_promotable=~_is_any(rules))


def _is_any(rules: Sequence[_Rule]) -> pl.Expr:
    return pl.any_horizontal([is_problem.fill_null(value=False) for is_problem, _ in rules])


def _hard_rules(spec: CampaignSpec, as_of: date, *, has_stock: bool) -> list[_Rule]:
    """The rules that no filter and no choice can change, but for the discount."""
    rules: list[_Rule] = [
        (pl.col("is_sensitive"), pl.lit("In a sensitive category: never promoted.")),
        (
            pl.col("name").str.contains(_LOUD_NAME),
            pl.lit("Its name presses or promises what nobody can keep; no e-mail may repeat it."),
        ),
        (
            ~pl.col("is_catalogued"),
            pl.format(
                "{}, but not in the catalogue: nothing is known of its price and cost.",
                pl.when("is_sold").then(pl.lit("Sold")).otherwise(pl.lit("Chosen")),
            ),
        ),
        (~pl.col("is_active").fill_null(value=True), pl.lit("Discontinued.")),
        (pl.col("launched_on") > as_of, pl.format("Not on sale before {}.", pl.col("launched_on").cast(pl.String))),
        (
            pl.col("product_id").str.contains(",", literal=True),
            pl.lit("Its id holds a comma, which separates the ids in a campaign's list."),
        ),
        (pl.col("list_price").is_null() | (pl.col("list_price") <= 0), pl.lit("No list price is known.")),
        (pl.col("unit_cost").is_null(), pl.lit("No purchase cost is known, so its margin cannot be checked.")),
        (
            ~pl.col("is_bearable"),
            pl.coalesce(
                pl.format(
                    "Margin of {}% {} is below the floor of {}%.",
                    _percent(pl.col("margin_share"), is_below=True),
                    _at_the_discount(),
                    pl.lit(f"{spec.margin_floor_share * 100:g}"),
                ),
                pl.format("Nothing is left of its price {}.", _at_the_discount()),
            ),
        ),
    ]
    if has_stock:
        rules.append(
            (
                spare_stock() < 1,
                pl.format(
                    "Stock of {} is not above the safety level of {}.",
                    pl.col("stock_quantity").floor().cast(pl.Int64),
                    pl.col("safety_stock").ceil().cast(pl.Int64),
                ),
            )
        )
    return rules


def _filter_rules(filters: ProductFilters, *, has_stock: bool) -> list[_Rule]:
    """A rule for every filter that is set, in the order of `ProductFilters`.

    A filter on stock without stock figures is none. Ageing stock needs no rule of its own for stock that is left: the
    stock rule comes first and asks for more.
    """
    rules: list[_Rule] = []

    def ask(begins: str, is_missed: pl.Expr, figure: pl.Expr, wanted: str) -> None:
        rules.append((is_missed, pl.format("{}{}; the filter asks for {}.", pl.lit(begins), figure, pl.lit(wanted))))

    if has_stock and (units := filters.minimum_stock) is not None:
        ask(_STOCK_FILTER, spare_stock() < units, _below(spare_stock()), f"{units:.12g} or more")
    if has_stock and (days := filters.minimum_cover_days) is not None:
        # What does not sell lasts for ever: its cover is null, and null is no hit.
        cover = pl.col("cover_days")
        ask(_COVER_FILTER, cover < days - _TOLERANCE, _below(cover), f"{days:.12g} or more")
    if (share := filters.minimum_margin_share) is not None:
        margin = pl.col("margin_share")
        figure = pl.format("{}% {}", _percent(margin, is_below=True), _at_the_discount())
        ask(_MARGIN_FILTER, margin < share - _TOLERANCE, figure, f"{share * 100:.12g}% or more")
    price = pl.col("list_price")
    if (least := filters.minimum_price) is not None:
        ask(_PRICE_FILTER, price < least, _plain(price, 4), f"{least:.12g} or more")
    if (most := filters.maximum_price) is not None:
        ask(_PRICE_FILTER, price > most, _plain(price, 4), f"{most:.12g} or less")
    for begins, column, names in (
        (_CATEGORY_FILTER, "category", filters.categories),
        (_BRAND_FILTER, "brand", filters.brands),
    ):
        if names:
            is_one = (
                _one_line(pl.col(column))
                .str.to_lowercase()
                .is_in(sorted({" ".join(name.split()).lower() for name in names}))
            )
            more = f" or {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            ask(begins, ~is_one.fill_null(value=False), _known(column), ", ".join(names[:_MOST_NAMES]) + more)
    if (aged := filters.ageing_days) is not None:
        since = pl.col("days_since_sale")
        ask(_AGEING_FILTER, since < aged, since.cast(pl.String), f"{aged} or more")
    return rules


def _with_twin(frame: pl.DataFrame) -> pl.DataFrame:
    """`twin_id`: the product of the same retailer and sku that is offered instead, null when there is none.

    Of those that may be offered, the one with most units in the last 90 days, then the lowest id. A source without
    retailers is one shop.
    """
    key = ["retailer_key", "sku_key"]
    frame = frame.with_columns(
        retailer_key=pl.col("retailer_id").fill_null(""),
        sku_key=_one_line(pl.col("sku")).str.to_lowercase(),
    )
    offered = (
        frame.filter(pl.col("is_offerable") & (pl.col("sku_key") != ""))
        .sort("units_last_90_days", "product_id", descending=[True, False])
        .unique(key, keep="first", maintain_order=True)
        .select(*key, twin_id="product_id")
    )
    is_itself = pl.col("twin_id") == pl.col("product_id")
    return frame.join(offered, on=key, how="left", maintain_order="left").with_columns(
        twin_id=pl.when(~is_itself).then("twin_id").otherwise(None)
    )


def _good_reason(spec: CampaignSpec, *, has_stock: bool) -> pl.Expr:
    stock = pl.format("{} units above the safety level", spare_stock().floor().cast(pl.Int64))
    if not has_stock:
        idle = [name for name in ("minimum_stock", "minimum_cover_days") if getattr(spec.filters, name) is not None]
        words = f", nor the filter{'s' * (len(idle) > 1)} {' and '.join(idle)}" if idle else ""
        stock = pl.lit(f"Stock unknown, so no stock rule was applied{words}")
    return pl.format(
        "{}; margin of {}% {}, floor {}%.",
        stock,
        _percent(pl.col("margin_share")),
        _at_the_discount(),
        pl.lit(f"{spec.margin_floor_share * 100:g}"),
    )


def _at_the_discount() -> pl.Expr:
    return (
        pl.when(pl.col("discount_share") == 0)
        .then(pl.lit("at the list price"))
        .otherwise(
            pl.format(
                "after {}{}% off",
                pl.when("is_discount_chosen").then(pl.lit("the chosen ")).otherwise(pl.lit("")),
                _plain(pl.col("discount_share") * 100, 1),
            )
        )
    )


def _plain(value: pl.Expr, digits: int) -> pl.Expr:
    """A number as text with at most `digits` decimals: 53.3, 15, never -0."""
    return (value.round(digits) + 0.0).cast(pl.String).str.strip_suffix(".0")


def _below(value: pl.Expr) -> pl.Expr:
    """A number below a limit, cut after one decimal: 59.97 days are not the 60 that were asked for."""
    return _plain((value.round(6) * 10).floor() / 10, 1)


def _percent(share: pl.Expr, *, is_below: bool = False) -> pl.Expr:
    return _below(share * 100) if is_below else _plain(share * 100, 1)


def _one_line(text: pl.Expr) -> pl.Expr:
    return text.str.replace_all(r"[\s\p{C}]+", " ").str.strip_chars()


def _known(column: str) -> pl.Expr:
    return pl.coalesce(pl.col(column), pl.lit("not known"))
