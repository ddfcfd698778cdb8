"""The offer plan: which customers are offered which products, so that the expected margin is highest within stock.

What belongs here: the assignment of matched products to ranks of customers, under a cap of offers per customer and the
spare stock of each product, and a bound that says how far from the best it can be. What does not: who suits a product
(`matching`), the campaigns a person decides on (`briefs`), and any copy.

Customers are never looped over. A cell is a taste segment, a stage group and whether they are known adults; its
reachable members stand in the order of their activity, so a match covers a prefix of them, and an offer is an interval
of ranks.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.merchandising.plan import RATE_DAYS, CampaignSpec, empty_table, table_schema
from segmentation_assets.merchandising.promotable import spare_stock

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

_TABLE = "campaigns/offer_plan"
_AUDIENCE = ["taste_segment_id", "stage_group"]
_CELL = [*_AUDIENCE, "is_adult"]
_SIDES = (0, 1)  # of an audience: the others and the known adults, in the order of is_adult
#: Steps of the search for stock prices (fewer where there are many options, so that it stays a matter of seconds), and
#: the gap below which it stops: the plan is then as good as proven best.
_MOST_STEPS, _LEAST_STEPS, _OPTIONS_LOOKED_AT = 60, 12, 1_000_000
_SMALL_GAP = 0.001


@dataclass(frozen=True)
class OfferPlan:
    """`frame` is campaigns.offer_plan; `margin_amount` its expected margin, in the shop's currency.

    No plan within the cap and the stock can be expected to earn more than `bound_amount`; `gap_share` is
    1 - margin_amount / bound_amount, so 0 says that the plan is the best there is.
    """

    frame: pl.DataFrame
    margin_amount: float
    bound_amount: float
    gap_share: float


def plan_offers(
    matches: pl.DataFrame, members: pl.DataFrame, promotable: pl.DataFrame, *, spec: CampaignSpec
) -> OfferPlan:
    """Assign offers so that expected margin is highest: at most `spec.offers_per_customer` each, within spare stock.

    `matches` is campaigns.product_segment_matches, `members` campaigns.audience_members, `promotable`
    campaigns.promotable_products. Only reachable members are offered anything, age-restricted products go to known
    adults, and products that are not promotable, are sensitive, or miss their margin floor at the match's discount are
    left out. ValueError when activity_rank is not the order the table promises.

    Value. The score of a match is the mean over its audience of s_i = a_i * theta, so theta = score / mean(a). An
    offer to customer i is expected to sell a_i * theta * valid_days / 90 units, and to earn that times the margin of a
    unit. Each buyer counts with one unit.

    Rule. Matches are taken in the order of theta * margin, the margin per unit of activity (ties by ids). Each is
    offered to those of its members who have a free slot, from the most active on, until the product's stock is used
    up. Where stock does not bind this is the optimum: the choice then separates by customer, the values of customer
    i's options are a_i times these densities, a_i is the same for all of them, and taking the options in that order
    while a slot is free leaves i with the best `offers_per_customer` of those open to i.

    Where stock binds, the problem is a generalised assignment with knapsacks. Prices of stock are then searched by
    subgradient steps on the Lagrangian dual (Held, Wolfe and Crowder 1974, Validation of subgradient optimization;
    Fisher 1981, The Lagrangian relaxation method): every price gives a bound on the margin, and an order (density less
    the price of the units used) in which the same rule may do better. The best plan and the lowest bound are kept.
    """
    options = _options(matches, members, promotable, spec)
    if options is None:
        return OfferPlan(empty_table(_TABLE), 0.0, 0.0, 0.0)
    plain = _offer(options, options.density, is_limited=True)
    free = _offer(options, options.density, is_limited=False)
    best, bound = plain, free.margin_amount
    if bound > plain.margin_amount * (1 + _SMALL_GAP):
        best, bound = _priced(options, plain, free)
    bound = max(bound, best.margin_amount)
    return OfferPlan(
        frame=_frame(options, best),
        margin_amount=round(best.margin_amount, 4),
        bound_amount=round(bound, 4),
        gap_share=round(1 - best.margin_amount / bound, 9) if bound > 0 else 0.0,
    )


def most_offers(plan: pl.DataFrame) -> int:
    """The most offers that any one customer gets in `plan` (campaigns.offer_plan); 0 for an empty plan."""
    if plan.is_empty():
        return 0
    events = pl.concat(
        [
            plan.select(*_CELL, pl.col("from_rank").alias("rank"), pl.lit(1).alias("step")),
            plan.select(*_CELL, pl.col("to_rank").alias("rank"), pl.lit(-1).alias("step")),
        ]
    )
    # At a rank where one interval ends and the next begins, the end comes first.
    running = events.sort(*_CELL, "rank", "step").select(pl.col("step").cum_sum().over(_CELL))
    return int(running["step"].max() or 0)  # type: ignore[arg-type]  # a column of integers


# --- what can be offered ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cell:
    """Reachable members of a cell: activity by rank (not rising), and its running sum with a zero before it."""

    activity: Floats
    sums: Floats


@dataclass(frozen=True)
class _Options:
    """Matches as arrays, one entry each, sorted by ids; the cells, and how far into each a match reaches.

    `reach` is (matches, 2): how many members of the cell of the others (0) and of the known adults (1) it covers.
    `units` are expected units per unit of activity; `product` is the place of its product in `spare`, the units that
    may be sold (infinite where stock is not known).
    """

    rows: pl.DataFrame
    audience: Ints
    cells: tuple[tuple[_Cell, _Cell], ...]
    reach: Ints
    units: Floats
    margin: Floats
    product: Ints
    spare: Floats
    cap: int

    @property
    def density(self) -> Floats:
        """Expected margin per unit of activity."""
        return self.units * self.margin


def _ordered(members: pl.DataFrame) -> pl.DataFrame:
    """Members in the order of their cells and ranks; ValueError when the ranks are not what the table promises."""
    ordered = members.select(
        *_CELL, "is_reachable", pl.col("expected_products").cast(pl.Float64), "activity_rank"
    ).sort(*_CELL, "activity_rank")  # fmt: skip
    was_reachable = pl.col("is_reachable").shift(1).over(_CELL)
    was_active = pl.col("expected_products").shift(1).over(_CELL)
    wrong = ordered.filter(
        (pl.col("activity_rank") != pl.int_range(pl.len()).over(_CELL))
        | (pl.col("is_reachable") & ~was_reachable).fill_null(value=False)
        | ((pl.col("is_reachable") == was_reachable) & (pl.col("expected_products") > was_active)).fill_null(
            value=False
        )
    )
    if wrong.height:
        taste, group, is_adult, *_, rank = wrong.row(0)
        raise ValueError(
            f"campaigns.audience_members: in taste {taste}, stage group {group}, is_adult {str(is_adult).lower()}, "
            f"activity_rank {rank} is out of order; ranks run from 0 without gaps, who can be reached first, then by "
            "expected_products. Materialise campaigns/audience_members again."
        )
    return ordered


def _cell(part: pl.DataFrame | None) -> tuple[_Cell, Floats]:
    """A cell, and the activity of all its members, falling, whether they can be reached or not."""
    if part is None:
        return _Cell(np.zeros(0), np.zeros(1)), np.zeros(0)
    reachable = part.filter("is_reachable")["expected_products"].to_numpy()
    everyone = -np.sort(-part["expected_products"].to_numpy())
    return _Cell(reachable, np.concatenate([[0.0], np.cumsum(reachable)])), everyone


def _options(
    matches: pl.DataFrame, members: pl.DataFrame, promotable: pl.DataFrame, spec: CampaignSpec
) -> _Options | None:
    """Everything that may be offered to somebody; None when there is nothing."""
    price = pl.col("list_price") * (1 - pl.col("discount_share"))
    rows = (
        matches.select("product_id", *_AUDIENCE, "stage_segment_ids", "activity_floor", "discount_share", "score")
        .join(
            promotable.filter(pl.col("is_promotable") & ~pl.col("is_sensitive")).select(
                "product_id", "is_age_restricted", "margin_floor_share",
                pl.col("list_price", "unit_cost").cast(pl.Float64),
                spare=spare_stock(),
            ),
            on="product_id",
        )
        .with_columns(margin=price - pl.col("unit_cost"))
        .filter(
            (pl.col("margin") > 0)
            & (pl.col("margin") >= pl.col("margin_floor_share") * price - 1e-9)
            & (pl.col("score") > 0)
            & (pl.col("spare").is_null() | (pl.col("spare") > 0))
        )
        .sort("product_id", *_AUDIENCE)
    )  # fmt: skip
    if rows.is_empty() or members.is_empty():
        return None
    parts = {(str(t), str(g), bool(a)): part for (t, g, a), part in _ordered(members).group_by(*_CELL)}
    audiences = rows.select(_AUDIENCE).unique().sort(_AUDIENCE)
    audience = rows.join(audiences.with_row_index("audience"), on=_AUDIENCE, maintain_order="left")["audience"]
    of_row = audience.to_numpy().astype(np.int64)
    floors, adults_only = -rows["activity_floor"].to_numpy(), rows["is_age_restricted"].to_numpy()
    reach = np.zeros((rows.height, 2), dtype=np.int64)
    size, total = np.zeros(rows.height), np.zeros(rows.height)
    cells: list[tuple[_Cell, _Cell]] = []
    for place, (taste, group) in enumerate(audiences.iter_rows()):
        own = np.flatnonzero(of_row == place)
        pair = []
        for side in _SIDES:
            cell, everyone = _cell(parts.get((taste, group, bool(side))))
            covers = own if side else own[~adults_only[own]]
            reach[covers, side] = np.searchsorted(-cell.activity, floors[covers], side="right")
            covered = np.searchsorted(-everyone, floors[covers], side="right")
            size[covers] += covered
            total[covers] += np.concatenate([[0.0], np.cumsum(everyone)])[covered]
            pair.append(cell)
        cells.append((pair[0], pair[1]))
    is_open = (total > 0) & (reach.sum(axis=1) > 0)
    if not is_open.any():
        return None
    rows = rows.filter(pl.Series(is_open))
    theta = rows["score"].to_numpy() * size[is_open] / total[is_open]
    products = rows.select("product_id", "spare").unique(maintain_order=True).with_row_index("product")
    return _Options(
        rows=rows,
        audience=of_row[is_open],
        cells=tuple(cells),
        reach=reach[is_open],
        units=theta * (spec.valid_days / RATE_DAYS),
        margin=rows["margin"].to_numpy(),
        product=rows.join(products, on="product_id", maintain_order="left")["product"].to_numpy().astype(np.int64),
        spare=products["spare"].fill_null(float("inf")).to_numpy(),
        cap=spec.offers_per_customer,
    )


# --- offering --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Offered:
    """Offers made: of which option, on which side, ranks from and to; activity bought of each option."""

    option: Ints
    side: Ints
    start: Ints
    end: Ints
    activity: Floats
    margin_amount: float


def _offer(options: _Options, value: Floats, *, is_limited: bool, keep: Floats | None = None) -> _Offered:
    """Take the options by falling `value` (ties in their order) and offer each to its members with a free slot.

    Every offer of a cell ends where the option's reach or its stock ends, and begins where the customers before are
    full. So a rank is full when `cap` offers end after it: the `cap` largest ends are all there is to remember, and
    the full ranks are those before the smallest of them. `keep`: options at or under 0 here are not offered.
    """
    order = np.lexsort((np.arange(len(value)), -value))
    if keep is not None:
        order = order[keep[order] > 0]
    left = options.spare.tolist()
    ends: list[tuple[list[int], list[int]]] = [([], []) for _ in options.cells]
    reach, units, product = options.reach.tolist(), options.units.tolist(), options.product.tolist()
    ladders: dict[int, _Ladder] = {}
    made: list[tuple[int, int, int, int]] = []
    activity = np.zeros(len(value))
    for option, audience in zip(order.tolist(), options.audience[order].tolist(), strict=True):
        if is_limited and left[product[option]] <= 0:
            continue
        pair, heaps, to = options.cells[audience], ends[audience], reach[option]
        start = [heap[0] if len(heap) == options.cap else 0 for heap in heaps]
        to = [max(to[side], start[side]) for side in _SIDES]
        if to == start:
            continue
        bought = sum(float(pair[side].sums[to[side]] - pair[side].sums[start[side]]) for side in _SIDES)
        if is_limited and units[option] * bought > left[product[option]]:
            if audience not in ladders:
                ladders[audience] = _Ladder.of(pair)
            to = ladders[audience].cut(pair, start, to, left[product[option]] / units[option])
            bought = sum(float(pair[side].sums[to[side]] - pair[side].sums[start[side]]) for side in _SIDES)
        left[product[option]] -= units[option] * bought
        activity[option] = bought
        for side in _SIDES:
            if to[side] > start[side]:
                made.append((option, side, start[side], to[side]))
                if len(heaps[side]) == options.cap:
                    heapq.heapreplace(heaps[side], to[side])
                else:
                    heapq.heappush(heaps[side], to[side])
    columns = np.array(made, dtype=np.int64).reshape(-1, 4).T
    return _Offered(
        option=columns[0],
        side=columns[1],
        start=columns[2],
        end=columns[3],
        activity=activity,
        margin_amount=float(np.sum(options.density * activity)),
    )


@dataclass(frozen=True)
class _Ladder:
    """The distinct activities of an audience, falling, and how many of each side have as much or more: (steps, 2)."""

    counts: Ints

    @classmethod
    def of(cls, pair: tuple[_Cell, _Cell]) -> _Ladder:
        """The ladder of both sides together, so that whose age is not known stands no further back than an adult."""
        levels = -np.unique(-np.concatenate([pair[0].activity, pair[1].activity]))
        return cls(np.stack([np.searchsorted(-cell.activity, -levels, side="right") for cell in pair], axis=1))

    def cut(self, pair: tuple[_Cell, _Cell], start: list[int], to: list[int], most: float) -> list[int]:
        """The ends at which the offers from `start` up to `to` hold at most `most` activity, the most active first.

        Of those who are equally active and do not all find room, each side gets its share.
        """

        def at(step: int) -> list[int]:
            return (
                [min(max(int(self.counts[step, side]), start[side]), to[side]) for side in _SIDES]
                if step >= 0
                else start
            )

        def held(ends: list[int]) -> float:
            return sum(float(pair[side].sums[ends[side]] - pair[side].sums[start[side]]) for side in _SIDES)

        low, high = -1, len(self.counts) - 1  # held(at(low)) fits, held(at(high)) does not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if held(at(middle)) <= most else (low, middle)
        ends, next_ends = at(low), at(high)
        tied = [next_ends[side] - ends[side] for side in _SIDES]
        each = (held(next_ends) - held(ends)) / sum(tied)
        # A hair under the room there is: sums of floats must not creep over the stock.
        room = min(int((most - held(ends)) / each * (1 - 1e-12)), sum(tied) - 1)
        return [ends[side] + room * tied[side] // sum(tied) for side in _SIDES]


def _priced(options: _Options, plain: _Offered, free: _Offered) -> tuple[_Offered, float]:
    """The best plan and the lowest bound found with prices on stock; beginning with `plain` and `free` (no prices).

    A price is a share of the product's largest margin: it weighs products alike, whatever they cost. Steps are
    Polyak's (1969), halved after three without a better bound.
    """
    is_scarce = np.isfinite(options.spare)
    worth = np.zeros(len(options.spare))
    np.maximum.at(worth, options.product, options.margin)
    spare = np.where(is_scarce, options.spare, 0.0)
    best, bound, share = plain, free.margin_amount, np.zeros(len(spare))
    offered, price, ambition, idle = free, np.zeros(len(spare)), 1.0, 0
    level = bound
    steps = min(max(_OPTIONS_LOOKED_AT // len(options.units), _LEAST_STEPS), _MOST_STEPS)
    for _ in range(steps):
        wanted = np.bincount(options.product, weights=options.units * offered.activity, minlength=len(spare))
        slope = np.where(is_scarce, (spare - wanted) * worth, 0.0)
        slope[(share <= 0) & (slope > 0)] = 0.0  # a price cannot fall under nothing
        if not slope.any() or bound <= best.margin_amount * (1 + _SMALL_GAP):
            break
        share = np.clip(share - ambition * (level - best.margin_amount) / float(slope @ slope) * slope, 0.0, 1.0)
        price = share * worth
        reduced = options.units * (options.margin - price[options.product])
        offered = _offer(options, reduced, is_limited=False, keep=reduced)
        level = float(np.sum(reduced * offered.activity) + price @ spare)
        idle = 0 if level < bound else idle + 1
        bound = min(bound, level)
        tried = _offer(options, reduced, is_limited=True)
        best = tried if tried.margin_amount > best.margin_amount else best
        if idle == 3:
            ambition, idle = ambition / 2, 0
    return best, bound


def _frame(options: _Options, offered: _Offered) -> pl.DataFrame:
    starts, ends = np.zeros(len(offered.option)), np.zeros(len(offered.option))
    audience = options.audience[offered.option]
    for place, pair in enumerate(options.cells):
        for side in _SIDES:
            here = (audience == place) & (offered.side == side)
            starts[here], ends[here] = pair[side].sums[offered.start[here]], pair[side].sums[offered.end[here]]
    buyers = options.units[offered.option] * (ends - starts)
    return (
        options.rows[offered.option]
        .select("product_id", *_AUDIENCE, "stage_segment_ids")
        .with_columns(
            pl.Series("is_adult", offered.side.astype(bool)),
            pl.Series("from_rank", offered.start),
            pl.Series("to_rank", offered.end),
            pl.Series("customers", offered.end - offered.start),
            pl.Series("expected_buyers", buyers).round(9),
            pl.Series("expected_margin_amount", buyers * options.margin[offered.option]).round(4),
            pl.lit(options.cap).alias("offers_limit"),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in table_schema(_TABLE).items())
        .sort("product_id", *_CELL)
    )
