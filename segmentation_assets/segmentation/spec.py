"""What an axis is made of: its features, algorithm, floors and range of k. No data is read here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Transform = Literal["none", "log", "asinh", "sqrt", "rank"]
TRANSFORMS: tuple[Transform, ...] = ("none", "log", "asinh", "sqrt", "rank")


#: The names of `algorithms.registry`, where each is explained.
ALGORITHM_NAMES = ("kmeans", "kprototypes", "mixture", "ward", "hdbscan", "pca_kmeans", "autoencoder_kmeans")


class AxisSpecError(ValueError):
    """The settings of an axis contradict themselves or name something that does not exist."""


@dataclass(frozen=True)
class NumericFeature:
    """One numeric column of the customer table.

    `transform` undoes skew before scaling to unit variance: `log` is log(1 + x) for counts, days and money, `sqrt`
    for shares, `asinh` where values may be negative, `rank` the position among the customers of the fit in [0, 1].
    `weight` multiplies the scaled column, so .5 lets a rare behaviour speak without deciding the segments alone.
    Unknown values take the median, with an indicator column of weight `missing_weight`.
    `unless` names a feature that carries the same information: this one is used only when that one is left out.
    `title` and `unit` are for readers ('days', 'amount', 'share', 'count' or '').
    """

    name: str
    transform: Transform = "none"
    title: str = ""
    unit: str = ""
    weight: float = 1.0
    missing_weight: float = 0.5
    unless: str | None = None

    @property
    def label(self) -> str:
        """The name a reader sees."""
        return self.title or self.name.replace("_", " ").capitalize()


@dataclass(frozen=True)
class AxisSpec:
    """One axis of the segmentation.

    `share_dimensions` are dimensions of the customer shares table (`category`, `brand`, `channel`), whose counts per
    value become shrunken shares; `share_columns` are amount columns of the customer table used the same way when a
    source has amounts per category instead of order lines. Customers below `minimum_lines` known lines stay outside
    an axis of shares (`outside_id`), never-buyers outside an axis of behaviour (`buyers_only`).

    A k is admissible when it is at least `k_min`, every cluster holds `share_floor` of the customers and at least
    `minimum_customers` of them, and the least stable cluster reaches `stability_floor`.
    """

    axis: str
    title: str
    prefix: str
    outside_name: str
    numeric: tuple[NumericFeature, ...] = ()
    categorical: tuple[str, ...] = ()
    share_dimensions: tuple[str, ...] = ()
    share_columns: tuple[str, ...] = ()
    buyers_only: bool = True
    minimum_lines: int = 3
    maximum_share_values: int = 30
    k_min: int = 2
    k_max: int = 12
    share_floor: float = 0.02
    minimum_customers: int = 5
    stability_floor: float = 0.75
    algorithm: str = "kmeans"
    seed: int = 20_240
    is_on: bool = True
    titles: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.k_min <= self.k_max:
            raise AxisSpecError(
                f"Axis {self.axis}: k_min {self.k_min} and k_max {self.k_max} leave no k to try; "
                f"give 1 <= k_min <= k_max."
            )
        if not 0 <= self.share_floor < 0.5:
            raise AxisSpecError(f"Axis {self.axis}: share_floor is {self.share_floor}; give a share below .5.")
        if self.minimum_customers < 1 or self.minimum_lines < 1:
            raise AxisSpecError(f"Axis {self.axis}: minimum_customers and minimum_lines must be at least 1.")
        if self.algorithm not in ALGORITHM_NAMES:
            raise AxisSpecError(
                f"Axis {self.axis}: algorithm {self.algorithm!r} is unknown; known: {', '.join(ALGORITHM_NAMES)}."
            )
        for feature in self.numeric:
            if feature.transform not in TRANSFORMS:
                raise AxisSpecError(
                    f"Axis {self.axis}: feature {feature.name} asks for transform {feature.transform!r}; "
                    f"known: {', '.join(TRANSFORMS)}."
                )
        names = [feature.name for feature in self.numeric] + [*self.categorical, *self.share_columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise AxisSpecError(f"Axis {self.axis}: {', '.join(twice)} would be used twice; name each once.")

    @property
    def outside_id(self) -> str:
        """The id of the customers outside the clustering: S0 or T0."""
        return f"{self.prefix}0"

    def label(self, name: str) -> str:
        """The name a reader sees for a feature column; of a share such as category=Coffee, its value."""
        for feature in self.numeric:
            if feature.name == name:
                return feature.label
        return self.titles.get(name, name.partition("=")[2] or name.replace("_", " ").capitalize())


#: Worth and place in the life cycle. Money enters as order count and average order: their product is the money
#: itself, and all three on the log scale would count it twice. A source without an average gives the total instead.
STAGE = AxisSpec(
    axis="stage",
    title="Stage",
    prefix="S",
    outside_name="Never bought",
    numeric=(
        NumericFeature("recency_days", "log", "Recency", "days"),
        NumericFeature("order_count", "log", "Order count", "count"),
        NumericFeature("average_order_amount", "log", "Average order", "amount"),
        NumericFeature("monetary_amount", "log", "Spend", "amount", unless="average_order_amount"),
        NumericFeature("tenure_days", "sqrt", "Tenure", "days", weight=0.7),
        NumericFeature("discount_share", "sqrt", "Discount share", "share", weight=0.5),
        NumericFeature("return_share", "sqrt", "Return share", "share", weight=0.5),
    ),
    k_min=3,
)

#: What a customer buys. Brands and channels are left to the settings: with many values they add noise to every
#: distance, and a channel says how a customer buys, not what.
TASTE = AxisSpec(
    axis="taste",
    title="Taste",
    prefix="T",
    outside_name="Unknown",
    share_dimensions=("category",),
)

DEFAULT_SPECS: dict[str, AxisSpec] = {"stage": STAGE, "taste": TASTE}


def spec_from_settings(axis: str, settings: Mapping[str, Any]) -> AxisSpec:
    """The default spec of `axis` with the keys of `settings` put in its place.

    `settings` is a plain mapping (a TOML table): `numeric` may list column names or tables with the fields of
    NumericFeature; a name that the default spec knows keeps its transform. Unknown keys raise AxisSpecError.
    """
    if axis not in DEFAULT_SPECS:
        raise AxisSpecError(f"There is no axis {axis!r}; the axes are {', '.join(DEFAULT_SPECS)}.")
    default = DEFAULT_SPECS[axis]
    fixed = {"axis", "title", "prefix", "outside_name", "buyers_only"}
    known = {item.name for item in dataclasses.fields(AxisSpec)} - fixed
    unknown = sorted(set(settings) - known)
    if unknown:
        raise AxisSpecError(f"Axis {axis}: unknown setting {', '.join(unknown)}; known are {', '.join(sorted(known))}.")
    changes: dict[str, Any] = dict(settings)
    for key, value in changes.items():
        usual = getattr(default, key)
        wants = (int, float) if isinstance(usual, float) else type(usual)
        if isinstance(usual, (bool, int, float, str)) and (
            not isinstance(value, wants) or isinstance(value, bool) != isinstance(usual, bool)
        ):
            raise AxisSpecError(f"Axis {axis}: {key} is {value!r}; give a value like {usual!r}.")
    if "numeric" in changes:
        changes["numeric"] = tuple(_numeric(axis, item) for item in changes["numeric"])
    for key in ("categorical", "share_dimensions", "share_columns"):
        if key in changes:
            changes[key] = tuple(changes[key])
    return dataclasses.replace(default, **changes)


def _numeric(axis: str, item: object) -> NumericFeature:
    if isinstance(item, NumericFeature):
        return item
    if isinstance(item, str):
        by_name = {feature.name: feature for spec in DEFAULT_SPECS.values() for feature in spec.numeric}
        return dataclasses.replace(by_name.get(item, NumericFeature(item)), unless=None)
    if isinstance(item, Mapping):
        known = {part.name for part in dataclasses.fields(NumericFeature)}
        unknown = sorted(set(item) - known)
        if unknown or "name" not in item:
            raise AxisSpecError(
                f"Axis {axis}: a numeric feature needs a name and may have {', '.join(sorted(known - {'name'}))}; "
                f"found {', '.join(sorted(map(str, item)))}."
            )
        return NumericFeature(**item)
    raise AxisSpecError(f"Axis {axis}: {item!r} is not a feature; give a column name or a table with a name.")
