"""What a critic says of a draft: the embedded one by rule, a model's within bounds."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation_assets.language.facts import Fact, FactBook, FactKind
from segmentation_assets.language.messages import messages_of
from segmentation_assets.merchandising.plan import STAGE_GROUPS
from segmentation_assets.messaging.copy_task import BriefFacts, EmailAnswer, EmailVariant, embedded_email
from segmentation_assets.messaging.critique import (
    CritiqueAnswer,
    critique_findings,
    critique_task,
    reading_ease,
    syllables,
)


def _brief(
    group: str = "active", name: str = "House Blend", category: str = "Coffee", discount: float = 0.0
) -> BriefFacts:
    facts = [
        Fact("product1", FactKind.NAME, name),
        Fact("price1", FactKind.MONEY, 10.2),
        Fact("valid_until", FactKind.DATE, date(2024, 7, 14)),
    ]
    if category:
        facts.append(Fact("category", FactKind.NAME, category))
    if discount:
        facts.append(Fact("discount", FactKind.SHARE, discount))
    return BriefFacts(
        brief_id="20240630-T1-active",
        stage_group=group,
        book=FactBook(tuple(facts), "EUR"),
        taste_segment_id="T1",
        stage_segment_ids="S1",
        product_ids="P1",
        discount_share=discount,
        valid_until=date(2024, 7, 14),
        audience_customers=900,
    )


GOOD = EmailVariant(
    subject="{{product1}}, for your next cup",
    preheader="Yours at the usual price.",
    opening="You may be low on coffee. Have a look.",
    offer="It is yours at the usual price.",
    closing="Tell us what you think.",
    call_to_action="See the blend",
)
OTHER = GOOD.model_copy(update={"subject": "Something from {{category}}?", "call_to_action": "Have a look"})


def _read(brief: BriefFacts | None = None, **changes: str) -> CritiqueAnswer:
    answer = EmailAnswer(a=GOOD.model_copy(update=changes), b=OTHER)
    return critique_task(brief or _brief(), answer, "A").fallback()


def test_good_copy_is_to_be_sent_with_what_is_good_about_it() -> None:
    assert _read() == CritiqueAnswer(verdict="send", problems=(), strength="The subject shows the product at a glance.")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"subject": "{{product1}} for the long and quiet mornings at home"},
         "A phone cuts the subject off: begin with the point and drop the rest."),
        ({"subject": "Hello there", "opening": "You may want a look."},
         "The reader cannot tell what it is about before the list: name a product or the category in the subject or "
         "the opening."),
        ({"preheader": "For your next cup: {{product1}}"},
         "The preheader says the subject again: use it for a reason to open."),
        ({"call_to_action": "Click here!"},
         "The button does not say what happens after the click: name what is to be seen there."),
        ({"call_to_action": "have a look"}, "Both variants have the same button: give this variant its own."),
        ({"opening": "You are back. You look well. You like coffee. You want a cup."},
         "The opening keeps the reader waiting: come to the point within a few short sentences."),
        ({"opening": "If you like to sit at home with a cup in your hand and look out at the rain as it falls on the "
          "street and on the trees then you may like this."},
         "A sentence is too long to read in passing: split it."),
        ({"opening": "Your individually appropriate beverage alternatives demonstrate considerable sophistication."},
         "The words are heavy for a letter: write short, everyday words."),
        ({"opening": "We picked this and we love it. Our team and our shop wrote about it to us all."},
         "It speaks of the shop before the reader: say what is in it for them."),
    ],
)  # fmt: skip
def test_each_weakness_is_named_and_asks_for_new_copy(changes: dict[str, str], problem: str) -> None:
    critique = _read(**changes)
    assert problem in critique.problems and critique.verdict == "rewrite"
    assert critique_findings(critique, _brief().book) == []


def test_only_the_gravest_problems_are_named() -> None:
    bad = _read(subject="x" * 60, preheader="x" * 60, call_to_action="Click here", opening="We. We. We. We. We.")
    assert len(bad.problems) == 3 and bad.problems[0].startswith("The reader cannot tell")


@settings(max_examples=40, deadline=None)
@given(
    group=st.sampled_from(STAGE_GROUPS),
    name=st.text(min_size=1, max_size=60).filter(str.strip),
    category=st.sampled_from(["", "Coffee", "Sports & Outdoor", "C" * 30]),
    discount=st.sampled_from([0.0, 0.125]),
    variant=st.sampled_from(["A", "B"]),
)
def test_the_embedded_copy_stands_up_to_the_embedded_critic(
    group: str, name: str, category: str, discount: float, variant: str
) -> None:
    brief = _brief(group, name, category, discount)
    task = critique_task(brief, embedded_email(brief), variant)
    critique = task.fallback()
    assert critique.problems == () and critique.verdict == "send"
    assert task.check(critique) == []


def test_a_critique_of_a_model_is_held_to_its_form() -> None:
    facts = _brief().book

    def details(**changes: object) -> list[str]:
        good = {"verdict": "rewrite", "problems": ["Shorten the opening."], "strength": "The subject is clear."}
        return [finding.detail for finding in critique_findings(CritiqueAnswer.model_validate(good | changes), facts)]

    assert details() == []
    assert details(problems=[]) == ["problems: the verdict is rewrite, so say what to mend."]
    assert details(verdict="send", problems=[]) == []
    assert details(problems=["Shorten it."] * 4)[0] == "problems: 4 of them; keep the 3 gravest."
    assert "problem 1: 2,000 characters; keep it under 160." in details(problems=["Shorten" + "!" * 1993])
    assert details(strength="Clear" + "." * 156) == ["strength: 161 characters; keep it under 160."]
    assert details(strength="") == ["strength: there is no text."]
    assert "problem 1: '40' is not from a fact: name the fact with {{key}}." in details(problems=["Cut 40 words."])
    assert "strength: {{margin}}: there is no such fact." in details(strength="It names {{margin}}.")
    assert any("www.example.com" in detail for detail in details(strength="Good, see www.example.com for a start."))


def test_a_request_shows_the_draft_as_templates_and_the_other_variant() -> None:
    task = critique_task(_brief(), EmailAnswer(a=GOOD, b=OTHER), "B")
    sent = messages_of(task, 50)[1]["content"]
    draft, other = sent.split("## The draft")[1].split("## The other variant of the test")
    assert "- subject: Something from {{category}}?" in draft and "- subject: {{product1}}, for your" in other
    assert task.item == "draft 20240630-T1-active-B" and task.customers == 900


def test_reading_ease_follows_flesch() -> None:
    assert [syllables(word) for word in ("cat", "table", "makes", "coffee", "prices", "rhythm")] == [
        1, 2, 1, 2, 2, 1,
    ]  # fmt: skip
    # Six words of one syllable in one sentence: 206.835 - 1.015 * 6 - 84.6.
    assert reading_ease("The cat sat on the mat.") == pytest.approx(116.145)
    assert reading_ease("") == 100.0
    assert reading_ease("Considerable sophistication demonstrates individuality.") < 0
