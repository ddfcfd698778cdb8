"""What an axis is built from: only columns that are there; a name that is not is refused with the nearest one."""

from __future__ import annotations

from pathlib import Path

import pytest

from segmentation_assets.defs.axes import axis_spec, read_inputs
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.segmentation.spec import AxisSpecError
from segmentation_assets.settings import Home, SettingsError
from segmentation_assets.warehouse.connection import connect


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    monkeypatch.setenv("SEGMENTATION_SETTINGS", str(tmp_path / "segmentation.toml"))
    (tmp_path / "segmentation.toml").write_text("", encoding="utf-8")
    home = Home(tmp_path / "home").ensure()
    with connect(home.warehouse) as con:
        con.execute("create schema features; create schema clean")
        con.execute(
            "create table features.customer_features as select 'b' as customer_id, true as is_buyer, 2 as order_count, "
            "10.5::decimal(18,4) as monetary_amount, 3 as recency_days union all select 'a', false, 0, null, null"
        )
        con.execute("create table clean.customer_attributes as select 'b' as customer_id, 7.0 as loyalty_score")
    return Warehouse.at(home)


def configure(warehouse: Warehouse, toml: str) -> None:
    (warehouse.place.path.parent / "segmentation.toml").write_text(toml, encoding="utf-8")


def test_features_and_attributes_stand_side_by_side_in_order_of_the_customers(warehouse: Warehouse) -> None:
    configure(warehouse, "[segments.stage]\nfeatures = ['recency_days', 'loyalty_score']\n")
    inputs = read_inputs(warehouse, "stage")
    assert inputs.customers["customer_id"].to_list() == ["a", "b"]
    assert inputs.customers["loyalty_score"].to_list() == [None, 7.0]
    assert inputs.shares is None


def test_a_feature_that_does_not_exist_is_refused_with_the_nearest(warehouse: Warehouse) -> None:
    configure(warehouse, "[segments.stage]\nfeatures = ['recency_dais', 'loyalty_score']\n")
    with pytest.raises(SettingsError) as caught:
        read_inputs(warehouse, "stage")
    assert str(caught.value) == (
        "The stage axis asks for columns that neither features.customer_features nor clean.customer_attributes has. "
        "recency_dais: Did you mean recency_days?"
    )


def test_the_settings_win_over_the_defaults_of_an_axis(warehouse: Warehouse) -> None:
    configure(warehouse, "seed = 9\n[segments]\nshare_floor = 0.1\n[segments.stage]\nk_max = 4\n")
    spec = axis_spec(warehouse, "stage")
    assert (spec.seed, spec.share_floor, spec.k_max) == (9, 0.1, 4)


def test_protected_attributes_are_refused_as_features_by_name(warehouse: Warehouse) -> None:
    configure(warehouse, "[segments.stage]\nfeatures = ['recency_days']\ncategories = ['gender']\n")
    with pytest.raises(AxisSpecError, match="gender"):
        axis_spec(warehouse, "stage")


def test_two_axes_of_the_same_features_are_refused(warehouse: Warehouse) -> None:
    configure(
        warehouse,
        "[segments.stage]\nfeatures = ['recency_days']\n[segments.taste]\nfeatures = ['recency_days']\nshares = []\n",
    )
    with pytest.raises(AxisSpecError) as caught:
        axis_spec(warehouse, "taste")
    assert str(caught.value) == (
        "The axes stage and taste are built from the same features (recency_days), so their segments say the same "
        "thing twice. Give one of them other features, or switch it off (is_on = false)."
    )
