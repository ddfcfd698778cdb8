"""The tables of this room in the warehouse: columns, types and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import polars as pl

#: DuckDB types of the tables, in column order.
TABLE_TYPES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "delivery/campaigns": {
            "campaign_id": "VARCHAR", "name": "VARCHAR", "status": "VARCHAR", "primary_metric": "VARCHAR",
            "window_days": "BIGINT", "control_share": "DOUBLE", "is_aa": "BOOLEAN", "starts_at": "TIMESTAMP",
            "not_after": "TIMESTAMP", "product_ids": "VARCHAR", "hold_out_share": "DOUBLE",
        },
        "delivery/sends": {
            "send_id": "VARCHAR", "campaign_id": "VARCHAR", "customer_id": "VARCHAR", "arm": "VARCHAR",
            "variant": "VARCHAR", "status": "VARCHAR", "reason": "VARCHAR", "finished_at": "TIMESTAMP",
            "tries": "BIGINT", "smtp_code": "BIGINT", "product_ids": "VARCHAR", "taste_segment_id": "VARCHAR",
            "stage_segment_id": "VARCHAR",
        },
        "delivery/events": {
            "event_id": "VARCHAR", "send_id": "VARCHAR", "campaign_id": "VARCHAR", "customer_id": "VARCHAR",
            "kind": "VARCHAR", "occurred_at": "TIMESTAMP", "link": "BIGINT", "source": "VARCHAR", "method": "VARCHAR",
            "user_agent": "VARCHAR", "network": "VARCHAR",
        },
        "delivery/suppressions": {"customer_id": "VARCHAR", "kind": "VARCHAR", "created_at": "TIMESTAMP"},
        "delivery/plan": {
            "customer_id": "VARCHAR", "campaign_id": "VARCHAR", "decision": "VARCHAR", "reason": "VARCHAR",
            "variant": "VARCHAR", "timezone": "VARCHAR", "not_before": "TIMESTAMP", "not_after": "TIMESTAMP",
            "product_ids": "VARCHAR", "taste_segment_id": "VARCHAR", "stage_segment_id": "VARCHAR",
        },
        "delivery/campaign_plans": {
            "campaign_id": "VARCHAR", "name": "VARCHAR", "starts_at": "TIMESTAMP", "not_after": "TIMESTAMP",
            "audience_customers": "BIGINT", "send_customers": "BIGINT", "control_customers": "BIGINT",
            "hold_out_customers": "BIGINT", "excluded_customers": "BIGINT", "elsewhere_customers": "BIGINT",
            "control_share": "DOUBLE", "base_rate": "DOUBLE", "smallest_detectable_effect": "DOUBLE",
            "detectable_lift": "DOUBLE", "control_cost_amount": "DECIMAL(18,4)", "audience_digest": "VARCHAR",
            "sentence": "VARCHAR", "hold_out_share": "DOUBLE",
        },
        "delivery/plan_reasons": {
            "campaign_id": "VARCHAR", "decision": "VARCHAR", "reason": "VARCHAR", "sentence": "VARCHAR",
            "customers": "BIGINT",
        },
        "delivery/send_rules": {
            "cap_messages": "BIGINT", "cap_days": "BIGINT", "rest_after_messages": "BIGINT", "rest_days": "BIGINT",
            "quiet_from_hour": "BIGINT", "quiet_to_hour": "BIGINT", "timezone": "VARCHAR", "control_share": "DOUBLE",
            "hold_out_share": "DOUBLE",
        },
    }
)  # fmt: skip

#: What the columns mean that the raw contract does not describe.
COLUMN_NOTES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "delivery/campaigns": {
            "campaign_id": "The brief's id.",
            "status": "approved, rejected, voided, sending, sent or cancelled.",
            "primary_metric": "What the campaign is judged by, fixed when it was approved.",
            "window_days": "Days after the start in which orders count.",
            "control_share": "Share of the audience that was left out at random.",
            "is_aa": "True for a trial in which nobody is written to: treated and control must come out alike.",
            "starts_at": "When sending may begin (UTC).",
            "not_after": "What was not sent by then is not sent (UTC).",
            "product_ids": "Products of the campaign, comma separated.",
            "hold_out_share": "Share of all customers that is left out of all campaigns; null where it was not kept.",
        },
        "delivery/sends": {
            "send_id": "Made of campaign and customer, so planning twice cannot send twice.",
            "arm": "treated, control (left out of this campaign at random) or hold_out (left out of all).",
            "variant": "Subject arm, A or B; empty for those left out.",
            "status": "pending, claimed, sent, failed, uncertain, expired, skipped, or ghost for those left out.",
            "reason": "Why it failed or was skipped.",
            "finished_at": "When it was sent, or would have been (UTC).",
            "tries": "Tries so far.",
            "smtp_code": "What the mail server answered.",
            "product_ids": "The recipient's own products in the message, comma separated.",
            "taste_segment_id": "Taste segment when the campaign was planned; empty where it was not kept.",
            "stage_segment_id": "Stage segment when the campaign was planned; empty where it was not kept.",
        },
        "delivery/events": {
            "event_id": "Made of the event, so that the same event counts once.",
            "kind": "delivered, open, click, unsubscribe, complaint, hard_bounce or soft_bounce; robots included.",
            "occurred_at": "When it happened (UTC).",
            "link": "Number of the clicked link; 0 is the offer's page.",
            "source": "pixel, link, page, one_click, or the provider that reported it.",
            "method": "HTTP method; empty for reports.",
            "user_agent": "Family of the program that asked, never its whole name.",
            "network": "Keyed hash of the network the request came from.",
        },
        "delivery/suppressions": {
            "kind": "unsubscribe, complaint, hard_bounce, forgotten or manual.",
            "created_at": "Since when the customer is not written to (UTC).",
        },
        "delivery/plan": {
            "campaign_id": "The campaign whose audience the customer is in; null for none.",
            "decision": "send, control, hold_out or excluded.",
            "reason": "Why: the first rule that decided. delivery.plan_reasons says it in a sentence.",
            "variant": "Subject arm, A or B, for those who are written to; empty for the others.",
            "timezone": "The recipient's time zone, else the shop's.",
            "not_before": "When the message may leave, quiet hours kept (UTC); null for the excluded.",
            "not_after": "When it may not any more (UTC); null for the excluded.",
            "product_ids": "The recipient's own next best products in the message, comma separated; may be empty.",
            "taste_segment_id": "Taste segment on the day of the plan; null for customers in no audience.",
            "stage_segment_id": "Stage segment on the day of the plan; null for customers in no audience.",
        },
        "delivery/campaign_plans": {
            "campaign_id": "The brief's id.",
            "starts_at": "When sending may begin (UTC).",
            "not_after": "What was not sent by then is not sent (UTC).",
            "audience_customers": "Customers of the audience: sent, control, held out and excluded ones.",
            "send_customers": "Customers who would be written to.",
            "control_customers": "Customers left out at random, to see what the campaign causes.",
            "hold_out_customers": "Customers of the audience left out of all campaigns.",
            "excluded_customers": "Customers of the audience who may not or should not be written to.",
            "elsewhere_customers": "Customers of the brief's audience who are in another campaign's: one message each.",
            "control_share": "Share of those who could be written to that is left out.",
            "base_rate": "Share of the audience expected to buy in the window without the message.",
            "smallest_detectable_effect": "Smallest difference of the buying rate found with 80% power, two-sided 5%.",
            "detectable_lift": "That difference over the base rate: 1 means that twice as many would have to buy.",
            "control_cost_amount": "Margin the control group is expected to cost at most.",
            "audience_digest": "Digest of who is in the plan with which decision; what a person approves.",
            "sentence": "What the campaign can show, in a sentence; it warns where that is nothing.",
            "hold_out_share": "Share of all customers that is left out of all campaigns.",
        },
        "delivery/plan_reasons": {
            "campaign_id": "The campaign; null for customers who are in none.",
            "decision": "send, control, hold_out or excluded.",
            "sentence": "The reason in a sentence, with its figures.",
            "customers": "Customers of the plan with this reason.",
        },
        "delivery/send_rules": {
            "cap_messages": "Most messages to a customer within cap_days.",
            "cap_days": "Days the cap counts back, the campaign's first day included.",
            "rest_after_messages": "Messages in a row without a human click after which an address is rested.",
            "rest_days": "Days it is rested, from the last message on.",
            "quiet_from_hour": "First quiet hour by the recipient's clock.",
            "quiet_to_hour": "First hour after the quiet ones; equal hours mean that there are none.",
            "timezone": "The shop's time zone, for recipients whose own is not known.",
            "control_share": "Share left out of a campaign at random.",
            "hold_out_share": "Share of all customers who never get a campaign.",
        },
    }
)

_POLARS: Mapping[str, pl.DataType] = MappingProxyType(
    {
        "VARCHAR": pl.String(), "DOUBLE": pl.Float64(), "BIGINT": pl.Int64(), "BOOLEAN": pl.Boolean(),
        "DATE": pl.Date(), "TIMESTAMP": pl.Datetime("us"),
    }
)  # fmt: skip


def table_schema(table: str) -> dict[str, pl.DataType]:
    """Polars types of a table's columns, in order; decimals are computed as floats and cast when written."""
    return {name: _POLARS.get(sql_type, pl.Float64()) for name, sql_type in TABLE_TYPES[table].items()}


def empty_table(table: str) -> pl.DataFrame:
    """The table with its columns and no rows."""
    return pl.DataFrame(schema=table_schema(table))
