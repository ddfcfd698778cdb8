"""Stage delivery, before sending: the mirrors of the state store, and who would be written to and who not and why."""

import hashlib
from collections.abc import Mapping
from typing import Any

import dagster as dg
import duckdb
import polars as pl

from segmentation_assets.delivery.events import FoldError, fold_spool
from segmentation_assets.delivery.keys import KeyMismatchError, SecretKey, open_key
from segmentation_assets.delivery.plan import (
    PLAUSIBLE_LIFT,
    SUPPRESSION_KINDS,
    PlanSpec,
    audiences,
    campaign_plans,
    plan_reasons,
    plan_sends,
)
from segmentation_assets.delivery.plan_addresses import ascii_forms, suppressed_by_address
from segmentation_assets.delivery.tables import COLUMN_NOTES, TABLE_TYPES
from segmentation_assets.messaging.address import AddressProblem
from segmentation_assets.orchestration.delivery_plots import left_out
from segmentation_assets.orchestration.table_steps import Computed, TableDeclaration, computed_tables, sql_table
from segmentation_assets.orchestration.warehouse import Warehouse
from segmentation_assets.settings import Settings
from segmentation_assets.state.delivery_tables import read_delivery_tables, suppressed_address_hashes
from segmentation_assets.state.store import open_state
from segmentation_assets.warehouse.tables import has_table

_GROUP = "delivery"
_PYTHON = frozenset({"duckdb", "python"})
#: Seconds are enough for what is asked of contact details; nothing of an address outlives the connection.
_NO_FLAGS = {
    "customer_id": pl.String(), "needs_smtputf8": pl.Boolean(), "is_twin": pl.Boolean(), "is_wrong": pl.Boolean(),
    "address_suppressed_as": pl.String(),
}  # fmt: skip


def declare(key: str, description: str, deps: tuple[str, ...]) -> TableDeclaration:
    """A table of the room delivery."""
    return TableDeclaration(key, description, types=TABLE_TYPES[key], texts=COLUMN_NOTES[key], deps=deps, kinds=_PYTHON)


def plan_spec(settings: Settings, key: SecretKey | None, why_no_key: str = "") -> PlanSpec:
    """The settings as the plan takes them; a failure with a sentence where one cannot be meant."""
    rules = settings.delivery
    try:
        return PlanSpec(
            # Who is left out is drawn from the seed: the same source and seed give the same plan, in any HOME.
            key=None if key is None else SecretKey(hashlib.sha256(f"draws {settings.seed}".encode()).digest()),
            why_no_key=why_no_key,
            control_share=settings.campaigns.control_share,
            hold_out_share=rules.hold_out_share,
            cap_messages=rules.cap_messages,
            cap_days=rules.cap_days,
            rest_after_messages=rules.rest_after_messages,
            rest_days=rules.rest_days,
            quiet_from_hour=rules.quiet_from_hour,
            quiet_to_hour=rules.quiet_to_hour,
            timezone=rules.timezone,
            window_days=settings.measurement.window_days,
        )
    except ValueError as error:
        raise dg.Failure(f"Nothing can be planned with these settings: {error}", allow_retries=False) from None


# --- mirrors --------------------------------------------------------------------------------------------------------


@computed_tables(
    _GROUP,
    # In the order of what their checks read: Dagster wants a table after those it depends on.
    declare(
        "delivery/send_rules",
        "The settings that decide who may be written to, where SQL can read them.\n\nGrain: one row",
        ("raw/source",),
    ),
    declare(
        "delivery/campaigns",
        "Campaigns that a person decided on, as the state store holds them.\n\nGrain: campaign_id",
        ("raw/source",),
    ),
    declare(
        "delivery/sends",
        "Every customer of a started campaign: a message and what became of it, or the ghost of one for those who are "
        "left out. A mirror of the state store.\n\nGrain: campaign_id, customer_id",
        ("raw/source",),
    ),
    declare(
        "delivery/events",
        "What happened to messages, as it was reported: robots included. A mirror of the state store.\n\n"
        "Grain: event_id",
        ("raw/source",),
    ),
    declare(
        "delivery/suppressions",
        "Customers who are not written to any more, and why. A mirror of the state store.\n\nGrain: customer_id, kind",
        ("raw/source",),
    ),
    name="delivery__mirrors",
)  # fmt: skip
def mirrors(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """Copy what the state store knows of campaigns, so that SQL sees it."""
    with open_state(warehouse.place.state) as store:
        try:  # what the service heard counts from now on, also where no sensor is running
            fold_spool(warehouse.place.spool, store)
        except FoldError as error:
            context.log.warning(str(error))
        found = read_delivery_tables(store)
    rules = plan_spec(warehouse.settings, None)
    settings = pl.DataFrame({name: [getattr(rules, name)] for name in TABLE_TYPES["delivery/send_rules"]})
    statuses = found.sends.group_by("arm", "status").len().sort("arm", "status")
    told = {f"{arm}_{status}": count for arm, status, count in statuses.iter_rows()}
    return {
        "delivery/campaigns": Computed(found.campaigns),
        "delivery/sends": Computed(found.sends, told),
        "delivery/events": Computed(found.events),
        "delivery/suppressions": Computed(found.suppressions),
        "delivery/send_rules": Computed(settings),
    }


contact_history = sql_table("delivery/contact_history", _GROUP)


# --- the plan -------------------------------------------------------------------------------------------------------

_KINDS = ", ".join(f"'{kind}'" for kind in SUPPRESSION_KINDS)
_CUSTOMERS = f"""
select
    c.customer_id, c.timezone, coalesce(r.is_opted_out, false) as is_opted_out, r.has_consent, r.has_unsubscribed,
    s.kind as suppressed_as, r.is_minor, r.is_age_known,
    r.is_adult, r.has_valid_email, false as needs_smtputf8, r.is_email_shared, m.taste_segment_id, m.stage_segment_id,
    m.expected_products, l.expected_orders / nullif(l.horizon_days, 0) as expected_daily_orders, h.messages_in_cap,
    h.messages_since_click, cast(h.last_message_at as date) as last_message_on, h.present_campaign_id,
    h.present_messages, n.next_products
from clean.customers as c
left join features.reachability as r on r.customer_id = c.customer_id
left join campaigns.audience_members as m on m.customer_id = c.customer_id
left join value.customer_lifetime as l on l.customer_id = c.customer_id
left join delivery.contact_history as h on h.customer_id = c.customer_id
left join (
    select customer_id, arg_min(kind, coalesce(list_position([{_KINDS}], kind), 99)) as kind
    from delivery.suppressions
    group by customer_id
) as s on s.customer_id = c.customer_id
left join (
    select customer_id, list(product_id order by rank) as next_products
    from campaigns.next_best_products
    group by customer_id
) as n on n.customer_id = c.customer_id
order by c.customer_id
"""
_CAMPAIGNS = """
with restricted as (select product_id from campaigns.promotable_products where is_age_restricted)
select
    brief_id as campaign_id, name, taste_segment_id, stage_segment_ids, activity_floor, product_ids, starts_on,
    valid_until, reachable_customers, expected_margin_amount, ends_with(brief_id, '-adults') as is_adults_only,
    list_has_any(
        string_split(product_ids, ','), coalesce((select list(product_id) from restricted), [])
    ) as is_age_restricted
from campaigns.briefs
order by brief_id
"""
_PLANNED_FROM = (
    "campaigns/audience_members", "campaigns/briefs", "campaigns/next_best_products", "campaigns/promotable_products",
    "clean/customers", "delivery/contact_history", "delivery/suppressions", "features/reachability",
    "people/contacts", "quality/capabilities", "value/customer_lifetime",
)  # fmt: skip


@computed_tables(
    _GROUP,
    declare(
        "delivery/plan",
        "Every customer with what is decided about a message, and the first reason for it: consent, suppression, age, "
        "address, what was sent before, quiet hours, and the draws of hold-out, control group and subject arm. Nothing "
        "is sent by this table: a person approves.\n\nGrain: customer_id",
        _PLANNED_FROM,
    ),
    declare(
        "delivery/campaign_plans",
        "What a person sees before approving: how many are written to, left out and excluded, the smallest effect that "
        "could be found, and what the control group costs.\n\nGrain: campaign_id",
        _PLANNED_FROM,
    ),
    declare(
        "delivery/plan_reasons",
        "Why how many customers are written to or not, in sentences.\n\nGrain: campaign_id, decision, reason",
        _PLANNED_FROM,
    ),
    name="delivery__plan",
)
def plan(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Mapping[str, Computed]:
    """Decide about everybody."""
    with warehouse.get_connection(read_only=True) as con:
        customers, campaigns = con.sql(_CUSTOMERS).pl(), con.sql(_CAMPAIGNS).pl()
        why_none = "" if campaigns.height else _why_no_campaign(con)
    key, why_no_key, suppressed = _key_and_suppressed(warehouse)
    if why_no_key:
        context.log.warning(f"Nobody is planned to be written to. {why_no_key}")
    customers = _with_addresses(warehouse, customers, campaigns, suppressed, key)
    spec = plan_spec(warehouse.settings, key, why_no_key)
    planned = plan_sends(customers, campaigns, spec)
    plans = campaign_plans(planned, customers, campaigns, spec)
    reasons = plan_reasons(planned, spec, why_no_campaign=why_none)
    for campaign_id, sentence, lift in plans.select("campaign_id", "sentence", "detectable_lift").iter_rows():
        if lift is None or lift > PLAUSIBLE_LIFT:
            context.log.warning(f"{campaign_id}: {sentence}")
    decisions = planned.group_by("decision").len().sort("decision")
    told = {f"{decision}_customers": count for decision, count in decisions.iter_rows()}
    return {
        "delivery/plan": Computed(planned, told | _reasons_told(plans, reasons)),
        "delivery/campaign_plans": Computed(plans, {"campaigns": _plans_table(plans)} if plans.height else {}),
        "delivery/plan_reasons": Computed(reasons),
    }  # fmt: skip


def _why_no_campaign(con: duckdb.DuckDBPyConnection) -> str:
    rows = con.execute("select reason from quality.capabilities where capability = 'matching' and not is_on").fetchall()
    return "No campaign is proposed" + (f": {rows[0][0]}" if rows else " (campaigns.briefs is empty).")


def _key_and_suppressed(warehouse: Warehouse) -> tuple[SecretKey | None, str, dict[str, str]]:
    """The key, or why there is none, and the suppressed addresses as keyed hashes."""
    with open_state(warehouse.place.state) as store:
        suppressed = suppressed_address_hashes(store)
        try:
            return open_key(warehouse.place.secret_key, store), "", suppressed
        except KeyMismatchError as error:
            # The other tables of the run can be made without a key; only nobody may be written to.
            return None, str(error), suppressed


# --- addresses ------------------------------------------------------------------------------------------------------


def _with_addresses(
    warehouse: Warehouse,
    customers: pl.DataFrame,
    campaigns: pl.DataFrame,
    suppressed: Mapping[str, str],
    key: SecretKey | None,
) -> pl.DataFrame:
    """The customers with what their addresses add: the same address in two scripts, and suppressions by address."""
    members = audiences(customers, campaigns).select("customer_id")
    if members.is_empty() or not warehouse.place.people.exists():
        return customers
    flags = _address_flags(warehouse, members, suppressed, key)
    return (
        customers.join(flags, on="customer_id", how="left", suffix="_found")
        .with_columns(
            needs_smtputf8=pl.col("needs_smtputf8_found").fill_null(value=False),
            has_valid_email=pl.col("has_valid_email") & ~pl.col("is_wrong").fill_null(value=False),
            is_email_shared=pl.col("is_email_shared") | pl.col("is_twin").fill_null(value=False),
            suppressed_as=pl.coalesce("suppressed_as", "address_suppressed_as"),
        )
        .drop("needs_smtputf8_found", "is_twin", "is_wrong", "address_suppressed_as")
        .sort("customer_id")
    )


def _address_flags(
    warehouse: Warehouse, members: pl.DataFrame, suppressed: Mapping[str, str], key: SecretKey | None
) -> pl.DataFrame:
    """needs_smtputf8, is_twin, is_wrong and address_suppressed_as of the customers for whom any of them holds."""
    with warehouse.get_connection(read_only=True, with_people=True) as con:
        if not has_table(con, "people/contacts"):
            return pl.DataFrame(schema=_NO_FLAGS)
        con.register("_members", members.to_arrow())
        contacts = con.sql(
            "select customer_id, email from people.contacts where email is not null "
            "and customer_id in (select customer_id from _members)"
        ).pl()
        # Addresses that cleaning took for malformed: where letters beyond ASCII are to blame, the reason says so.
        malformed = con.sql(
            r"select row_key as customer_id, before as email from people.contact_repairs "
            r"where rule = 'malformed_email' and regexp_matches(before, '[^\x00-\x7F][^@]*@') "
            r"and row_key in (select customer_id from _members)"
        ).pl()
        # Only a domain in other letters can be written in two ways; the rest was compared when it was cleaned.
        odd = con.sql(
            r"select customer_id, email from people.contacts where email is not null "
            r"and not regexp_full_match(email, '[\x00-\x7F]*')"
        ).pl()
        twins = members.clear()
        if odd.height:
            con.register("_forms", ascii_forms(odd).to_arrow())
            twins = con.sql(
                "select customer_id from (select c.customer_id, coalesce(f.ascii_address, c.email) as address "
                "from people.contacts as c left join _forms as f on f.customer_id = c.customer_id "
                "where c.email is not null) where address in (select ascii_address from _forms) "
                "qualify count(*) over (partition by address) > 1"
            ).pl()
    forms = ascii_forms(contacts)
    problems = pl.concat([forms, ascii_forms(malformed)]).drop_nulls("problem")
    parts = [
        problems.filter(pl.col("problem") == AddressProblem.NEEDS_SMTPUTF8.value).select(
            "customer_id", needs_smtputf8=pl.lit(value=True)
        ),
        problems.select("customer_id", is_wrong=pl.lit(value=True)),
        twins.select("customer_id", is_twin=pl.lit(value=True)),
    ]
    if key is not None:
        by_address = suppressed_by_address(forms, suppressed, key)
        parts.append(by_address.rename({"suppressed_as": "address_suppressed_as"}))
    flags = pl.concat([pl.DataFrame(schema=_NO_FLAGS), *parts], how="diagonal")
    return flags.group_by("customer_id").agg(pl.all().drop_nulls().first()).sort("customer_id")


# --- what the UI shows ----------------------------------------------------------------------------------------------


def _reasons_told(plans: pl.DataFrame, reasons: pl.DataFrame) -> dict[str, Any]:
    """Reasons as a table, and as a plot where there is a campaign."""
    names = dict(plans.select("campaign_id", "name").iter_rows())
    lines = ["| campaign | decision | customers | why |", "|---|---|---:|---|"]
    lines += [
        f"| {names.get(row['campaign_id'], '')} | {row['decision']} | {row['customers']:,} | {row['sentence']} |"
        for row in reasons.iter_rows(named=True)
    ]
    found: dict[str, Any] = {"who_and_why": dg.MetadataValue.md("\n".join(lines))}
    if names:
        ids = list(names)
        sizes = {(row[0], row[1]): row[2] for row in reasons.select("campaign_id", "reason", "customers").iter_rows()}
        drawn = reasons.filter(pl.col("campaign_id").is_not_null())["reason"].unique(maintain_order=True).to_list()
        groups = [reason for reason in ("send", "control", "hold_out") if reason in drawn]
        order = groups + sorted(
            set(drawn) - set(groups), key=lambda reason: (-sum(sizes.get((i, reason), 0) for i in ids), reason)
        )
        found["who_and_why_plot"] = left_out(
            [names[campaign_id] for campaign_id in ids],
            [(reason, [sizes.get((campaign_id, reason), 0) for campaign_id in ids]) for reason in order],
            title="Who would be written to, and who not and why",
            caption="Customers of each campaign's audience by the first reason that decided.",
        )
    return found


def _plans_table(plans: pl.DataFrame) -> dg.MarkdownMetadataValue:
    lines = [
        "| campaign | sent | control | held out | excluded | buy anyway | found from | control costs | what it shows |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in plans.iter_rows(named=True):
        effect = row["smallest_detectable_effect"]
        found = "nothing" if effect is None else f"{100 * effect:.1f} points ({row['detectable_lift']:.0%})"
        lines.append(
            f"| {row['name']} | {row['send_customers']:,} | {row['control_customers']:,} "
            f"| {row['hold_out_customers']:,} | {row['excluded_customers']:,} | {row['base_rate']:.1%} | {found} "
            f"| {row['control_cost_amount']:,.2f} | {row['sentence']} |"
        )
    return dg.MetadataValue.md("\n".join(lines))
