"""Where a new sign-up is likely to go: from what is known at sign-up, judged on later ones, beside the commonest."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from segmentation_assets.lifetime.prospects import (
    CLASSIFIER,
    EVALUATION_SCHEMA,
    FEATURES,
    MAJORITY,
    PROSPECT_SCHEMA,
    ProspectClassifier,
    ProspectFeatureError,
    classify_prospects,
    refuse_features,
    sign_up_features,
)

CUTOFF = date(2024, 6, 30)
TODAY = date(2024, 12, 31)


def _people(seed: int, n: int = 2_000) -> tuple[pl.DataFrame, np.ndarray]:
    """Sign-ups over two years up to today, and a draw of the three ways they were won."""
    rng = np.random.default_rng(seed)
    channel = rng.integers(0, 3, n)
    frame = pl.DataFrame(
        {
            "customer_id": [f"c{number:05d}" for number in range(n)],
            "signed_up_on": [TODAY - timedelta(days=int(days)) for days in rng.integers(0, 730, n)],
            "acquisition_channel": np.array(["search", "store", "friend"])[channel],
            "country": rng.choice(["DE", "AT"], n),
            "region": rng.choice(list("abcdef"), n),
            "sign_up_month": rng.integers(1, 13, n).astype(str),
            "consents_at_sign_up": rng.choice(["yes", "no"], n),
        }
    )
    return frame, channel


def _segments(people: pl.DataFrame, labels: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"customer_id": people["customer_id"], "segment_id": labels})


def _classify(people: pl.DataFrame, then: pl.DataFrame, now: pl.DataFrame, **given: object) -> ProspectClassifier:
    options: dict[str, object] = {"axis": "taste", "outside_id": "T0", "cutoff": CUTOFF, "seed": 1} | given
    return classify_prospects(people, then, now, **options)  # type: ignore[arg-type]


def _planted(seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Four in five go where their channel says, the others anywhere; one in ten is nowhere yet."""
    people, channel = _people(seed)
    rng = np.random.default_rng(seed + 100)
    place = np.where(rng.random(len(channel)) < 0.8, channel, rng.integers(0, 3, len(channel)))
    return people, _segments(
        people, [f"T{0 if out else value + 1}" for value, out in zip(place, rng.random(len(place)) < 0.1, strict=True)]
    )


def test_what_is_known_at_sign_up_beats_the_most_common_segment_where_it_tells_something() -> None:
    people, segments = _planted(1)
    found = _classify(people, segments, segments)
    assert found.is_better
    assert found.evaluation.schema == pl.Schema(EVALUATION_SCHEMA)
    figures = {(row["method"], row["metric"]): row for row in found.evaluation.iter_rows(named=True)}
    assert figures[CLASSIFIER, "accuracy"]["estimate"] == pytest.approx(0.8 + 0.2 / 3, abs=0.04)
    assert figures[MAJORITY, "accuracy"]["estimate"] == pytest.approx(1 / 3, abs=0.06)
    assert figures[MAJORITY, "log_loss"]["estimate"] == pytest.approx(np.log(3), abs=0.02)
    assert figures[CLASSIFIER, "log_loss"]["is_chosen"] and not figures[MAJORITY, "log_loss"]["is_chosen"]
    assert found.sentence.startswith(
        "The classifier told more than the most common segment: the log-loss of the segment"
    )


def test_prospects_are_the_new_sign_ups_in_no_segment_and_go_where_their_like_went() -> None:
    people, segments = _planted(2)
    found = _classify(people, segments, segments)
    everyone = people.join(segments, on="customer_id")
    waiting = everyone.filter((pl.col("signed_up_on") > CUTOFF) & (pl.col("segment_id") == "T0"))
    assert found.prospects.schema == pl.Schema(PROSPECT_SCHEMA)
    assert found.prospects["customer_id"].to_list() == waiting.sort("customer_id")["customer_id"].to_list()
    likely = waiting.select("customer_id", "acquisition_channel").join(found.prospects, on="customer_id")
    expected = {"search": "T1", "store": "T2", "friend": "T3"}
    assert likely["segment_id"].to_list() == [expected[name] for name in likely["acquisition_channel"]]
    assert 0.6 < likely["probability"].min() <= likely["probability"].max() <= 1


def test_where_it_tells_nothing_the_most_common_segment_is_published_and_it_is_said() -> None:
    people, _ = _people(3)
    labels = np.random.default_rng(4).choice(["T0", "T1", "T2", "T2"], people.height).tolist()
    segments = _segments(people, labels)
    found = _classify(people, segments, segments)
    assert not found.is_better
    assert found.sentence.startswith("The classifier could not be told apart from the most common segment: ")
    assert found.prospects["method"].unique().to_list() == [MAJORITY]
    assert found.prospects["segment_id"].unique().to_list() == ["T2"]
    assert found.prospects["probability"][0] == pytest.approx(2 / 3, abs=0.03)


def test_only_the_segments_of_the_cutoff_teach() -> None:
    people, segments = _planted(5)
    old = pl.col("customer_id").is_in(people.filter(pl.col("signed_up_on") <= CUTOFF)["customer_id"].to_list())
    moved_since = segments.with_columns(segment_id=pl.when(old).then(pl.lit("T3")).otherwise("segment_id"))
    first = _classify(people, segments, segments, age_days=184)
    second = _classify(people, segments, moved_since, age_days=184)
    assert first.evaluation.equals(second.evaluation)
    assert first.prospects.equals(second.prospects)


def test_customers_are_compared_at_the_same_age_when_asked() -> None:
    people, _ = _people(6)

    # Everybody is new for half a year, then old: at the cut-off as today.
    def stages(today: date) -> pl.DataFrame:
        ages = [(today - day).days for day in people["signed_up_on"]]
        return _segments(people, ["S1" if age < 184 and number % 10 else "S2" for number, age in enumerate(ages)])

    then, now = stages(CUTOFF), stages(TODAY)
    given = {"axis": "stage", "outside_id": "S0"}
    blind = _classify(people, then, now, **given)
    aware = _classify(people, then, now, age_days=(TODAY - CUTOFF).days, **given)
    accuracy = [
        found.evaluation.row(by_predicate=(pl.col("method") == MAJORITY) & (pl.col("metric") == "accuracy"), named=True)
        for found in (blind, aware)
    ]
    assert accuracy[0]["estimate"] < 0.2
    assert accuracy[1]["estimate"] == pytest.approx(0.9, abs=0.05)


def test_a_segment_nobody_had_joined_before_is_a_miss_and_not_an_error() -> None:
    people, segments = _planted(7)
    fresh = segments.with_columns(
        segment_id=pl.when(pl.int_range(pl.len()) % 7 == 0).then(pl.lit("T9")).otherwise("segment_id")
    )
    found = _classify(people, segments, fresh)
    assert np.isfinite(found.evaluation["estimate"].to_numpy()).all()


def test_the_order_of_the_rows_changes_nothing() -> None:
    people, segments = _planted(8)
    shuffled = [frame.sample(fraction=1.0, shuffle=True, seed=1) for frame in (people, segments, segments)]
    first, second = _classify(people, segments, segments), _classify(*shuffled)
    assert first.evaluation.equals(second.evaluation)
    assert first.prospects.equals(second.prospects)


def test_protected_attributes_are_refused_by_name() -> None:
    people, segments = _planted(9)
    with pytest.raises(ProspectFeatureError) as refused:
        _classify(people, segments, segments, features=("country", "gender", "birth_year"))
    assert str(refused.value) == (
        "The prospect classifier must not see gender, birth_year: protected attributes never steer who gets what. Take "
        "them out of its features."
    )
    for name in ("age", "birth_date", "marital_status"):
        with pytest.raises(ProspectFeatureError, match=f"must not see {name}: protected"):
            refuse_features([name])
    with pytest.raises(ProspectFeatureError, match="must not see region: protected attributes"):
        refuse_features(["region"], protected=["region"])


def test_what_happens_after_sign_up_is_refused_by_name() -> None:
    with pytest.raises(ProspectFeatureError) as refused:
        refuse_features(["country", "order_count"])
    assert str(refused.value) == (
        "The prospect classifier must not see order_count: a new sign-up has no such thing yet. It may see "
        "acquisition_channel, country, region, city, timezone, sign_up_month, consents_at_sign_up."
    )


def test_too_few_sign_ups_and_a_single_segment_are_refused_with_the_numbers() -> None:
    people, segments = _planted(10)
    few = _classify(people[:60], segments, segments)
    assert few.evaluation.is_empty() and few.prospects.is_empty() and not few.is_better
    learned = people[:60].join(segments, on="customer_id").filter(pl.col("segment_id") != "T0")
    before = learned.filter(pl.col("signed_up_on") <= CUTOFF).height
    assert few.sentence == (
        f"No prospect classifier for taste: {before} customers who had signed up by 2024-06-30 were in a segment and "
        f"could teach, {learned.height - before} who signed up after it can judge; at least 100 of each are needed."
    )
    assert "0 customers who had" in _classify(people[:0], segments, segments).sentence
    same = _segments(people, ["T1"] * people.height)
    assert _classify(people, same, same).sentence.endswith("who could teach are all in one segment (T1).")


def test_features_are_those_of_the_day_of_the_sign_up() -> None:
    day = datetime(2024, 3, 5, 9)
    customers = pl.DataFrame(
        {
            "customer_id": ["a", "b", "c", "d", "e"],
            "signed_up_at": [day, day, day, day, None],
            "acquisition_channel": ["store", None, "store", "store", "store"],
            "gender": ["female"] * 5,
            "email_consent": [True, True, True, False, True],
            "email_consent_at": [day + timedelta(hours=2), day + timedelta(days=1), None, None, day],
        }
    )
    found = sign_up_features(customers)
    assert set(found.columns) == {"customer_id", "signed_up_on", *FEATURES}
    assert found["customer_id"].to_list() == ["a", "b", "c", "d"]
    assert found["consents_at_sign_up"].to_list() == ["yes", "no", "unknown", "no"]
    assert found["acquisition_channel"].to_list() == ["store", "unknown", "store", "store"]
    assert found["country"].unique().to_list() == ["unknown"]
    assert found["sign_up_month"].unique().to_list() == ["3"]
    assert found["signed_up_on"].unique().to_list() == [date(2024, 3, 5)]
    with pytest.raises(ValueError, match="The customer table has no column signed_up_at"):
        sign_up_features(customers.drop("signed_up_at"))
