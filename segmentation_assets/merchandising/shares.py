"""What share each product has in the purchases of each taste, learned from one window of purchases.

What belongs here: base shares, their lifts by taste, and how sure both are. What does not: how lifts are shrunk
(`affinity`, the same for every table), how many products a customer buys (`activity`), and whom to offer what
(`matching`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.merchandising.affinity import LEVELS, group_indices, product_lifts, shrunken
from segmentation_assets.merchandising.plan import UNKNOWN_TASTE

Floats = NDArray[np.float64]

#: Shares of a shop without any purchase are equal and all but unknown: their gamma shape.
_NO_EVIDENCE = 0.01


@dataclass(frozen=True)
class PurchaseShares:
    """Shares of products in the purchases of each taste, as independent gamma posteriors theta ~ Gamma(shape, rate).

    `product_ids` and `taste_ids` are sorted; T0, the customers of unknown taste, is always among the tastes and buys
    by the base shares. `shape`, `rate` and `lift` are (products, tastes), `base` (products,). The mean shares of a
    taste add up to 1 over the products. `variance` is that of lifts between tastes within one product, beyond chance
    and beyond what category, brand and price band let expect; `lift` is relative to `base`.
    """

    product_ids: tuple[str, ...]
    taste_ids: tuple[str, ...]
    shape: Floats
    rate: Floats
    base: Floats
    lift: Floats
    variance: float

    @property
    def mean(self) -> Floats:
        """Posterior mean shares, (products, tastes)."""
        return self.shape / self.rate

    def without_taste(self) -> PurchaseShares:
        """The same shop for somebody who knows no tastes: every taste buys by the base shares, as T0 does."""
        unknown = self.taste_ids.index(UNKNOWN_TASTE)
        like = np.ones_like(self.lift)
        return replace(
            self,
            shape=self.shape[:, [unknown]] * like,
            rate=self.rate[:, [unknown]] * like,
            lift=like,
            variance=0.0,
        )


def learn_shares(counts: pl.DataFrame, products: pl.DataFrame, taste_ids: Sequence[str]) -> PurchaseShares:
    """Learn shares from the purchases of one window.

    `counts` are rows of campaigns.window_purchases of one window: product_id, taste_segment_id, stage_segment_id and
    buyers. `products` has one row per product that may be matched: product_id, category, brand, price_band; shares
    are of the purchases of these products, and rows of `counts` of other products or tastes are left aside.
    `taste_ids` names the tastes wanted; T0 is added.

    The mean share theta of product p in the purchases of taste t is base * lift. The base shares have gamma priors
    whose mean is the mean share of the category's products, sold or not, and the mean share of all products where
    nothing of the category was sold. Lifts compare the purchases of p by t with those that p would have in t if
    every taste bought alike, the purchases of p times t's part of all purchases, and are shrunk as in
    `affinity.product_lifts`: the total of a product and its division among tastes are independent for Poisson counts,
    so the relative variances of base and lift combine as those of independent factors. A taste without purchases has
    lifts of 1, as unsure as a new product's. Without any purchase all shares are equal, with a gamma shape of 0.01.
    """
    catalogue = products.select("product_id", *LEVELS).unique("product_id", keep="first", maintain_order=True)
    catalogue = catalogue.sort("product_id")
    tastes = sorted({*taste_ids, UNKNOWN_TASTE})
    names = pl.Series(tastes, dtype=pl.String)
    shape = (catalogue.height, len(tastes))
    known = counts.filter(
        pl.col("product_id").is_in(catalogue["product_id"].implode()), pl.col("taste_segment_id").is_in(tastes)
    )
    observed = np.zeros(shape)
    if known.height:
        places = (
            catalogue["product_id"].search_sorted(known["product_id"]).to_numpy(),
            names.search_sorted(known["taste_segment_id"]).to_numpy(),
        )
        np.add.at(observed, places, known["buyers"].cast(pl.Float64).to_numpy())
    total = float(observed.sum())
    if total == 0:
        base = np.full(shape[0], 1 / max(shape[0], 1))
        ones = np.ones(shape)
        return PurchaseShares(
            tuple(catalogue["product_id"]), tuple(tastes), ones * _NO_EVIDENCE, ones * _NO_EVIDENCE * max(shape[0], 1),
            base, ones, 0.0,
        )  # fmt: skip

    groups = group_indices(catalogue)
    sold = observed.sum(axis=1)
    expected = _category_mean(sold, groups[0])
    popularity = shrunken(sold, expected)
    base = expected * popularity.mean
    base = base / base.sum()

    is_known = np.array([taste != UNKNOWN_TASTE for taste in tastes])
    lift, doubt, variance = np.ones(shape), np.zeros(shape), 0.0
    if is_known.any():
        by_taste = observed[:, is_known]
        lifts = product_lifts(by_taste, np.outer(sold, by_taste.sum(axis=0) / total), groups)
        # Shares of one taste add up to 1.
        lift[:, is_known] = lifts.mean / (base[:, None] * lifts.mean).sum(axis=0)
        doubt[:, is_known] = lifts.relative_variance
        variance = lifts.variance
    relative_variance = (1 + popularity.relative_variance[:, None]) * (1 + doubt) - 1
    gamma_shape = 1 / relative_variance
    return PurchaseShares(
        product_ids=tuple(catalogue["product_id"]),
        taste_ids=tuple(tastes),
        shape=gamma_shape,
        rate=gamma_shape / (base[:, None] * lift),
        base=base,
        lift=lift,
        variance=variance,
    )


def held_out_lifts(shares: PurchaseShares) -> pl.DataFrame:
    """Lift of each product in each known taste, as matching uses it: product_id, segment_id, held_out_lift.

    `base` is the share among all purchases and theta that among the taste's, so this is theta over base.
    """
    known = [place for place, taste in enumerate(shares.taste_ids) if taste != UNKNOWN_TASTE]
    ids = pl.Series("product_id", shares.product_ids, dtype=pl.String)
    tastes = pl.Series("segment_id", [shares.taste_ids[place] for place in known], dtype=pl.String)
    return pl.DataFrame(
        {
            "product_id": ids.gather(np.repeat(np.arange(len(ids)), len(known))),
            "segment_id": tastes.gather(np.tile(np.arange(len(known)), len(ids))),
            "held_out_lift": shares.lift[:, known].ravel().round(9),
        }
    )


def _category_mean(sold: Floats, category: NDArray[np.int64]) -> Floats:
    """Purchases expected of each product from its category alone: (products,), above 0 everywhere."""
    index = category + 1  # products of unknown category are one more
    products = np.bincount(index)
    mean = np.bincount(index, weights=sold) / np.maximum(products, 1)
    return np.where(mean > 0, mean, sold.mean())[index]
