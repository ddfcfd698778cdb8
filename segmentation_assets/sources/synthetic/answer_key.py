"""The answer key: what was planted, written apart from the data.

No asset may read these files; a test enforces it. Benchmarks and tests read them with `read_answer`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from segmentation_assets.sources.synthetic.assortment import CATEGORIES, CATEGORY_NAMES
from segmentation_assets.sources.synthetic.catalogue import PRICE_TIERS, Catalogue
from segmentation_assets.sources.synthetic.personas import (
    ADHERENCE,
    REPEAT_SHARE,
    SHARED_TASTE,
    TASTE_NAMES,
    TASTES,
    category_probabilities,
)
from segmentation_assets.sources.synthetic.settings import PERIOD_DAYS as _PERIOD_DAYS
from segmentation_assets.sources.synthetic.settings import PERIODS, WorldSettings

FILES = ("personas", "tastes", "taste_parameters", "product_parameters", "campaign_effects", "faults")


def taste_parameters(settings: WorldSettings) -> pl.DataFrame:
    """One row per taste, adherence, month and category: the probability of a fresh line, and the shares that mix lines.

    `taste_share` is the taste's share of customers, `adherence_share` the share of customers who keep to their taste
    that closely, `repeat_share` the share of lines for which an earlier line comes to mind, `rebuy_share` how likely
    a product of the category is then bought again.
    """
    probabilities = category_probabilities(settings)
    taste, adherence, month, category = (index.ravel() for index in np.indices(probabilities.shape))
    share = np.array([t.share for t in TASTES])
    frame = pl.DataFrame(
        {
            "taste": np.array(TASTE_NAMES)[taste],
            "taste_share": (share / share.sum())[taste],
            "adherence": np.array([focus_share for _, focus_share in ADHERENCE])[adherence],
            "adherence_share": np.array([part for part, _ in ADHERENCE])[adherence],
            "month": month + 1,
            "category": np.array(CATEGORY_NAMES)[category],
            "category_probability": probabilities.ravel(),
            "repeat_share": np.full(probabilities.size, REPEAT_SHARE),
            "rebuy_share": np.array([c.rebuy for c in CATEGORIES])[category],
        }
    )
    if settings.has_taste:
        return frame
    return frame.filter(pl.col("taste") == TASTE_NAMES[0]).with_columns(
        taste=pl.lit(SHARED_TASTE), taste_share=pl.lit(1.0)
    )


def product_parameters(settings: WorldSettings, catalogue: Catalogue) -> pl.DataFrame:
    """One row per price period, price tier and product: its share of the category's fresh lines."""
    products = len(catalogue.category)
    tiers = len(PRICE_TIERS)
    starts = pl.Series(np.datetime64(settings.first_day, "D") + np.arange(PERIODS) * _PERIOD_DAYS).cast(pl.Date)
    return pl.DataFrame(
        {
            "period": np.repeat(np.arange(PERIODS), tiers * products),
            "starts_on": starts.gather(np.repeat(np.arange(PERIODS), tiers * products)),
            "price_tier": np.tile(np.repeat(np.array(PRICE_TIERS), products), PERIODS),
            "product_id": catalogue.product_ids.gather(np.tile(np.arange(products), PERIODS * tiers)),
            "category": np.tile(np.array(CATEGORY_NAMES)[catalogue.category], PERIODS * tiers),
            "product_probability": catalogue.choice.ravel(),
        }
    )


def write_answer(folder: Path, name: str, frame: pl.DataFrame) -> None:
    """Write one page of the answer key."""
    frame.write_parquet(folder / f"{name}.parquet", compression="lz4")


def read_answer(folder: Path, name: str) -> pl.DataFrame:
    """One page of the answer key; FileNotFoundError with what to do when it is not there."""
    path = folder / f"{name}.parquet"
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}: only a synthetic world has an answer key.")
    return pl.read_parquet(path)
