"""Retailers, stores, products, prices and stock: what the shop is before any customer comes.

Everything here depends on the seed and the as-of date only, never on how many customers there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from segmentation_assets.sources.synthetic.assortment import BRAND_LEVELS, CATEGORIES, RETAILERS
from segmentation_assets.sources.synthetic.settings import (
    PERIOD_DAYS,
    PERIODS,
    Floats,
    Ints,
    Mask,
    Topic,
    WorldSettings,
)
from segmentation_assets.sources.synthetic.vocabulary import TOWNS, moments

PRICE_TIERS = ("budget", "middle", "premium")
#: How strongly each price tier leans to cheap or dear products within a category.
_TIER_TILT = np.array([-1.1, 0.0, 1.1])
_SHARE_DISCONTINUED = 0.04
_SHARE_NEW = 0.08
_SHARE_OUT_OF_STOCK = 0.07
_SHARE_OVERSTOCKED = 0.04
_SHARE_LOSS_LEADERS = 0.02


@dataclass(frozen=True)
class Catalogue:
    """The shop. Products are numbered 0.. in category order; `tables` are the raw tables.

    `prices` (products x periods) are unit prices of each period; `choice` (periods, tiers, products) how products of
    one category share its lines, 0 before launch, each category's entries summing to one.
    """

    tables: dict[str, pl.DataFrame]
    product_ids: pl.Series
    product_names: pl.Series
    category: Ints
    list_price: Floats
    prices: Floats
    choice: Floats
    store_ids: pl.Series
    store_of_town: Ints


def period_of(day: Ints) -> Ints:
    """The price period of each day of the world; days after the world's last one keep its last prices."""
    return np.minimum(day // PERIOD_DAYS, PERIODS - 1)


def _shop_price(amounts: Floats) -> Floats:
    """Amounts as a shop writes them: ending in .49, .95 or .00 by size."""
    small = np.floor(amounts * 2) / 2 + 0.49
    middle = np.floor(amounts) + 0.95
    large = np.round(amounts / 5) * 5
    priced = np.where(amounts < 10, small, np.where(amounts < 60, middle, large)).astype(np.float64)
    return np.round(priced, 2)


def make_catalogue(settings: WorldSettings) -> Catalogue:
    """Everything on the shelves and the shelves themselves."""
    rng = settings.stream(Topic.PRODUCTS)
    names: list[str] = []
    brands: list[str] = []
    categories: list[int] = []
    subcategories: list[str] = []
    middle_prices: list[float] = []
    for number, category in enumerate(CATEGORIES):
        for shelf_number, shelf in enumerate(category.shelves):
            for good_number, good in enumerate(shelf.goods):
                brand = category.brands[(shelf_number + good_number) % len(category.brands)]
                for variant, factor in shelf.variants:
                    names.append(f"{brand} {good}, {variant}")
                    brands.append(brand)
                    categories.append(number)
                    subcategories.append(shelf.name)
                    middle_prices.append(shelf.price * factor * BRAND_LEVELS[brand])
    count = len(names)
    category_of = np.array(categories, dtype=np.int64)
    list_price = _shop_price(np.array(middle_prices) * np.exp(rng.normal(0, 0.12, count)))
    margin = np.array([c.margin for c in CATEGORIES])[category_of] + rng.normal(0, 0.06, count)
    margin = np.where(rng.random(count) < _SHARE_LOSS_LEADERS, -0.05, margin.clip(0.05, 0.75))
    unit_cost = np.round(list_price * (1 - margin), 2)
    is_active = rng.random(count) >= _SHARE_DISCONTINUED
    is_new = rng.random(count) < _SHARE_NEW
    launch_period = np.where(is_new, rng.integers(2, PERIODS - 1, count), 0)
    launch_day = np.where(is_new, launch_period * PERIOD_DAYS, -rng.integers(1, 1_200, count))
    popularity = np.exp(rng.normal(0, 0.7, count))
    retailer = rng.integers(0, len(RETAILERS), count)
    drift = (1 - 0.006 * (PERIODS - 1 - np.arange(PERIODS)))[None, :]
    wobble = np.exp(rng.normal(0, 0.015, (count, PERIODS)))
    wobble[:, -1] = 1.0  # today's price is the list price
    prices = np.round(np.maximum(list_price[:, None] * drift * wobble, 0.5), 2)

    width = max(4, len(str(count)))
    product_ids = pl.Series([f"P{n + 1:0{width}d}" for n in range(count)])
    products = pl.DataFrame(
        {
            "product_id": product_ids,
            "retailer_id": [RETAILERS[n][0] for n in retailer],
            "sku": [
                f"{CATEGORIES[c].name[:3].upper()}-{n + 1:04d}-{b[:2].upper()}"
                for n, (c, b) in enumerate(zip(categories, brands, strict=True))
            ],
            "name": names,
            "brand": brands,
            "category": [CATEGORIES[c].name for c in categories],
            "subcategory": subcategories,
            "list_price": list_price,
            "unit_cost": unit_cost,
            # Text, as such exports often are: an impossible date can only be told in text.
            "launched_on": [(settings.first_day + timedelta(days=int(d))).isoformat() for d in launch_day],
            "is_active": is_active,
        }
    )
    stores, store_of_town = _stores(settings)
    return Catalogue(
        tables={
            "retailers": _retailers(settings),
            "stores": stores,
            "products": products,
            "inventory": _inventory(settings, products, stores),
        },
        product_ids=product_ids,
        product_names=pl.Series(names),
        category=category_of,
        list_price=list_price,
        prices=prices,
        choice=_choice(category_of, list_price, popularity, is_active, launch_period),
        store_ids=stores["store_id"],
        store_of_town=store_of_town,
    )


def _choice(category: Ints, price: Floats, popularity: Floats, is_active: Mask, launch: Ints) -> Floats:
    """Share of each product in its category's lines, by period and price tier."""
    count = len(category)
    level = np.log(price)
    for number in range(len(CATEGORIES)):
        own = category == number
        level[own] = (level[own] - level[own].mean()) / level[own].std()
    weight = popularity * np.where(is_active, 1.0, 0.4)
    tilted = weight[None, :] * np.exp(_TIER_TILT[:, None] * level[None, :])
    on_sale = np.arange(PERIODS)[:, None] >= launch[None, :]
    choice = tilted[None, :, :] * on_sale[:, None, :]
    totals = np.zeros((PERIODS, len(PRICE_TIERS), len(CATEGORIES)))
    for number in range(len(CATEGORIES)):
        totals[:, :, number] = choice[:, :, category == number].sum(axis=2)
    return (choice / totals[:, :, category]).reshape(PERIODS, len(PRICE_TIERS), count)


def _retailers(settings: WorldSettings) -> pl.DataFrame:
    start = datetime(settings.first_day.year - 3, 3, 1, 9)
    return pl.DataFrame(
        {
            "retailer_id": [r[0] for r in RETAILERS],
            "name": [r[1] for r in RETAILERS],
            "country": [r[2] for r in RETAILERS],
            "created_at": [start + timedelta(days=97 * n) for n in range(len(RETAILERS))],
        },
        schema_overrides={"created_at": pl.Datetime("us")},
    )


def _stores(settings: WorldSettings) -> tuple[pl.DataFrame, Ints]:
    """The stores, one of them the warehouse of the online shop, and the store each town's people go to."""
    rng = settings.stream(Topic.STORES)
    with_store = [n for n, town in enumerate(TOWNS) if town.has_store]
    rows = [("W001", "R001", "Online warehouse", "Leipzig", "Saxony", "Germany")]
    for number, town_number in enumerate(with_store, start=1):
        town = TOWNS[town_number]
        retailer = next((r[0] for r in RETAILERS if r[2] == town.country), "R001")
        rows.append((f"S{number:03d}", retailer, f"Store {town.city}", town.city, town.region, town.country))
    opened = settings.first_day - timedelta(days=2_500)
    frame = pl.DataFrame(
        rows, schema=["store_id", "retailer_id", "name", "city", "region", "country"], orient="row"
    ).with_columns(
        opened_on=pl.Series([(opened + timedelta(days=int(d))).isoformat() for d in rng.integers(0, 2_400, len(rows))])
    )
    nearest: list[int] = []
    for town in TOWNS:
        same_region = [n for n, s in enumerate(with_store, 1) if TOWNS[s].region == town.region]
        same_country = [n for n, s in enumerate(with_store, 1) if TOWNS[s].country == town.country]
        # Where the country has no store, people buy in store only when they travel to Berlin.
        nearest.append((same_region or same_country or [1])[0])
    return frame, np.array(nearest, dtype=np.int64)


def _inventory(settings: WorldSettings, products: pl.DataFrame, stores: pl.DataFrame) -> pl.DataFrame:
    """Every product in the warehouse, most products in each store: some out of stock, some far too many."""
    rng = settings.stream(Topic.INVENTORY)
    product = np.repeat(np.arange(products.height), stores.height)
    store = np.tile(np.arange(stores.height), products.height)
    kept = (store == 0) | (rng.random(len(product)) < 0.7)
    product, store = product[kept], store[kept]
    count = len(product)
    reorder = np.where(store == 0, rng.integers(20, 80, count), rng.integers(2, 12, count))
    stock = np.round(reorder * np.exp(rng.normal(1.1, 0.8, count)))
    stock = np.where(rng.random(count) < _SHARE_OVERSTOCKED, stock * 15, stock)
    stock = np.where(rng.random(count) < _SHARE_OUT_OF_STOCK, 0, stock)
    is_active = products["is_active"].to_numpy()[product]
    stock = np.where(is_active, stock, np.minimum(stock, 3))
    # Some products are out everywhere, whatever single stores say.
    sold_out = rng.random(products.height) < 0.03
    stock = np.where(sold_out[product], 0, stock)
    counted = settings.last_second - rng.integers(3_600, 6 * 86_400, count)
    return pl.DataFrame(
        {
            "product_id": products["product_id"].gather(product),
            "store_id": stores["store_id"].gather(store),
            "stock_quantity": stock.astype(np.int64),
            "reorder_point": reorder.astype(np.int64),
            "counted_at": moments(counted),
        }
    )
