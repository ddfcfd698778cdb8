"""Choosing k: only what is admissible, for reasons that are figures of that very k."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from segmentation_assets.language.messages import messages_of
from segmentation_assets.language.rendering import render
from segmentation_assets.language.task import Task
from segmentation_assets.language.tasks.choose_k import ChooseKAnswer, choice_facts, choose_k_task

ROWS: list[dict[str, Any]] = [
    {"k": 3, "silhouette": 0.15, "null_silhouette": 0.117, "stability": 0.826, "smallest_share": 0.31,
     "smallest_customers": 2052},
    {"k": 4, "silhouette": 0.161, "null_silhouette": 0.123, "stability": 0.754, "smallest_share": 0.176,
     "smallest_customers": 1166},
    {"k": 6, "silhouette": 0.206, "null_silhouette": 0.135, "stability": 0.935, "smallest_share": 0.145,
     "smallest_customers": 961},
]  # fmt: skip


def _task(rows: list[dict[str, Any]] | None = None, rule_k: int = 6) -> Task[ChooseKAnswer]:
    return choose_k_task("Taste", ROWS if rows is None else rows, rule_k)


def _rules(task: Task[ChooseKAnswer], k: int, reason: str) -> dict[str, str]:
    found = task.check(ChooseKAnswer(k=k, reason=reason))
    return {finding.rule: finding.detail for finding in found}


GOOD = "These groups come back with an agreement of {{stability}} when other customers are drawn."


def test_the_schema_lists_the_admissible_numbers_and_no_other_is_an_answer() -> None:
    answer_type = _task().answer_type
    assert answer_type.model_json_schema()["properties"]["k"]["enum"] == [3, 4, 6]
    assert answer_type(k=3, reason=GOOD).k == 3
    with pytest.raises(ValidationError, match="k\n"):
        answer_type(k=5, reason=GOOD)


def test_a_choice_with_a_reason_from_its_facts_is_accepted() -> None:
    assert _task().check(ChooseKAnswer(k=3, reason=GOOD)) == []
    ranked = (
        "They stand apart beyond chance: {{separation_rank|highest}} candidates, each with {{smallest_share}} or so."
    )
    assert _task().check(ChooseKAnswer(k=6, reason=ranked)) == []


def test_a_number_that_is_not_admissible_is_found_whatever_the_type_let_through() -> None:
    assert _rules(_task(), 5, GOOD) == {"wrong_choice": "k: 5 is not admissible; choose one of 3, 4, 6."}


def test_a_reason_without_a_fact_is_none() -> None:
    found = _rules(_task(), 3, "These groups are simply the nicest to work with for everybody.")
    assert found == {"no_reason": "reason: name a fact of the 3 that speaks for it, such as {{stability}}."}


@pytest.mark.parametrize(
    ("reason", "rule"),
    [
        ("The groups come back with an agreement of 94%, {{stability}} in all.", "digit"),
        ("The groups come back with an agreement of {{silhouette_width}} when drawn.", "unknown_fact"),
        ("The agreement of {{stability}} is the highest of all the candidates.", "rank_without_fact"),
        ("These groups came back with an agreement of {{stability}}, and none is small.", "copied_example"),
        ("The agreement of {{stability}} is above what {{stability}} would be by chance.", "direction_without_fact"),
    ],
)
def test_an_ungrounded_reason_is_found(reason: str, rule: str) -> None:
    assert rule in _rules(_task(), 3, reason)


def test_a_reason_that_goes_on_for_too_long_is_found() -> None:
    assert _rules(_task(), 3, "An agreement of {{stability}} speaks for it, and there is a lot to be said. " * 6)


def test_ranks_are_counted_among_the_candidates_and_equals_share_theirs() -> None:
    books = choice_facts([*ROWS, {"k": 7, "silhouette": None, "stability": 0.935, "smallest_customers": None}])
    assert {k: book.number("stability_rank") for k, book in books.items()} == {3: 3, 4: 4, 6: 1, 7: 1}
    assert {k: book.number("separation_rank", 0) for k, book in books.items()} == {3: 3, 4: 2, 6: 1, 7: 0}
    assert not books[7].has("smallest_share")
    single = choice_facts(ROWS[:1])[3]
    assert single.has("stability") and not single.has("stability_rank")


def test_the_embedded_writer_takes_the_rule_s_k_and_says_why() -> None:
    answer = _task().fallback()
    assert answer.k == 6
    assert render(answer.reason, choice_facts(ROWS)[6]) == (
        "Resampled customers give these 6 segments again with an agreement of 94%, 1st of 3 candidates. By how far "
        "they stand apart beyond chance they come 1st of 3. Each of them holds at least 14% of the customers."
    )


def test_what_cannot_be_asked_is_refused_with_a_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"^Taste: no number of segments is admissible, so there is nothing to choose\.$"
    ):
        _task(rows=[])
    with pytest.raises(
        ValueError, match=r"^Taste: the rule's 5 is not admissible \(3, 4, 6 are\); ask only where it is\.$"
    ):
        _task(rule_k=5)
    with pytest.raises(ValueError, match=r"has several rows of evidence; give one row each\.$"):
        _task(rows=[*ROWS, ROWS[0]])


def test_a_smallest_segment_under_the_cell_is_told_to_nobody() -> None:
    rows = [{**ROWS[0], "smallest_customers": 49, "smallest_share": 0.0041}, ROWS[2]]
    sent = messages_of(_task(rows), 50)[1]["content"]
    assert "0.4%" not in sent and "49" not in sent
    assert "{{smallest_customers}}: 961" in sent


def test_the_request_is_short_and_does_not_grow_with_the_customers() -> None:
    many = [{**row, "smallest_customers": row["smallest_customers"] * 1000} for row in ROWS]
    small, large = (messages_of(_task(rows), 50, 10_000_000)[1]["content"] for rows in (ROWS, many))
    assert small.count("\n") == large.count("\n")
    assert sum(len(message["content"]) for message in messages_of(_task(), 50)) < 5_000


_share = st.one_of(st.none(), st.floats(0, 1), st.just(float("nan")))
_row = st.fixed_dictionaries(
    {"k": st.integers(2, 40)},
    optional={"stability": _share, "silhouette": _share, "null_silhouette": _share, "smallest_share": _share,
              "smallest_customers": st.one_of(st.none(), st.integers(0, 10**9))},
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(rows=st.lists(_row, min_size=1, max_size=8, unique_by=lambda row: row["k"]), data=st.data())
def test_the_fallback_passes_its_own_check_whatever_the_evidence(
    rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    task = _task(rows, data.draw(st.sampled_from([row["k"] for row in rows])))
    assert task.check(task.fallback()) == []
