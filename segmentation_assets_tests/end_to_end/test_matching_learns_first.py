"""The graph learns on the window before the one it judges, and uses the last window for today."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from segmentation_assets.defs.matching import window_of
from segmentation_assets.defs.merchandising import campaign_spec, goods_of, groups_of
from segmentation_assets.defs.purchases import events_of
from segmentation_assets.merchandising.activity import expected_products, fit_activity
from segmentation_assets.merchandising.audience_backtest import backtest_audiences
from segmentation_assets.merchandising.matching import past_rates
from segmentation_assets.merchandising.shares import learn_shares
from segmentation_assets.orchestration.warehouse import source_row
from segmentation_assets.settings import Settings


@pytest.mark.parametrize("learned_on", [1, 2])
def test_the_back_test_of_audiences_learns_on_the_window_before_the_one_it_judges(
    finished: Path, learned_on: int
) -> None:
    with duckdb.connect(str(finished / "home" / "warehouse.duckdb"), read_only=True) as con:
        then = {ago: window_of(con, "customer_activity", ago) for ago in (1, 2)}
        counts = window_of(con, "window_purchases", learned_on)
        tastes = sorted({*then[1]["taste_segment_id"], *then[2]["taste_segment_id"]})
        expected = backtest_audiences(
            then[learned_on],
            then[1],
            events_of(con, source_row(con)[0]),
            learn_shares(counts, goods_of(con), tastes),
            rates=past_rates(counts, then[learned_on]),
            groups=groups_of(con),
            spec=campaign_spec(Settings()),
            seed=42,
        )
        stored = con.sql("from campaigns.match_backtest where scope like 'product to audience%'").pl()
    assert expected.height > 0
    keys = ["scope", "metric", "method"]
    is_same = stored.sort(keys).equals(expected.sort(keys))
    # What was learned on the judged days themselves would be another, and better, table.
    assert is_same == (learned_on == 2)


def test_todays_activity_is_learned_on_the_last_window(finished: Path) -> None:
    with duckdb.connect(str(finished / "home" / "warehouse.duckdb"), read_only=True) as con:
        now = window_of(con, "customer_activity", 0)
        expected = {}
        for ago in (1, 2):
            found = expected_products(fit_activity(window_of(con, "customer_activity", ago), 42), now)
            expected[ago] = dict(zip(now["customer_id"], found.tolist(), strict=True))
        rows = con.sql("select customer_id, expected_products from campaigns.audience_members").fetchall()
    assert rows
    assert all(expected[1][customer] == pytest.approx(value) for customer, value in rows)
    assert any(expected[2][customer] != pytest.approx(value) for customer, value in rows)
