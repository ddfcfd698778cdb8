"""The plan: every customer of the shop with a decision about a message, and the first reason for it.

What belongs here: who is in which campaign's audience, who is left out and why, the hold-out, control group and subject
arms by keyed draws, when a message may leave, and what the plan can show. What does not: reading tables (`defs`),
addresses (`plan_addresses`; nothing here sees one), approving and sending.

The order of the reasons is the order of `REASONS`: what the customer wants and the law asks for comes before the shop's
own rules, and draws come last, so that the groups that are compared could all have been written to.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import polars as pl

from segmentation_assets.delivery.campaign import digest
from segmentation_assets.delivery.keys import SecretKey
from segmentation_assets.delivery.quiet_hours import begin_of_day, is_zone, next_permitted, zone_or
from segmentation_assets.delivery.tables import empty_table, table_schema
from segmentation_assets.measurement.power import needed_customers, smallest_detectable_effect

#: What `plan_sends` reads of a customer, whatever else the frame holds. `has_...` and `is_...` are those of
#: features.reachability; null counts as false.
CUSTOMER_COLUMNS: Mapping[str, pl.DataType] = MappingProxyType(
    {
        "customer_id": pl.String(),
        "timezone": pl.String(),
        "is_opted_out": pl.Boolean(),
        "has_consent": pl.Boolean(),
        "has_unsubscribed": pl.Boolean(),
        #: Kind of the suppression, null for none.
        "suppressed_as": pl.String(),
        "is_minor": pl.Boolean(),
        "is_age_known": pl.Boolean(),
        "is_adult": pl.Boolean(),
        "has_valid_email": pl.Boolean(),
        "needs_smtputf8": pl.Boolean(),
        "is_email_shared": pl.Boolean(),
        #: Of campaigns.audience_members; null for who is in no audience.
        "taste_segment_id": pl.String(),
        "stage_segment_id": pl.String(),
        "expected_products": pl.Float64(),
        #: Orders a customer is expected to place in a day, null where nobody can say.
        "expected_daily_orders": pl.Float64(),
        #: Of delivery.contact_history, which leaves out the campaigns of this plan; null counts as 0.
        "messages_in_cap": pl.Int64(),
        "messages_since_click": pl.Int64(),
        "last_message_on": pl.Date(),
        #: The campaign of this plan that the customer has a send of already, null for none, and all such sends.
        "present_campaign_id": pl.String(),
        "present_messages": pl.Int64(),
        #: Own next best products, the best first.
        "next_products": pl.List(pl.String()),
    }
)

#: What is read of a campaign: columns of campaigns.briefs, the id as campaign_id, and two flags.
CAMPAIGN_COLUMNS: Mapping[str, pl.DataType] = MappingProxyType(
    {
        "campaign_id": pl.String(),
        "name": pl.String(),
        "taste_segment_id": pl.String(),
        "stage_segment_ids": pl.String(),
        "activity_floor": pl.Float64(),
        "product_ids": pl.String(),
        "starts_on": pl.Date(),
        "valid_until": pl.Date(),
        "reachable_customers": pl.Int64(),
        "expected_margin_amount": pl.Float64(),
        #: Its audience are known adults alone.
        "is_adults_only": pl.Boolean(),
        #: Any of its products is for known adults only.
        "is_age_restricted": pl.Boolean(),
    }
)

#: Reasons in the order in which they decide, each with its sentence; figures are filled in by `plan_reasons`.
#: `suppressed_` stands for suppressed_unsubscribe, suppressed_complaint, suppressed_hard_bounce and so on.
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "opted_out": "do not want to be profiled, so no campaign is chosen for them.",
        "no_campaign": "in no campaign's audience.",
        "unsubscribed": "unsubscribed or complained, by the shop's own records.",
        "no_consent": "no consent to marketing e-mail.",
        "suppressed_": "not written to any more, since: {kind}.",
        "minor": "minors, by birth year.",
        "age_unknown": "age not known, which counts as minor by the setting privacy.unknown_age_is_minor.",
        "needs_smtputf8": "letters beyond ASCII before the @ of the address, which most servers cannot deliver to.",
        "no_valid_address": "no valid e-mail address on file.",
        "shared_address": "another customer has the same address, so whose consent counts is not known.",
        "frequency_cap": "in {cap_messages:,} or more campaigns within {cap_days:,} days already (written to, left out "
        "at random, or not reached): the cap.",
        "unresponsive": "{rest_after_messages:,} or more messages in a row without a click, the last one less than "
        "{rest_days:,} days before: rested.",
        "quiet_hours": "no permitted hour before the campaign ends; quiet is from {quiet_from_hour:02d}:00 to "
        "{quiet_to_hour:02d}:00 by the recipient's clock.",
        "no_offer": "no product for them: age-restricted goods are offered to known adults only.",
        "no_key": "nobody can be drawn or recognised without the secret key. {why_no_key}",
        "hold_out": "in the {hold_out_share:.2%} of all customers who never get a campaign, so that the worth of all "
        "campaigns is seen.",
        "control": "left out at random, {control_share:.2%} of those who could be written to: they show what would "
        "have happened anyway.",
        "send": "written to, {a_customers:,} with subject A and {b_customers:,} with subject B.",
    }
)

#: Which suppression is named where a customer has several.
SUPPRESSION_KINDS = ("forgotten", "complaint", "unsubscribe", "hard_bounce", "manual")
_KIND_WORDS = {
    "forgotten": "they asked to be forgotten", "complaint": "they complained", "unsubscribe": "they unsubscribed",
    "hard_bounce": "their address does not exist", "manual": "somebody put them on the list by hand",
}  # fmt: skip

#: A base rate is told from hexadecimal digits: 13 of them are 52 bits, which a float holds exactly.
_DIGITS = 13
#: A relative lift beyond this is no campaign's.
PLAUSIBLE_LIFT = 1.0
#: Own next best products in a message.
OWN_PRODUCTS = 3


@dataclass(frozen=True)
class PlanSpec:
    """Settings of the plan; shares are fractions, hours 0 to 23, `timezone` the shop's.

    `key` makes the draws; without one nobody is written to, and `why_no_key` says why. ValueError where a value cannot
    be meant.
    """

    key: SecretKey | None = field(repr=False)
    control_share: float = 0.10
    hold_out_share: float = 0.0
    cap_messages: int = 1
    cap_days: int = 7
    rest_after_messages: int = 8
    rest_days: int = 90
    quiet_from_hour: int = 21
    quiet_to_hour: int = 8
    timezone: str = "UTC"
    window_days: int = 14
    why_no_key: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant, with the setting's name."""
        for name, value, low in (
            ("campaigns.control_share", self.control_share, 0.0),
            ("delivery.hold_out_share", self.hold_out_share, 0.0),
        ):
            if not low <= value < 1:
                raise ValueError(f"{name} is {value:g}; it must be at least 0 and below 1 (0.10 is ten percent).")
        if not is_zone(self.timezone):
            raise ValueError(
                f"delivery.timezone is {self.timezone!r}, which is no time zone. Write one like Europe/Berlin or UTC."
            )
        for name in ("quiet_from_hour", "quiet_to_hour"):
            if not 0 <= getattr(self, name) <= 23:
                raise ValueError(f"delivery.{name} is {getattr(self, name)}; hours are 0 to 23.")
        if self.cap_messages < 1 or self.rest_after_messages < 1:
            raise ValueError("delivery.cap_messages and delivery.rest_after_messages must be at least 1.")


def plan_sends(customers: pl.DataFrame, campaigns: pl.DataFrame, spec: PlanSpec) -> pl.DataFrame:
    """`delivery.plan`: one row for every customer of the shop, in the order of their ids.

    `customers` has `CUSTOMER_COLUMNS`, a row per customer; `campaigns` has `CAMPAIGN_COLUMNS`, a row per campaign. Who
    is in several audiences gets the campaign with the highest expected margin per reachable customer; who has a send of
    one already stays in it. The decision is excluded (with the first reason of `REASONS`), hold_out, control or send.

    A draw is a keyed hash of the customer's id (`SecretKey.hashed`), salted once per HOME for the hold-out and per
    campaign for control and variant. So it does not depend on who else is planned, on other campaigns, or on the order
    of the rows, and planning again draws the same.

    ValueError when a column is missing or an id stands twice.
    """
    people = _checked(customers, CUSTOMER_COLUMNS, "customers", "customer_id").sort("customer_id")
    offers = _checked(campaigns, CAMPAIGN_COLUMNS, "campaigns", "campaign_id")
    shop = spec.timezone
    zones = {name: zone_or(name, shop) for name in people["timezone"].unique().drop_nulls().to_list()}
    planned = people.with_columns(
        campaign_id=_campaign_of(offers),
        timezone=pl.col("timezone").replace_strict(zones, default=shop, return_dtype=pl.String()),
    )
    planned = planned.join(_times(planned, offers, spec), on=["campaign_id", "timezone"], how="left")
    planned = planned.join(
        offers.select(
            "campaign_id", "starts_on", pl.col("is_age_restricted").alias("_restricted"),
            pl.col("product_ids").alias("_offered"),
        ),
        on="campaign_id", how="left",
    ).sort("customer_id")  # fmt: skip
    planned = planned.with_columns(reason=_excluded(spec))
    drawn = _drawn(planned.filter(pl.col("reason").is_null()).select("customer_id", "campaign_id"), spec)
    own = _own_products(
        planned.join(drawn, on="customer_id", how="semi").select("customer_id", "campaign_id", "next_products"),
        offers.select("campaign_id", "product_ids"),
    )
    is_in = pl.col("decision") != "excluded"
    return (
        planned.drop("reason")
        .with_columns(kept=planned["reason"])
        .join(drawn, on="customer_id", how="left")
        .join(own, on="customer_id", how="left")
        .with_columns(
            decision=pl.col("decision").fill_null("excluded"),
            reason=pl.coalesce("kept", "decision"),
            variant=pl.col("variant").fill_null(""),
        )
        .with_columns(
            not_before=pl.when(is_in).then("not_before"),
            not_after=pl.when(is_in).then("not_after"),
            product_ids=pl.col("product_ids").fill_null(""),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in table_schema("delivery/plan").items())
        .sort("customer_id")
    )


def plan_reasons(plan: pl.DataFrame, spec: PlanSpec, *, why_no_campaign: str = "") -> pl.DataFrame:
    """`delivery.plan_reasons`: how many customers of each campaign each reason decided, with its sentence.

    The customers of all rows together are those of the plan. `why_no_campaign` is told with the customers who are in
    none, where there is no campaign at all.
    """
    if plan.is_empty():
        return empty_table("delivery/plan_reasons")
    counted = plan.group_by("campaign_id", "decision", "reason").agg(
        pl.len().alias("customers"),
        (pl.col("variant") == "A").sum().alias("a_customers"),
        (pl.col("variant") == "B").sum().alias("b_customers"),
    )
    order = {reason: place for place, reason in enumerate(REASONS)}
    rows = [
        {
            "campaign_id": row["campaign_id"], "decision": row["decision"], "reason": row["reason"],
            "sentence": _sentence(row, spec, why_no_campaign), "customers": row["customers"],
            "place": order[_family(row["reason"])],
        }
        for row in counted.iter_rows(named=True)
    ]  # fmt: skip
    schema = table_schema("delivery/plan_reasons")
    return (
        pl.DataFrame(rows, schema={**schema, "place": pl.Int64()})
        .sort("campaign_id", "place", "reason", nulls_last=True)
        .select(list(schema))
    )


def campaign_plans(
    plan: pl.DataFrame, customers: pl.DataFrame, campaigns: pl.DataFrame, spec: PlanSpec
) -> pl.DataFrame:
    """`delivery.campaign_plans`: what a person sees before approving, one row per campaign, in their order.

    `plan` is the result of `plan_sends` on the same `customers` and `campaigns`. The base rate is the mean chance of an
    order within `spec.window_days` of those who are compared (sent and control): 1 - exp(-expected orders), orders as
    a Poisson process. Where a customer's orders cannot be forecast, the expected products count in the proportion that
    orders have to products among those where they can. The smallest detectable effect is for the actual sizes.
    """
    offers = _checked(campaigns, CAMPAIGN_COLUMNS, "campaigns", "campaign_id")
    if offers.is_empty():
        return empty_table("delivery/campaign_plans")
    people = _checked(customers, CUSTOMER_COLUMNS, "customers", "customer_id")
    chance = people.select("customer_id", _buys=_buying_chance(people, spec.window_days))
    compared = pl.col("decision").is_in(["send", "control"])
    counted = (
        plan.filter(pl.col("campaign_id").is_not_null())
        .join(chance, on="customer_id", how="left")
        .sort("customer_id")  # the same sum whatever the threads
        .group_by("campaign_id")
        .agg(
            pl.len().alias("audience"),
            *((pl.col("decision") == name).sum().alias(name) for name in ("send", "control", "hold_out", "excluded")),
            pl.col("_buys").filter(compared).mean().fill_null(0.0).round(9).alias("base_rate"),
        )
    )
    by_campaign = {row["campaign_id"]: row for row in counted.iter_rows(named=True)}
    members = _members(people, offers)
    rows = []
    for offer in offers.iter_rows(named=True):
        campaign_id = offer["campaign_id"]
        found = by_campaign.get(campaign_id, {})
        sizes = {name: int(found.get(name, 0)) for name in ("audience", "send", "control", "hold_out", "excluded")}
        base_rate = float(found.get("base_rate", 0.0))
        compared_customers = sizes["send"] + sizes["control"]
        effect = (
            smallest_detectable_effect(compared_customers, base_rate, sizes["control"] / compared_customers)
            if compared_customers
            else None
        )
        lift = None if effect is None else round(effect / base_rate, 9)
        margin = offer["expected_margin_amount"] / max(offer["reachable_customers"] or 0, 1)
        rows.append(
            {
                "campaign_id": campaign_id,
                "name": offer["name"],
                "starts_at": begin_of_day(offer["starts_on"], spec.timezone),
                "not_after": begin_of_day(offer["valid_until"] + dt.timedelta(days=1), spec.timezone),
                "audience_customers": sizes["audience"],
                **{f"{name}_customers": sizes[name] for name in ("send", "control", "hold_out", "excluded")},
                "elsewhere_customers": members[campaign_id] - sizes["audience"],
                "control_share": spec.control_share,
                "base_rate": base_rate,
                "smallest_detectable_effect": effect,
                "detectable_lift": lift,
                "control_cost_amount": round(margin * sizes["control"], 4),
                "audience_digest": audience_digest(plan.filter(pl.col("campaign_id") == campaign_id)),
                "sentence": _what_it_shows(sizes, base_rate, effect, spec),
                "hold_out_share": spec.hold_out_share,
            }
        )
    return pl.DataFrame(rows, schema=table_schema("delivery/campaign_plans"))


def audiences(customers: pl.DataFrame, campaigns: pl.DataFrame) -> pl.DataFrame:
    """Who is planned in which campaign, (customer_id, campaign_id), before anything is excluded; sorted by customer."""
    people = _checked(customers, CUSTOMER_COLUMNS, "customers", "customer_id").sort("customer_id")
    offers = _checked(campaigns, CAMPAIGN_COLUMNS, "campaigns", "campaign_id")
    return people.select("customer_id", campaign_id=_campaign_of(offers)).drop_nulls()


def audience_digest(rows: pl.DataFrame) -> str:
    """Digest of a campaign's rows of the plan: who is in it, with which decision and subject arm.

    Whoever approves binds it; any other decision about anybody of the audience gives another digest.
    """
    ordered = rows.select("customer_id", "decision", "variant").sort("customer_id")
    return digest([list(row) for row in ordered.iter_rows()])


def draw(key: SecretKey, purpose: str, customer_ids: pl.Series) -> pl.Series:
    """A number in [0, 1) for each customer, uniform over keys: the same for the same key, purpose and customer."""
    if customer_ids.is_empty():
        return pl.Series([], dtype=pl.Float64)
    hashes = pl.Series(key.hashed(purpose, customer_ids.to_list()), dtype=pl.String)
    return hashes.str.slice(0, _DIGITS).str.to_integer(base=16).cast(pl.Float64) / 16.0**_DIGITS


# --- audiences ------------------------------------------------------------------------------------------------------


def _in_audience(offer: Mapping[str, object]) -> pl.Expr:
    """Members of a brief's taste and stages with its activity or more; known adults alone where it is for adults."""
    stages = [stage.strip() for stage in str(offer["stage_segment_ids"] or "").split(",")]
    inside = (
        (pl.col("taste_segment_id") == str(offer["taste_segment_id"]))
        & pl.col("stage_segment_id").is_in(stages)
        & (pl.col("expected_products") >= pl.lit(offer["activity_floor"]))
    )
    if offer["is_adults_only"]:
        inside = inside & pl.col("is_adult")
    return inside.fill_null(value=False)


def _campaign_of(offers: pl.DataFrame) -> pl.Expr:
    """The campaign of each customer, null for none: the one with a send already, else the one worth most to write."""
    if offers.is_empty():
        return pl.lit(None, dtype=pl.String())
    per_customer = pl.col("expected_margin_amount") / pl.max_horizontal("reachable_customers", 1)
    ranked = offers.with_columns(_worth=per_customer).sort("_worth", "campaign_id", descending=[True, False])
    rows = list(ranked.iter_rows(named=True))
    present = [
        pl.when(_in_audience(row) & (pl.col("present_campaign_id") == row["campaign_id"])).then(
            pl.lit(row["campaign_id"])
        )
        for row in rows
    ]
    best = [pl.when(_in_audience(row)).then(pl.lit(row["campaign_id"])) for row in rows]
    return pl.coalesce(*present, *best)


def _members(people: pl.DataFrame, offers: pl.DataFrame) -> dict[str, int]:
    """Customers of each campaign's audience, those who are planned in another one too."""
    rows = list(offers.iter_rows(named=True))
    counts = people.select(_in_audience(row).sum().alias(str(place)) for place, row in enumerate(rows)).row(0)
    return {str(row["campaign_id"]): int(size) for row, size in zip(rows, counts, strict=True)}


# --- when -----------------------------------------------------------------------------------------------------------


def _times(planned: pl.DataFrame, offers: pl.DataFrame, spec: PlanSpec) -> pl.DataFrame:
    """not_before and not_after (UTC) for each campaign and time zone of its audience: a few hundred rows at most."""
    schema = {
        "campaign_id": pl.String(), "timezone": pl.String(), "not_before": pl.Datetime("us"),
        "not_after": pl.Datetime("us"),
    }  # fmt: skip
    days = {row["campaign_id"]: (row["starts_on"], row["valid_until"]) for row in offers.iter_rows(named=True)}
    pairs = planned.filter(pl.col("campaign_id").is_not_null()).select("campaign_id", "timezone").unique()
    rows = []
    for campaign_id, zone in pairs.sort("campaign_id", "timezone").iter_rows():
        first, last = days[campaign_id]
        after = last + dt.timedelta(days=1)
        # Not before the day has begun for both, the shop and the recipient, and not after it has ended for either.
        begin = max(begin_of_day(first, spec.timezone), begin_of_day(first, zone))
        end = min(begin_of_day(after, spec.timezone), begin_of_day(after, zone))
        rows.append((campaign_id, zone, next_permitted(begin, zone, spec.quiet_from_hour, spec.quiet_to_hour), end))
    return pl.DataFrame(rows, schema=schema, orient="row")


# --- why not --------------------------------------------------------------------------------------------------------


def _excluded(spec: PlanSpec) -> pl.Expr:
    """The first reason against a message, null for none: `REASONS` up to the draws, in that order."""

    def true(name: str) -> pl.Expr:
        return pl.col(name).fill_null(value=False)

    # The campaign's own send does not count against it: planning again while it is sent must decide the same. Sends of
    # other campaigns of this plan do: the customer was in their audience when they began.
    own = (pl.col("present_campaign_id") == pl.col("campaign_id")).fill_null(value=False).cast(pl.Int64)
    messages = pl.col("messages_in_cap").fill_null(0) + pl.col("present_messages").fill_null(0) - own
    rested_until = pl.col("last_message_on") + pl.duration(days=spec.rest_days)
    conditions: list[tuple[pl.Expr, pl.Expr]] = [
        (true("is_opted_out"), pl.lit("opted_out")),
        (pl.col("campaign_id").is_null(), pl.lit("no_campaign")),
        (true("has_unsubscribed"), pl.lit("unsubscribed")),
        (~true("has_consent"), pl.lit("no_consent")),
        (pl.col("suppressed_as").is_not_null(), pl.lit("suppressed_") + pl.col("suppressed_as")),
        (true("is_minor") & true("is_age_known"), pl.lit("minor")),
        (true("is_minor"), pl.lit("age_unknown")),
        (true("needs_smtputf8"), pl.lit("needs_smtputf8")),
        (~true("has_valid_email"), pl.lit("no_valid_address")),
        (true("is_email_shared"), pl.lit("shared_address")),
        (messages >= spec.cap_messages, pl.lit("frequency_cap")),
        (
            (pl.col("messages_since_click").fill_null(0) >= spec.rest_after_messages)
            & (pl.col("starts_on") < rested_until).fill_null(value=False),
            pl.lit("unresponsive"),
        ),
        (pl.col("not_before") >= pl.col("not_after"), pl.lit("quiet_hours")),
        (
            (pl.col("_offered").fill_null("") == "") | (true("_restricted") & ~true("is_adult")),
            pl.lit("no_offer"),
        ),
    ]
    if spec.key is None:
        conditions.append((pl.lit(value=True), pl.lit("no_key")))
    return pl.coalesce(*(pl.when(condition).then(reason) for condition, reason in conditions))


# --- draws ----------------------------------------------------------------------------------------------------------


def _drawn(eligible: pl.DataFrame, spec: PlanSpec) -> pl.DataFrame:
    """Decision and variant of those who could be written to, by keyed draws."""
    schema = {"customer_id": pl.String(), "decision": pl.String(), "variant": pl.String()}
    if eligible.is_empty() or spec.key is None:
        return pl.DataFrame(schema=schema)
    ids = eligible["customer_id"]
    held_out = draw(spec.key, "hold_out", ids) < spec.hold_out_share if spec.hold_out_share > 0 else None
    asked = eligible if held_out is None else eligible.filter(~held_out)
    parts = [] if held_out is None else [_told(eligible.filter(held_out), "hold_out", "")]
    for (campaign_id,), part in asked.group_by("campaign_id"):
        is_control = draw(spec.key, f"control\x1f{campaign_id}", part["customer_id"]) < spec.control_share
        parts.append(_told(part.filter(is_control), "control", ""))
        treated = part.filter(~is_control)
        is_a = draw(spec.key, f"variant\x1f{campaign_id}", treated["customer_id"]) < 0.5
        parts += [_told(treated.filter(is_a), "send", "A"), _told(treated.filter(~is_a), "send", "B")]
    return pl.concat(parts).select(list(schema))


def _told(part: pl.DataFrame, decision: str, variant: str) -> pl.DataFrame:
    return part.select("customer_id", decision=pl.lit(decision), variant=pl.lit(variant))


# --- products -------------------------------------------------------------------------------------------------------


def _own_products(planned: pl.DataFrame, offers: pl.DataFrame) -> pl.DataFrame:
    """(customer_id, product_ids): at most three next best products each that the campaign does not show anyway."""
    shown = {row[0]: [name for name in (row[1] or "").split(",") if name] for row in offers.iter_rows()}
    parts = [pl.DataFrame(schema={"customer_id": pl.String(), "product_ids": pl.String()})]
    # Campaign by campaign: as one expression, every campaign's list would be looked for in every customer's.
    for (campaign_id,), part in planned.group_by("campaign_id"):
        own = pl.col("next_products")
        if named := shown[campaign_id]:
            own = own.list.filter(~pl.element().is_in(named))
        parts.append(part.select("customer_id", product_ids=own.list.head(OWN_PRODUCTS).list.join(",")))
    return pl.concat(parts)


# --- what it can show -----------------------------------------------------------------------------------------------


def _buying_chance(people: pl.DataFrame, window_days: int) -> pl.Series:
    """The chance that each customer orders within the window without a message."""
    known = people.filter(pl.col("expected_daily_orders").is_not_null() & pl.col("expected_products").is_not_null())
    products, orders = (float(known[name].sum() or 0.0) for name in ("expected_products", "expected_daily_orders"))
    # Expected products are those of 90 days and orders those of one; the proportion holds both.
    proportion = orders / products if products > 0 else 1.0 / 90
    daily = pl.coalesce("expected_daily_orders", pl.col("expected_products") * proportion).fill_null(0.0)
    return people.select((1 - (-daily * window_days).exp()).alias("chance"))["chance"]


def _what_it_shows(sizes: Mapping[str, int], base_rate: float, effect: float | None, spec: PlanSpec) -> str:
    """What can be found with these groups, in a sentence; a warning where that is nothing plausible."""
    if sizes["send"] == 0:
        return "Nobody is written to; delivery.plan_reasons says why."
    if sizes["control"] == 0:
        return f"{sizes['send']:,} are written to and nobody is left out, so what the campaign causes cannot be seen."
    groups = f"{sizes['send']:,} are written to and {sizes['control']:,} left out"
    buying = f"{base_rate:.2%} are expected to buy within {spec.window_days:,} days anyway"
    if base_rate <= 0:
        return f"{groups}. How many buy anyway cannot be forecast, so what can be found cannot be said."
    share = sizes["control"] / (sizes["send"] + sizes["control"])
    wanted = needed_customers(base_rate * PLAUSIBLE_LIFT, base_rate, share) if base_rate < 0.5 else None
    advice = f" It takes about {wanted:,} customers to find even twice as many buyers." if wanted else ""
    together = " Judge it together with other campaigns, or write to more people."
    if effect is None:
        return f"{groups}, and {buying}: groups of this size cannot show any effect at all.{advice}{together}"
    lift = effect / base_rate
    found = f"{groups}. {buying}; a difference of {100 * effect:.2f} points can be found, a lift of {lift:.0%}."
    if lift > PLAUSIBLE_LIFT:
        return f"{found} No campaign's effect is that large: by itself it will show nothing.{advice}{together}"
    return found


# --- sentences and small things -------------------------------------------------------------------------------------


def _family(reason: str) -> str:
    return "suppressed_" if reason.startswith("suppressed_") else reason


def _sentence(row: Mapping[str, object], spec: PlanSpec, why_no_campaign: str) -> str:
    reason = str(row["reason"])
    kind = reason.removeprefix("suppressed_")
    words = REASONS[_family(reason)].format(
        kind=_KIND_WORDS.get(kind, kind), a_customers=row["a_customers"], b_customers=row["b_customers"],
        cap_messages=spec.cap_messages, cap_days=spec.cap_days, rest_after_messages=spec.rest_after_messages,
        rest_days=spec.rest_days, quiet_from_hour=spec.quiet_from_hour, quiet_to_hour=spec.quiet_to_hour,
        hold_out_share=spec.hold_out_share, control_share=spec.control_share, why_no_key=spec.why_no_key,
    )  # fmt: skip
    if reason == "no_campaign" and why_no_campaign:
        words = f"{words} {why_no_campaign}"
    customers = int(str(row["customers"]))
    return f"{customers:,} customer{'' if customers == 1 else 's'}: {words}".strip()


def _checked(frame: pl.DataFrame, columns: Mapping[str, pl.DataType], what: str, key: str) -> pl.DataFrame:
    """The columns that are read, in their types. ValueError when one is missing or a key stands twice."""
    if missing := [name for name in columns if name not in frame.columns]:
        raise ValueError(f"The frame of {what} lacks {', '.join(missing)}.")
    found = frame.select(pl.col(name).cast(dtype) for name, dtype in columns.items())
    if found[key].null_count() or found[key].n_unique() != found.height:
        twice = found.filter(pl.col(key).is_duplicated() | pl.col(key).is_null())
        raise ValueError(
            f"{twice.height:,} rows of {what} have no {key} or one that stands twice: hand in one row for each."
        )
    return found
