"""From original units to the matrix that is clustered: one scikit-learn Pipeline, frozen as plain JSON.

Three transformers (numbers, categories, shares) in scikit-learn's conventions; each takes the frame of all inputs
and picks its own columns, so they stand side by side in a FeatureUnion. `export_pipeline` writes all
that was learned as JSON-able values and `import_pipeline` builds the same pipeline again, with identical floats,
so that a frozen model needs no pickle. Selecting columns is `matrix`; clustering is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import FeatureUnion, Pipeline

from segmentation_assets.segmentation.matrix import OTHER, FeatureMatrix, InputLayout, ShareBlock
from segmentation_assets.segmentation.spec import AxisSpec, NumericFeature

Array = NDArray[np.float64]

#: The layout of what `export_pipeline` writes; raised when a reader of the old one could not read the new one.
FORMAT = 1
_RANK_POINTS = 201
_RAREST_CATEGORY = 0.01
_MOST_CATEGORIES = 20
#: A missing-value indicator is only worth a column when more than this share is missing.
_MISSING_FLOOR = 0.01


class NumericColumns(TransformerMixin, BaseEstimator):
    """Fill, transform, scale and weigh numeric columns.

    Parameters: `features`, the NumericFeature of each column in order. Learned: `fill_`, `shift_`, `scale_`,
    `points_` (quantiles for `rank`), `is_indicated_` (which columns get a missing-value indicator). `transform`
    takes a frame (n rows) and returns (n, columns + indicators), centred and scaled on the customers of the fit.
    """

    def __init__(self, features: Sequence[NumericFeature] = ()) -> None:
        self.features = features

    def fit(self, X: pl.DataFrame, y: object = None) -> Self:
        """Learn medians, indicators and scales. Expects at least one known value per column."""
        values = _float_matrix(X, self._names)
        missing = np.isnan(values)
        self.fill_ = np.array([float(np.median(column[~np.isnan(column)])) for column in values.T])
        self.is_indicated_ = missing.mean(axis=0) > _MISSING_FLOOR
        self.points_: list[list[float]] = [
            np.quantile(column[~np.isnan(column)], np.linspace(0, 1, _RANK_POINTS)).tolist()
            if feature.transform == "rank"
            else []
            for feature, column in zip(self.features, values.T, strict=True)
        ]
        raw = self._undo_skew(values, missing)
        self.shift_ = raw.mean(axis=0)
        deviation = raw.std(axis=0)
        weights = np.array(
            [feature.weight for feature in self.features]
            + [f.missing_weight for f, on in zip(self.features, self.is_indicated_, strict=True) if on]
        )
        # A column that is constant after filling keeps its zeros instead of being divided by nothing.
        self.scale_ = np.divide(weights, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
        return self

    def transform(self, X: pl.DataFrame) -> Array:
        """(n, d) scaled columns."""
        values = _float_matrix(X, self._names)
        return np.asarray((self._undo_skew(values, np.isnan(values)) - self.shift_) * self.scale_)

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the columns that `transform` returns."""
        names = [feature.name for feature in self.features]
        indicators = [f"{name} is missing" for name, on in zip(names, self.is_indicated_, strict=True) if on]
        return np.array(names + indicators, dtype=object)

    @property
    def _names(self) -> list[str]:
        return [feature.name for feature in self.features]

    def _undo_skew(self, values: Array, missing: NDArray[np.bool_]) -> Array:
        filled = np.where(missing, self.fill_, values)
        columns = []
        for place, feature in enumerate(self.features):
            column = filled[:, place]
            if feature.transform == "log":
                column = np.log1p(np.maximum(column, 0.0))
            elif feature.transform == "sqrt":
                column = np.sqrt(np.maximum(column, 0.0))
            elif feature.transform == "asinh":
                column = np.arcsinh(column)
            elif feature.transform == "rank":
                column = _position(column, np.array(self.points_[place]))
            columns.append(column)
        columns.extend(missing[:, place].astype(float) for place in np.flatnonzero(self.is_indicated_))
        return np.column_stack(columns)


class CategoryColumns(TransformerMixin, BaseEstimator):
    """One-hot columns per category, scaled so that each categorical feature has unit variance in all.

    Values under 1 % of the customers of the fit, beyond the twenty most frequent, or never seen, fall on `(other)`.
    Learned: `values_` per column (the last one is `(other)`), `shift_`, `scale_`.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = names

    def fit(self, X: pl.DataFrame, y: object = None) -> Self:
        """Learn the vocabulary of each column."""
        self.values_: list[list[str]] = []
        for name in self.names:
            counts = X[name].value_counts().sort(["count", name], descending=[True, False])
            frequent = counts.filter(pl.col("count") >= _RAREST_CATEGORY * X.height).head(_MOST_CATEGORIES)
            self.values_.append([*sorted(value for value in frequent[name] if value != OTHER), OTHER])
        hot = self._one_hot(X)
        self.shift_ = hot.mean(axis=0)
        variances = self.shift_ * (1 - self.shift_)
        scale, start = [], 0
        for values in self.values_:
            total = variances[start : start + len(values)].sum()
            scale += [float(1 / np.sqrt(total)) if total > 1e-12 else 0.0] * len(values)
            start += len(values)
        self.scale_ = np.array(scale)
        return self

    def transform(self, X: pl.DataFrame) -> Array:
        """(n, d) scaled one-hot columns."""
        return np.asarray((self._one_hot(X) - self.shift_) * self.scale_)

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the columns that `transform` returns: `column=value`."""
        return np.array(
            [f"{n}={v}" for n, values in zip(self.names, self.values_, strict=True) for v in values], dtype=object
        )

    def _one_hot(self, X: pl.DataFrame) -> Array:
        parts = []
        for name, values in zip(self.names, self.values_, strict=True):
            codes = (
                X[name].replace_strict(values, list(range(len(values))), default=len(values) - 1, return_dtype=pl.Int64)
            ).to_numpy()
            parts.append(np.eye(len(values))[codes])
        return np.hstack(parts)


class ShareColumns(TransformerMixin, BaseEstimator):
    """Shrunken shares of one dimension from each customer's counts, on the square-root (Hellinger) scale.

    A share from five lines is mostly chance, so each customer's counts get a prior of `strength_` lines spread like
    the overall shares (empirical Bayes for the Dirichlet-multinomial; the strength by the method of moments from
    the dispersion of shares beyond sampling, after Mosimann 1962), of which half is used: the square root pulls
    small shares up again, and over simulated shops half of it agreed best with planted tastes. Euclidean distance
    between square roots of shares is Hellinger's distance, whose noise is alike for rare and frequent categories.
    One factor scales the whole block to a mean variance of 1 per column, so a share column weighs what a numeric
    feature weighs.

    Learned: `overall_` (the overall shares), `strength_` (lines), `shift_`, `scale_`.
    """

    def __init__(self, block: ShareBlock | None = None) -> None:
        self.block = block

    def fit(self, X: pl.DataFrame, y: object = None) -> Self:
        """Learn overall shares and shrinkage from counts (n, values)."""
        counts = _float_matrix(X, self._names)
        self.overall_ = counts.sum(axis=0) / counts.sum()
        self.strength_ = shrinkage_strength(counts)
        roots = self._roots(counts)
        self.shift_ = roots.mean(axis=0)
        deviation = float(np.sqrt(roots.var(axis=0).mean()))
        self.scale_ = 1 / deviation if deviation > 1e-12 else 0.0
        return self

    def transform(self, X: pl.DataFrame) -> Array:
        """(n, values) centred roots of the shrunken shares."""
        return np.asarray((self._roots(_float_matrix(X, self._names)) - self.shift_) * self.scale_)

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """Names of the columns that `transform` returns."""
        return np.array(self.block.columns if self.block else (), dtype=object)

    @property
    def _names(self) -> list[str]:
        return list(self.block.columns) if self.block else []

    def _roots(self, counts: Array) -> Array:
        prior = self.strength_ / 2
        return np.sqrt((counts + prior * self.overall_) / (counts.sum(axis=1, keepdims=True) + prior))


def shrinkage_strength(counts: Array) -> float:
    """The Dirichlet-multinomial prior strength, in lines, of counts (n, values), by the method of moments.

    The squared distance of a customer's shares from the overall shares has mean sum q(1-q) (1/m + (1-1/m) rho) with
    m lines; rho estimated over all customers, weighted by m-1, gives the strength (1-rho)/rho. Between .5 (customers
    alike only in name) and 1,000 (all customers alike).
    """
    lines = counts.sum(axis=1)
    several = lines > 1
    if not several.any():
        return 1000.0
    counts, lines = counts[several], lines[several]
    overall = counts.sum(axis=0) / counts.sum()
    spread = float((overall * (1 - overall)).sum())
    if spread < 1e-12:
        return 1000.0
    observed = ((counts / lines[:, None] - overall) ** 2).sum(axis=1) / spread
    weight = lines - 1
    rho = float(((observed - 1 / lines) * weight).sum() / ((1 - 1 / lines) * weight).sum())
    return float(np.clip((1 - rho) / max(rho, 1e-9), 0.5, 1000.0))


def make_pipeline(layout: InputLayout, spec: AxisSpec) -> Pipeline:
    """The unfitted pipeline for the columns of `layout`; it takes frames with those columns."""
    by_name = {feature.name: feature for feature in spec.numeric}
    numeric = tuple(by_name[name] for name in layout.numeric)
    return _assemble(
        layout,
        NumericColumns(numeric),
        CategoryColumns(layout.categorical),
        [ShareColumns(block) for block in layout.shares],
    )


def fit_transform(matrix: FeatureMatrix, spec: AxisSpec) -> tuple[Pipeline, Array, tuple[str, ...]]:
    """Fit the pipeline on the inputs of `matrix`; returns it, the (n, d) matrix and the names of its d columns."""
    pipeline = make_pipeline(matrix.layout, spec)
    values = np.ascontiguousarray(pipeline.fit_transform(matrix.inputs), dtype=np.float64)
    return pipeline, values, column_names(pipeline)


def transform(pipeline: Pipeline, inputs: pl.DataFrame) -> Array:
    """(n, d) matrix of new inputs; zero rows give (0, d)."""
    if inputs.is_empty():
        return np.zeros((0, len(column_names(pipeline))))
    return np.ascontiguousarray(pipeline.transform(inputs), dtype=np.float64)


def column_names(pipeline: Pipeline) -> tuple[str, ...]:
    """Names of the matrix columns, in order."""
    return tuple(
        str(name)
        for _, transformer in pipeline.named_steps["columns"].transformer_list
        for name in transformer.get_feature_names_out()
    )


def export_pipeline(pipeline: Pipeline, layout: InputLayout) -> dict[str, Any]:
    """All that a fitted pipeline learned, as JSON-able values (Python's JSON keeps every bit of a float)."""
    fitted = dict(pipeline.named_steps["columns"].transformer_list)
    out: dict[str, Any] = {"format": FORMAT, "numeric": None, "categorical": None, "shares": []}
    if layout.numeric:
        numeric = fitted["numeric"]
        out["numeric"] = {
            "features": [
                {
                    "name": feature.name, "transform": feature.transform, "title": feature.title,
                    "unit": feature.unit, "weight": feature.weight, "missing_weight": feature.missing_weight,
                }
                for feature in numeric.features
            ],
            "fill": numeric.fill_.tolist(),
            "is_indicated": numeric.is_indicated_.tolist(),
            "points": numeric.points_,
            "shift": numeric.shift_.tolist(),
            "scale": numeric.scale_.tolist(),
        }  # fmt: skip
    if layout.categorical:
        categorical = fitted["categorical"]
        out["categorical"] = {
            "names": list(categorical.names),
            "values": categorical.values_,
            "shift": categorical.shift_.tolist(),
            "scale": categorical.scale_.tolist(),
        }
    for block in layout.shares:
        shares = fitted[f"shares of {block.dimension}"]
        out["shares"].append(
            {
                "dimension": block.dimension, "values": list(block.values), "has_other": block.has_other,
                "overall": shares.overall_.tolist(), "strength": shares.strength_,
                "shift": shares.shift_.tolist(), "scale": shares.scale_,
            }
        )  # fmt: skip
    return out


def import_pipeline(frozen: Mapping[str, Any]) -> tuple[Pipeline, InputLayout]:
    """The fitted pipeline and its layout from what `export_pipeline` wrote. ValueError for another format."""
    if frozen.get("format") != FORMAT:
        raise ValueError(
            f"The frozen preprocessing has format {frozen.get('format')!r}, this version reads {FORMAT}; "
            f"fit the model again."
        )
    numeric, categorical, shares = NumericColumns(), CategoryColumns(), []
    if frozen["numeric"]:
        part = frozen["numeric"]
        numeric = NumericColumns(tuple(NumericFeature(**feature) for feature in part["features"]))
        numeric.fill_ = np.array(part["fill"], dtype=float)
        numeric.is_indicated_ = np.array(part["is_indicated"], dtype=bool)
        numeric.points_ = part["points"]
        numeric.shift_, numeric.scale_ = np.array(part["shift"], dtype=float), np.array(part["scale"], dtype=float)
    if frozen["categorical"]:
        part = frozen["categorical"]
        categorical = CategoryColumns(tuple(part["names"]))
        categorical.values_ = part["values"]
        categorical.shift_ = np.array(part["shift"], dtype=float)
        categorical.scale_ = np.array(part["scale"], dtype=float)
    for part in frozen["shares"]:
        columns = ShareColumns(ShareBlock(part["dimension"], tuple(part["values"]), part["has_other"]))
        columns.overall_ = np.array(part["overall"], dtype=float)
        columns.strength_, columns.scale_ = part["strength"], part["scale"]
        columns.shift_ = np.array(part["shift"], dtype=float)
        shares.append(columns)
    layout = InputLayout(
        tuple(feature.name for feature in numeric.features),
        tuple(categorical.names),
        tuple(columns.block for columns in shares if columns.block is not None),
    )
    return _assemble(layout, numeric, categorical, shares), layout


def _assemble(
    layout: InputLayout, numeric: NumericColumns, categorical: CategoryColumns, shares: Sequence[ShareColumns]
) -> Pipeline:
    transformers: list[tuple[str, BaseEstimator]] = []
    if layout.numeric:
        transformers.append(("numeric", numeric))
    if layout.categorical:
        transformers.append(("categorical", categorical))
    for block, columns in zip(layout.shares, shares, strict=True):
        transformers.append((f"shares of {block.dimension}", columns))
    return Pipeline([("columns", FeatureUnion(transformers))])


def _float_matrix(X: pl.DataFrame, names: Sequence[str]) -> Array:
    """(n, len(names)) floats, unknown as NaN."""
    return (
        X.select(pl.col(list(names)).cast(pl.Float64)).fill_null(float("nan")).to_numpy().astype(np.float64, copy=False)
    )


def _position(column: Array, points: Array) -> Array:
    """Position of each value among the quantiles of the fit, in [0, 1]; ties take the middle of their span."""
    left = np.searchsorted(points, column, side="left")
    right = np.searchsorted(points, column, side="right")
    inside = np.interp(column, points, np.linspace(0, 1, len(points)))
    tied = right - left > 1
    return np.where(tied, (left + right - 1) / 2 / (len(points) - 1), inside)
