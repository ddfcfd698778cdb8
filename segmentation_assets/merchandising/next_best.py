"""The next best products of each customer: a weighted blend of four simple reasons, under the rules of an offer.

What belongs here: what is learned from who bought what, the weights of the blend, and the choice of a customer's
products. What does not: whether the blend is better than simpler rules (`product_backtest`), which products may be
offered at all (`promotable`), and reading histories from the warehouse. Purchases of sensitive categories must not be
in a history: what was bought there would show in what is suggested.

The score of a customer and a product is a sum of products of sparse rows, one block of columns per reason, so that a
single sparse product finds the best few of millions of pairs without making the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypedDict

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse
from sparse_dot_topn import sp_matmul_topn

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

#: Why a product is suggested: the components of the blend, the simplest first.
IN_TASTE, BOUGHT_BEFORE = "popular in this taste", "bought before"
GOES_WITH, IN_CATEGORIES = "goes with what was bought", "popular in own categories"
COMPONENTS = (IN_TASTE, BOUGHT_BEFORE, GOES_WITH, IN_CATEGORIES)
#: The simple rules that the blend must beat, the simplest first; one of them is used alone where it does not.
POPULAR, POPULAR_NOW = "popular overall", "popular in the last 30 days"
IN_SEGMENT, OWN_COUNTS = "popular in the segment", "own counts"
RULES = (POPULAR, POPULAR_NOW, IN_SEGMENT, OWN_COUNTS)
#: Where the blend could not be fitted: all four count the same.
EQUAL_WEIGHTS: Mapping[str, float] = MappingProxyType(dict.fromkeys(COMPONENTS, 0.25))

#: From this share of buyers who buy again, people buy a product again and again, and it needs no rest.
REPURCHASABLE_SHARE = 0.10
#: A purchase counts half for every so many days since: for a customer's own products, and for what is in demand.
_OWN_HALF_LIFE, _DEMAND_HALF_LIFE = 365.0, 90.0
_RECENT_DAYS = 30
#: Weight of the wider group in a shrunken share or rate, in observations: buyers, purchases of a taste, purchases.
_RATE_PRIOR, _TASTE_PRIOR, _CATEGORY_PRIOR = 20.0, 200.0, 3.0
#: Co-buyers that a pair of products must outweigh: added to the buyers of each product.
_PAIR_PRIOR = 10.0
_NEIGHBOURS, _LISTED, _LISTED_IN_CATEGORY = 50, 200, 100
#: Nobody goes without a suggestion: what is popular in the taste counts at least this much.
_LEAST_WEIGHT = 0.001
#: The score of what a rule excludes; no sum of components comes near it.
_EXCLUDED = -1e9
_BLOCK = 50_000

_FIT_CUSTOMERS, _FEWEST_CUSTOMERS, _CANDIDATES = 6_000, 100, 25
#: Weights are multiples of one over this; a gain in NDCG below the second number does not pay for a component.
_GRID, _WORTHWHILE = 20, 0.0005
#: The list that is judged.
LIST_LENGTH = 10

_FRAME = {
    "customer": pl.Int64(), "rank": pl.Int64(), "product": pl.Int64(), "score": pl.Float64(),
    "is_repurchase": pl.Boolean(), "basis": pl.String(),
}  # fmt: skip


@dataclass(frozen=True)
class History:
    """What customers had bought by a day: one entry per (customer, product) pair, sorted by customer, then product.

    Codes are places in sorted lists of ids. `days` (pairs,) counts the distinct days on which the customer bought the
    product, `age_days` (pairs,) the days since the last of them (0 is the day itself), `returned` (pairs,) whether the
    customer sent one back. `taste` (customers,) is the code of the taste segment, 0 for unknown; `category`
    (products,) the code of the category, -1 for unknown. ValueError when the arrays contradict each other.
    """

    customers: int
    products: int
    customer: Ints
    product: Ints
    days: Ints
    age_days: Ints
    returned: Bools
    taste: Ints
    category: Ints

    def __post_init__(self) -> None:
        pairs = len(self.customer)
        if any(len(values) != pairs for values in (self.product, self.days, self.age_days, self.returned)):
            raise ValueError("customer, product, days, age_days and returned must have one entry per pair each.")
        if len(self.taste) != self.customers or len(self.category) != self.products:
            raise ValueError("taste needs one entry per customer, category one per product.")
        if pairs == 0:
            return
        if min(self.customer.min(), self.product.min(), self.age_days.min()) < 0 or self.days.min() < 1:
            raise ValueError("Codes and ages of a history start at 0, days at 1.")
        if self.customer.max() >= self.customers or self.product.max() >= self.products:
            raise ValueError("A code of the history lies beyond the number of customers or products.")
        if not np.all(np.diff(self.key) > 0):
            raise ValueError("The pairs of a history must be sorted by customer and product, each there once.")

    @cached_property
    def key(self) -> NDArray[np.int64]:
        """(pairs,): one number per pair, ascending."""
        return self.customer.astype(np.int64) * max(self.products, 1) + self.product

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(customers + 1,): where the pairs of each customer begin."""
        return np.searchsorted(self.customer, np.arange(self.customers + 1)).astype(np.int64)

    def taken(self, customers: Ints) -> History:
        """The history of some customers (n,) only, in the order given, as customers 0 to n - 1."""
        first, count = self.starts[customers], self.starts[np.asarray(customers) + 1] - self.starts[customers]
        owner = np.repeat(np.arange(len(customers)), count)
        at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
        return History(
            len(customers), self.products, owner, self.product[at], self.days[at], self.age_days[at],
            self.returned[at], self.taste[customers], self.category,
        )  # fmt: skip


@dataclass(frozen=True)
class Demand:
    """What a history says about products, the same for all customers; made by `learn_demand`.

    `repurchase` (products,): share of a product's buyers who bought it on another day again. `popular` (lists,
    products): shares of a product in what is bought, each row summing to 1 at most: what is in demand in each taste
    and overall, buyers ever, buyers of the last 30 days, and buyers ever of each taste. `in_category` (products,): its
    share of the demand within its category. `neighbours` (products, products): at most 50 entries per row, which sum
    to 1.
    """

    repurchase: Floats
    popular: Floats
    tastes: int
    in_category: Floats
    category: Ints
    neighbours: sparse.csr_matrix

    @property
    def categories(self) -> int:
        """Number of categories."""
        return int(self.category.max(initial=-1)) + 1

    @property
    def repurchasable(self) -> Bools:
        """(products,): products that people buy again and again."""
        return np.asarray(self.repurchase >= REPURCHASABLE_SHARE)


def learn_demand(history: History, threads: int = 1) -> Demand:
    """What the history says about products.

    Re-purchase shares are shrunk toward the category's, that toward the overall one, as if `_RATE_PRIOR` further
    buyers had behaved like it (beta-binomial mean). Demand counts a buyer half for every 90 days since the last
    purchase; that of a taste is shrunk toward all customers', and an unknown taste gets theirs.

    `neighbours` is the item-to-item cosine of Sarwar, Karypis, Konstan and Riedl (2001): co-buyers over the root of
    both numbers of buyers. As Deshpande and Karypis (2004) advise, customers who bought much count less (each row of
    purchases has length 1) and the rows of the result sum to 1, so that a product with many close neighbours does not
    outweigh another. `_PAIR_PRIOR` is added to the buyers of each product: a pair with few co-buyers is no neighbour.
    The result does not depend on `threads`.
    """
    products, category = history.products, np.asarray(history.category)
    known = category >= 0
    categories = int(category.max(initial=-1)) + 1

    def by_category(values: Floats) -> Floats:
        return np.bincount(category[known], weights=values[known], minlength=categories).astype(np.float64)

    buyers = np.bincount(history.product, minlength=products).astype(np.float64)
    again = np.bincount(history.product[history.days > 1], minlength=products).astype(np.float64)
    rate = np.full(products, again.sum() / max(buyers.sum(), 1.0))
    if categories:
        wide = (by_category(again) + _RATE_PRIOR * rate[0]) / (by_category(buyers) + _RATE_PRIOR)
        rate[known] = wide[category[known]]
    rate = (again + _RATE_PRIOR * rate) / (buyers + _RATE_PRIOR)

    tastes = int(np.asarray(history.taste).max(initial=0)) + 1
    wanted = np.exp2(-history.age_days / _DEMAND_HALF_LIFE)
    place = history.taste[history.customer].astype(np.int64) * products + history.product
    counts = np.bincount(place, weights=wanted, minlength=tastes * products).reshape(tastes, products)
    overall = _shares(counts.sum(axis=0))
    by_taste = (counts + _TASTE_PRIOR * overall) / (counts.sum(axis=1, keepdims=True) + _TASTE_PRIOR)
    by_taste[0] = overall
    recent = np.bincount(history.product[history.age_days < _RECENT_DAYS], minlength=products).astype(np.float64)
    ever = np.bincount(place, minlength=tastes * products).reshape(tastes, products).astype(np.float64)
    popular = np.vstack([by_taste, overall, _shares(buyers), _shares(recent), _shares(ever)])
    in_category = np.zeros(products)
    if categories:
        in_category[known] = overall[known] / np.maximum(by_category(overall), 1e-12)[category[known]]
    return Demand(rate, popular, tastes, in_category, category, _neighbours(history, buyers, threads))


def _shares(counts: Floats) -> Floats:
    """Rows that sum to 1; a row without anything stays 0."""
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1e-12)


def _neighbours(history: History, buyers: Floats, threads: int) -> sparse.csr_matrix:
    products = history.products
    bought = np.diff(history.starts)
    # Both sides carry half of each factor, so that their product is the shrunken cosine.
    values = 1.0 / np.sqrt(np.maximum(bought, 1)[history.customer] * (buyers + _PAIR_PRIOR)[history.product])
    rows = sparse.csr_matrix(
        (values.astype(np.float32), history.product.astype(np.int32), history.starts),
        shape=(history.customers, products),
    )
    if rows.nnz == 0:
        return sparse.csr_matrix((products, products), dtype=np.float32)
    # One more than is kept, because a product is its own closest neighbour.
    found = _product(rows.T.tocsr(), rows, _NEIGHBOURS + 1, threads)
    row = np.repeat(np.arange(products), np.diff(found.indptr))
    other = row != found.indices
    row, column, close = row[other], found.indices[other], found.data[other]
    # A popular product is closer to all it goes with than to itself once customers' lengths count: keep the first 50.
    order = np.lexsort((column, -close, row))
    row, column, close = row[order], column[order], close[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < _NEIGHBOURS
    row, column, close = row[kept], column[kept], close[kept]
    close = close / np.bincount(row, weights=close, minlength=products)[row]
    return sparse.csr_matrix((close.astype(np.float32), (row, column)), shape=(products, products))


def _product(left: sparse.csr_matrix, right: sparse.csr_matrix, best: int, threads: int) -> sparse.csr_matrix:
    """The `best` largest positive values in each row of left times right."""
    return sp_matmul_topn(left, right, top_n=best, threshold=0.0, sort=True, n_threads=max(threads, 1))


def _largest(shares: Floats, keep: int) -> sparse.csr_matrix:
    """The `keep` largest values of each row (rows, products), ties by code."""
    rows, products = shares.shape
    if keep < products:
        columns = np.argsort(-shares, axis=1, kind="stable")[:, :keep]
        values = np.take_along_axis(shares, columns, axis=1)
        row = np.repeat(np.arange(rows), keep)
        listed = sparse.csr_matrix((values.ravel().astype(np.float32), (row, columns.ravel())), shape=(rows, products))
    else:
        listed = sparse.csr_matrix(shares.astype(np.float32))
    listed.eliminate_zeros()
    return listed


@dataclass(frozen=True)
class _Lists:
    """The right side of the sparse product for one set of products that may be suggested.

    Its rows: the customer's own products, then neighbours, the rows of `Demand.popular`, categories.
    """

    stack: sparse.csr_matrix
    popular: Floats
    in_category: Floats

    @classmethod
    def of(cls, demand: Demand, allowed: Bools, listed: int = _LISTED) -> _Lists:
        popular = _largest(demand.popular * allowed, listed)
        categories = demand.categories
        known = np.flatnonzero((demand.category >= 0) & allowed & (demand.in_category > 0))
        order = known[np.lexsort((known, -demand.in_category[known], demand.category[known]))]
        row = demand.category[order]
        kept = np.arange(len(order)) - np.searchsorted(row, row) < _LISTED_IN_CATEGORY
        order, row = order[kept], row[kept]
        in_category = np.zeros(len(allowed), dtype=np.float32)
        in_category[order] = demand.in_category[order]
        mask = sparse.diags(allowed.astype(np.float32), format="csr", dtype=np.float32)
        stack = sparse.vstack(
            [
                mask,
                demand.neighbours @ mask,
                popular,
                sparse.csr_matrix((in_category[order], (row, order)), shape=(categories, len(allowed))),
            ],
            format="csr",
        ).astype(np.float32)
        return cls(stack, popular.toarray(), in_category)


@dataclass(frozen=True)
class _Inputs:
    """The left side, for some customers: what each component starts from, before weights.

    `own`, `counted` and `items` (n, products); `shares` (n, categories) own shares of the categories and `rest` (n,)
    what is left for the categories of all customers; `taste` (n,), codes out of `tastes`.
    """

    own: sparse.csr_matrix
    counted: sparse.csr_matrix
    items: sparse.csr_matrix
    shares: sparse.csr_matrix
    rest: Floats
    taste: Ints
    tastes: int

    @classmethod
    def of(cls, history: History, demand: Demand) -> _Inputs:
        n, products, categories = history.customers, history.products, demand.categories
        fresh = np.exp2(-history.age_days / _OWN_HALF_LIFE)

        def shared(values: Floats) -> Floats:
            total = np.bincount(history.customer, weights=values, minlength=n)
            return values / np.maximum(total, 1e-12)[history.customer]

        def rows(values: Floats) -> sparse.csr_matrix:
            return sparse.csr_matrix(
                (values.astype(np.float32), history.product.astype(np.int32), history.starts.astype(np.int32)),
                shape=(n, products),
            )

        own = shared(fresh * history.days) * demand.repurchase[history.product]
        # Own counts stand above whatever fills the list: by days bought, then the most recent, then the code.
        order = np.lexsort((history.product, history.age_days, -history.days.astype(np.int64), history.customer))
        counted = np.empty(len(order))
        place = np.arange(len(order)) - history.starts[history.customer[order]]
        counted[order] = products + 1.0 - place
        known = demand.category[history.product] >= 0
        weighed = np.bincount(history.customer[known], weights=fresh[known], minlength=n)
        share = fresh[known] / (weighed + _CATEGORY_PRIOR)[history.customer[known]]
        # Duplicates of a row and column are added up.
        shares = sparse.csr_matrix(
            (share.astype(np.float32), (history.customer[known], demand.category[history.product[known]])),
            shape=(n, categories),
        )
        rest = _CATEGORY_PRIOR / (weighed + _CATEGORY_PRIOR)
        return cls(rows(own), rows(counted), rows(shared(fresh)), shares, rest, history.taste, demand.tastes)

    def popular(self, weights: Mapping[str, float]) -> dict[str, tuple[Ints, Floats]]:
        """By component, the row of `Demand.popular` that speaks to each customer, and how loudly; each (n,)."""
        n, tastes = len(self.taste), self.tastes
        return {
            IN_TASTE: (self.taste, np.full(n, max(weights.get(IN_TASTE, 0.0), _LEAST_WEIGHT))),
            IN_CATEGORIES: (np.full(n, tastes), weights.get(IN_CATEGORIES, 0.0) * self.rest),
            POPULAR: (np.full(n, tastes + 1), np.full(n, weights.get(POPULAR, 0.0))),
            POPULAR_NOW: (np.full(n, tastes + 2), np.full(n, weights.get(POPULAR_NOW, 0.0))),
            IN_SEGMENT: (self.taste + np.int64(tastes + 3), np.full(n, weights.get(IN_SEGMENT, 0.0))),
        }

    def stack(self, weights: Mapping[str, float], excluded: sparse.csr_matrix | None = None) -> sparse.csr_matrix:
        """(n, rows of `_Lists.stack`): the inputs times their weights, with the pairs that are `excluded`."""
        n = len(self.taste)

        def weighed(values: sparse.csr_matrix, name: str) -> sparse.csr_matrix:
            weight = np.float32(weights.get(name, 0.0))
            return values * weight if weight else sparse.csr_matrix(values.shape, dtype=np.float32)

        own = weighed(self.own, BOUGHT_BEFORE) + weighed(self.counted, OWN_COUNTS)
        if excluded is not None:
            own = own + excluded
        columns, values = (np.concatenate(sides) for sides in zip(*self.popular(weights).values(), strict=True))
        loud = np.flatnonzero(values)
        popular = sparse.csr_matrix(
            (values[loud].astype(np.float32), (loud % n, columns[loud])), shape=(n, 2 * self.tastes + 3)
        )
        blocks = [own, weighed(self.items, GOES_WITH), popular, weighed(self.shares, IN_CATEGORIES)]
        return sparse.hstack(blocks, format="csr").astype(np.float32)


def best_products(
    left: sparse.csr_matrix, right: sparse.csr_matrix, top: int, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(rows, top) products and scores, the best first, ties by code; -1 and 0 where there is no more.

    Which of several products with the same score a sparse product keeps is left to chance, so more are fetched until
    the score that is cut off is lower than the last one that counts.
    """
    rows, products = left.shape[0], right.shape[1]
    codes = np.full((rows, top), -1, dtype=np.int64)
    scores = np.zeros((rows, top))
    open_rows, fetch = np.arange(rows), top + 3
    while len(open_rows):
        found = _product(left if len(open_rows) == rows else left[open_rows], right, min(fetch, products), threads)
        count = np.diff(found.indptr)
        width = min(fetch, products)
        cell = np.arange(len(found.indices)) - np.repeat(found.indptr[:-1], count)
        row = np.repeat(np.arange(len(open_rows)), count)
        code = np.full((len(open_rows), width), products, dtype=np.int64)
        score = np.zeros((len(open_rows), width))
        code[row, cell] = found.indices[: len(row)]
        score[row, cell] = np.round(found.data[: len(row)].astype(np.float64), 9)
        order = np.lexsort((code, -score), axis=-1)
        code, score = np.take_along_axis(code, order, 1), np.take_along_axis(score, order, 1)
        kept = min(top, width)
        codes[open_rows, :kept] = np.where(score[:, :kept] > 0, code[:, :kept], -1)
        scores[open_rows, :kept] = score[:, :kept]
        tied = (count == width) & (score[:, kept - 1] <= score[:, -1]) & (width < products)
        open_rows, fetch = open_rows[tied], fetch * 4
    return codes, scores


def recommend(
    history: History,
    weights: Mapping[str, float],
    allowed: Bools,
    *,
    is_age_restricted: Bools,
    is_adult: Bools,
    may_be_offered: Bools | None = None,
    sent_back: tuple[Ints, Ints] | None = None,
    rest_days: int = 30,
    top: int = 5,
    demand: Demand | None = None,
    threads: int = 1,
) -> pl.DataFrame:
    """The `top` best products of each customer: customer, rank, product, score, is_repurchase, basis.

    Rules, none of which a score can outweigh: only products that are `allowed` (products,), those `is_age_restricted`
    (products,) only for customers who are known adults (`is_adult`, customers); nothing for customers who may not be
    offered anything (`may_be_offered`, customers: known minors); nothing that the customer sent back, which the history
    says, or `sent_back`, customer and product codes of further pairs (whole orders that came back are no sales and in
    no history); nothing bought within `rest_days`, unless people buy it again and again (`REPURCHASABLE_SHARE`).

    Customers without a history and of unknown taste get what is in demand overall. A product nobody ever bought is not
    suggested: the offer plan is where such products are placed. Customers get fewer products than `top` only where
    no more pass the rules. `score` is the weighted sum of the components; `basis` the component that adds most. Sorted
    by customer and rank; ties go to the lower product code. The same for every number of `threads`. ValueError for
    weights that are unknown, negative or all 0.
    """
    _check_weights(weights)
    demand = demand or learn_demand(history, threads)
    asked = np.ones(history.customers, bool) if may_be_offered is None else np.asarray(may_be_offered, bool)
    allowed, restricted = np.asarray(allowed, bool), np.asarray(is_age_restricted, bool)
    if not allowed.any() or top < 1:
        return pl.DataFrame(schema=_FRAME)
    if (allowed & restricted).any():
        adult = np.asarray(is_adult, bool)
        groups = [(asked & adult, allowed), (asked & ~adult, allowed & ~restricted)]
    else:
        groups = [(asked, allowed)]
    shape = (history.customers, history.products)
    nobody: Ints = np.zeros(0, dtype=np.int64)
    back_customer, back_product = sent_back if sent_back is not None else (nobody, nobody)
    refused = _marked(back_customer, back_product, shape)
    how = _How(weights=weights, rest_days=rest_days, top=top, threads=threads)
    frames = []
    for who, what in groups:
        if not what.any():
            continue
        lists = _Lists.of(demand, what)
        full: _Lists | None = None
        customers = np.flatnonzero(who)
        for at in range(0, len(customers), _BLOCK):
            block = customers[at : at + _BLOCK]
            part = history.taken(block)
            frame, short = _suggest(part, demand, lists, refused[block], **how)
            # A list of the most popular can be used up by what a rule excludes; then the whole catalogue is looked at.
            if len(short) and what.sum() > _LISTED:
                full = full or _Lists.of(demand, what, listed=len(what))
                again, _ = _suggest(part.taken(short), demand, full, refused[block[short]], **how)
                again = again.with_columns(pl.Series("customer", short[again["customer"].to_numpy()], dtype=pl.Int64))
                frame = pl.concat([frame.filter(~pl.col("customer").is_in(short.tolist())), again])
            owner = block[frame["customer"].to_numpy()]
            frames.append(frame.with_columns(pl.Series("customer", owner, dtype=pl.Int64)))
    return pl.concat(frames).sort("customer", "rank") if frames else pl.DataFrame(schema=_FRAME)


class _How(TypedDict):
    """What stays the same for all customers."""

    weights: Mapping[str, float]
    rest_days: int
    top: int
    threads: int


def _check_weights(weights: Mapping[str, float]) -> None:
    known = (*COMPONENTS, *RULES)
    if unknown := sorted(set(weights) - set(known)):
        raise ValueError(f"The weights name {unknown}; the components are {list(known)}.")
    if any(weight < 0 for weight in weights.values()) or sum(weights.values()) <= 0:
        raise ValueError("Weights must not be negative, and at least one must be above 0.")


def _suggest(
    history: History, demand: Demand, lists: _Lists, refused: sparse.csr_matrix, *, weights: Mapping[str, float],
    rest_days: int, top: int, threads: int,
) -> tuple[pl.DataFrame, NDArray[np.int64]]:  # fmt: skip
    """Suggestions for all customers of a (small) history, and who of them got fewer than `top`."""
    rests = (history.age_days < rest_days) & ~demand.repurchasable[history.product]
    excluded = _own_pairs(history, history.returned | rests) + refused
    inputs = _Inputs.of(history, demand)
    codes, scores = best_products(inputs.stack(weights, excluded), lists.stack, top, threads)
    rank = np.broadcast_to(np.arange(1, top + 1), codes.shape)
    found = codes >= 0
    customer, place = np.nonzero(found)
    product, score = codes[found], scores[found]
    parts: dict[str, Floats] = {
        name: value[customer] * lists.popular[row[customer], product]
        for name, (row, value) in inputs.popular(weights).items()
    }
    for name, values in ((BOUGHT_BEFORE, inputs.own), (OWN_COUNTS, inputs.counted)):
        if weights.get(name):
            parts[name] = weights[name] * _looked_up(values, customer, product)
    if shown := weights.get(IN_CATEGORIES):
        placed = demand.category[product] >= 0
        share = _looked_up(inputs.shares, customer[placed], demand.category[product[placed]])
        parts[IN_CATEGORIES][placed] += shown * share * lists.in_category[product[placed]]
    if weights.get(GOES_WITH):
        # What the others do not explain; cheaper than a second sparse product.
        parts[GOES_WITH] = score - np.sum(list(parts.values()), axis=0)
    names = [name for name in (*COMPONENTS, *RULES) if name in parts]
    basis = np.array(names)[np.argmax(np.vstack([parts[name] for name in names]), axis=0)]
    owned = _looked_up(_own_pairs(history, np.ones(len(history.customer), bool)), customer, product) != 0
    frame = pl.DataFrame(
        {"customer": customer, "rank": rank[customer, place], "product": product, "score": score,
         "is_repurchase": owned, "basis": basis},
        schema=_FRAME,
    )  # fmt: skip
    return frame, np.flatnonzero(found.sum(axis=1) < top)


def _own_pairs(history: History, chosen: Bools) -> sparse.csr_matrix:
    """(customers, products): the excluding score at the pairs chosen (pairs,)."""
    return _marked(history.customer[chosen], history.product[chosen], (history.customers, history.products))


def _marked(customer: Ints, product: Ints, shape: tuple[int, int]) -> sparse.csr_matrix:
    values = np.full(len(customer), _EXCLUDED, dtype=np.float32)
    return sparse.csr_matrix((values, (customer, product)), shape=shape)


def _looked_up(values: sparse.csr_matrix, row: Ints, column: Ints) -> Floats:
    """(n,): entries of a sparse matrix."""
    return np.asarray(values[row, column], dtype=np.float64).ravel() if len(row) else np.zeros(0)


def rank_products(
    history: History,
    weights: Mapping[str, float],
    customers: Ints,
    *,
    is_new_only: bool,
    demand: Demand,
    top: int = LIST_LENGTH,
    threads: int = 1,
) -> NDArray[np.int64]:
    """(n, top): the products of the blend for some customers (n,), the best first, before any rule of an offer.

    `is_new_only` takes out what the customer had bought before. -1 where there is no more.
    """
    _check_weights(weights)
    part = history.taken(customers)
    excluded = _own_pairs(part, np.ones(len(part.customer), bool)) if is_new_only else None
    # As many as can be taken out of a list, and ten: then no list runs dry before the catalogue does.
    listed = max(_LISTED, top + int(np.diff(part.starts).max(initial=0)))
    lists = _Lists.of(demand, np.ones(history.products, bool), listed)
    return best_products(_Inputs.of(part, demand).stack(weights, excluded), lists.stack, top, threads)[0]


def fit_weights(
    history: History,
    bought: tuple[Ints, Ints],
    seed: int,
    *,
    demand: Demand | None = None,
    threads: int = 1,
) -> dict[str, float]:
    """Weights of the components, in the order of `COMPONENTS`, that would have ranked an earlier period best.

    `history` ends where the period begins; `bought` are the customer and product codes of the pairs bought in it, each
    pair once. Maximised is the mean of NDCG@10 (Jarvelin and Kekalainen 2002) over all purchases and over products the
    customer had never bought, on a seeded sample of at most 6,000 customers who bought: a coordinate search over
    multiples of 0.05 that starts from the best single component or equal parts, then drops each component that does
    not pay. The candidates of a customer are the 25 best of each component. Equal weights where fewer than 100
    customers bought.
    """
    customer, product = np.asarray(bought[0]), np.asarray(bought[1])
    sample = sampled(np.unique(customer), _FIT_CUSTOMERS, seed)
    if len(sample) < _FEWEST_CUSTOMERS:
        return dict(EQUAL_WEIGHTS)
    demand = demand or learn_demand(history, threads)
    judge = _Judge.of(history.taken(sample), demand, *pairs_of(customer, product, sample), threads)
    found: dict[tuple[int, ...], float] = {}

    def quality(parts: tuple[int, ...]) -> float:
        if parts not in found:
            found[parts] = judge.quality(np.array(parts) / sum(parts))
        return found[parts]

    n = len(COMPONENTS)
    singles = [tuple(_GRID if i == j else 0 for i in range(n)) for j in range(n)]
    equal = (_GRID // n,) * n
    # max keeps the first of equals, and the simplest come first.
    best = max([*singles, equal], key=quality)
    step = _GRID // 5
    while step:
        moves = [_moved(best, i, j, step) for i in range(n) for j in range(n) if i != j and best[i] >= step]
        top = max(moves, key=quality, default=best)
        if quality(top) > quality(best) + 1e-9:
            best = top
        else:
            step //= 2
    for i in sorted(range(n), key=lambda place: (best[place], -place)):
        without = tuple(0 if place == i else part for place, part in enumerate(best))
        if best[i] and sum(without) and quality(without) > quality(best) - _WORTHWHILE:
            best = without
    return {name: round(part / sum(best), 9) for name, part in zip(COMPONENTS, best, strict=True)}


def _moved(parts: tuple[int, ...], source: int, target: int, step: int) -> tuple[int, ...]:
    return tuple(part - step * (i == source) + step * (i == target) for i, part in enumerate(parts))


def sampled(customers: Ints, most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` of the customers (n,), drawn by the seed, sorted."""
    everyone: NDArray[np.int64] = np.sort(np.asarray(customers, dtype=np.int64))
    if len(everyone) <= most:
        return everyone
    rng = np.random.default_rng(np.random.SeedSequence([seed, 61]))
    return np.sort(rng.permutation(everyone)[:most])


def pairs_of(customer: Ints, product: Ints, sample: NDArray[np.int64]) -> tuple[Ints, Ints]:
    """The pairs of the sampled customers, with places in the sample for customer codes."""
    place = np.searchsorted(sample, customer)
    kept = (place < len(sample)) & (sample[np.minimum(place, len(sample) - 1)] == customer)
    return place[kept], product[kept]


def ideal_gain(hits: Ints) -> Floats:
    """The discounted cumulative gain of a perfect list of ten for customers with so many purchases (n,)."""
    gains = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, LIST_LENGTH + 2)))])
    return gains[np.minimum(hits, LIST_LENGTH)]


@dataclass(frozen=True)
class _Judge:
    """Candidates of sampled customers with the value of every component, ready to be weighed again and again.

    `values` (customers * candidates, components) float32; `codes` (customers, candidates), of duplicates -1;
    `is_own` marks what the customer had bought. For all purchases and for new ones: the row and the candidate of
    each purchase that is among the candidates, and the ideal gain of every customer with a purchase.
    """

    values: Floats
    codes: NDArray[np.int64]
    is_own: Bools
    hits: tuple[tuple[Ints, Ints, Floats], ...]

    @classmethod
    def of(cls, history: History, demand: Demand, row: Ints, product: Ints, threads: int) -> _Judge:
        inputs = _Inputs.of(history, demand)
        lists = _Lists.of(demand, np.ones(history.products, bool))
        n = history.customers
        own = _own_pairs(history, np.ones(len(history.customer), bool))
        # New products are asked for as well: of some components the best 25 are all old ones.
        several = [
            best_products(inputs.stack({name: 1.0}, excluded), lists.stack, _CANDIDATES, threads)[0]
            for name in COMPONENTS
            for excluded in ((None, own) if name == GOES_WITH else (None,))
        ]
        codes = np.sort(np.hstack(several), axis=1)
        codes[:, 1:][codes[:, 1:] == codes[:, :-1]] = -1
        width = codes.shape[1]
        at = np.repeat(np.arange(n), width)
        flat = np.maximum(codes.ravel(), 0)
        placed = np.maximum(demand.category[flat], 0)
        share = _looked_up(inputs.shares, at, placed) if demand.categories else np.zeros(len(flat))
        columns = {
            IN_TASTE: lists.popular[inputs.taste[at], flat],
            BOUGHT_BEFORE: _looked_up(inputs.own, at, flat),
            GOES_WITH: _looked_up((inputs.items @ demand.neighbours).tocsr(), at, flat),
            IN_CATEGORIES: share * lists.in_category[flat] + inputs.rest[at] * lists.popular[inputs.tastes, flat],
        }
        values = np.column_stack([columns[name] for name in COMPONENTS]).astype(np.float32)
        is_own = (_looked_up(own, at, flat) != 0).reshape(n, width)
        bought_before = _looked_up(own, row, product) != 0
        hits = []
        for chosen in (np.ones(len(row), bool), ~bought_before):
            r, p = row[chosen], product[chosen]
            same = codes[r] == p[:, None]
            listed = same.any(axis=1)
            hits.append((r[listed], same[listed].argmax(axis=1), ideal_gain(np.bincount(r, minlength=n))))
        return cls(values, codes, is_own, tuple(hits))

    def quality(self, weights: Floats) -> float:
        """The mean of NDCG@10 over all purchases and over new ones; a scope without purchases is left out."""
        score: Floats = (self.values @ weights.astype(np.float32)).reshape(self.codes.shape)
        score[self.codes < 0] = -1.0
        found = []
        for is_new, (row, place, ideal) in enumerate(self.hits):
            if not (ideal > 0).any():
                continue
            if is_new:
                score[self.is_own] = -1.0
            width = self.codes.shape[1]
            # Only what is among the best ten needs its exact place.
            cut = np.partition(score, max(width - LIST_LENGTH, 0), axis=1)[:, -min(width, LIST_LENGTH)]
            reached = score[row, place]
            among = (reached >= cut[row]) & (reached > 0)
            r, p, reached = row[among], place[among], reached[among][:, None]
            ahead = (score[r] > reached) | ((score[r] == reached) & (np.arange(width) < p[:, None]))
            rank = ahead.sum(axis=1)
            gain = np.where(rank < LIST_LENGTH, 1.0 / np.log2(rank + 2.0), 0.0)
            got = np.bincount(r, weights=gain, minlength=len(ideal))
            found.append(float(np.mean(got[ideal > 0] / ideal[ideal > 0])))
        return float(np.mean(found)) if found else 0.0
