"""Product to audience: for each product and group of stages the customers it suits best, beside the simplest rules.

What belongs here: choosing the customers with the highest expected purchases, at the stated size, and what as many of
the most active, of the segments with the best past, or of any would buy instead. What does not: learning shares and
activity (`shares`, `activity`), the proof on days held back (`audience_backtest`), who is offered what together
(`offer_plan`), and any claim that an e-mail causes a purchase: only a control group shows that.

The score of customer i for product p is expected_products[i] times the product's share in the purchases of the
customer's taste. Activity does not depend on the product, so within a taste the best customers are the most active
ones, and an audience is told by its smallest activity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.stats import gamma, nbinom

from segmentation_assets.merchandising.plan import (
    BY_ACTIVITY,
    BY_CHANCE,
    BY_PAST_RATE,
    BY_TASTE,
    RATE_DAYS,
    UNKNOWN_TASTE,
    CampaignSpec,
    empty_table,
    table_schema,
)
from segmentation_assets.merchandising.promotable import spare_stock
from segmentation_assets.merchandising.shares import PurchaseShares

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_TABLE = "campaigns/product_segment_matches"
_METHODS = (BY_TASTE, BY_ACTIVITY, BY_PAST_RATE, BY_CHANCE)
_CELL = ["taste_segment_id", "stage_segment_id"]
#: Halvings, on a log scale, of the interval that holds the smallest score: its relative width is then below 1e-10.
_HALVINGS = 40
#: The smallest score looked for, relative to the highest: below it nobody is worth telling apart.
_SMALLEST_SCORE = 1e-12
#: Lower end of the 90% intervals.
_LOW = 0.05
#: Scores are written with nine digits; what differs by less is the same.
_SAME_SCORE = 1e-9
#: Products that are matched at a time, so that memory does not grow with the catalogue.
_CHUNK = 20_000


@dataclass(frozen=True)
class Crowd:
    """Customers among whom an audience is chosen, by taste, as ascending activities.

    `tastes` are columns of the shares, sorted; `activity[t]` (customers of the taste,) ascending. `totals[t]` has one
    element more: totals[t][n] is the activity of the n most active together.
    """

    tastes: Ints
    activity: tuple[Floats, ...]
    totals: tuple[Floats, ...]
    everyone: Floats

    @staticmethod
    def of(taste: Ints, activity: Floats) -> Crowd:
        """From columns of the shares and activities, both (customers,)."""
        tastes = np.unique(taste)
        parts = tuple(np.sort(activity[taste == code]) for code in tastes)
        return Crowd(
            tastes.astype(np.int64),
            parts,
            tuple(np.concatenate(([0.0], np.cumsum(part[::-1]))) for part in parts),
            np.sort(activity),
        )

    @property
    def sizes(self) -> Ints:
        """Customers by taste."""
        return np.array([len(part) for part in self.activity], dtype=np.int64)

    def floors(self, counts: Ints) -> Floats:
        """Activity of the last of the `counts` (..., tastes) most active of each taste; infinite for none."""
        found = np.full(counts.shape, np.inf)
        for place, part in enumerate(self.activity):
            n = counts[..., place]
            found[..., place] = np.where(n > 0, part[np.clip(len(part) - n, 0, len(part) - 1)], np.inf)
        return found

    def edge(self, size: Ints) -> tuple[Floats, Floats]:
        """Activity of the last of the `size` most active, and the part of those with just this activity who fit."""
        n = len(self.everyone)
        edge = self.everyone[np.clip(n - size, 0, n - 1)]
        above = n - np.searchsorted(self.everyone, edge, side="right")
        tied = n - np.searchsorted(self.everyone, edge, side="left") - above
        return edge, np.clip((size - above) / np.maximum(tied, 1), 0.0, 1.0)

    def values(self, theta: Floats, counts: Ints) -> Floats:
        """Expected purchases (products, tastes) of the `counts` most active of each taste at shares `theta`."""
        return theta * np.stack([total[counts[:, place]] for place, total in enumerate(self.totals)], axis=1)


def best_counts(theta: Floats, crowd: Crowd, size: Ints, minimum_cell: int = 1) -> Ints:
    """How many of each taste are among the `size` customers with the highest theta * activity, (products, tastes).

    `theta` is (products, tastes); a taste with 0 is left out. `size` is (products,). Equal scores stay together, so
    the sum is the reachable number nearest to the size. Parts under `minimum_cell` customers are given up; where that
    leaves none, the size is taken of the taste with the largest part alone. One bisection for all products at once,
    with two binary searches per taste and step (a threshold on the score is one on the activity of each taste).
    """
    counts = _threshold_counts(theta, crowd, size, minimum_cell)
    kept = np.where(counts >= minimum_cell, counts, 0)
    scattered = np.flatnonzero((kept.sum(axis=1) == 0) & (counts.sum(axis=1) > 0))
    if len(scattered):
        alone = np.zeros_like(theta[scattered])
        largest = counts[scattered].argmax(axis=1)
        alone[np.arange(len(scattered)), largest] = theta[scattered, largest]
        again = _threshold_counts(alone, crowd, size[scattered], minimum_cell)
        kept[scattered] = np.where(again >= minimum_cell, again, 0)
    return kept


def _threshold_counts(theta: Floats, crowd: Crowd, size: Ints, minimum_cell: int) -> Ints:
    """Customers of each taste at or above the score that brings the sum nearest to the size."""
    strongest = np.array([part[-1] for part in crowd.activity])
    high = (theta * strongest).max(axis=1) * (1 + 1e-9)
    is_wanted = (high > 0) & (size > 0)
    low = np.where(is_wanted, high * _SMALLEST_SCORE, 1.0)
    high = np.where(is_wanted, high, 1.0)
    enough = _counts_above(theta, crowd, low)
    few = np.zeros_like(enough)
    open_ = np.flatnonzero(is_wanted & (enough.sum(axis=1) > size))
    for _ in range(_HALVINGS):
        if not len(open_):
            break
        middle = np.sqrt(low[open_] * high[open_])
        counts = _counts_above(theta[open_], crowd, middle)
        total = counts.sum(axis=1)
        is_enough = total >= size[open_]
        low[open_[is_enough]], enough[open_[is_enough]] = middle[is_enough], counts[is_enough]
        high[open_[~is_enough]], few[open_[~is_enough]] = middle[~is_enough], counts[~is_enough]
        open_ = open_[total != size[open_]]
    over, under = enough.sum(axis=1) - size, size - few.sum(axis=1)
    is_few_nearer = (under < over) & (few.sum(axis=1) >= minimum_cell)
    return np.where(is_wanted[:, None], np.where(is_few_nearer[:, None], few, enough), 0)


def _counts_above(theta: Floats, crowd: Crowd, score: Floats) -> Ints:
    found = np.zeros(theta.shape, dtype=np.int64)
    with np.errstate(divide="ignore"):
        for place, part in enumerate(crowd.activity):
            found[:, place] = len(part) - np.searchsorted(part, score / theta[:, place])
    return found


def most_active_value(theta: Floats, crowd: Crowd, size: Ints) -> Floats:
    """Expected purchases (products,) of the `size` most active customers, each by the share of his own taste.

    Of customers tied at the edge, the same part of every taste is taken.
    """
    edge, part = crowd.edge(size)
    above = np.stack([len(own) - np.searchsorted(own, edge, side="right") for own in crowd.activity], axis=1)
    from_edge = np.stack([len(own) - np.searchsorted(own, edge, side="left") for own in crowd.activity], axis=1)
    whole, more = crowd.values(theta, above).sum(axis=1), crowd.values(theta, from_edge).sum(axis=1)
    return np.asarray(np.where(size > 0, whole + part * (more - whole), 0.0))


def filled_cells(rate: Floats, size: Ints, customers: Ints) -> Floats:
    """Part of each cell that is taken, (products, cells), when cells are filled by their rate up to `size` customers.

    `rate` is (products, cells), `size` (products,), `customers` (cells,). Of the last cell a part is taken at random,
    and cells with the same rate share what is left: their order would be one of names.
    """
    order = np.argsort(-rate, axis=1, kind="stable")
    sorted_rate = np.take_along_axis(rate, order, axis=1)
    sizes = customers[order]
    ends = np.cumsum(sizes, axis=1)
    # Cells of equal rate are one: it begins where its first cell begins and ends where its last one ends.
    is_new = np.concatenate([np.ones((len(rate), 1), dtype=bool), np.diff(sorted_rate, axis=1) != 0], axis=1)
    start = np.maximum.accumulate(np.where(is_new, ends - sizes, 0), axis=1)
    is_last = np.concatenate([is_new[:, 1:], np.ones((len(rate), 1), dtype=bool)], axis=1)
    end = np.minimum.accumulate(np.where(is_last, ends, np.iinfo(np.int64).max)[:, ::-1], axis=1)[:, ::-1]
    taken = np.clip((size[:, None] - start) / np.maximum(end - start, 1), 0.0, 1.0)
    found = np.empty_like(taken)
    np.put_along_axis(found, order, taken, axis=1)
    return found


def past_rates(purchases: pl.DataFrame, then: pl.DataFrame) -> pl.DataFrame:
    """Past purchase rate of each product by cell of taste and stage: what `match_products` takes as `rates`.

    `purchases` holds the rows of campaigns.window_purchases and `then` those of campaigns.customer_activity of the
    same window. Columns product_id, taste_segment_id, stage_segment_id, buyers, customers; cells without a buyer have
    no row. Sorted.
    """
    sizes = then.group_by(_CELL).agg(pl.len().cast(pl.Int64).alias("customers"))
    return (
        purchases.select("product_id", *_CELL, "buyers").join(sizes, on=_CELL, how="inner").sort("product_id", *_CELL)
    )


def match_products(
    promotable: pl.DataFrame,
    members: pl.DataFrame,
    shares: PurchaseShares,
    rates: pl.DataFrame,
    *,
    scored_by: str,
    choices: pl.DataFrame,
    spec: CampaignSpec,
    is_proven: bool = True,
) -> pl.DataFrame:
    """`campaigns.product_segment_matches`: the best audiences of each product and the best products of each audience.

    Inputs: campaigns.promotable_products, campaigns.audience_members, the shares of products in purchases, the result
    of `past_rates` for the last window, the method of campaigns.match_verdicts, campaigns.product_choices.

    Per product and group of stages, the `spec.audience_share` of its customers with the highest expected purchases
    (age-restricted goods: of the known adults among them; at least `spec.minimum_cell`; a chosen audience size is split
    over the groups by their size), in parts by taste. Customers of unknown taste are a part too: they buy by the base
    shares. `score` is the mean of expected_products times theta over the part, `matched_score` that over all parts, and
    the three baselines are valued by the same theta: comparable estimates, of which the back-test is the proof.
    `beats_baseline` needs `is_proven`, that the verdict found matching better, and the lower end of the 90%
    interval of `matched_score` above every baseline, by what is not known of the lifts: a product's popularity moves
    matched and baselines alike, and lifts of different tastes are independent. `low` and `high`: 90% prediction
    interval of the buyers among the reachable, negative binomial (theta is gamma distributed, buyers given theta are
    Poisson).

    `scored_by` other than taste: BY_ACTIVITY knows no taste; BY_PAST_RATE fills cells of taste and stage group in the
    order of their past rate, the last one with its most active; by BY_CHANCE no size can be told apart, so an audience
    is a whole taste of the group.

    Empty, with its columns, without products or members, or when no part reaches the smallest cell. ValueError for a
    method nobody knows and for products the shares do not hold.
    """
    if scored_by not in _METHODS:
        raise ValueError(f"'{scored_by}' is no method of matching; known are {', '.join(_METHODS)}.")
    wanted = promotable.filter(pl.col("is_promotable") & ~pl.col("is_sensitive")).sort("product_id")
    if wanted.is_empty() or members.is_empty():
        return empty_table(_TABLE)
    products = _Products.of(wanted, shares, choices)
    sides = _sides(members, shares, rates, wanted["product_id"])
    lots = [np.arange(start, min(start + _CHUNK, wanted.height)) for start in range(0, wanted.height, _CHUNK)]
    kept = [_best(_candidates(sides, lot, products, shares, scored_by=scored_by, spec=spec), spec) for lot in lots]
    # The best products of an audience were found in each lot of products; here they meet those of the others.
    frame = _best(pl.concat(kept), spec)
    if frame.is_empty():
        return empty_table(_TABLE)
    return (
        _with_reason(_with_interval(frame, is_proven=is_proven and scored_by == BY_TASTE), scored_by, is_proven)
        .with_columns(
            product_id=pl.Series(products.product_ids[frame["product"].to_numpy()], dtype=pl.String),
            scored_by=pl.lit(scored_by),
        )
        .select(pl.col(name).cast(dtype) for name, dtype in table_schema(_TABLE).items())
        .sort("product_id", "taste_segment_id", "stage_group")
    )


@dataclass(frozen=True)
class _Products:
    """The products that may be matched, sorted by id, as arrays; NaN where stock, discount or size is not given."""

    product_ids: NDArray[np.object_]
    row: Ints  # in the shares
    list_price: Floats
    unit_cost: Floats
    spare_stock: Floats  # infinite where the source has no inventory
    largest_discount: Floats
    chosen_discount: Floats
    chosen_customers: Floats
    is_age_restricted: Bools

    @staticmethod
    def of(wanted: pl.DataFrame, shares: PurchaseShares, choices: pl.DataFrame) -> _Products:
        known = pl.DataFrame({"product_id": list(shares.product_ids)}, schema={"product_id": pl.String})
        chosen = choices.select(
            "product_id",
            pl.col("discount_share").alias("chosen_discount"),
            pl.col("audience_customers").alias("chosen_customers"),
        )
        frame = wanted.join(known.with_row_index("row"), on="product_id", how="left", maintain_order="left")
        missing = frame.filter(pl.col("row").is_null())["product_id"].to_list()
        if missing:
            raise ValueError(
                f"The shares hold no figure for {len(missing):,} products that may be offered "
                f"({', '.join(missing[:3])}): learn them for every product that may be matched."
            )
        frame = frame.join(chosen, on="product_id", how="left", maintain_order="left")

        def floats(expression: pl.Expr, unknown: float = np.nan) -> Floats:
            return frame.select(expression.cast(pl.Float64).fill_null(unknown)).to_series().to_numpy()

        return _Products(
            frame["product_id"].to_numpy(),
            frame["row"].to_numpy().astype(np.int64),
            floats(pl.col("list_price")),
            floats(pl.col("unit_cost")),
            floats(spare_stock(), np.inf),
            floats(pl.col("discount_share")),
            floats(pl.col("chosen_discount")),
            floats(pl.col("chosen_customers")),
            frame["is_age_restricted"].to_numpy().astype(bool),
        )


@dataclass(frozen=True)
class _Side:
    """The customers of one group of stages, all of them or the known adults, ready for every product.

    `reached[t][n]` of the n most active of a taste can be reached, with the activity `reached_activity[t][n]`. Cells
    are tastes (their place in the crowd) by stage segments; `past_*` are the cells with buyers, sorted by product.
    """

    stage_group: str
    stage_segment_ids: str
    is_adults: bool
    share_of_customers: float
    crowd: Crowd
    reached: tuple[Ints, ...]
    reached_activity: tuple[Floats, ...]
    cell_place: Ints
    cell_customers: Ints
    cell_activity: Floats
    past_product: Ints
    past_cell: Ints
    past_buyers: Floats
    past_rate: Floats

    def past(self, rows: Ints) -> tuple[Floats, Floats]:
        """Past buyers and purchase rates (products, cells) of the products `rows`, which are consecutive."""
        buyers = np.zeros((len(rows), len(self.cell_place)))
        rate = np.zeros_like(buyers)
        if len(rows):
            first, last = np.searchsorted(self.past_product, [rows[0], rows[-1] + 1])
            place = self.past_product[first:last] - rows[0]
            buyers[place, self.past_cell[first:last]] = self.past_buyers[first:last]
            rate[place, self.past_cell[first:last]] = self.past_rate[first:last]
        return buyers, rate


def _sides(members: pl.DataFrame, shares: PurchaseShares, rates: pl.DataFrame, product_ids: pl.Series) -> list[_Side]:
    """Every group of stages twice: for what everyone may buy, and for what only known adults may."""
    located = members.with_columns(taste=taste_codes(members["taste_segment_id"], shares.taste_ids))
    past = rates.select("product_id", *_CELL, "buyers", "customers").join(
        pl.DataFrame({"product_id": product_ids}).with_row_index("product"), on="product_id"
    )
    found: list[_Side] = []
    for is_adults in (False, True):
        everyone = located.filter("is_adult") if is_adults else located
        for (name,), part in sorted(everyone.group_by("stage_group"), key=lambda pair: str(pair[0][0])):
            group = part.sort(["expected_products", "customer_id"], descending=[True, False])
            crowd = Crowd.of(group["taste"].to_numpy(), group["expected_products"].to_numpy())
            reached, reached_activity = [], []
            for code in crowd.tastes:
                own = group.filter(pl.col("taste") == int(code))
                can = own["is_reachable"].to_numpy().astype(np.int64)
                reached.append(np.concatenate(([0], np.cumsum(can))))
                reached_activity.append(np.concatenate(([0.0], np.cumsum(own["expected_products"].to_numpy() * can))))
            cells = (
                group.group_by("taste", *_CELL)
                .agg(pl.len().alias("cell_customers"))
                .sort("taste", *_CELL)
                .with_row_index("cell")
            )
            cell_of = group.join(cells, on=["taste", *_CELL], how="left", maintain_order="left")["cell"].to_numpy()
            # Added up in the order of the sort above, so that the sum is the same on any number of threads.
            cell_activity = np.bincount(
                cell_of, weights=group["expected_products"].to_numpy(), minlength=cells.height
            ).astype(np.float64)
            seen = past.join(cells.select("cell", *_CELL), on=_CELL).sort("product", "cell")
            found.append(
                _Side(
                    str(name),
                    ",".join(cells["stage_segment_id"].unique().sort().to_list()),
                    is_adults,
                    group.height / everyone.height,
                    crowd,
                    tuple(reached),
                    tuple(reached_activity),
                    np.searchsorted(crowd.tastes, cells["taste"].to_numpy()),
                    cells["cell_customers"].to_numpy().astype(np.int64),
                    cell_activity,
                    seen["product"].to_numpy().astype(np.int64),
                    seen["cell"].to_numpy().astype(np.int64),
                    seen["buyers"].to_numpy().astype(np.float64),
                    seen.select(pl.col("buyers") / pl.col("customers").clip(lower_bound=1)).to_series().to_numpy(),
                )
            )
    return found


def taste_codes(tastes: pl.Series, taste_ids: Sequence[str]) -> pl.Series:
    """The column of each customer's taste in the shares; a taste they do not hold counts as unknown.

    ValueError when the shares hold no T0: then nothing could be said of customers of unknown taste.
    """
    if UNKNOWN_TASTE not in taste_ids:
        raise ValueError(f"The shares hold no {UNKNOWN_TASTE}: they must cover customers of unknown taste.")
    codes = {name: code for code, name in enumerate(taste_ids)}
    return tastes.replace_strict(codes, default=codes[UNKNOWN_TASTE], return_dtype=pl.Int64).alias("taste")


def stated_size(customers: int, share: float, minimum_cell: int) -> int:
    """The stated size of an audience: the share of the customers, at least a smallest cell, at most all of them."""
    return min(max(int(np.floor(customers * share + 0.5)), minimum_cell), customers)


def _sizes(side: _Side, rows: Ints, products: _Products, spec: CampaignSpec) -> Ints:
    n = len(side.crowd.everyone)
    asked = np.floor(np.nan_to_num(products.chosen_customers[rows]) * side.share_of_customers + 0.5)
    smallest = min(max(spec.minimum_cell, 1), n)
    return np.where(
        np.isnan(products.chosen_customers[rows]),
        stated_size(n, spec.audience_share, smallest),
        np.clip(asked, smallest, n),
    ).astype(np.int64)


def _theta(
    side: _Side, share_rows: Ints, shares: PurchaseShares, *, buyers: Floats, rate: Floats, scored_by: str
) -> tuple[Floats, Floats]:
    """Gamma shape and rate (products, tastes of the side) of the purchases per expected product.

    By past rate it is the rate of the taste's cells, weighted by their customers of today, over the mean activity
    of these: the members of a cell together then buy at its past rate. A cell without a buyer has shape 0 and rate 1.
    """
    if scored_by != BY_PAST_RATE:
        at = np.ix_(share_rows, side.crowd.tastes)
        return shares.shape[at], shares.rate[at]
    count = len(side.crowd.tastes)
    shape, expected = np.zeros((len(buyers), count)), np.zeros((len(buyers), count))
    for cell, place in enumerate(side.cell_place):
        shape[:, place] += buyers[:, cell]
        expected[:, place] += rate[:, cell] * side.cell_customers[cell]
    activity = np.bincount(side.cell_place, weights=side.cell_activity, minlength=count)
    theta = expected / np.maximum(activity, 1e-12)
    return shape, np.where(theta > 0, shape / np.where(theta > 0, theta, 1.0), 1.0)


def _counts(side: _Side, theta: Floats, size: Ints, *, minimum_cell: int, scored_by: str) -> Ints:
    """Customers of each taste in the audience, (products, tastes); the most active of each."""
    crowd = side.crowd
    if scored_by in {BY_TASTE, BY_ACTIVITY}:
        return best_counts(theta, crowd, size, minimum_cell)
    wanted = np.broadcast_to(crowd.sizes, theta.shape)
    if scored_by == BY_PAST_RATE:
        activity = np.array([total[-1] for total in crowd.totals])
        past = theta * activity / np.maximum(crowd.sizes, 1)
        wanted = np.floor(filled_cells(past, size, crowd.sizes) * wanted * (past > 0) + 0.5).astype(np.int64)
    counts = np.zeros(theta.shape, dtype=np.int64)
    floors = crowd.floors(wanted)
    for place, part in enumerate(crowd.activity):  # whoever is as active as the last one is in as well
        counts[:, place] = len(part) - np.searchsorted(part, floors[:, place])
    return np.where(counts >= minimum_cell, counts, 0)


_CANDIDATE: dict[str, pl.DataType] = {
    "product": pl.Int64(), "taste_segment_id": pl.String(), "stage_group": pl.String(),
    "stage_segment_ids": pl.String(), "audience_customers": pl.Int64(), "reachable_customers": pl.Int64(),
    "activity_floor": pl.Float64(), "discount_share": pl.Float64(), "score": pl.Float64(),
    "matched_customers": pl.Int64(), "matched_score": pl.Float64(), "matched_spread": pl.Float64(),
    "baseline_score": pl.Float64(), "past_rate_score": pl.Float64(), "random_score": pl.Float64(),
    "shape": pl.Float64(), "rate": pl.Float64(), "exposure": pl.Float64(), "expected_buyers": pl.Float64(),
    "expected_margin_amount": pl.Float64(), "lift": pl.Float64(),
}  # fmt: skip


def _candidates(
    sides: Sequence[_Side],
    rows: Ints,
    products: _Products,
    shares: PurchaseShares,
    *,
    scored_by: str,
    spec: CampaignSpec,
) -> pl.DataFrame:
    """Every audience part (_CANDIDATE) that the consecutive products `rows` can be offered to."""
    if scored_by != BY_TASTE:
        shares = shares.without_taste()
    frames = [pl.DataFrame(schema=_CANDIDATE)]
    for side in sides:
        is_own = products.is_age_restricted[rows] == side.is_adults
        if is_own.any():
            buyers, rate = side.past(rows)
            past = (buyers[is_own], rate[is_own])
            frames += _candidates_of(side, rows[is_own], products, shares, past=past, scored_by=scored_by, spec=spec)
    return pl.concat(frames)


def _candidates_of(
    side: _Side,
    rows: Ints,
    products: _Products,
    shares: PurchaseShares,
    *,
    past: tuple[Floats, Floats],
    scored_by: str,
    spec: CampaignSpec,
) -> list[pl.DataFrame]:
    """Candidates on one side; `past` is its past buyers and rates (products, cells)."""
    crowd, minimum = side.crowd, max(spec.minimum_cell, 1)
    buyers, past_rate = past
    shape, rate = _theta(side, products.row[rows], shares, buyers=buyers, rate=past_rate, scored_by=scored_by)
    theta = shape / rate
    counts = _counts(
        side,
        theta,
        _sizes(side, rows, products, spec),
        minimum_cell=minimum,
        scored_by=scored_by,
    )
    matched = counts.sum(axis=1)
    of = np.maximum(matched, 1)
    values = crowd.values(theta, counts)
    taken = filled_cells(past_rate, matched, side.cell_customers)
    everything = crowd.values(theta, np.broadcast_to(crowd.sizes, theta.shape)).sum(axis=1)

    given = products.chosen_discount[rows]
    # How popular the product is moves matched and baselines alike: what can be wrong is the lift. The relative
    # variance of theta, one over its shape, is that of the base share (all there is for T0) and that of the lift.
    base = 1 / shares.shape[products.row[rows], shares.taste_ids.index(UNKNOWN_TASTE)]
    doubt = np.maximum((1 + 1 / np.maximum(shape, 1e-12)) / (1 + base[:, None]) - 1, 0.0)
    discount = np.where(np.isnan(given), spec.discount(side.stage_group), given)
    unit_margin = products.list_price[rows] * (1 - discount) - products.unit_cost[rows]
    is_bearable = discount <= products.largest_discount[rows] + 1e-12
    common = {
        "product": rows,
        "discount_share": discount,
        "matched_customers": matched,
        "matched_score": values.sum(axis=1) / of,
        "matched_spread": np.sqrt((values**2 * doubt).sum(axis=1)) / of,
        "baseline_score": most_active_value(theta, crowd, matched) / of,
        "past_rate_score": (taken * theta[:, side.cell_place] * side.cell_activity).sum(axis=1) / of,
        "random_score": everything / len(crowd.everyone),
    }
    found = []
    for place, code in enumerate(crowd.tastes):
        count = counts[:, place]
        exposure = side.reached_activity[place][count] * (spec.valid_days / RATE_DAYS)
        expected = np.minimum(theta[:, place] * exposure, side.reached[place][count])
        margin = (expected * unit_margin).round(4)
        kept = np.flatnonzero(
            (count >= minimum) & is_bearable & (margin > 0) & (expected <= products.spare_stock[rows])
        )
        n = count[kept]
        columns = {
            **{name: values_[kept] for name, values_ in common.items()},
            "audience_customers": n,
            "reachable_customers": side.reached[place][n],
            "activity_floor": crowd.activity[place][len(crowd.activity[place]) - n],
            "score": values[kept, place] / n,
            "shape": shape[kept, place],
            "rate": rate[kept, place],
            "exposure": exposure[kept],
            "expected_buyers": expected[kept],
            "expected_margin_amount": margin[kept],
            "lift": shares.lift[products.row[rows[kept]], code],
        }
        found.append(
            pl.DataFrame(columns)
            .with_columns(
                taste_segment_id=pl.lit(shares.taste_ids[code]),
                stage_group=pl.lit(side.stage_group),
                stage_segment_ids=pl.lit(side.stage_segment_ids),
            )
            .select(pl.col(name).cast(dtype) for name, dtype in _CANDIDATE.items())
        )
    return found


def _best(frame: pl.DataFrame, spec: CampaignSpec) -> pl.DataFrame:
    """The best audiences of each product and the best products of each audience, by expected margin, then score."""
    audience = ["taste_segment_id", "stage_group"]
    order = ["expected_margin_amount", "score", "product", *audience]
    return (
        frame.with_columns(pl.col("score").round(9))
        .sort(order, descending=[True, True, False, False, False])
        .filter(
            (pl.int_range(pl.len()).over("product") < spec.audiences_per_product)
            | (pl.int_range(pl.len()).over(audience) < spec.products_per_audience)
        )
    )


def _with_interval(frame: pl.DataFrame, *, is_proven: bool) -> pl.DataFrame:
    shape, rate, exposure = (frame[name].to_numpy() for name in ("shape", "rate", "exposure"))
    success = rate / (rate + exposure)
    low, high = nbinom.ppf(_LOW, shape, success), nbinom.ppf(1 - _LOW, shape, success)
    expected = frame["expected_buyers"].to_numpy()
    score, spread = frame["matched_score"].to_numpy(), frame["matched_spread"].to_numpy()
    # A gamma with this mean and standard deviation: theta is never negative, and skewed where little is known.
    is_spread = spread > 0
    width = np.where(is_spread, spread, 1.0) ** 2 / score
    lowest = np.where(is_spread, gamma.ppf(_LOW, score / width) * width, score)
    baseline = frame.select(pl.max_horizontal(*_BASELINES)).to_series().to_numpy()
    scores = ["score", "matched_score", *_BASELINES]
    return frame.with_columns(
        pl.Series("low", np.minimum(low, expected)).round(6),
        pl.Series("high", np.maximum(high, expected)).round(6),
        pl.Series("beats_baseline", (lowest > baseline + _SAME_SCORE) & is_proven),
        pl.col("expected_buyers").round(6),
        # Expected purchases of very active customers of very large shares would be more than one; buyers cannot be.
        pl.col(scores).clip(upper_bound=1.0).round(9),
    )


#: What each baseline chooses, in words.
_BASELINES = {
    "baseline_score": "of the most active customers",
    "past_rate_score": "of the segments with the highest past purchase rate",
    "random_score": "customers taken at random",
}

_WITHOUT_TASTE = {
    BY_ACTIVITY: "On days held back matching did no better than the most active customers, so these are simply the "
    "most active of them.",
    BY_PAST_RATE: "On days held back matching did no better than the segments with the highest past purchase rate, so "
    "these are simply customers of those segments.",
    BY_CHANCE: "On days held back matching did no better than chance, so these are simply all customers of this taste "
    "in these stages.",
}


def _with_reason(frame: pl.DataFrame, scored_by: str, is_proven: bool) -> pl.DataFrame:
    if scored_by != BY_TASTE:
        return frame.with_columns(reason=pl.lit(_WITHOUT_TASTE[scored_by]))

    def percent(column: str) -> pl.Expr:
        return (pl.col(column) * 100).round(2).cast(pl.String) + pl.lit("%")

    often = pl.format("{} times as often as all customers.", pl.col("lift").round(2))
    taste = (
        pl.when(pl.col("taste_segment_id") == UNKNOWN_TASTE)
        .then(pl.lit("Their taste is not known yet."))
        .when(pl.col("lift") >= 1.05)
        .then(pl.format("Of what they buy, customers of this taste choose it {}", often))
        .when(pl.col("lift") <= 0.95)
        .then(pl.format("Of what they buy, customers of this taste choose it only {}", often))
        .otherwise(pl.lit("Customers of this taste choose it about as often as all customers."))
    )
    strongest = pl.max_horizontal(*_BASELINES)
    best_rule = (strongest * 100).round(2).cast(pl.String) + pl.lit("%")
    named = pl.coalesce(pl.when(pl.col(name) == strongest).then(pl.lit(words)) for name, words in _BASELINES.items())
    contest = (
        pl.when("beats_baseline")
        .then(
            pl.format(
                "About {} of all customers matched with it in these stages buy it in {} days, against {} of as many "
                "of the most active.",
                percent("matched_score"), pl.lit(RATE_DAYS), percent("baseline_score"),
            )
        )
        .when(pl.col("matched_score") > strongest)
        .then(
            pl.format(
                "About {} of all customers matched with it in these stages buy it in {} days, against {} of as many "
                "{}: {}.",
                percent("matched_score"), pl.lit(RATE_DAYS), best_rule, named,
                pl.lit("too close to call" if is_proven else "not proven on days held back"),
            )
        )
        .otherwise(
            pl.format(
                "As many {} buy it as often or more ({} against {} in {} days): choose this audience for its "
                "objective, not for its rate.",
                named, best_rule, percent("matched_score"), pl.lit(RATE_DAYS),
            )
        )
    )  # fmt: skip
    return frame.with_columns(reason=pl.format("{} {}", taste, contest))
