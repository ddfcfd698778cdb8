"""`segmentation products`: a marketer sees what may be offered and at what price, and chooses; the rest is refused."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from segmentation_assets.cli_products import products_app
from segmentation_assets.merchandising.choices import choices_frame
from segmentation_assets.merchandising.plan import TABLE_TYPES, CampaignSpec, ProductFilters
from segmentation_assets.merchandising.promotable import promotable_products
from segmentation_assets.state.choices import all_choices, choices_in_force, choose_products
from segmentation_assets.state.store import open_state
from segmentation_assets.warehouse.tables import create_from_frame

AS_OF = dt.date(2026, 6, 30)
#: id, name, list price, cost, on sale, stock, sku
PRODUCTS = (
    ("P1", "House Espresso", 20.0, 8.0, True, 500.0, "A"),
    ("P2", "Day Pack", 40.0, 30.0, True, 400.0, "B"),
    ("P3", "Old Mug", 9.0, 2.0, False, 70.0, "C"),
    ("P4", "Tea Pot", 30.0, 29.0, True, 60.0, "D"),
    ("P5", "Lamp", 50.0, 10.0, True, 3.0, "E"),
    ("P6", "Chair", 200.0, 50.0, True, 90.0, "F"),
    ("P7", "Twin", 12.0, 4.0, True, 100.0, "G"),
    ("P8", "twin ", 12.0, 4.0, True, 100.0, "g"),
    ("P9", "Twin", 14.0, 4.0, True, 100.0, "H"),
    ("PA", "Rug", 10.0, 8.6, True, 100.0, "I"),
)
SPEC = CampaignSpec(
    filters=ProductFilters(maximum_price=100.0),
    discount_by_stage_group=dict.fromkeys(("loyal", "new", "lapsing", "lapsed", "never_bought"), 0.15),
)
Said = Callable[..., tuple[int, str]]


def publish(folder: Path, choices: list[tuple[str, float | None, int | None]], *, has_matches: bool = True) -> None:
    """A published copy as a run leaves it, as far as the commands read it."""
    products = pl.DataFrame(
        PRODUCTS, schema=["product_id", "name", "list_price", "unit_cost", "is_active", "stock", "sku"], orient="row"
    ).with_columns(
        retailer_id=pl.lit("R1"), brand=pl.lit("Nordlys"), category=pl.lit("Home"), subcategory=pl.lit("Plain"),
        launched_on=pl.lit(dt.date(2022, 1, 1)),
    )  # fmt: skip
    sales = pl.DataFrame(
        {"product_id": ["P1", "P2"], "units_last_90_days": [90.0, 9.0], "median_unit_price": [20.0, 40.0],
         "last_sold_on": [AS_OF, AS_OF]}
    )  # fmt: skip
    frame = promotable_products(
        products, products.select("product_id", stock_quantity="stock"), sales, choices_frame(choices), spec=SPEC,
        as_of=AS_OF,
    )  # fmt: skip
    path = folder / "published.duckdb"
    path.unlink(missing_ok=True)
    with duckdb.connect(str(path)) as con:
        create_from_frame(con, "campaigns/promotable_products", frame, TABLE_TYPES["campaigns/promotable_products"])
        con.execute("create schema raw; create table raw.source as select 'EUR' as currency")
        if has_matches:
            con.execute(
                "create table campaigns.product_segment_matches as select * from (values ('P2', 120.5), ('P2', 80.0), "
                "('P1', 1000.0)) t(product_id, expected_margin_amount)"
            )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with open_state(folder / "state.sqlite"):
        publish(folder, [])
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


@pytest.fixture
def products(place: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """`segmentation products ...` on that HOME: exit code and everything said, on one line."""
    for name in list(os.environ):
        if name.startswith("SEGMENTATION_"):
            monkeypatch.delenv(name)

    def call(*words: str, home: Path = place) -> tuple[int, str]:
        result = CliRunner(env={"COLUMNS": "300"}).invoke(products_app, [*words, "--home", str(home)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, " ".join((result.stdout + " " + result.stderr).split())

    return call


def listed(place: Path, *words: str) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(products_app, ["list", "--json", *words, "--home", str(place)])
    return {row["product_id"]: row for row in json.loads(result.stdout)}


def in_force(place: Path) -> dict[str, tuple[float | None, int | None]]:
    with open_state(place / "state.sqlite") as store:
        return {row.product_id: (row.discount_share, row.audience_customers) for row in choices_in_force(store)}


# --- list --------------------------------------------------------------------------------------------------------


def test_the_list_shows_what_may_be_offered_the_best_match_first(products: Said) -> None:
    code, words = products("list")
    assert code == 0
    assert words.startswith(
        "product name price stock discount margin uplift needed best match chosen is "
        "P1 House Espresso €20.00 500 15% €9.00 (52.9%) 34% €1,000.00 offered "
        "P2 Day Pack €40.00 400 15% €4.00 (11.8%) 150% €120.50 offered "
        "P7 Twin €12.00 100 15% €6.20 (60.8%) 30% offered "
    )
    assert words.endswith("4 of 10 products may be offered. `segmentation products list --all` says why the others "
                          "may not.")  # fmt: skip
    assert "P3" not in words and "Discontinued" not in words


def test_the_list_of_all_says_why_the_others_may_not_be_offered(products: Said) -> None:
    code, words = products("list", "--all")
    assert code == 0
    for reason in (
        "Discontinued.",
        "Margin of -1.8% after 5% off is below the floor of 10%.",
        "Stock of 3 is not above the safety level of 5.",
        "List price: 200; the filter asks for 100 or less.",
        "Its sku g is also that of P7, which is offered instead.",
    ):
        assert reason in words
    assert words.endswith("4 of 10 products may be offered.")


def test_the_list_as_json_holds_the_figures(place: Path) -> None:
    rows = listed(place)
    assert list(rows) == ["P1", "P2", "P7", "P9"]
    first = rows["P1"]
    assert (first["list_price"], first["stock_quantity"], first["offer_price"]) == (20.0, 500.0, 17.0)
    assert (first["margin_amount"], first["expected_margin_amount"]) == (9.0, 1000.0)
    assert first["break_even_uplift"] == pytest.approx(1 / 3)
    assert (first["is_chosen"], first["chosen_discount_share"]) == (False, None)
    assert rows["P9"]["expected_margin_amount"] is None
    everything = listed(place, "--all")
    assert len(everything) == len(PRODUCTS) and everything["P3"]["reason"] == "Discontinued."


def test_the_list_works_before_there_are_matches_and_without_products(place: Path, products: Said) -> None:
    publish(place, [], has_matches=False)
    assert listed(place)["P1"]["expected_margin_amount"] is None
    with duckdb.connect(str(place / "published.duckdb")) as con:
        con.execute("delete from campaigns.promotable_products")
    assert products("list") == (0, "The catalogue has no products, so there is nothing to choose.")
    assert listed(place) == {}


def test_the_list_shows_choices_at_once_and_says_that_the_figures_are_older(place: Path, products: Said) -> None:
    products("choose", "P1", "--discount", "0.3", "--customers", "2000")
    code, words = products("list")
    assert code == 0
    assert "30% off, 2,000 customers offered" in words
    assert "1 product is chosen: P1; campaigns are made of these." in words
    assert words.endswith(
        "These figures are from before the choices in force; they are renewed by `segmentation run --job campaigns "
        f"--home {place}`."
    )
    publish(place, [("P1", 0.3, 2000)])  # the run
    code, words = products("list")
    assert "from before" not in words
    assert "Not among the products chosen." in words  # what could be chosen in its place stays listed
    assert listed(place)["P1"]["discount_share"] == 0.3
    products("clear")
    assert "from before the choices in force" in products("list")[1]


def test_a_chosen_product_that_has_left_the_catalogue_is_named(place: Path, products: Said) -> None:
    with open_state(place / "state.sqlite") as store:
        choose_products(store, ["GONE"], chosen_at=dt.datetime(2026, 6, 1))
    assert "Chosen, but not in the catalogue: GONE." in products("list")[1]


@pytest.mark.parametrize("words", [["list"], ["choose", "P1"]])
def test_a_home_without_a_published_copy_says_so(tmp_path: Path, products: Said, words: list[str]) -> None:
    code, said = products(*words, home=tmp_path / "new")
    assert code == 2
    new = tmp_path / "new"
    assert said == f"Nothing is published in {new} yet. `segmentation run --home {new}` makes it."
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("fault", ["drop table campaigns.promotable_products",
                                   "alter table campaigns.promotable_products drop column is_chosen"])  # fmt: skip
def test_a_published_copy_of_an_older_version_is_to_be_renewed(place: Path, products: Said, fault: str) -> None:
    with duckdb.connect(str(place / "published.duckdb")) as con:
        con.execute(fault)
    for words in (["list"], ["choose", "P1"]):
        code, said = products(*words)
        assert (code, said) == (
            2,
            f"The published copy in {place} does not say yet which products may be chosen. `segmentation run` "
            "renews it.",
        )


# --- choose ------------------------------------------------------------------------------------------------------


def test_a_choice_is_kept_with_what_it_earns_and_what_to_run_next(place: Path, products: Said) -> None:
    before = dt.datetime.now(dt.UTC).replace(tzinfo=None, microsecond=0)
    code, words = products("choose", "P1", "--discount", "0.3", "--customers", "2000")
    assert (code, words) == (
        0,
        "P1 House Espresso is chosen, for 2,000 customers: €20.00 less 30%, which is €14.00, at a cost of €8.00 is a "
        "margin of 42.9%, and 100% more units must sell to earn as much as without the discount. "
        f"It is in the campaigns after `segmentation run --job campaigns --home {place}`.",
    )
    assert in_force(place) == {"P1": (0.3, 2000)}
    with open_state(place / "state.sqlite") as store:
        assert before <= all_choices(store)[0].chosen_at <= before + dt.timedelta(minutes=1)


def test_a_choice_without_a_discount_leaves_it_to_the_plan(place: Path, products: Said) -> None:
    code, words = products("choose", "P2", "P1", "P2")
    assert code == 0
    assert "P2 Day Pack is chosen: at the plan's discounts, of which it bears up to 16.6%." in words
    assert in_force(place) == {"P1": (None, None), "P2": (None, None)}
    code, words = products("choose", "P1", "--discount", "0")
    assert "P1 House Espresso is chosen: the list price of €20.00 at a cost of €8.00 is a margin of 60%." in words
    assert in_force(place)["P1"] == (0.0, None)


def test_a_name_that_one_product_has_stands_for_its_id_and_is_said(place: Path, products: Said) -> None:
    code, words = products("choose", " house  ESPRESSO")
    assert code == 0
    assert words.startswith("'house ESPRESSO' is product P1. P1 House Espresso is chosen")
    code, words = products("choose", "Twin")
    assert (code, words) == (2, "'Twin' is the name of 3 products, P7, P8, P9; choose by id.")
    code, words = products("choose", "P1", "Sofa", "P77")
    assert (code, words) == (
        2,
        "There is no product 'Sofa'. `segmentation products list --all` shows those there are. "
        "There is no product 'P77'. `segmentation products list --all` shows those there are.",
    )
    assert list(in_force(place)) == ["P1"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["P3"], "- P3 Old Mug: Discontinued."),
        (["P5"], "- P5 Lamp: Stock of 3 is not above the safety level of 5."),
        (["P8"], "- P8 twin: Its sku g is also that of P7, which is offered instead."),
        (
            ["P4"],
            "- P4 Tea Pot: the list price of €30.00 at a cost of €29.00 is a margin of 3.3%, below the floor of 10%; "
            "it cannot be offered at any discount.",
        ),
        (
            ["P2", "--discount", "0.4"],
            "- P2 Day Pack: €40.00 less 40%, which is €24.00, at a cost of €30.00 is a margin of -25%, below the floor "
            "of 10%. The largest discount that holds it is 16.6% (--discount 0.166).",
        ),
        (
            ["PA"],
            "- PA Rug: Margin of 9.4% after 5% off is below the floor of 10%. The largest discount that holds it is "
            "4.4% (--discount 0.044).",
        ),
    ],
)
def test_what_cannot_be_offered_is_refused_with_its_figures(
    place: Path, products: Said, words: list[str], told: str
) -> None:
    code, said = products("choose", *words)
    assert (code, said) == (2, f"Nothing was chosen, because this cannot be offered: {told}")
    assert in_force(place) == {}


def test_one_product_that_cannot_be_offered_stops_the_whole_choice(place: Path, products: Said) -> None:
    code, words = products("choose", "P1", "P3", "P5")
    assert code == 2
    assert "P3" in words and "P5" in words and "P1" not in words
    assert in_force(place) == {}


def test_the_largest_discount_told_is_accepted(place: Path, products: Said) -> None:
    assert products("choose", "P2", "--discount", "0.166")[0] == 0
    assert products("choose", "PA", "--discount", "0.044")[0] == 0
    assert products("choose", "P2", "--discount", "0.167")[0] == 2
    assert in_force(place) == {"P2": (0.166, None), "PA": (0.044, None)}


def test_what_a_choice_or_a_setting_can_change_is_accepted(place: Path, products: Said) -> None:
    code, words = products("choose", "P6")
    assert code == 0
    assert (
        "! A filter excludes it, and a choice does not: List price: 200; the filter asks for 100 or less. "
        "(campaigns.filters)"
    ) in words
    assert "P6" in listed(place) and "P3" not in listed(place)  # what is chosen and cannot be offered stays in sight
    publish(place, [("P1", 0.9, None)])  # a run's config named P1 at a discount it cannot bear
    assert listed(place, "--all")["P1"]["reason"].startswith("Margin of -300% after the chosen 90% off")
    for words_ in (["P1"], ["P1", "--discount", "0.2"], ["P2"]):
        assert products("choose", *words_)[0] == 0
    assert in_force(place) == {"P1": (0.2, None), "P2": (None, None), "P6": (None, None)}


def test_a_better_discount_brings_no_stock(place: Path, products: Said) -> None:
    publish(place, [("P5", 0.9, None)])
    assert listed(place, "--all")["P5"]["reason"].startswith("Margin of -100% after the chosen 90% off")
    code, words = products("choose", "P5", "--discount", "0.1")
    assert code == 2
    assert words.endswith("- P5 Lamp: Stock of 3 is not above the safety level of 5.")


@pytest.mark.parametrize("given", ["15", "1", "-0.1", "nan"])
def test_a_discount_in_percent_is_refused(place: Path, products: Said, given: str) -> None:
    code, words = products("choose", "P1", "--discount", given)
    assert (code, words) == (
        2,
        f"A discount is at least 0 and below 1, and 0.15 is fifteen percent; the one given is {given}.",
    )
    assert in_force(place) == {}


def test_an_audience_of_nobody_is_refused(place: Path, products: Said) -> None:
    code, words = products("choose", "P1", "--customers", "0")
    assert (code, words) == (2, "An audience has 1 to 1,000,000,000 customers; the one given has 0.")
    assert in_force(place) == {}


# --- clear -------------------------------------------------------------------------------------------------------


def test_clearing_one_and_then_all(place: Path, products: Said) -> None:
    products("choose", "P1", "P2", "P7")
    after = f"The campaigns follow after `segmentation run --job campaigns --home {place}`."
    assert products("clear", "P2", "P2") == (
        0, f"P2 is no longer chosen. 2 products are still chosen: P1, P7. {after}",
    )  # fmt: skip
    assert products("clear", "P2") == (2, "P2 is not among the products chosen; there are P1, P7.")
    assert products("clear") == (
        0,
        "P1, P7 are no longer chosen. Nothing is chosen now, so every product that may be offered is. " + after,
    )
    assert products("clear") == (0, "Nothing was chosen, so there is nothing to clear.")
    assert in_force(place) == {}


def test_clearing_where_nothing_was_run_is_a_sentence(tmp_path: Path, products: Said) -> None:
    code, words = products("clear", home=tmp_path / "new")
    assert (code, words) == (2, f"Nothing was run in {tmp_path / 'new'} yet, so nothing is chosen.")
    assert not (tmp_path / "new").exists()
