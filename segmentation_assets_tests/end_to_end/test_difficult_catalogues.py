"""A catalogue with everything that may not be offered, and a marketer's choice, through the real command line."""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from segmentation_assets.definitions import defs
from segmentation_assets.orchestration.execution import prepare_home
from segmentation_assets.orchestration.run_lock import PROCESS_TAG, this_process
from segmentation_assets.settings import Home
from segmentation_assets.state.choices import choices_in_force
from segmentation_assets.state.store import open_state

pytestmark = pytest.mark.slow

AS_OF = dt.date(2026, 6, 30)
CUSTOMERS, DAYS = 900, 3 * 365
CATEGORIES = ("Coffee", "Books", "Garden", "Toys", "Wine")
#: Products of each category whose buyers are spread over the category as any shop's are.
ORDINARY = 6

#: Segments of 900 customers are small: figures on 15 may be shown, and all campaigns that are worth it.
SMALL = {
    "SEGMENTATION_PRIVACY__MINIMUM_CELL": "15",
    "SEGMENTATION_CAMPAIGNS__MAX_BRIEFS": "20",
    "SEGMENTATION_SEGMENTS__STAGE__K_MAX": "5",
    "SEGMENTATION_SEGMENTS__TASTE__K_MAX": "6",
}

Row = dict[str, object]


def product(product_id: str, category: str, price: float, **changes: object) -> Row:
    """A product that may be offered: a margin of 60%, its own sku, on sale."""
    return {
        "product_id": product_id, "retailer_id": "R1", "sku": f"SKU-{product_id}",
        "name": f"{category} {product_id}", "brand": f"{category} House", "category": category, "subcategory": "",
        "list_price": price, "unit_cost": round(price * 0.4, 2), "launched_on": "2023-01-01", "is_active": "true",
        **changes,
    }  # fmt: skip


#: The difficult ones, by what is the matter with them.
NEVER_ORDERED, ABOVE_PRICE, NEGATIVE, HALF_NEGATIVE = "X-new", "X-dear", "X-owed", "X-moved"
TWINS, ELSEWHERE, DISCONTINUED, SENSITIVE = ("X-twin1", "X-twin2"), "X-twin3", "X-gone", "X-mum"
#: Nobody ordered this one either; it costs next to nothing, so it bears what no other product bears.
LEAN = "X-lean"
DIFFICULT = (
    product(NEVER_ORDERED, "Coffee", 24.0),
    product(ABOVE_PRICE, "Books", 20.0, unit_cost=25.0),
    product(NEGATIVE, "Garden", 30.0),
    product(HALF_NEGATIVE, "Garden", 26.0),
    product(TWINS[0], "Toys", 21.0, sku="T-1"),
    product(TWINS[1], "Toys", 21.0, sku=" t-1"),
    product(ELSEWHERE, "Toys", 22.0, sku="T-1", retailer_id="R2"),
    product(DISCONTINUED, "Coffee", 28.0, is_active="false"),
    product(SENSITIVE, "Pregnancy", 19.0),
    product(LEAN, "Garden", 25.0, unit_cost=0.2),
)
PRODUCTS = (
    *(
        product(f"{category[0]}{n}", category, round(8.0 + 5.5 * n + place, 2))
        for place, category in enumerate(CATEGORIES)
        for n in range(ORDINARY)
    ),
    *DIFFICULT,
)
#: Stock by product and store; what is not named has plenty in the first store.
STOCK = {NEGATIVE: (("W1", -40),), HALF_NEGATIVE: (("W1", -40), ("W2", 5_000)), SENSITIVE: (("W1", 9_000),)}


def write(folder: Path, tables: dict[str, list[Row]]) -> None:
    """A source folder of CSV files, each with the plainest SELECT there is."""
    folder.mkdir(parents=True, exist_ok=True)
    words = f'title = "A difficult catalogue"\ncurrency = "EUR"\nas_of = {AS_OF}\n'
    (folder / "source.toml").write_text(words, encoding="utf-8")
    for table, rows in tables.items():
        with (folder / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        select = f"select * from read_csv('{table}.csv', header = true, all_varchar = true)\n"
        (folder / f"{table}.sql").write_text(select, encoding="utf-8")


def shop(products: tuple[Row, ...] = PRODUCTS, customers: int = CUSTOMERS) -> dict[str, list[Row]]:
    """The tables of three years: nine of ten customers buy, mostly in one category, each at a pace of their own."""
    draw = random.Random(20260630)
    by_category: dict[str, list[Row]] = {}
    for row in products:
        if row["product_id"] not in (NEVER_ORDERED, LEAN):
            by_category.setdefault(str(row["category"]), []).append(row)
    categories = [category for category in CATEGORIES if category in by_category]
    tables: dict[str, list[Row]] = {
        name: [] for name in ("customers", "contacts", "orders", "order_items", "returns", "inventory")
    }
    for number in range(customers):
        customer_id = f"C{number:04d}"
        joined = draw.randrange(DAYS)
        birth_year = {0: "", 1: "", 2: 2011}.get(number % 20, 1950 + number % 50)
        tables["customers"].append(
            {"customer_id": customer_id, "birth_year": birth_year, "city": "Bern", "country": "Switzerland",
             "signed_up_at": AS_OF - dt.timedelta(DAYS - joined), "email_consent": "false" if number % 7 == 0 else
             "true"}
        )  # fmt: skip
        tables["contacts"].append(
            {"customer_id": customer_id, "email": f"c{number}@example.com", "first_name": f"Ada{number}"}
        )
        if number % 10 == 9 or not categories:
            continue
        taste = draw.choice(categories)
        gap = draw.lognormvariate(4.3, 1.0)  # days between two orders
        ends = DAYS if draw.random() < 0.7 else draw.randrange(joined, DAYS)  # three of ten have left
        day = float(joined)
        while day < ends:
            order_id = f"{customer_id}-{int(day * 10)}"
            at = AS_OF - dt.timedelta(DAYS - int(day))
            tables["orders"].append(
                {"order_id": order_id, "customer_id": customer_id, "ordered_at": f"{at} 10:00:00",
                 "status": "completed"}
            )  # fmt: skip
            for line in range(draw.choice((1, 1, 2, 3))):
                category = taste if draw.random() < 0.93 else draw.choice(categories)
                bought = draw.choice(by_category[category])
                if category == "Toys" and taste == "Coffee":
                    bought = by_category["Toys"][1]  # so one segment never bought the other toys
                if category == "Garden" and draw.random() < 0.02 and "Pregnancy" in by_category:
                    bought = by_category["Pregnancy"][0]
                item_id = f"{order_id}-{line}"
                tables["order_items"].append(
                    {"order_item_id": item_id, "order_id": order_id, "product_id": bought["product_id"],
                     "quantity": 1, "unit_price": bought["list_price"]}
                )  # fmt: skip
                if draw.random() < 0.04:
                    tables["returns"].append(
                        {"return_id": f"B{item_id}", "order_item_id": item_id, "quantity": 1,
                         "returned_at": f"{min(at + dt.timedelta(5), AS_OF)} 12:00:00", "reason": "not needed"}
                    )  # fmt: skip
            day += max(draw.expovariate(1 / gap), 0.2)
    tables["products"] = list(products)
    tables["retailers"] = [{"retailer_id": "R1", "name": "One"}, {"retailer_id": "R2", "name": "Two"}]
    tables["stores"] = [{"store_id": store, "retailer_id": "R1", "name": store} for store in ("W1", "W2")]
    tables["inventory"] = [
        {"product_id": row["product_id"], "store_id": store, "stock_quantity": units}
        for row in products
        for store, units in STOCK.get(str(row["product_id"]), (("W1", 4_000),))
    ]
    return tables


# --- what the tests look at ----------------------------------------------------------------------------------------

#: Where a product can be offered: the ids of the products in each table.
OFFERS = {
    "matches": "select distinct product_id from campaigns.product_segment_matches",
    "choices of an audience": "select distinct product_id from campaigns.match_choices",
    "plan": "select distinct product_id from campaigns.offer_plan",
    "next best products": "select distinct product_id from campaigns.next_best_products",
    "briefs": "select distinct unnest(string_split(product_ids, ',')) from campaigns.briefs",
    "drafts": "select distinct unnest(string_split(product_ids, ',')) from campaigns.email_drafts",
}


def offered(read: Any, home: Path) -> dict[str, set[str]]:
    """The products in each of these tables."""
    return {place: {row[0] for row in read(home / "published.duckdb", query)} for place, query in OFFERS.items()}


def reasons(read: Any, home: Path, where: str = "true") -> dict[str, str]:
    """Why each product may or may not be offered."""
    query = f"select product_id, reason from campaigns.promotable_products where {where}"
    return dict(read(home / "published.duckdb", query))


def drafted_words(read: Any, home: Path) -> str:
    """Every word of every draft."""
    query = "select string_agg(subject || preheader || body_text || body_html, ' ') from campaigns.email_drafts"
    return str(read.one(home / "published.duckdb", query))


def units_of_90_days(tables: dict[str, list[Row]]) -> dict[str, int]:
    """Counted in the rows that were written, not in the warehouse."""
    first = str(AS_OF - dt.timedelta(89))
    recent = {row["order_id"] for row in tables["orders"] if str(row["ordered_at"]) >= first}
    sold = [str(row["product_id"]) for row in tables["order_items"] if row["order_id"] in recent]
    return {product_id: sold.count(product_id) for product_id in sorted({*sold, NEVER_ORDERED, LEAN})}


@pytest.fixture(scope="module")
def tables() -> dict[str, list[Row]]:
    return shop()


@pytest.fixture(scope="module")
def difficult(once: Any, quick_once: Any, tables: dict[str, list[Row]]) -> Path:
    """A folder with the shop (`shop`) and the HOME of a finished run on it (`home`). Read it; write to a copy."""

    def fill(folder: Path) -> None:
        write(folder / "shop", tables)
        quick_once("--source", folder / "shop", env=SMALL)(folder)

    return Path(once("difficult-catalogue", fill))


@pytest.fixture
def place(difficult: Path, tmp_path: Path) -> Path:
    """A copy of that HOME."""
    return Path(shutil.copytree(difficult / "home", tmp_path / "home"))


# --- products ------------------------------------------------------------------------------------------------------


def test_what_may_not_be_offered_has_its_reason_and_is_nowhere_offered(
    difficult: Path, tables: dict[str, list[Row]], read: Any
) -> None:
    home, units = difficult / "home", units_of_90_days(tables)
    left_out, twin = sorted(TWINS, key=lambda twin: (units[twin], twin == TWINS[0]))
    safety = math.ceil(5 + 14 * units[NEGATIVE] / 90)
    sku = {TWINS[0]: "T-1", TWINS[1]: "t-1"}[left_out]
    expected = {
        ABOVE_PRICE: "Margin of -25% at the list price is below the floor of 10%.",
        NEGATIVE: f"Stock of 0 is not above the safety level of {safety}.",
        left_out: f"Its sku {sku} is also that of {twin}, which is offered instead.",
        DISCONTINUED: "Discontinued.",
        SENSITIVE: "In a sensitive category: never promoted.",
    }
    assert reasons(read, home, "not is_promotable") == expected
    good = reasons(read, home, "is_promotable")
    assert set(good) == {str(row["product_id"]) for row in PRODUCTS} - set(expected)
    spare = math.floor(4000 - 5 - 14 * units["B5"] / 90)
    assert good["B5"] == f"{spare} units above the safety level; margin of 50% after 20% off, floor 10%."
    places = offered(read, home)
    assert {place: found & set(expected) for place, found in places.items()} == {place: set() for place in OFFERS}
    assert {ELSEWHERE, twin, LEAN} <= places["matches"]  # the same sku at another retailer is another product
    assert all(found <= set(good) for found in places.values())
    assert min(map(len, places.values())) >= 5
    words = drafted_words(read, home)
    names = {str(row["product_id"]): str(row["name"]) for row in PRODUCTS}
    assert not [product_id for product_id in expected if names[product_id] in words]
    assert all(names[product_id] in words for product_id in places["drafts"])


def test_a_negative_count_of_stock_is_rejected_on_record_and_the_other_stores_count(difficult: Path, read: Any) -> None:
    published = difficult / "home" / "published.duckdb"
    rejected = read(
        published, "select row_key, rule, detail from quality.rejected_rows where table_name = 'inventory' order by all"
    )
    told = "stock_quantity '-40' is outside 0 to 1000000000."
    assert rejected == [(f"{product_id}|W1", "out_of_range", told) for product_id in (HALF_NEGATIVE, NEGATIVE)]
    stock = (
        "select product_id, stock_quantity::int, is_promotable from campaigns.promotable_products "
        f"where product_id in ('{NEGATIVE}', '{HALF_NEGATIVE}') order by all"
    )
    assert read(published, stock) == [(HALF_NEGATIVE, 5_000, True), (NEGATIVE, 0, False)]


def test_a_product_nobody_ordered_borrows_its_affinity_and_is_matched_where_its_category_is_liked(
    difficult: Path, read: Any
) -> None:
    published = difficult / "home" / "published.duckdb"
    rows = read(
        published,
        "select axis, segment_id, buyers, is_borrowed, shrunken_lift, low, high from campaigns.product_affinity "
        f"where dimension = 'product' and value = '{NEVER_ORDERED}'",
    )
    segments = read(published, "select axis, segment_id from segments.segment_summary where segment_id not in "
                               "('S0', 'T0')")  # fmt: skip
    assert sorted(row[:2] for row in rows) == sorted(segments)
    assert all(row[2] == 0 and row[3] for row in rows)
    assert all(0 <= low <= lift <= high < math.inf for *_, lift, low, high in rows)
    names = dict(read(published, "select segment_id, name from segments.taste_model"))
    tastes = {names[row[1]]: row[4] for row in rows if row[0] == "taste"}
    assert max(tastes, key=lambda name: tastes[name]) == "Coffee"
    assert tastes["Coffee"] > 1 > max(lift for name, lift in tastes.items() if name != "Coffee")
    borrowed = read(published, "select distinct value from campaigns.product_affinity where is_borrowed")
    assert {value for (value,) in borrowed} >= {NEVER_ORDERED, LEAN}
    others = "dimension = 'product' and is_borrowed and value not in ('X-new', 'X-lean')"
    assert read.one(published, f"select count(*) from campaigns.product_affinity where {others}") == 0
    # It is matched by its category where taste is what counts; by past purchases nobody would ever be offered it.
    matched = read(
        published,
        "select distinct taste_segment_id from campaigns.product_segment_matches "
        f"where product_id = '{NEVER_ORDERED}' and stage_group <> 'never_bought'",
    )
    ((method,),) = read(published, "select distinct scored_by from campaigns.product_segment_matches")
    assert method == "taste and activity", "the tastes of this shop no longer show; matching has to win here"
    # T0 holds those with too few lines for a taste: there every product is as likely as in the whole shop.
    assert [names[taste] for (taste,) in matched if taste != "T0"] == ["Coffee"]


def test_lifts_are_finite_also_where_a_segment_never_bought_the_product(difficult: Path, read: Any) -> None:
    published = difficult / "home" / "published.duckdb"
    figures = ("shrunken_lift", "low", "high", "recent_lift")
    is_finite = " and ".join(f"isfinite({name})" for name in figures)
    odd = f"select * from campaigns.product_affinity where not coalesce({is_finite}, false) "
    assert read(published, odd + "or isnan(lift) or isinf(lift) or isnan(held_out_lift) or isinf(held_out_lift)") == []
    empty = read(
        published,
        "select value, lift, shrunken_lift from campaigns.product_affinity as a join segments.taste_model as t using "
        "(segment_id) where dimension = 'product' and axis = 'taste' and t.name = 'Coffee' and buyers = 0 "
        "and not is_borrowed",
    )
    assert {value for value, *_ in empty} & {f"T{n}" for n in range(ORDINARY)}
    assert all(lift == 0 < shrunken < 1 for _, lift, shrunken in empty)


def test_what_is_age_restricted_is_offered_to_known_adults_alone(difficult: Path, read: Any) -> None:
    published = difficult / "home" / "published.duckdb"
    wines = {f"W{n}" for n in range(ORDINARY)}
    restricted = read(published, "select product_id from campaigns.promotable_products where is_age_restricted")
    assert {product_id for (product_id,) in restricted} == wines
    plan = read(published, "select is_adult, count(*) from campaigns.offer_plan where product_id[1] = 'W' group by 1")
    assert [(is_adult, rows > 0) for is_adult, rows in plan] == [(True, True)]
    # Every audience counted again: known adults of the taste and the stages at or above the floor.
    wrong = """
        select m.product_id, m.taste_segment_id, m.stage_group, m.audience_customers, count(a.customer_id)
        from campaigns.product_segment_matches m left join campaigns.audience_members a on a.is_adult
            and a.taste_segment_id = m.taste_segment_id and a.stage_group = m.stage_group
            and a.expected_products >= m.activity_floor
        where m.product_id[1] = 'W' group by all having m.audience_customers <> count(a.customer_id)"""
    assert read(published, wrong) == []
    briefs = read(published, "select brief_id, product_ids from campaigns.briefs")
    adult = {brief_id for brief_id, ids in briefs if set(ids.split(",")) & wines}
    assert adult == {brief_id for brief_id, _ in briefs if str(brief_id).endswith("-adults")} != set()
    assert all(set(ids.split(",")) <= wines for brief_id, ids in briefs if brief_id in adult)
    suggested = read(
        published, "select customer_id, bool_or(product_id[1] = 'W') from campaigns.next_best_products group by 1"
    )
    to_adults = {number for number in range(CUSTOMERS) if number % 20 > 2}
    with_wine = {int(customer[1:]) for customer, has_wine in suggested if has_wine}
    assert with_wine
    assert with_wine <= to_adults
    minors = {number for number in range(CUSTOMERS) if number % 20 == 2}
    assert not {int(customer[1:]) for customer, _ in suggested} & minors
    members = read(published, "select customer_id from campaigns.audience_members")
    assert not {int(customer[1:]) for (customer,) in members} & minors


# --- less than a catalogue ------------------------------------------------------------------------------------------


def test_without_an_inventory_matching_is_on_and_every_reason_says_that_stock_is_unknown(
    difficult: Path, place: Path, quick: Any, read: Any
) -> None:
    counted = difficult / "shop" / "inventory.sql"
    words = counted.read_text(encoding="utf-8")
    counted.unlink()
    try:
        renewed = 'group:raw or group:clean or key:"quality/capabilities" or key:"campaigns/product_choices"+'
        ended = quick("run", "--select", renewed, "--home", place, env=SMALL)
    finally:
        counted.write_text(words, encoding="utf-8")
    assert ended.code == 0, ended.words
    published = place / "published.duckdb"
    found = dict(read(published, "select capability, is_on from quality.capabilities"))
    assert (found["inventory"], found["matching"]) == (False, True)
    good = reasons(read, place, "is_promotable")
    assert {NEGATIVE, HALF_NEGATIVE, NEVER_ORDERED, "B5"} <= set(good)
    assert good["B5"] == "Stock unknown, so no stock rule was applied; margin of 50% after 20% off, floor 10%."
    assert {reason.split(";")[0] for reason in good.values()} == {"Stock unknown, so no stock rule was applied"}
    assert read(published, "select distinct stock_quantity, cover_days from campaigns.promotable_products") == [
        (None, None)
    ]
    places = offered(read, place)
    assert all(found and found <= set(good) for found in places.values())
    assert not {ABOVE_PRICE, DISCONTINUED, SENSITIVE} & set(good)


#: Tables that tell whom to offer what.
OF_MATCHING = (
    "product_segment_matches", "offer_plan", "next_best_products", "match_backtest", "match_choices", "briefs",
    "email_drafts", "draft_facts",
)  # fmt: skip
#: Tables with a row per product, or per product and something.
OF_PRODUCTS = ("product_sales", "product_traits", "promotable_products", "product_affinity", "segment_purchases",
               "window_purchases", "product_choices")  # fmt: skip


#: Segments are no part of this question.
PLAIN = {"SEGMENTATION_SEGMENTS__STAGE__IS_ON": "false", "SEGMENTATION_SEGMENTS__TASTE__IS_ON": "false"}


def test_without_products_the_run_ends_well_with_empty_tables_and_the_reason(
    quick: Any, read: Any, tmp_path: Path
) -> None:
    small = shop((product("only", "Coffee", 12.0),), customers=100)
    for name in ("products", "retailers", "stores", "inventory"):
        del small[name]
    for row in small["order_items"]:
        del row["product_id"]
    write(tmp_path / "shop", small)
    home = tmp_path / "home"
    ended = quick("run", "--source", tmp_path / "shop", "--home", home, env={**SMALL, **PLAIN})
    assert ended.code == 0, ended.words
    published = home / "published.duckdb"
    rows = {name: read.one(published, f"select count(*) from campaigns.{name}") for name in OF_MATCHING + OF_PRODUCTS}
    assert {name: rows[name] for name in OF_MATCHING} == dict.fromkeys(OF_MATCHING, 0)
    assert {name: rows[name] for name in OF_PRODUCTS} == dict.fromkeys(OF_PRODUCTS, 0)
    buyers = len({row["customer_id"] for row in small["orders"]})
    why = f"0 products of the catalogue were sold to {buyers} buyers (needed: 2 products, 50 buyers)."
    assert read(published, "select is_on, reason from quality.capabilities where capability = 'matching'") == [
        (False, why)
    ]
    assert dict(read(published, "select topic, sentence from campaigns.match_verdicts where not is_better")) == {
        "customer_to_product": f"No product is suggested: {why}",
        "product_to_audience": f"No product is matched: {why}",
    }
    told = f"0 products in the catalogue; 0 of {len(small['order_items']):,} sold lines name one."
    assert told in (home / "brief.html").read_text(encoding="utf-8")
    listed = quick("products", "list", "--home", home)
    assert listed.code == 0
    assert "The catalogue has no products" in listed.words


# --- settings -------------------------------------------------------------------------------------------------------

#: The steps that decide what is offered to whom, on customers and segments that are there.
OFFERING = 'group:campaigns or key:"published"'


def test_a_discount_of_90_percent_for_everybody_leaves_what_still_earns_its_floor(
    place: Path, quick: Any, read: Any
) -> None:
    groups = ("LOYAL", "NEW", "LAPSING", "LAPSED", "NEVER_BOUGHT")
    env = {f"SEGMENTATION_CAMPAIGNS__DISCOUNTS__{group}": "0.9" for group in groups}
    env["SEGMENTATION_CAMPAIGNS__DISCOUNT_SHARE"] = "0.9"
    ended = quick("run", "--select", OFFERING, "--home", place, env={**SMALL, **env})
    assert ended.code == 0, ended.words
    published = place / "published.duckdb"
    # 25.00 less 90% is 2.50 at a cost of 0.20; the others cost four tenths of their price.
    assert list(reasons(read, place, "is_promotable")) == [LEAN]
    assert reasons(read, place)[LEAN].endswith("; margin of 92% after 90% off, floor 10%.")
    assert reasons(read, place)["B5"] == "Margin of -300% after 90% off is below the floor of 10%."
    below = "select product_id, reason from campaigns.promotable_products where margin_share < 0.1 and is_promotable"
    assert read(published, below) == []
    places = offered(read, place)
    assert places["matches"] == {LEAN}
    assert all(found <= {LEAN} for found in places.values())
    assert read(published, "select distinct discount_share from campaigns.product_segment_matches") == [(0.9,)]


def test_a_filter_through_the_environment_leaves_only_what_passes_it(place: Path, quick: Any, read: Any) -> None:
    env = {**SMALL, "SEGMENTATION_CAMPAIGNS__FILTERS__MINIMUM_PRICE": "20"}
    before = set(reasons(read, place, "is_promotable"))
    ended = quick("run", "--select", OFFERING, "--home", place, env=env)
    assert ended.code == 0, ended.words
    prices = {str(row["product_id"]): float(str(row["list_price"])) for row in PRODUCTS}
    dear = {product_id for product_id in before if prices[product_id] >= 20}
    assert set(reasons(read, place, "is_promotable")) == dear
    assert dear < before
    cheap = {product_id: reasons(read, place)[product_id] for product_id in before - dear}
    assert cheap == {
        product_id: f"List price: {prices[product_id]:g}; the filter asks for 20 or more." for product_id in cheap
    }
    assert all(found and found <= dear for found in offered(read, place).values())


# --- the choice -----------------------------------------------------------------------------------------------------


@pytest.fixture
def commands(cli: Any, quick: Any) -> tuple[Any, Any]:
    """The command line in a process of its own, and in this one."""
    return cli, quick


def _run_with_config(home: Path, chosen: dict[str, object]) -> dg.ExecuteInProcessResult:
    """The job `campaigns` with this in the launchpad's config of `campaigns__product_choices`."""
    prepare_home(Home(home))
    with dg.DagsterInstance.get() as instance:
        return (
            defs()
            .resolve_job_def("campaigns")
            .execute_in_process(
                instance=instance,
                raise_on_error=False,
                tags={PROCESS_TAG: this_process()},
                run_config={
                    "ops": {"campaigns__product_choices": {"config": chosen}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
            )
        )


def _campaign_tables(read: Any, home: Path) -> dict[str, tuple[int, str]]:
    found = read.fingerprints(home / "published.duckdb")
    return {name: print_ for name, print_ in found.items() if name.startswith("campaigns.")}


def test_campaigns_are_made_of_what_a_marketer_chooses_until_it_is_cleared(
    difficult: Path, place: Path, commands: tuple[Any, Any], read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli, quick = commands
    published, chosen = place / "published.duckdb", {"B5", "G5"}
    kept = "select product_id, discount_share, audience_customers, chosen_in from campaigns.product_choices"

    refused = quick("products", "choose", "G5", "--discount", "0.9", "--home", place)
    assert refused.code == 2
    assert (
        "Nothing was chosen, because this cannot be offered: - G5 Garden G5: €37.50 less 90%, which is €3.75, at a "
        "cost of €15.00 is a margin of -300%, below the floor of 10%. The largest discount that holds it is 55.5% "
        "(--discount 0.555)."
    ) in refused.words
    refused = quick("products", "choose", "B5", DISCONTINUED, SENSITIVE, ABOVE_PRICE, "--home", place)
    assert refused.code == 2
    for reason in (
        f"- {DISCONTINUED} Coffee {DISCONTINUED}: Discontinued.",
        f"- {SENSITIVE} Pregnancy {SENSITIVE}: In a sensitive category: never promoted.",
        f"- {ABOVE_PRICE} Books {ABOVE_PRICE}: the list price of €20.00 at a cost of €25.00 is a margin of -25%, below "
        "the floor of 10%; it cannot be offered at any discount.",
    ):
        assert reason in refused.words
    with open_state(place / "state.sqlite") as store:
        assert choices_in_force(store) == []

    # Chosen, and kept.
    ended = cli("products", "choose", "B5", "G5", "--discount", "0.1", "--home", place)
    assert ended.code == 0, ended.words
    assert f"`segmentation run --job campaigns --home {place}`" in ended.words
    ended = quick("run", "--job", "campaigns", "--home", place, env=SMALL)
    assert ended.code == 0, ended.words
    assert read(published, f"{kept} order by 1") == [("B5", 0.1, None, "state"), ("G5", 0.1, None, "state")]
    assert offered(read, place) == dict.fromkeys(OFFERS, chosen)
    for table in ("product_segment_matches", "briefs", "email_drafts"):
        assert read(published, f"select distinct discount_share from campaigns.{table}") == [(0.1,)], table
    found = reasons(read, place)
    assert {product_id for product_id, reason in found.items() if "after the chosen 10% off" in reason} == chosen
    assert {reason for product_id, reason in found.items() if product_id.startswith("C")} == {
        "Not among the products chosen."
    }
    assert found[DISCONTINUED] == "Discontinued."
    page = (place / "brief.html").read_text(encoding="utf-8")
    assert "Products chosen by you: Books B5 and Garden G5." in page
    assert "No other product is offered." in page
    assert "Products chosen by you: Books B5 and Garden G5." in (place / "brief.txt").read_text(encoding="utf-8")
    words = drafted_words(read, place)
    others = [str(row["name"]) for row in PRODUCTS if row["product_id"] not in chosen]
    assert "10%" in words
    assert not [name for name in others if name in words]

    # Another choice for one run alone: it stands in the place of the kept one, and the kept one stays kept.
    for name in ("SEGMENTATION_HOME", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(place))
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    result = _run_with_config(place, {"product_ids": ["T5", NEVER_ORDERED], "discount_share": 0.1})
    assert result.success
    assert read(published, f"{kept} order by 1") == [("T5", 0.1, None, "run"), (NEVER_ORDERED, 0.1, None, "run")]
    of_run = offered(read, place)
    assert of_run["matches"] == {"T5", NEVER_ORDERED}
    assert all(found <= {"T5", NEVER_ORDERED} for found in of_run.values())
    with open_state(place / "state.sqlite") as store:
        assert {choice.product_id for choice in choices_in_force(store)} == chosen
    before = _campaign_tables(read, place)
    assert not _run_with_config(place, {"product_ids": ["T5", "T5"]}).success
    assert _campaign_tables(read, place) == before

    # Cleared: every table is what it was before anybody chose.
    ended = quick("products", "clear", "--home", place)
    assert ended.code == 0, ended.words
    assert "B5, G5 are no longer chosen. Nothing is chosen now" in ended.words
    ended = quick("run", "--job", "campaigns", "--home", place, env=SMALL)
    assert ended.code == 0, ended.words
    assert _campaign_tables(read, place) == _campaign_tables(read, difficult / "home")
    assert "Products chosen by you" not in (place / "brief.html").read_text(encoding="utf-8")
    listed = quick("products", "list", "--json", "--home", place)
    assert chosen < {row["product_id"] for row in json.loads(listed.out)}
