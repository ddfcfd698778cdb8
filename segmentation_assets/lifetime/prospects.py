"""The segment a new sign-up is likely to join, from what is known at sign-up only, beside the most common segment.

What belongs here: the classifier, what it may see, and its evaluation on customers who signed up later than those it
learned from. What does not: assigning customers who have bought (`segmentation.assign`), and anything that happens
after the sign-up. Protected attributes are refused by name; places and ways of being won can stand in for them, so
the parity report looks at offers that follow from this.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segmentation_assets.segmentation.kmeans import one_thread
from segmentation_assets.segmentation.usefulness import Metric, judge, mean_metric, verdict

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

CLASSIFIER = "classifier"
MAJORITY = "most common segment"

#: What a shop knows when somebody signs up.
KNOWN_AT_SIGN_UP = (
    "acquisition_channel",
    "country",
    "region",
    "city",
    "timezone",
    "sign_up_month",
    "consents_at_sign_up",
)
FEATURES = ("acquisition_channel", "country", "region", "sign_up_month", "consents_at_sign_up")
#: May describe segments, never steer who is put where.
PROTECTED = ("gender", "birth_year", "birth_date", "age", "marital_status")

EVALUATION_SCHEMA: dict[str, type[pl.DataType]] = {
    "axis": pl.String,
    "method": pl.String,
    "metric": pl.String,
    "estimate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "is_chosen": pl.Boolean,
}
PROSPECT_SCHEMA: dict[str, type[pl.DataType]] = {
    "axis": pl.String,
    "customer_id": pl.String,
    "segment_id": pl.String,
    "probability": pl.Float64,
    "method": pl.String,
}

FEWEST_CUSTOMERS = 100
#: Values rarer than this share of those learned from count as one, so that a city of three does not get its own rule.
_RARE_SHARE = 0.005
#: Of the regression: what is known at sign-up tells little, so every effect is drawn strongly toward none.
_STRENGTH = 0.05
_UNKNOWN = "unknown"


class ProspectFeatureError(ValueError):
    """A feature the classifier must not see: protected, or not known at sign-up."""


@dataclass(frozen=True)
class ProspectClassifier:
    """`evaluation` (EVALUATION_SCHEMA), `prospects` (PROSPECT_SCHEMA), and whether the classifier wins, in a sentence.

    `prospects` are the sign-ups after the cut-off who are in no segment yet, with the segment they are likeliest to
    join and its probability by the winner. Without enough to learn from both are empty and the sentence says which
    number is short.
    """

    evaluation: pl.DataFrame
    prospects: pl.DataFrame
    is_better: bool
    sentence: str


def sign_up_features(customers: pl.DataFrame) -> pl.DataFrame:
    """What was known of each customer at sign-up: customer_id, signed_up_on and FEATURES as text; by customer_id.

    `customers`: customer_id, signed_up_at, and any of acquisition_channel, country, region, email_consent,
    email_consent_at; other columns are not looked at. Consent counts when it was given by the end of the day of the
    sign-up; where the day it was given is unknown it may have come later, so it is unknown. Customers without a day of
    sign-up are left out: nobody can say who was earlier.
    """
    present = set(customers.columns)
    if lacking := sorted({"customer_id", "signed_up_at"} - present):
        raise ValueError(f"The customer table has no column {', '.join(lacking)}.")
    known = customers.filter(pl.col("signed_up_at").is_not_null())
    day = pl.col("signed_up_at").cast(pl.Date)
    consents = pl.lit(_UNKNOWN)
    if {"email_consent", "email_consent_at"} <= present:
        consents = (
            pl.when(pl.col("email_consent_at").is_not_null())
            .then(pl.when(pl.col("email_consent_at").cast(pl.Date) <= day).then(pl.lit("yes")).otherwise(pl.lit("no")))
            .when(pl.col("email_consent"))
            .then(pl.lit(_UNKNOWN))
            .otherwise(pl.lit("no"))
        )
    texts = [
        (pl.col(name).cast(pl.String) if name in present else pl.lit(None, dtype=pl.String))
        .fill_null(_UNKNOWN)
        .alias(name)
        for name in ("acquisition_channel", "country", "region")
    ]
    return known.select(
        pl.col("customer_id").cast(pl.String),
        *texts,
        signed_up_on=day,
        sign_up_month=day.dt.month().cast(pl.String),
        consents_at_sign_up=consents,
    ).sort("customer_id")


def refuse_features(names: Sequence[str], protected: Collection[str] = ()) -> None:
    """ProspectFeatureError for protected attributes (the usual ones, `protected`) and for what comes after sign-up."""
    steering = [name for name in names if name in PROTECTED or name in protected]
    if steering:
        raise ProspectFeatureError(
            f"The prospect classifier must not see {', '.join(steering)}: protected attributes never steer who gets "
            f"what. Take {'it' if len(steering) == 1 else 'them'} out of its features."
        )
    later = [name for name in names if name not in KNOWN_AT_SIGN_UP]
    if later:
        raise ProspectFeatureError(
            f"The prospect classifier must not see {', '.join(later)}: a new sign-up has no such thing yet. It may see "
            f"{', '.join(KNOWN_AT_SIGN_UP)}."
        )


def classify_prospects(
    signed_up: pl.DataFrame,
    then: pl.DataFrame,
    now: pl.DataFrame,
    *,
    axis: str,
    outside_id: str,
    cutoff: date,
    seed: int,
    age_days: int | None = None,
    features: Sequence[str] = FEATURES,
    protected: Collection[str] = (),
) -> ProspectClassifier:
    """Learn on earlier sign-ups which segment somebody joins, and judge it on those who signed up after `cutoff`.

    `signed_up`: customer_id, signed_up_on (date) and the `features` as text, as `sign_up_features` makes them. `then`
    and `now`: customer_id and segment_id of one axis, by the frozen model, as of the cut-off and of today;
    `outside_id` (S0, T0) is no segment: those are the prospects. ProspectFeatureError for features it must not see,
    before anything is read.

    What is learned is what could be known at the cut-off: the segments of that day of who had signed up by then. With
    `age_days` only those who had signed up in the `age_days` before it. Give it, as the days from the cut-off to
    today, for an axis on which people move as they age: the old customers' most common stage is no new customer's.

    A logistic regression on one-hot features (rare values as none) is set beside the segment most common among those
    learned from, with their shares as its probabilities. Metrics: `accuracy`, and `log_loss` in nats, lower is better,
    with bootstrap intervals over customers. The classifier is chosen when its log-loss is clearly lower and its
    accuracy not clearly worse; then the winner, learned again on today's segments, says where the prospects among the
    new sign-ups are likely to go.
    """
    refuse_features(features, protected)
    people = signed_up.select("customer_id", "signed_up_on", *(pl.col(name).fill_null(_UNKNOWN) for name in features))
    day = pl.col("signed_up_on")
    young = pl.lit(value=True) if age_days is None else day > pl.lit(cutoff).dt.offset_by(f"-{age_days}d")
    earlier = _placed(people.filter((day <= cutoff) & young), then)
    recent = _placed(people.filter(day > cutoff), now)
    learned, later = (table.filter(pl.col("segment_id") != outside_id) for table in (earlier, recent))
    if reason := _too_little(axis, cutoff, learned, later):
        empty = pl.DataFrame(schema=EVALUATION_SCHEMA), pl.DataFrame(schema=PROSPECT_SCHEMA)
        return ProspectClassifier(*empty, is_better=False, sentence=reason)
    names = learned["segment_id"].unique().sort().to_list()
    with one_thread():
        forecasts = {
            CLASSIFIER: _probabilities(_learn(learned, features), later, features),
            MAJORITY: np.tile(_shares(learned, names), (later.height, 1)),
        }
    metrics = {method: _metrics(chances, names, later["segment_id"]) for method, chances in forecasts.items()}
    frame = judge(metrics, seed, minus={CLASSIFIER: [MAJORITY]})
    found = verdict(frame, method=CLASSIFIER)
    chosen = CLASSIFIER if found.is_better else MAJORITY
    today = later if age_days is not None else _placed(people, now).filter(pl.col("segment_id") != outside_id)
    if today["segment_id"].n_unique() < 2:
        chosen = MAJORITY  # there is nothing to tell apart
    return ProspectClassifier(
        frame.with_columns(axis=pl.lit(axis), is_chosen=pl.col("method") == chosen).select(list(EVALUATION_SCHEMA)),
        _likely(today, recent.filter(pl.col("segment_id") == outside_id), features, axis, chosen),
        found.is_better,
        f"{found.sentence} Learned from {learned.height:,} customers who had signed up by {cutoff}, judged on "
        f"{later.height:,} who signed up after it.",
    )


def _placed(people: pl.DataFrame, segments: pl.DataFrame) -> pl.DataFrame:
    """The sign-ups who are in `segments` (customer_id, segment_id), by customer_id."""
    named = segments.select("customer_id", pl.col("segment_id").cast(pl.String))
    return people.join(named, on="customer_id", how="inner").sort("customer_id")


def _too_little(axis: str, cutoff: date, learned: pl.DataFrame, later: pl.DataFrame) -> str:
    if min(learned.height, later.height) < FEWEST_CUSTOMERS:
        return (
            f"No prospect classifier for {axis}: {learned.height:,} customers who had signed up by {cutoff} were in a "
            f"segment and could teach, {later.height:,} who signed up after it can judge; at least {FEWEST_CUSTOMERS} "
            f"of each are needed."
        )
    if learned["segment_id"].n_unique() < 2:
        return (
            f"No prospect classifier for {axis}: the {learned.height:,} customers who could teach are all in one "
            f"segment ({learned['segment_id'][0]})."
        )
    return ""


def _learn(table: pl.DataFrame, features: Sequence[str]) -> Pipeline:
    """The pipeline learned on the customers of `table`: equal customers are one row with their number as its weight."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    # A million customers differ in a few thousand ways only.
    alike = table.group_by(*features, "segment_id").len().sort(*features, "segment_id")
    rare = [
        table[name].value_counts().filter(pl.col("count") >= _RARE_SHARE * table.height).sort(name)[name].to_list()
        for name in features
    ]
    pipeline = make_pipeline(
        OneHotEncoder(categories=[np.array(values, dtype=object) for values in rare], handle_unknown="ignore"),
        LogisticRegression(C=_STRENGTH, max_iter=300),
    )
    return pipeline.fit(
        _texts(alike, features),
        alike["segment_id"].to_numpy().astype(object),
        logisticregression__sample_weight=alike["len"].to_numpy().astype(np.float64),
    )


def _texts(table: pl.DataFrame, features: Sequence[str]) -> NDArray[np.object_]:
    return np.column_stack([table[name].cast(pl.String).to_numpy().astype(object) for name in features])


def _probabilities(fitted: Pipeline, table: pl.DataFrame, features: Sequence[str]) -> Array:
    """(n, segments) probabilities, segments by name; customers who look alike are asked for once."""
    alike = table.select(features).unique(maintain_order=True).with_row_index("_row")
    rows = table.select(features).join(alike, on=list(features), how="left", maintain_order="left")["_row"].to_numpy()
    return np.asarray(fitted.predict_proba(_texts(alike, features)))[rows]


def _shares(table: pl.DataFrame, names: Sequence[str]) -> Array:
    counts = dict(table["segment_id"].value_counts().iter_rows())
    return np.array([counts.get(name, 0) for name in names], dtype=np.float64) / max(table.height, 1)


def _metrics(chances: Array, names: Sequence[str], actual: pl.Series) -> list[Metric]:
    place = {name: index for index, name in enumerate(names)}
    # A segment nobody had joined before cannot be foretold by either; it counts as a miss with the chance of one in n.
    own = np.array([place.get(name, -1) for name in actual])
    floor = 1.0 / (len(own) + 1)
    chance = np.where(own >= 0, chances[np.arange(len(own)), np.maximum(own, 0)], floor)
    return [
        mean_metric("accuracy", (chances.argmax(axis=1) == own).astype(np.float64)),
        mean_metric("log_loss", -np.log(np.maximum(chance, floor))),
    ]


def _likely(joined: pl.DataFrame, asked: pl.DataFrame, features: Sequence[str], axis: str, chosen: str) -> pl.DataFrame:
    """Where the customers of `asked` are likely to go (PROSPECT_SCHEMA), by the method chosen."""
    names = joined["segment_id"].unique().sort().to_list()
    if asked.is_empty():
        return pl.DataFrame(schema=PROSPECT_SCHEMA)
    if chosen == CLASSIFIER:
        with one_thread():
            chances = _probabilities(_learn(joined, features), asked, features)
    else:
        chances = np.tile(_shares(joined, names), (asked.height, 1))
    best = chances.argmax(axis=1)
    return pl.DataFrame(
        {
            "axis": [axis] * asked.height,
            "customer_id": asked["customer_id"],
            "segment_id": pl.Series(names, dtype=pl.String).gather(best),
            "probability": np.round(chances[np.arange(len(best)), best], 6),
            "method": [chosen] * asked.height,
        },
        schema=PROSPECT_SCHEMA,
    )
