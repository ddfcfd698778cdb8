"""The audience of a product: a model chooses among the scored candidates and says why.

What belongs here: which products are worth asking about, the task, the embedded reasons, and the table of choices.
What does not: scoring (`merchandising.matching`). A reason may use the facts of the chosen candidate alone, and none
may say that an e-mail causes a purchase: the scores are purchase rates of the recent past. A rate is compared for all
customers of the stages matched with the product together, whatever their taste: that is the size at which the rules
are compared.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import polars as pl
from pydantic import create_model

from segmentation_assets.language.answers import Answer
from segmentation_assets.language.facts import SHOP, Fact, FactBook, FactKind, clean_name
from segmentation_assets.language.grounding import Finding, sentences, text_findings
from segmentation_assets.language.prompt_files import load_prompt
from segmentation_assets.language.rendering import PLACEHOLDER, render
from segmentation_assets.language.task import ChoicesBlock, FactsBlock, Outcome, Task

#: Columns of campaigns.match_choices and their DuckDB types, in order.
MATCH_CHOICE_TYPES: dict[str, str] = {
    "product_id": "VARCHAR", "taste_segment_id": "VARCHAR", "stage_segment_ids": "VARCHAR",
    "is_rule_choice": "BOOLEAN", "reason": "VARCHAR", "chosen_by": "VARCHAR", "is_degraded": "BOOLEAN",
}  # fmt: skip

#: What the columns mean that the raw contract does not describe.
MATCH_CHOICE_NOTES: dict[str, str] = {
    "stage_segment_ids": "Stage segments of the audience, comma separated.",
    "is_rule_choice": "True when the audience is the one the rule takes: the highest expected margin.",
    "reason": "Why this audience, in figures of campaigns.product_segment_matches.",
    "chosen_by": "Who chose the audience and gave the reason.",
    "is_degraded": "True when the embedded writer stood in for a model that failed.",
}

#: Products asked about in a run: the number of calls must not grow with the assortment.
MOST_PRODUCTS = 12
#: Candidates listed for a product, the best by expected margin: more would only make the prompt long.
MOST_CANDIDATES = 6
SHORTEST_REASON, LONGEST_REASON = 20, 400
OUTPUT_TOKENS = 300


class MatchAnswer(Answer):
    """The candidate chosen, by its id (an enum of the request), and why."""

    choice: str
    reason: str


@dataclass(frozen=True)
class MatchQuestion:
    """The candidates of one product: rows of campaigns.product_segment_matches, two or more.

    `segment_names`: name by segment id. `rule_choice`: the id (c1, c2...) the rule takes; empty is the row with the
    highest expected margin, then score, the first of equals.
    """

    product_id: str
    product_name: str
    rows: tuple[Mapping[str, Any], ...]
    segment_names: Mapping[str, str]
    currency: str = "EUR"
    rule_choice: str = ""

    def __post_init__(self) -> None:
        """ValueError for fewer than two candidates, another product's row, or a rule's choice that is none of them."""
        if len(self.rows) < 2:
            raise ValueError(f"Product {self.product_id} has {len(self.rows)} candidates; a choice needs two or more.")
        if others := {str(row["product_id"]) for row in self.rows} - {self.product_id}:
            raise ValueError(f"Product {self.product_id}: rows of {sorted(others)} are among its candidates.")
        if self.rule_choice and self.rule_choice not in self.by_id:
            raise ValueError(f"Product {self.product_id}: the rule's choice {self.rule_choice!r} is no candidate.")

    @property
    def by_id(self) -> dict[str, Mapping[str, Any]]:
        """The candidates by the ids of the request, in the order given: c1, c2..."""
        return {f"c{place}": row for place, row in enumerate(self.rows, start=1)}

    @property
    def of_rule(self) -> str:
        """The id the rule takes."""
        if self.rule_choice:
            return self.rule_choice
        return max(self.by_id, key=lambda c: (_number(self.by_id[c], _MARGIN), _number(self.by_id[c], "score")))


def matches_to_choose(matches: pl.DataFrame, most: int = MOST_PRODUCTS) -> list[str]:
    """Products worth asking about, the best first: two or more candidates and a margin to gain, at most `most`.

    `matches`: campaigns.product_segment_matches. Ordered by the best expected margin of the product, then its id.
    """
    if matches.is_empty():
        return []
    return (
        matches.group_by("product_id")
        .agg(pl.len().alias("candidates"), pl.col(_MARGIN).cast(pl.Float64).max().alias("best"))
        .filter((pl.col("candidates") >= 2) & (pl.col("best") > 0))
        .sort(["best", "product_id"], descending=[True, False])
        .head(most)["product_id"]
        .to_list()
    )


def match_candidates(matches: pl.DataFrame, product_id: str, most: int = MOST_CANDIDATES) -> tuple[dict[str, Any], ...]:
    """The rows of `product_id` in campaigns.product_segment_matches, the `most` with the best expected margin.

    They come in the order of their segments, so that a place in the list says nothing of the rank.
    """
    own = matches.filter(pl.col("product_id") == product_id)
    order = [_MARGIN, "score", "taste_segment_id", "stage_segment_ids"]
    best = own.sort(order, descending=[True, True, False, False]).head(most)
    return tuple(best.sort("taste_segment_id", "stage_segment_ids").iter_rows(named=True))


def match_task(question: MatchQuestion) -> Task[MatchAnswer]:
    """The task of choosing and justifying the audience of one product."""
    product, books = product_facts(question), candidate_facts(question)
    answer_type = _answer_type(tuple(books))
    return Task(
        name="match",
        item=f"product {question.product_id}",
        prompt=load_prompt("match"),
        blocks=(FactsBlock("The product", product), ChoicesBlock("The candidates", books)),
        answer_type=answer_type,
        check=lambda answer: match_findings(question, answer),
        fallback=lambda: answer_type(choice=question.of_rule, reason=_embedded(question, question.of_rule)),
        # One candidate under the minimum cell keeps the whole question here: it could not be weighed fairly.
        customers=min(int(row["audience_customers"]) for row in question.rows),
        output_tokens=OUTPUT_TOKENS,
    )


@lru_cache(maxsize=64)
def _answer_type(choices: tuple[str, ...]) -> type[MatchAnswer]:
    """The answer with an enum of these ids: a server that keeps to the schema cannot name another."""
    choice: Any = Literal[choices]  # made at run time, so without a static type
    fields: dict[str, Any] = {"choice": (choice, ...)}
    return create_model("MatchAnswer", __base__=MatchAnswer, **fields)


# --- facts ---------------------------------------------------------------------------------------------------------

_MARGIN = "expected_margin_amount"
#: How a finding names the two facts that belong together.
_GAP, _MATCHED = "score_gap", "matched"
#: Under this relative difference a rate is the same as the baseline's when written.
_SAME_RATE = 0.005
#: A baseline under this is nobody; nothing is so many times as much as that.
_LEAST_RATE = 1e-6


def _number(row: Mapping[str, Any], column: str) -> float:
    return float(row[column] or 0)


def product_facts(question: MatchQuestion) -> FactBook:
    """The product's name, how many candidates there are, and whom `score_gap` compares with; for any reason."""
    facts = [
        Fact("candidates", FactKind.COUNT, len(question.rows), subject=SHOP),
        Fact("baseline", FactKind.TEXT, "as many of the most active customers of these stages", subject=SHOP),
    ]
    if name := clean_name(question.product_name):
        facts.insert(0, Fact("product", FactKind.NAME, name, subject=SHOP))
    return FactBook(tuple(facts), question.currency)


def candidate_facts(question: MatchQuestion) -> dict[str, FactBook]:
    """The facts of each candidate by its id; keys begin with the id, and the subject is the candidate.

    `taste` and `stage` (names), `audience`, `reachable`, `buyers` with `buyers_low` and `buyers_high` (the 90%
    prediction interval), `margin`, `margin_rank`, `score_rank`, `reachable_rank` (among the candidates) and
    `matched` (all customers of these stages matched with the product, whatever their taste) and `score_gap` (their
    rate beside that of as many of the most active customers of these stages, relative; absent where they are written
    alike or the latter is unknown).
    """
    by_id = question.by_id
    return {
        choice: FactBook(tuple(_facts(question, choice, row, by_id)), question.currency)
        for choice, row in by_id.items()
    }


def _names(question: MatchQuestion, row: Mapping[str, Any]) -> dict[str, str]:
    stages = [clean_name(question.segment_names.get(stage, "")) for stage in str(row["stage_segment_ids"]).split(",")]
    taste = clean_name(question.segment_names.get(row["taste_segment_id"], ""))
    names = {"taste": taste, "stage": " and ".join(name for name in stages if name)}
    return {key: name for key, name in names.items() if name}


def _facts(
    question: MatchQuestion, choice: str, row: Mapping[str, Any], by_id: Mapping[str, Mapping[str, Any]]
) -> list[Fact]:
    size, reachable = int(row["audience_customers"]), int(row["reachable_customers"])
    about: dict[str, Any] = {"subject": f"product {question.product_id} {choice}", "customers": size}
    facts = [Fact(f"{choice}.{key}", FactKind.NAME, name, **about) for key, name in _names(question, row).items()]
    facts += [
        Fact(f"{choice}.audience", FactKind.COUNT, size, **about),
        Fact(f"{choice}.reachable", FactKind.COUNT, reachable, numerator=reachable, **about),
    ]
    for key, column in (("buyers", "expected_buyers"), ("buyers_low", "low"), ("buyers_high", "high")):
        buyers = round(_number(row, column))
        # An expected number of buyers is rounded to people; as few as the minimum cell forbids stay here like counts,
        # and "0 buyers" beside a margin would only confuse.
        if buyers:
            facts.append(Fact(f"{choice}.{key}", FactKind.COUNT, buyers, numerator=min(buyers, size), **about))
    facts.append(Fact(f"{choice}.margin", FactKind.MONEY, _number(row, _MARGIN), **about))
    for key, column in (("margin", _MARGIN), ("score", "score"), ("reachable", "reachable_customers")):
        rank = 1 + sum(_number(other, column) > _number(row, column) for other in by_id.values())
        facts.append(Fact(f"{choice}.{key}_rank", FactKind.RANK, rank, of=len(by_id), **about))
    matched = int(row["matched_customers"])
    together = about | {"customers": matched}
    facts.append(Fact(f"{choice}.matched", FactKind.COUNT, matched, **together))
    baseline = _number(row, "baseline_score")
    gap = _number(row, "matched_score") / baseline - 1 if baseline >= _LEAST_RATE else 0.0
    if abs(gap) >= _SAME_RATE:
        facts.append(Fact(f"{choice}.score_gap", FactKind.DELTA, round(gap, 6), **together))
    return facts


# --- the embedded writer --------------------------------------------------------------------------------------------

#: What makes the choice the best, by what it leads in; the next product with the same reason is worded otherwise.
_REASONS: Mapping[str, tuple[str, ...]] = {
    "affinity": (
        "{who} have the closest tie to {product}: their purchase rate ranks {score_rank|highest} among the "
        "candidates, and the {reachable} who can be reached should bring {margin} of margin.",
        "Others buy {product} less readily. {who} come {score_rank|highest} by purchase rate among the candidates, "
        "which is worth {margin} of margin from {reachable} reachable customers.",
    ),
    "size": (
        "{who} are an audience with reach: {reachable} of them can be written to, the {reachable_rank|largest} number "
        "among the candidates, and they should bring {margin} of margin.",
        "Reach decides here. With {reachable} reachable customers, the {reachable_rank|largest} number among the "
        "candidates, {product} should bring {margin} of margin.",
    ),
    "margin": (
        "{who} pay best on balance: {margin} of margin to be expected, the {margin_rank|highest} among the "
        "candidates, from {reachable} customers who can be reached.",
        "Rate and reach together make {margin} of expected margin, the {margin_rank|highest} among the candidates "
        "for {product}.",
    ),
    "other": ("{who} should bring {margin} of margin for {product}, from {reachable} customers who can be reached.",),
}
_CONTEST: Mapping[str, str] = {
    "clear": "All {matched} matched customers of these stages together buy at a rate {score_gap|above} that of "
    "{baseline}.",
    "close": "All {matched} matched customers of these stages together buy at a rate {score_gap|above} that of "
    "{baseline}, which is too close to call.",
    "lost": "All {matched} matched customers of these stages together buy at a rate {score_gap|above} that of "
    "{baseline}: the margin is the reason, not the rate.",
}
#: Whose taste is not known has no name to be called by.
_UNKNOWN_TASTE = "T0"
_SLOT = re.compile(r"\{(\w+)(\|\w+)?\}")


def _embedded(question: MatchQuestion, choice: str) -> str:
    row, book = question.by_id[choice], candidate_facts(question)[choice]
    score_rank, reach_rank, margin_rank = (
        book.number(f"{choice}.{key}_rank") for key in ("score", "reachable", "margin")
    )
    if score_rank == 1 and reach_rank != 1:
        lead = "affinity"
    elif reach_rank == 1 and score_rank != 1:
        lead = "size"
    else:
        lead = "margin" if margin_rank == 1 else "other"
    turns = _REASONS[lead]
    parts = [turns[zlib.crc32(question.product_id.encode()) % len(turns)]]
    gap = book.number(f"{choice}.score_gap", 0.0)
    if gap:
        parts.append(_CONTEST["lost" if gap < 0 else "clear" if row["beats_baseline"] else "close"])
    own = product_facts(question)
    is_named = f"{choice}.taste" in book and row["taste_segment_id"] != _UNKNOWN_TASTE

    def fill(slot: re.Match[str]) -> str:
        if slot[1] == "who":
            return f"{{{{{choice}.taste}}}} customers" if is_named else "These customers"
        if slot[1] in {"product", "baseline"}:
            return f"{{{{{slot[1]}}}}}" if slot[1] in own else "this product"
        return "{{" + f"{choice}.{slot[1]}{slot[2] or ''}" + "}}"

    return _SLOT.sub(fill, " ".join(parts))


# --- what a reason may say ------------------------------------------------------------------------------------------

_CAUSE = re.compile(
    r"(?i)\b(?:(?:because of|thanks to|due to) (?:the|an|our|this) (?:e-?mail|campaign|newsletter|message|offer)|"
    r"(?:e-?mails?|campaigns?|newsletters?|messages?|offers?) (?:will |would )?(?:make|makes|cause|causes|drive|drives|"
    r"lift|lifts|lead|leads|get|gets)|uplift|incremental(?:ly)?|convinc\w+|persuad\w+)\b"
)


def match_findings(question: MatchQuestion, answer: MatchAnswer) -> list[Finding]:
    """Everything wrong with `answer`: the choice, figures of other candidates, and a cause that nobody measured."""
    choice, reason = answer.choice, answer.reason
    by_id, books = question.by_id, candidate_facts(question)
    if choice not in by_id:
        return [Finding("unknown_choice", f"{choice}: choose among {', '.join(by_id)}.")]
    facts = product_facts(question).extended(fact for book in books.values() for fact in book)
    subject = f"product {question.product_id} {choice}"
    found = text_findings("reason", reason, facts, subject, longest=LONGEST_REASON, shortest=SHORTEST_REASON)
    figures = {fact.key for fact in books[choice] if fact.kind is not FactKind.NAME}
    if not figures & {match[1] for match in PLACEHOLDER.finditer(reason)}:
        found.append(
            Finding("no_figure", f"reason: give at least one figure of {choice}, such as {{{{{choice}.margin}}}}.")
        )
    for sentence in sentences(reason):
        used = {match[1] for match in PLACEHOLDER.finditer(sentence)}
        # The gap is that of everybody matched; beside the candidate alone it would say what nobody computed.
        if f"{choice}.{_GAP}" in used and f"{choice}.{_MATCHED}" not in used:
            found.append(
                Finding(
                    "gap_of_whom",
                    f"reason: {{{{{choice}.{_GAP}}}}} is about all matched customers of these stages together: name "
                    f"{{{{{choice}.{_MATCHED}}}}} in its sentence.",
                )
            )
    residual = PLACEHOLDER.sub("\u25c6", reason)
    own = {name.casefold() for name in _names(question, by_id[choice]).values()}
    for other, row in by_id.items():
        for name in _names(question, row).values():
            if name.casefold() not in own and _names_it(name, residual):
                found.append(Finding("wrong_candidate", f"reason: {name!r} is {other}; the choice is {choice}."))
    for named in re.findall(r"(?<![\w.])c\d+(?![\w.])", residual):
        found.append(Finding("candidate_id", f"reason: {named!r} is an id of the request; readers do not know it."))
    for match in _CAUSE.finditer(residual):
        found.append(
            Finding(
                "causal_claim", f"reason: {match[0]!r}: these are purchase rates; only a control group shows a cause."
            )
        )
    return list(dict.fromkeys(found))


def _names_it(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE) is not None


# --- table ---------------------------------------------------------------------------------------------------------


def match_choices_frame(questions: Sequence[MatchQuestion], outcomes: Sequence[Outcome[MatchAnswer]]) -> pl.DataFrame:
    """campaigns.match_choices (MATCH_CHOICE_TYPES): one row per question, sorted by product.

    `outcomes`: one per question, in the same order.
    """
    rows = []
    for question, outcome in zip(questions, outcomes, strict=True):
        choice = outcome.answer.choice
        row = question.by_id[choice]
        facts = product_facts(question).extended(candidate_facts(question)[choice])
        rows.append(
            {
                "product_id": question.product_id,
                "taste_segment_id": row["taste_segment_id"],
                "stage_segment_ids": row["stage_segment_ids"],
                "is_rule_choice": choice == question.of_rule,
                "reason": render(outcome.answer.reason, facts),
                "chosen_by": outcome.written_by,
                "is_degraded": outcome.is_degraded,
            }
        )
    polars = {"VARCHAR": pl.String(), "BOOLEAN": pl.Boolean()}
    schema = {name: polars[kind] for name, kind in MATCH_CHOICE_TYPES.items()}
    return pl.DataFrame(rows, schema=schema).sort("product_id")
