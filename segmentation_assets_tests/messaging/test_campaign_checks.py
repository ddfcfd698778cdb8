"""Every check on profiles, the offer plan, briefs and drafts: silent on good tables, and each fault is found.

The checks on the tables that matching makes are shown failing beside the code that makes them
(`segmentation_assets_tests/merchandising`).
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from segmentation_assets.warehouse.sql_models import SQL_ROOT, load_model

#: Tables of the campaigns schema whose checks are here, and those whose checks are in the tests of merchandising.
HERE = {"briefs", "draft_facts", "email_drafts", "match_choices", "offer_plan"}
ELSEWHERE = {
    "audience_members", "customer_activity", "match_backtest", "match_verdicts", "next_best_products",
    "next_best_weights", "product_affinity", "product_choices", "product_segment_matches", "product_traits",
    "promotable_products", "segment_purchases", "window_purchases",
}  # fmt: skip
CHECKS = sorted(
    str(path.relative_to(SQL_ROOT / "checks").with_suffix(""))
    for folder in ("profiles", "campaigns")
    for path in (SQL_ROOT / "checks" / folder).glob("*/*.sql")
    if path.parent.name not in ELSEWHERE
)

GOOD = """
create schema segments; create schema profiles; create schema campaigns; create schema clean;
create table segments.segment_summary as select * from (values
    ('stage', 'S1', 800, 500, 0.6::double), ('stage', 'S2', 700, 300, 0.4), ('taste', 'T1', 1500, 800, 1.0)
) t(axis, segment_id, customers, reachable_customers, revenue_share);
create table profiles.segment_profiles as select axis, segment_id, 'Name ' || segment_id as name, 'Who.' as who,
    'What.' as what, 'How.' as how, 'Objective.' as objective, 'Message.' as message, 'E-mail' as channel,
    'Resonance.' as resonance, 'Do not.' as do_not, 'Sure.' as confidence_sentence, customers, reachable_customers,
    revenue_share, 'First run.' as change_since_last, 'Coffee' as top_categories, 'Offer.' as best_offer,
    'embedded' as written_by, false as is_degraded from segments.segment_summary;
create table campaigns.promotable_products as select * from (values
    ('P1', 20.0, 8.0, 100.0, 10.0, 0.15, 17.0, 0.53, 0.1, false, false, true, 'Good.'),
    ('P2', 10.0, 9.5, 100.0, 10.0, 0.0, 10.0, 0.05, 0.1, false, false, false, 'Below the floor.')
) t(product_id, list_price, unit_cost, stock_quantity, safety_stock, discount_share, offer_price, margin_share,
    margin_floor_share, is_sensitive, is_age_restricted, is_promotable, reason);
create table campaigns.product_segment_matches as select 'P1' as product_id, 'T1' as taste_segment_id, stage_group,
    stage_segment_ids, 2.0 as activity_floor, discount_share, 0.05 as score from (values
    ('loyal', 'S1', 0.0), ('lapsing', 'S2', 0.15)
) t(stage_group, stage_segment_ids, discount_share);
create table campaigns.audience_members as
    select g.stage_group || i as customer_id, 'T1' as taste_segment_id, g.stage_segment_id, g.stage_group,
        i < 500 as is_reachable, i % 4 <> 0 as is_adult, 4 - i / 400 as expected_products,
        row_number() over (partition by g.stage_group, i % 4 <> 0 order by i) - 1 as activity_rank
    from range(800) t(i) cross join (values ('loyal', 'S1'), ('lapsing', 'S2')) g(stage_group, stage_segment_id);
create table campaigns.offer_plan as select 'P1' as product_id, 'T1' as taste_segment_id, stage_group,
    stage_segment_ids, is_adult, 0 as from_rank, to_rank, to_rank as customers, 3.0::double as expected_buyers,
    25.0::double as expected_margin_amount, 1 as offers_limit
    from campaigns.product_segment_matches cross join (values (true, 375), (false, 125)) c(is_adult, to_rank);
create table campaigns.briefs as select * from (values
    ('20240630-T1-loyal', 'S1', 0.0), ('20240630-T1-lapsing', 'S2', 0.15)
) t(brief_id, stage_segment_ids, discount_share);
alter table campaigns.briefs add column taste_segment_id varchar default 'T1';
alter table campaigns.briefs add column product_ids varchar default 'P1';
alter table campaigns.briefs add column starts_on date default date '2024-07-01';
alter table campaigns.briefs add column valid_until date default date '2024-07-14';
alter table campaigns.briefs add column audience_customers integer default 800;
alter table campaigns.briefs add column reachable_customers integer default 500;
alter table campaigns.briefs add column activity_floor double default 2.0;
alter table campaigns.briefs add column control_customers integer default 50;
alter table campaigns.briefs add column control_cost_amount double default 5;
alter table campaigns.briefs add column expected_margin_amount double default 50;
alter table campaigns.briefs add column low_margin_amount double default 20;
alter table campaigns.briefs add column high_margin_amount double default 80;
create table campaigns.email_drafts as select brief_id || '-' || v.variant as draft_id, brief_id, v.variant,
    taste_segment_id, stage_segment_ids, product_ids, discount_share, valid_until, 'Look' as call_to_action,
    audience_customers, 'Subject ' || v.variant as subject, 'Until 14 July.' as preheader,
    'Hello [[first_name|there]], [[campaign_url]] [[unsubscribe_url]] [[postal_address]]' as body_text,
    '<style>@media x {}</style><p>Hello [[first_name|there]], [[unsubscribe_url]] [[postal_address]]</p>' as body_html,
    'draft' as status, 'embedded' as written_by, false as is_degraded, '' as critique, '' as edited_fields,
    null::timestamp as edited_at from campaigns.briefs cross join (values ('A'), ('B')) v(variant);
create table campaigns.draft_facts as select brief_id, facts.* from campaigns.briefs cross join (values
    ('valid_until', 'date', '14 July 2024', '14 July 2024 | 14 July'),
    ('price1', 'money', '€10.20', '€10.20'), ('discount', 'share', '15%', '15%')
) facts(key, kind, value, renderings);
alter table segments.segment_summary add column name varchar;
update segments.segment_summary set name = 'Name ' || segment_id;
create table segments.customer_segments as
    select 'C' || i as customer_id, if(i < 60, 'S1', 'S2') as stage_segment_id, 'T1' as taste_segment_id
    from range(80) t(i);
create table profiles.profile_facts as select axis, segment_id, 'customers' as key,
    format('{:,}', customers) as renderings from segments.segment_summary;
create table profiles.strategies as select axis, segment_id, 'Keep all ' || format('{:,}', customers) as goal,
    'Approach.' as approach, 'Cadence.' as cadence, 'Measure.' as measure, 'Risk.' as risk, 'embedded' as written_by,
    false as is_degraded from segments.segment_summary;
create table profiles.audiences as select 'S1-deals' as audience_id, 'stage' as axis, 'S1' as segment_id,
    'Deal seekers' as name, 60 as customers, 'embedded' as written_by, false as is_degraded;
create table profiles.audience_members as
    select 'S1-deals' as audience_id, customer_id from segments.customer_segments where stage_segment_id = 'S1';
create table campaigns.match_choices as select product_id, taste_segment_id, stage_segment_ids,
    'embedded' as chosen_by, false as is_degraded from campaigns.product_segment_matches where stage_group = 'loyal';
"""

DRAFTS = "update campaigns.email_drafts set"
BRIEFS = "update campaigns.briefs set"
PLAN = "update campaigns.offer_plan set"
PRODUCTS = "update campaigns.promotable_products set"
#: rule -> statements that break it
FAULTS: dict[str, list[str]] = {
    "profiles/segment_profiles/one_profile_per_segment": [
        "delete from profiles.segment_profiles where segment_id = 'S1'",
        "insert into profiles.segment_profiles select * from profiles.segment_profiles where segment_id = 'S1'",
        "delete from segments.segment_summary where segment_id = 'T1'",
    ],
    "profiles/segment_profiles/names_are_unique": [
        "update profiles.segment_profiles set name = 'same '", "update profiles.segment_profiles set name = null",
    ],
    "profiles/segment_profiles/texts_are_complete": [
        "update profiles.segment_profiles set who = ' '", "update profiles.segment_profiles set how = 'They {{x}}'",
        "update profiles.segment_profiles set best_offer = null",
    ],
    "profiles/segment_profiles/figures_match_summary": [
        "update profiles.segment_profiles set customers = 801 where segment_id = 'S1'",
        "update profiles.segment_profiles set revenue_share = 0.61 where segment_id = 'S1'",
    ],
    "profiles/segment_profiles/no_pressure_and_no_address": [
        "update profiles.segment_profiles set message = 'Hurry! Flash sale!'",
        "update profiles.segment_profiles set who = 'Write to ann@example.com'",
    ],
    "profiles/segment_profiles/no_degraded_profile": ["update profiles.segment_profiles set is_degraded = true"],
    "profiles/segment_profiles/figures_are_facts": [
        "update profiles.segment_profiles set who = 'They are 801'", "update profiles.segment_profiles set how = '80%'",
    ],
    "profiles/strategies/figures_are_facts": [
        "update profiles.strategies set risk = 'Half of 90.5'", "delete from profiles.profile_facts",
    ],
    "profiles/strategies/no_degraded_strategy": ["update profiles.strategies set is_degraded = true"],
    "profiles/strategies/one_per_segment": [
        "delete from profiles.strategies where segment_id = 'S1'",
        "insert into profiles.strategies select * from profiles.strategies where segment_id = 'S1'",
        "delete from segments.segment_summary where segment_id = 'T1'",
    ],
    "profiles/audiences/members_are_counted": [
        "update profiles.audiences set customers = 61", "delete from profiles.audience_members",
        "update profiles.audiences set segment_id = 'S2'",
        "update profiles.audience_members set customer_id = 'C79' where customer_id = 'C0'",
    ],
    "profiles/audiences/names_are_unique": [
        "update profiles.audiences set name = 'name s2'",
        "insert into profiles.audiences select 'other' as audience_id, * exclude (audience_id) from profiles.audiences",
    ],
    "profiles/audiences/no_degraded_audience": ["update profiles.audiences set is_degraded = true"],
    "campaigns/match_choices/choice_is_a_match": ["update campaigns.match_choices set stage_segment_ids = 'S1,S2'"],
    "campaigns/match_choices/no_degraded_reason": ["update campaigns.match_choices set is_degraded = true"],
    "campaigns/offer_plan/intervals_do_not_overlap": [
        f"{PLAN} to_rank = 0", f"{PLAN} from_rank = -1", f"{PLAN} customers = 374",
        f"{PLAN} expected_buyers = -1", f"{PLAN} expected_margin_amount = -1",
        "insert into campaigns.offer_plan select * from campaigns.offer_plan",
        "insert into campaigns.offer_plan select * replace (100 as from_rank, 120 as to_rank, 20 as customers) "
        "from campaigns.offer_plan",
    ],
    "campaigns/offer_plan/offers_reach_matched_members": [
        f"{PLAN} to_rank = 376 where is_adult", f"{PLAN} to_rank = 900",
        "update campaigns.product_segment_matches set activity_floor = 2.8",
        f"{PLAN} taste_segment_id = 'T2'", f"{PLAN} stage_segment_ids = 'S1,S2'",
        "delete from campaigns.product_segment_matches",
    ],
    "campaigns/offer_plan/products_are_promotable": [
        f"{PLAN} product_id = 'P2'", f"{PLAN} product_id = 'P3'", f"{PRODUCTS} is_sensitive = true",
        f"{PRODUCTS} is_age_restricted = true", "update campaigns.product_segment_matches set discount_share = 0.58",
    ],
    "campaigns/offer_plan/stock_holds": [
        f"{PLAN} expected_buyers = 22.6", f"{PRODUCTS} stock_quantity = 21.9",
    ],
    "campaigns/offer_plan/no_customer_over_the_cap": [
        "insert into campaigns.offer_plan select * replace ('P3' as product_id, 374 as from_rank, 1 as customers) "
        "from campaigns.offer_plan where is_adult",
        f"{PLAN} offers_limit = 0", f"{PLAN} offers_limit = 2 where is_adult", f"{PLAN} offers_limit = null",
        f"{PLAN} offers_limit = null where is_adult",
    ],
    "campaigns/briefs/no_customer_over_the_cap": [
        f"{BRIEFS} product_ids = 'P1,P3'", f"{BRIEFS} stage_segment_ids = 'S1,S2' where brief_id like '%lapsing'",
        "insert into campaigns.briefs select * replace (brief_id || '-adults' as brief_id, 'P3' as product_ids) "
        "from campaigns.briefs",
        f"{PLAN} offers_limit = 0", f"{PLAN} offers_limit = null",
    ],
    "campaigns/briefs/one_row_per_brief": [
        f"{BRIEFS} valid_until = date '2024-06-30', starts_on = date '2024-06-30'", f"{BRIEFS} product_ids = ''",
        f"{BRIEFS} product_ids = 'a,b,c,d,e,f,g'", f"{BRIEFS} reachable_customers = 801",
        f"{BRIEFS} audience_customers = -1, reachable_customers = null", f"{BRIEFS} reachable_customers = -1",
        f"{BRIEFS} brief_id = 'one'", f"{BRIEFS} starts_on = date '2024-07-15'", f"{BRIEFS} discount_share = -0.1",
        f"{BRIEFS} discount_share = 1", f"{BRIEFS} low_margin_amount = 60", f"{BRIEFS} high_margin_amount = 40",
        *(f"{BRIEFS} {column} = null where brief_id like '%loyal'" for column in (
            "brief_id", "taste_segment_id", "stage_segment_ids", "product_ids", "starts_on", "valid_until",
            "audience_customers", "reachable_customers", "discount_share", "expected_margin_amount",
            "low_margin_amount", "high_margin_amount",
        )),
    ],
    "campaigns/briefs/segments_exist": [f"{BRIEFS} stage_segment_ids = 'S1,S7'", f"{BRIEFS} taste_segment_id = 'T7'"],
    "campaigns/briefs/products_hold_stock_and_margin": [
        f"{BRIEFS} product_ids = 'P1,P2'", f"{BRIEFS} discount_share = 0.58",
        "update campaigns.promotable_products set stock_quantity = 10",
        "update campaigns.promotable_products set is_sensitive = true",
    ],
    "campaigns/briefs/products_are_planned": [
        "delete from campaigns.offer_plan where stage_group = 'loyal'", f"{BRIEFS} product_ids = 'P1,P1'",
        "insert into campaigns.briefs select * replace (brief_id || '-adults' as brief_id) from campaigns.briefs",
    ],
    "campaigns/briefs/audiences_are_counted": [
        f"{BRIEFS} activity_floor = 2.1", f"{BRIEFS} reachable_customers = 499", f"{BRIEFS} audience_customers = 801",
        f"{BRIEFS} brief_id = brief_id || '-adults'", "delete from campaigns.audience_members",
    ],
    "campaigns/briefs/age_restricted_products_reach_adults_only": [
        f"{PRODUCTS} is_age_restricted = true", f"{BRIEFS} brief_id = brief_id || '-adults'",
    ],
    "campaigns/briefs/control_group_is_stated": [
        f"{BRIEFS} control_customers = 501", f"{BRIEFS} control_customers = null",
        f"{BRIEFS} control_cost_amount = 51", f"{BRIEFS} control_cost_amount = -1",
    ],
    "campaigns/briefs/stock_holds_for_all_readers": [
        f"{PRODUCTS} stock_quantity = 18", "update campaigns.product_segment_matches set score = 1.0",
    ],
    "campaigns/briefs/loyal_and_lapsing_differ": [f"{BRIEFS} discount_share = 0.15"],
    "campaigns/email_drafts/two_variants_per_brief": [
        "delete from campaigns.email_drafts where variant = 'B'", f"{DRAFTS} subject = 'Same'",
        f"{DRAFTS} status = 'sent'",
        "delete from campaigns.email_drafts where stage_segment_ids = 'S1'",
        "delete from campaigns.briefs where stage_segment_ids = 'S1'",
    ],
    "campaigns/email_drafts/same_offer_as_brief": [
        f"{DRAFTS} discount_share = 0.2", f"{DRAFTS} product_ids = 'P2'", f"{DRAFTS} valid_until = date '2024-07-20'",
    ],
    "campaigns/email_drafts/no_unresolved_field": [
        f"{DRAFTS} subject = 'Save {{{{discount}}}}'", f"{DRAFTS} body_html = '{{% if x %}}'",
        f"{DRAFTS} body_text = 'Dear [[last_name|x]]'", f"{DRAFTS} body_text = 'Dear [[first_name]]'",
    ],
    "campaigns/email_drafts/unsubscribe_and_address": [
        f"{DRAFTS} body_text = '[[postal_address]]'", f"{DRAFTS} body_html = '[[unsubscribe_url]]'",
    ],
    "campaigns/email_drafts/no_unsupported_urgency": [
        f"{DRAFTS} subject = 'Hurry! Flash sale!'", f"{DRAFTS} body_html = '<p>Only 3 left</p>'",
        f"{DRAFTS} preheader = 'Last chance, until 3 July'", f"{DRAFTS} call_to_action = 'Buy now!!'",
        f"{DRAFTS} body_text = 'Guaranteed.'",
    ],
    "campaigns/email_drafts/no_address": [
        f"{DRAFTS} body_text = 'ann@example.com'", f"{DRAFTS} body_html = '<p>ann@example.com</p>'",
        f"{DRAFTS} subject = '@you'",
    ],
    "campaigns/email_drafts/no_degraded_draft": [f"{DRAFTS} is_degraded = true"],
    "campaigns/email_drafts/edits_are_dated": [
        f"{DRAFTS} edited_fields = 'subject'", f"{DRAFTS} edited_at = timestamp '2024-07-01 10:00:00'",
        f"{DRAFTS} written_by = ''",
    ],
    "campaigns/draft_facts/figures_are_facts": [
        f"{DRAFTS} subject = 'Only €9.20'", f"{DRAFTS} preheader = 'Until 15 July.'",
        f"{DRAFTS} body_text = 'Now 20% off'", f"{DRAFTS} call_to_action = 'See all 7'",
        f"{DRAFTS} subject = 'All at 10.20'", f"{DRAFTS} subject = 'Save €15'",
        "delete from campaigns.draft_facts where brief_id like '%loyal'",
    ],
    "campaigns/draft_facts/one_row_per_fact": [
        "insert into campaigns.draft_facts select * from campaigns.draft_facts",
        "delete from campaigns.briefs where brief_id like '%loyal'",
        "update campaigns.draft_facts set renderings = 'x'", "update campaigns.draft_facts set value = ''",
    ],
    "campaigns/email_drafts/products_hold_stock_and_margin": [
        f"{DRAFTS} product_ids = 'P2'", f"{DRAFTS} discount_share = 0.58",
        "update campaigns.promotable_products set stock_quantity = 10",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    con = duckdb.connect()
    con.execute(GOOD)
    yield con
    con.close()


def _offending(con: duckdb.DuckDBPyConnection, check: str) -> list[tuple[object, ...]]:
    model = load_model(SQL_ROOT / "checks" / f"{check}.sql")
    return con.execute(model.query, {"as_of": "2024-06-30"} if model.needs_as_of else {}).fetchall()


def test_every_check_has_faults_that_it_must_find_and_a_full_header() -> None:
    assert set(FAULTS) == set(CHECKS)
    for check in CHECKS:
        facts = load_model(SQL_ROOT / "checks" / f"{check}.sql").facts
        assert facts["group"] in {"contract", "references", "business"}, check
        assert facts["severity"] in {"error", "warning"} and facts["blocking"] in {"yes", "no"}, check
        assert facts["severity"] == "error" or facts["blocking"] == "no", check
        assert facts["remedy"], check


@pytest.mark.parametrize("check", CHECKS)
def test_good_tables_pass(warehouse: duckdb.DuckDBPyConnection, check: str) -> None:
    assert _offending(warehouse, check) == []


@pytest.mark.parametrize(("check", "fault"), [(check, fault) for check, faults in FAULTS.items() for fault in faults])
def test_a_fault_is_found(warehouse: duckdb.DuckDBPyConnection, check: str, fault: str) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute(fault)
        assert _offending(warehouse, check), fault
    finally:
        warehouse.execute("rollback")


def test_urgency_with_the_real_end_date_passes(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute(f"{DRAFTS} preheader = 'Last chance, until 14 July'")
        assert _offending(warehouse, "campaigns/email_drafts/no_unsupported_urgency") == []
    finally:
        warehouse.execute("rollback")


def test_merge_fields_and_every_rendering_of_a_fact_are_no_invented_figures(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute(f"{DRAFTS} subject = '15% off, €10.20', body_text = 'Until 14 July 2024. [[x1|2]]'")
        assert _offending(warehouse, "campaigns/draft_facts/figures_are_facts") == []
    finally:
        warehouse.execute("rollback")


def test_every_table_of_campaigns_with_checks_is_tested_here_or_in_merchandising() -> None:
    folders = {path.name for path in (SQL_ROOT / "checks" / "campaigns").iterdir()}
    assert folders >= HERE and folders <= HERE | ELSEWHERE


def test_a_discount_that_a_person_chose_for_loyal_customers_is_no_fault(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute(
            f"{BRIEFS} discount_share = 0.2, brief_id = brief_id || '-at-20-off' where brief_id like '%loyal'"
        )
        assert _offending(warehouse, "campaigns/briefs/loyal_and_lapsing_differ") == []
    finally:
        warehouse.execute("rollback")


def test_stock_that_is_not_known_ends_no_offer(warehouse: duckdb.DuckDBPyConnection) -> None:
    warehouse.execute("begin")
    try:
        warehouse.execute(f"{PRODUCTS} stock_quantity = null, safety_stock = null")
        for check in ("offer_plan/stock_holds", "briefs/stock_holds_for_all_readers"):
            assert _offending(warehouse, f"campaigns/{check}") == []
    finally:
        warehouse.execute("rollback")


def test_a_customer_at_the_cap_is_no_fault_and_one_offer_more_is(warehouse: duckdb.DuckDBPyConnection) -> None:
    check = "campaigns/offer_plan/no_customer_over_the_cap"
    warehouse.execute("begin")
    try:
        # Two of everybody's two offers: one ends at the rank where the next begins.
        warehouse.execute(
            "insert into campaigns.offer_plan select * exclude (product, start, stop) replace (product as product_id, "
            "start as from_rank, stop as to_rank, stop - start as customers) from campaigns.offer_plan "
            "cross join (values ('P3', 0, 100), ('P4', 100, 375)) more(product, start, stop) where is_adult"
        )
        assert _offending(warehouse, check)
        warehouse.execute(f"{PLAN} offers_limit = 2")
        assert _offending(warehouse, check) == []
        warehouse.execute(f"{PLAN} to_rank = 101, customers = 101 where product_id = 'P3' and stage_group = 'loyal'")
        assert _offending(warehouse, check) == [("T1", "loyal", True, 100, 3, 2)]
    finally:
        warehouse.execute("rollback")


def test_briefs_at_the_cap_are_no_fault_and_without_a_plan_there_is_none(warehouse: duckdb.DuckDBPyConnection) -> None:
    check = "campaigns/briefs/no_customer_over_the_cap"
    warehouse.execute("begin")
    try:
        warehouse.execute(
            "insert into campaigns.briefs select * replace (brief_id || '-adults' as brief_id, 'P3,P4' as product_ids) "
            "from campaigns.briefs where brief_id like '%loyal'"
        )
        warehouse.execute(f"{PLAN} offers_limit = 3")
        assert _offending(warehouse, check) == []
        warehouse.execute(f"{PLAN} offers_limit = 2")
        assert _offending(warehouse, check) == [("T1", "S1", 3, 2)]
        warehouse.execute("delete from campaigns.offer_plan")
        assert _offending(warehouse, check) == []
    finally:
        warehouse.execute("rollback")
