"""The tables of this room in the warehouse: columns, types and what they mean. Computing them is `measured`'s."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_EFFECT_TYPES = {
    "treated_customers": "BIGINT", "control_customers": "BIGINT", "treated_value": "DOUBLE", "control_value": "DOUBLE",
    "effect": "DOUBLE", "low": "DOUBLE", "high": "DOUBLE",
}  # fmt: skip

#: DuckDB types of the tables, in column order.
TABLE_TYPES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "results/measurement_rules": {
            "window_days": "BIGINT", "primary_metric": "VARCHAR", "minimum_cell": "BIGINT",
        },
        "results/campaign_results": {
            "campaign_id": "VARCHAR", "arm": "VARCHAR", "metric": "VARCHAR", **_EFFECT_TYPES,
            "is_experiment": "BOOLEAN", "relative_effect": "DOUBLE", "relative_low": "DOUBLE",
            "relative_high": "DOUBLE", "standard_error": "DOUBLE", "p_value": "DOUBLE", "p_greater": "DOUBLE",
            "method": "VARCHAR", "is_primary": "BOOLEAN", "is_aa": "BOOLEAN", "is_early_look": "BOOLEAN",
            "note": "VARCHAR", "name": "VARCHAR", "origin": "VARCHAR",
        },
        "results/segment_results": {
            "campaign_id": "VARCHAR", "dimension": "VARCHAR", "level": "VARCHAR", "level_name": "VARCHAR",
            "metric": "VARCHAR", **_EFFECT_TYPES, "shrunk_effect": "DOUBLE", "shrunk_low": "DOUBLE",
            "shrunk_high": "DOUBLE", "p_value": "DOUBLE", "p_holm": "DOUBLE", "is_experiment": "BOOLEAN",
            "note": "VARCHAR",
        },
        "results/pooled_results": {
            "scope": "VARCHAR", "metric": "VARCHAR", "method": "VARCHAR", "campaigns": "BIGINT",
            "treated_customers": "BIGINT", "control_customers": "BIGINT", "effect": "DOUBLE", "low": "DOUBLE",
            "high": "DOUBLE", "control_value": "DOUBLE", "relative_effect": "DOUBLE", "heterogeneity_share": "DOUBLE",
            "between_deviation": "DOUBLE", "heterogeneity_p_value": "DOUBLE", "note": "VARCHAR",
        },
        "results/campaign_verdicts": {
            "campaign_id": "VARCHAR", "name": "VARCHAR", "origin": "VARCHAR", "arm": "VARCHAR", "metric": "VARCHAR",
            "decision": "VARCHAR", "sentence": "VARCHAR", "needed_customers": "BIGINT", "is_experiment": "BOOLEAN",
            "is_aa": "BOOLEAN", "is_early_look": "BOOLEAN", "early_looks": "BIGINT", "elapsed_share": "DOUBLE",
            "sample_ratio_p_value": "DOUBLE", "treated_customers": "BIGINT", "control_customers": "BIGINT",
            "hold_out_customers": "BIGINT", "sent_customers": "BIGINT", "started_at": "TIMESTAMP",
            "window_ends_at": "TIMESTAMP",
        },
    }
)  # fmt: skip

_EFFECT_NOTES: Mapping[str, str] = MappingProxyType(
    {
        "campaign_id": "The campaign; for one sent from here its brief's id.",
        "arm": "Arm that is compared with the control; `treated` where there is one.",
        "metric": "buyers, orders, margin and revenue per customer are compared; the others are the treated's rates.",
        "treated_customers": "Customers treated; for rates of the treated those they are a share of.",
        "control_customers": "Customers left out at random; null for rates that only the treated have.",
        "treated_value": "Per treated customer: share, orders, or money in the source's currency.",
        "control_value": "The same per customer left out.",
        "effect": "Treated less control; null where it cannot be read, which `note` explains.",
        "low": "Lower end of the 95 % interval of the effect, or of the rate where there is no effect.",
        "high": "Upper end of that interval.",
        "is_experiment": "True when the control was drawn at random; else a difference is association, never lift.",
        "is_aa": "True for a trial in which nobody is written to.",
        "is_early_look": "True when the window had not ended; the interval is wider for it.",
        "p_value": "Two-sided; below .05 exactly when the 95 % interval leaves out 0.",
        "note": "What to know before believing the figure.",
        "name": "Name of the campaign.",
        "origin": "sent, from here, or past, found in the source.",
    }
)

#: What the columns mean, by table.
COLUMN_NOTES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "results/measurement_rules": {
            "window_days": "Days after the start in which orders count, where a campaign does not say.",
            "primary_metric": "What campaigns are judged by that do not say.",
            "minimum_cell": "Groups with fewer customers are shown together.",
        },
        "results/campaign_results": {
            **_EFFECT_NOTES,
            "relative_effect": "The effect over the control's value: .1 is a lift of a tenth.",
            "relative_low": "Lower end of its 95 % interval.",
            "relative_high": "Upper end of its 95 % interval; null where it has none.",
            "standard_error": "Standard error of the effect, for pooling and planning.",
            "p_greater": "One-sided: how likely so large an effect is when there is none.",
            "method": "How the interval was computed, or why there is none.",
            "is_primary": "True for the metric that decides, fixed before sending.",
        },
        "results/segment_results": {
            **_EFFECT_NOTES,
            "dimension": "taste and stage (when the campaign was planned; of past campaigns today's taste alone), "
            "recency_before, product, variant, or subject (the arms with each other).",
            "level": "The segment, recency, product or subject arm; (other) for small ones together.",
            "level_name": "The level in words.",
            "shrunk_effect": "The effect drawn toward the campaign's, as far as chance alone could explain the gap.",
            "shrunk_low": "Lower end of its 95 % interval.",
            "shrunk_high": "Upper end of its 95 % interval.",
            "p_holm": "p adjusted for all rows of the campaign (Holm).",
        },
        "results/pooled_results": {
            **_EFFECT_NOTES,
            "scope": "all campaigns, those sent from here, or past ones.",
            "method": "fixed: mean of these campaigns; random: what to expect of campaigns like them; hold_out: "
            "everybody drawn for a campaign beside those left out of all.",
            "campaigns": "Campaigns in it.",
            "relative_effect": "The effect over the control's value.",
            "heterogeneity_share": "I squared: share of the spread between campaigns that is not chance.",
            "between_deviation": "Standard deviation of the true effects between campaigns.",
            "heterogeneity_p_value": "How likely such a spread is if all campaigns do the same.",
        },
        "results/campaign_verdicts": {
            **_EFFECT_NOTES,
            "metric": "The metric that decides.",
            "treated_customers": "Customers who were assigned to be written to.",
            "control_customers": "Customers who were left out of this campaign at random.",
            "decision": "repeat, stop, inconclusive, check the assignment, no control, association only, A/A: alike, "
            "A/A: differ, not started, or no result.",
            "sentence": "The decision with its figures.",
            "needed_customers": "Further customers that would settle it; null where that cannot be said.",
            "early_looks": "Days on which it was read before its window ended.",
            "elapsed_share": "Share of the window that the data cover, 0 to 1.",
            "sample_ratio_p_value": "How likely groups so far from the planned sizes are; null where no plan is known.",
            "hold_out_customers": "Customers who are left out of all campaigns.",
            "sent_customers": "Customers to whom a message left.",
            "started_at": "When the window begins for everybody (UTC).",
            "window_ends_at": "When it ends (UTC).",
        },
    }
)
