"""What a synthetic world promises: it grows without changing, it is what was asked for, and it looks like a shop."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segmentation_assets.sources.contract import CONTRACT
from segmentation_assets.sources.synthetic import WorldSettings, stage_world
from segmentation_assets.sources.synthetic.answer_key import FILES, read_answer
from segmentation_assets.sources.synthetic.settings import BLOCK, Topic

SALES = ["completed", "shipped", "processing"]
SHOP_TABLES = ("retailers", "stores", "products", "campaigns", "inventory")


class World:
    """A staged world and its answers."""

    def __init__(self, home: Path, settings: WorldSettings) -> None:
        self.settings = settings
        self.home = home
        stage_world(settings, home / "raw", home / "answer_key")

    def table(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(sorted((self.home / "raw" / name).glob("part-*.parquet")))

    def answer(self, name: str) -> pl.DataFrame:
        return read_answer(self.home / "answer_key", name)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., World]:
    worlds: dict[WorldSettings, World] = {}

    def build(**options: object) -> World:
        settings = WorldSettings(**options)  # type: ignore[arg-type]  # options are the fields by name
        if settings not in worlds:
            worlds[settings] = World(tmp_path_factory.mktemp("world"), settings)
        return worlds[settings]

    return build


@pytest.fixture(scope="module")
def clean(make: Callable[..., World]) -> World:
    return make(customers=4_000, dirt_share=0.0)


@pytest.mark.parametrize("fewer, more", [(1_000, 2_300), (BLOCK, BLOCK + 300), (1_000, BLOCK)])
def test_the_first_customers_and_everything_about_them_stay_the_same_when_more_are_asked_for(
    make: Callable[..., World], fewer: int, more: int
) -> None:
    small, large = make(customers=fewer, dirt_share=0.05), make(customers=more, dirt_share=0.05)
    for name in CONTRACT:
        first, all_of_it = small.table(name), large.table(name)
        assert first.schema == all_of_it.schema
        assert all_of_it.head(first.height).equals(first), name
        if name in SHOP_TABLES:
            assert first.height == all_of_it.height, name
    for page in ("personas", "tastes"):
        assert large.answer(page).head(fewer).equals(small.answer(page))
    few, many = small.answer("faults"), large.answer("faults")
    assert few["table_name"].n_unique() == len(CONTRACT) - 1
    for name in few["table_name"].unique():
        planted = few.filter(pl.col("table_name") == name)
        assert many.filter(pl.col("table_name") == name).head(planted.height).equals(planted), name


def test_the_larger_world_has_what_the_smaller_one_lacks(make: Callable[..., World]) -> None:
    small, large = make(customers=1_000, dirt_share=0.05), make(customers=2_300, dirt_share=0.05)
    for name in set(CONTRACT) - {*SHOP_TABLES, "customer_attributes"}:
        assert large.table(name).height > 1.9 * small.table(name).height, name


def test_two_worlds_of_one_seed_are_equal_and_of_two_seeds_are_not(make: Callable[..., World], tmp_path: Path) -> None:
    again = World(tmp_path, WorldSettings(customers=1_000, dirt_share=0.05))
    for name in CONTRACT:
        assert again.table(name).equals(make(customers=1_000, dirt_share=0.05).table(name)), name
    other = make(customers=1_000, seed=7)
    assert not other.table("order_items").equals(again.table("order_items"))
    assert not other.table("products")["list_price"].equals(again.table("products")["list_price"])


def test_every_table_has_the_columns_of_the_contract(clean: World) -> None:
    for name, table in CONTRACT.items():
        if name == "customer_attributes":
            assert clean.table(name).columns == ["customer_id"]
        else:
            assert tuple(clean.table(name).columns) == table.column_names


def test_a_clean_world_has_no_fault(clean: World) -> None:
    assert clean.answer("faults").height == 0
    for name, table in CONTRACT.items():
        frame = clean.table(name)
        assert not frame.select(table.key).is_duplicated().any(), name
    assert clean.table("customers").height == 4_000


def test_dirt_changes_nothing_but_the_rows_it_befalls(make: Callable[..., World], clean: World) -> None:
    dirty = make(customers=4_000, dirt_share=0.02)
    for name, table in CONTRACT.items():
        spoiled = dirty.answer("faults").filter(pl.col("table_name") == name)["row_key"]
        key = pl.concat_str([pl.col(k).fill_null("") for k in table.key], separator="|")
        left = clean.table(name).filter(~key.is_in(spoiled.implode()))
        # Copies without a key are faults too, and keep no key to be known by.
        right = dirty.table(name).filter(~key.is_in(spoiled.implode()))
        assert left.equals(right), name


def test_lines_per_customer_are_what_was_asked_for(make: Callable[..., World], clean: World) -> None:
    assert clean.table("order_items").height / 4_000 == pytest.approx(10, rel=0.08)
    few = make(customers=2_000, dirt_share=0.0, lines_per_customer=4.0)
    assert few.table("order_items").height / 2_000 == pytest.approx(4, rel=0.1)


def test_the_mix_of_customers_and_orders_is_that_of_a_shop(clean: World) -> None:
    orders, customers = clean.table("orders"), clean.table("customers")
    never = 1 - orders["customer_id"].n_unique() / customers.height
    assert 0.04 < never < 0.08
    once = (orders.group_by("customer_id").len()["len"] == 1).mean()
    assert isinstance(once, float) and 0.12 < once < 0.4
    shares = {s: c / orders.height for s, c in orders["status"].value_counts().iter_rows()}
    assert set(shares) == {*SALES, "cancelled", "returned"}
    assert 0.015 < shares["cancelled"] < 0.04 and 0.01 < shares["returned"] < 0.03
    recent = orders.filter(pl.col("status").is_in(["shipped", "processing"]))["ordered_at"].min()
    assert isinstance(recent, datetime) and recent > datetime(2026, 6, 20)
    assert 0.6 < customers["email_consent"].fill_null(False).mean() < 0.8  # type: ignore[operator]  # a float
    ages = 2026 - customers["birth_year"].drop_nulls()
    assert 0 < (ages < 18).sum() < 60 and customers["birth_year"].null_count() > 0


def test_nothing_happens_after_the_as_of_date_or_before_the_customer_is_known(clean: World) -> None:
    end = datetime(2026, 7, 1)
    for name, table in CONTRACT.items():
        frame = clean.table(name)
        for column in table.columns:
            if column.not_after_as_of and column.name in frame.columns and frame[column.name].dtype == pl.Datetime:
                newest = frame[column.name].max()
                assert newest is None or (isinstance(newest, datetime) and newest < end), (name, column.name)
    joined = clean.table("orders").join(clean.table("customers"), on="customer_id")
    assert (joined["ordered_at"] >= joined["signed_up_at"]).all()
    launched = clean.table("products").with_columns(pl.col("launched_on").str.to_date())
    sold = clean.table("order_items").join(clean.table("orders"), on="order_id").join(launched, on="product_id")
    assert (sold["ordered_at"].dt.date() >= sold["launched_on"]).all()


def test_payments_match_their_orders_to_the_cent(clean: World) -> None:
    net = (pl.col("quantity") * pl.col("unit_price") - pl.col("discount_amount")).sum().round(2)
    orders = clean.table("order_items").group_by("order_id").agg(net=net)
    paid = clean.table("payments").join(orders, on="order_id")
    assert paid.height == clean.table("payments").height > 0
    assert ((paid["amount"] - paid["net"]).abs() < 0.005).all()
    cancelled = clean.table("orders").filter(pl.col("status") == "cancelled")
    assert clean.table("payments").join(cancelled, on="order_id").height == 0


def test_a_returned_order_comes_back_whole_and_nobody_returns_more_than_was_bought(clean: World) -> None:
    lines = clean.table("order_items").join(clean.table("orders"), on="order_id")
    returns = clean.table("returns").rename({"quantity": "returned"})
    both = lines.join(returns, on="order_item_id", how="left")
    assert (both.filter(pl.col("status") == "returned")["returned"].null_count()) == 0
    assert both.filter(pl.col("returned") > pl.col("quantity")).height == 0
    assert both.filter(pl.col("status").is_in(["cancelled", "shipped", "processing"]))["returned"].count() == 0


def test_personas_buy_differently_and_tastes_are_independent_of_them(clean: World) -> None:
    people = clean.answer("personas").join(clean.answer("tastes"), on="customer_id")
    lines = clean.table("orders").join(clean.table("order_items"), on="order_id").group_by("customer_id").len()
    mean = dict(people.join(lines, on="customer_id").group_by("persona").agg(pl.col("len").mean()).iter_rows())
    assert mean["champions"] > 1.5 * mean["regulars"] > 1.5 * mean["occasional"] > mean["one_timers"]
    assert "window_shoppers" not in mean
    share = people.group_by("taste").agg((pl.col("persona") == "champions").mean())["persona"]
    assert share.max() - share.min() < 0.06  # type: ignore[operator]  # floats


def test_people_buy_about_six_lines_of_ten_in_their_taste_and_buy_favourites_again(clean: World) -> None:
    own = (
        clean.answer("taste_parameters")
        .filter((pl.col("adherence") == pl.col("adherence").max()) & (pl.col("month") == 4))
        .sort("category_probability", descending=True)
        .group_by("taste", maintain_order=True)
        .head(3)
        .select("taste", "category", own=True)
    )
    lines = (
        clean.table("order_items")
        .join(clean.table("orders"), on="order_id")
        .join(clean.table("products").select("product_id", "category"), on="product_id")
        .join(clean.answer("tastes"), on="customer_id")
        .join(own, on=["taste", "category"], how="left")
    )
    assert 0.55 < lines["own"].is_not_null().sum() / lines.height < 0.68
    repeated = 1 - lines.select("customer_id", "product_id").n_unique() / lines.height
    strangers = lines.with_columns(pl.col("product_id").shuffle(seed=1))
    by_chance = 1 - strangers.select("customer_id", "product_id").n_unique() / lines.height
    assert repeated > 2 * by_chance


def test_without_taste_every_customer_draws_from_one_distribution(make: Callable[..., World]) -> None:
    world = make(customers=2_000, dirt_share=0.0, has_taste=False)
    assert world.answer("tastes")["taste"].unique().to_list() == ["shared"]
    table = world.answer("taste_parameters")
    assert table["taste"].unique().to_list() == ["shared"]
    by_month = table.group_by("month", "category").agg(pl.col("category_probability").n_unique())
    assert by_month["category_probability"].max() == 1


def test_probabilities_in_the_answer_key_sum_to_one(clean: World) -> None:
    tastes = (
        clean.answer("taste_parameters")
        .group_by("taste", "adherence", "month")
        .agg(pl.col("category_probability").sum())
    )
    assert ((tastes["category_probability"] - 1).abs() < 1e-9).all()
    products = (
        clean.answer("product_parameters")
        .group_by("period", "price_tier", "category")
        .agg(pl.col("product_probability").sum())
    )
    assert ((products["product_probability"] - 1).abs() < 1e-9).all()


def test_a_held_out_arm_shows_the_planted_effect(make: Callable[..., World]) -> None:
    world = make(customers=12_000, dirt_share=0.0, lines_per_customer=6.0)
    contacts = world.table("campaign_contacts").join(
        world.table("campaigns").with_columns(
            starts_at=pl.col("starts_on").str.to_datetime(),
            ends_at=pl.col("ends_on").str.to_datetime() + timedelta(days=1),
        ),
        on="campaign_id",
    )
    share = (contacts["arm"] == "control").mean()
    assert isinstance(share, float) and 0.1 < share < 0.2
    assert contacts.filter((pl.col("arm") == "control") & pl.col("contacted_at").is_not_null()).height == 0
    orders = contacts.join(world.table("orders").select("customer_id", "ordered_at"), on="customer_id")
    inside = orders.filter(pl.col("ordered_at").is_between("starts_at", "ends_at"))
    per_contact = contacts.join(
        inside.group_by("campaign_id", "customer_id").agg(orders=pl.len()),
        on=["campaign_id", "customer_id"],
        how="left",
    ).with_columns(pl.col("orders").fill_null(0))
    mean = dict(per_contact.group_by("arm").agg(pl.col("orders").mean()).iter_rows())
    truth = (
        contacts.filter(pl.col("arm") == "treated")
        .join(world.answer("personas"), on="customer_id")
        .join(world.answer("campaign_effects"), on=["campaign_id", "persona"])["true_effect"]
        .mean()
    )
    assert isinstance(truth, float) and truth > 0.02
    assert mean["treated"] - mean["control"] == pytest.approx(truth, abs=0.015)


def test_campaigns_have_a_past_and_a_future(clean: World) -> None:
    campaigns = clean.table("campaigns").with_columns(pl.col("starts_on").str.to_date())
    coming = campaigns.filter(pl.col("starts_on") > date(2026, 6, 30))
    assert coming.height == 2 and campaigns.height == 14
    assert clean.table("campaign_contacts").join(coming, on="campaign_id").height == 0
    assert clean.table("campaign_contacts")["campaign_id"].n_unique() == 12


def test_personal_values_are_in_contacts_only(clean: World) -> None:
    contacts = clean.table("contacts")
    full_names = set((contacts["first_name"] + " " + contacts["last_name"]).to_list())
    secrets = full_names | set(contacts["email"].drop_nulls()) | set(contacts["phone"].drop_nulls())
    for name in set(CONTRACT) - {"contacts"}:
        frame = clean.table(name)
        for column in frame.columns:
            if frame[column].dtype == pl.String:
                assert not secrets & set(frame[column].unique().drop_nulls()), (name, column)


def test_addresses_and_numbers_belong_to_nobody(clean: World) -> None:
    contacts = clean.table("contacts")
    assert contacts["email"].drop_nulls().str.contains(r"^[a-z]+\.[a-z]+\d+@example\.(com|org|net)$").all()
    assert contacts["email"].drop_nulls().is_unique().all()
    reserved = re.compile(
        r"^\+(49 30 23125|49 69 90009|49 40 66969|49 89 99998) \d{3}$|^\+44 (7700 900|1632 960)\d{3}$"
    )
    assert all(reserved.match(number) for number in contacts["phone"].drop_nulls())


def test_the_catalogue_has_goods_the_guards_must_watch(clean: World) -> None:
    products = clean.table("products")
    assert products.height == 396 and products["name"].is_unique().all()
    assert 25 <= products["brand"].n_unique() <= 40 and products["category"].n_unique() == 12
    assert "Wine & Spirits" in products["category"] and "Pregnancy & Baby Health" in products["subcategory"]
    assert 0 < (~products["is_active"]).sum() < 40
    stock = clean.table("inventory").group_by("product_id").agg(pl.col("stock_quantity").sum())
    assert 0 < (stock["stock_quantity"] == 0).sum() < 60
    assert (products["unit_cost"] > products["list_price"]).sum() < 20


def test_events_are_about_as_many_as_lines(clean: World) -> None:
    assert 0.8 < clean.table("product_events").height / clean.table("order_items").height < 1.5


@pytest.mark.parametrize("customers", [0, 1, 3])
def test_tiny_worlds_have_all_tables(tmp_path: Path, customers: int) -> None:
    world = World(tmp_path, WorldSettings(customers=customers, dirt_share=0.0))
    assert world.table("customers").height == customers
    for name in CONTRACT:
        assert world.table(name).width >= 1
    for page in FILES:
        world.answer(page)


def test_a_smaller_world_leaves_no_part_of_an_earlier_one_behind(tmp_path: Path) -> None:
    World(tmp_path, WorldSettings(customers=BLOCK + 1, lines_per_customer=2.0))
    world = World(tmp_path, WorldSettings(customers=5, lines_per_customer=2.0, dirt_share=0.0))
    assert world.table("customers").height == 5


def test_progress_ends_at_all_customers_and_an_answer_key_is_only_written_where_asked(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    stage_world(
        WorldSettings(customers=BLOCK + 10, lines_per_customer=2.0),
        tmp_path / "raw",
        None,
        lambda done, of: seen.append((done, of)),
    )
    assert seen == [(BLOCK, BLOCK + 10), (BLOCK + 10, BLOCK + 10)]
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.parametrize(
    "options, word",
    [({"customers": -1}, "customers"), ({"seed": -1}, "seed"), ({"dirt_share": 2.0}, "dirt_share"),
     ({"lines_per_customer": 0.0}, "lines_per_customer")],
)  # fmt: skip
def test_impossible_settings_are_refused_by_name(options: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        WorldSettings(**options)  # type: ignore[arg-type]  # options are the fields by name


@given(seed=st.integers(0, 2**31), block=st.integers(0, 600), topic=st.sampled_from(list(Topic)))
@hypothesis_settings(max_examples=30, deadline=None)
def test_streams_of_random_numbers_never_know_how_many_customers_were_asked_for(
    seed: int, block: int, topic: Topic
) -> None:
    few, many = WorldSettings(customers=1, seed=seed), WorldSettings(customers=10**6, seed=seed)
    assert (few.stream(topic, block).random(3) == many.stream(topic, block).random(3)).all()
    assert (few.stream(topic, block).random(3) != few.stream(topic, block + 1).random(3)).any()
    assert (few.stream(topic).random(3) != few.stream(topic, block).random(3)).any()
