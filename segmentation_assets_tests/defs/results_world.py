"""A shop with one campaign sent from here and two past ones, small enough to reckon by hand. Nobody is real.

The data reach to 31 July 2026. `summer` began on 1 July at nine and counted orders for 14 days: ann bought in it and
clicked, ben's message bounced, cem's never left, dot bought an hour too late; eva and fay were left out and eva bought,
gus is left out of everything and bought. All were of the taste Coffee when it was planned; fay has moved to Tea since.
"""

from __future__ import annotations

import datetime as dt

import duckdb

from segmentation_assets.delivery.tables import TABLE_TYPES
from segmentation_assets.sources.contract import CONTRACT, WAREHOUSE_TABLES
from segmentation_assets.warehouse.connection import quote
from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model
from segmentation_assets.warehouse.tables import create_from_query

AS_OF = dt.date(2026, 7, 31)
MODELS = (
    "delivery/labelled_events", "features/engagement", "results/measured_campaigns", "results/campaign_customers",
    "results/hold_out_customers", "results/segment_engagement",
)  # fmt: skip

_ROWS = """
create or replace table raw.source as select date '2026-07-31' as as_of, 'EUR' as currency;
create or replace table results.measurement_rules as
    select 14::bigint as window_days, 'buyers' as primary_metric, 50::bigint as minimum_cell;
insert into clean.customers (customer_id)
    values ('ann'), ('ben'), ('cem'), ('dot'), ('eva'), ('fay'), ('gus'), ('hal');
create or replace table features.reachability as select customer_id, false as is_opted_out from clean.customers;
insert into clean.products (product_id, name, unit_cost) values ('P1', 'House Espresso', 4), ('P2', 'Tea Pot', null);
insert into clean.campaigns (campaign_id, name, channel, starts_on, ends_on) values
    ('K1', 'Spring', 'email', date '2026-05-01', date '2026-05-10'), ('K2', 'May', 'email', date '2026-05-20', null);
insert into clean.campaign_contacts (campaign_id, customer_id, arm, contacted_at) values
    ('K1', 'ann', 'treated', timestamp '2026-05-01 08:00'), ('K1', 'eva', 'treated', timestamp '2026-05-01 08:00'),
    ('K1', 'ben', 'control', null), ('K2', 'cem', 'treated', null);
insert into clean.campaign_responses (response_id, campaign_id, customer_id, kind, occurred_at) values
    ('R1', 'K1', 'ann', 'click', timestamp '2026-05-01 09:00'),
    ('R2', 'K1', 'eva', 'unsubscribe', timestamp '2026-05-02 09:00'),
    ('R3', 'K1', 'eva', 'open', timestamp '2026-06-02 09:00');
insert into delivery.campaigns values ('summer', 'Summer', 'sent', 'buyers', 14, 0.25, false,
    timestamp '2026-07-01 09:00', timestamp '2026-07-03 20:00', 'P1,P2', 0.25);
insert into delivery.sends values
    ('s-ann', 'summer', 'ann', 'treated', 'A', 'sent', '', timestamp '2026-07-01 09:00', 1, 250, 'P2', 'T1', 'S1'),
    ('s-ben', 'summer', 'ben', 'treated', 'B', 'sent', '', timestamp '2026-07-01 09:00', 1, 250, '', 'T1', 'S2'),
    ('s-cem', 'summer', 'cem', 'treated', 'A', 'failed', '5.1.1', timestamp '2026-07-01 09:00', 1, 550, '', 'T1', 'S1'),
    ('s-dot', 'summer', 'dot', 'treated', 'B', 'sent', '', timestamp '2026-07-01 09:00', 1, 250, '', 'T1', 'S2'),
    ('s-eva', 'summer', 'eva', 'control', '', 'ghost', '', timestamp '2026-07-01 09:00', 0, null, 'P2', 'T1', 'S1'),
    ('s-fay', 'summer', 'fay', 'control', '', 'ghost', '', timestamp '2026-07-01 09:00', 0, null, '', 'T1', 'S2'),
    ('s-gus', 'summer', 'gus', 'hold_out', '', 'ghost', '', timestamp '2026-07-01 09:00', 0, null, '', 'T1', 'S1');
insert into delivery.events values
    ('e1', 's-ann', 'summer', 'ann', 'click', timestamp '2026-07-02 10:00', 0, 'link', 'GET', 'browser_mobile', 'n1'),
    ('e2', 's-dot', 'summer', 'dot', 'click', timestamp '2026-07-01 09:01', 1, 'link', 'GET', 'script', 'n2'),
    ('e3', 's-ben', 'summer', 'ben', 'hard_bounce', timestamp '2026-07-01 09:02', null, 'smtp', '', '', ''),
    ('e4', 's-dot', 'summer', 'dot', 'unsubscribe', timestamp '2026-07-05 09:02', null, 'page', 'POST', '', 'n3'),
    ('e5', 's-dot', 'summer', 'dot', 'click', timestamp '2026-07-30 09:01', 1, 'link', 'GET', 'browser_mobile', 'n4');
insert into features.order_lines values
    ('L1', 'O1', 'ann', 'P1', timestamp '2026-07-03 12:00', 2, 20), ('L2', 'O1', 'ann', 'P2', timestamp '2026-07-03 12:00', 1, 30),
    ('L3', 'O2', 'ann', 'P1', timestamp '2026-07-14 12:00', 1, 10), ('L4', 'O3', 'dot', 'P1', timestamp '2026-07-15 10:00', 1, 10),
    ('L5', 'O4', 'eva', 'P1', timestamp '2026-07-02 12:00', 1, 10), ('L6', 'O5', 'fay', 'P1', timestamp '2026-07-01 08:00', 1, 10),
    ('L7', 'O6', 'ben', 'P1', timestamp '2026-05-10 23:00', 1, 10), ('L8', 'O7', 'ben', 'P1', timestamp '2025-01-10 23:00', 1, 10),
    ('L9', 'O8', 'gus', 'P1', timestamp '2026-07-20 12:00', 1, 10), ('L10', 'O9', 'gus', 'P1', timestamp '2026-07-06 12:00', 1, 10);
insert into segments.customer_segments values ('ann', 'S1', 'T1'), ('ben', 'S2', 'T1'), ('cem', 'S2', 'T1'),
    ('dot', 'S1', 'T1'), ('eva', 'S1', 'T1'), ('fay', 'S2', 'T2'), ('gus', 'S2', 'T2'), ('hal', 'S0', 'T0');
insert into segments.segment_summary values ('stage', 'S0', 1), ('stage', 'S1', 3), ('stage', 'S2', 4),
    ('stage', 'S3', 0), ('taste', 'T0', 1), ('taste', 'T1', 5), ('taste', 'T2', 2);
insert into delivery.send_rules (rest_after_messages, rest_days) values (1, 60);
insert into segments.taste_model values ('T1', 'Coffee'), ('T2', 'Tea');
insert into segments.stage_model values ('S1', 'Loyal'), ('S2', 'Lapsing');
"""  # noqa: E501 - one line per row


def make_tables(con: duckdb.DuckDBPyConnection) -> None:
    """The tables that results read, empty, with their columns."""
    for schema in ("raw", "clean", "features", "segments", "delivery", "results"):
        con.execute(f"create schema if not exists {schema}")
    for name in WAREHOUSE_TABLES:
        columns = ", ".join(f"{quote(column.name)} {column.sql_type}" for column in CONTRACT[name].columns)
        con.execute(f"create table clean.{name} ({columns})")
    for name in ("campaigns", "sends", "events", "send_rules"):
        columns = ", ".join(f"{column} {kind}" for column, kind in TABLE_TYPES[f"delivery/{name}"].items())
        con.execute(f"create table delivery.{name} ({columns})")
    con.execute(
        "create table features.order_lines (order_item_id varchar, order_id varchar, customer_id varchar, "
        "product_id varchar, ordered_at timestamp, quantity decimal(18, 3), net_amount decimal(18, 4)); "
        "create table segments.customer_segments (customer_id varchar, stage_segment_id varchar, "
        "taste_segment_id varchar); create table segments.taste_model (segment_id varchar, name varchar); "
        "create table segments.stage_model (segment_id varchar, name varchar); "
        "create table segments.segment_summary (axis varchar, segment_id varchar, customers bigint)"
    )


def fill(con: duckdb.DuckDBPyConnection) -> None:
    """The rows of the shop."""
    con.execute(_ROWS)


def build(con: duckdb.DuckDBPyConnection, as_of: dt.date = AS_OF) -> None:
    """The SQL models of this stage, in the order of their parents."""
    for name in MODELS:
        model = load_model(SQL_ROOT / f"{name}.sql")
        create_from_query(con, name, model.query, {"as_of": as_of} if model.needs_as_of else None)
