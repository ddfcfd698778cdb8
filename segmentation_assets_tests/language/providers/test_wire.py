"""The form of answers: what schema goes out, and what is made of whatever comes back."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from typing import Any, Literal, Optional

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, create_model

from segmentation_assets.language.answers import Answer
from segmentation_assets.language.grounding import Finding
from segmentation_assets.language.providers.wire import LONGEST_ECHO, json_schema_of, parse_answer


class Tone(StrEnum):
    WARM = "warm"
    PLAIN = "plain"


class Name(Answer):
    segment_id: Literal["T1", "T2"]
    name: str = Field(max_length=5, description="Two words.")


class Named(Answer):
    names: list[Name] = Field(min_length=1)
    k: Literal[4, 5]
    tone: Tone = Tone.PLAIN
    share: float = Field(0.5, ge=0, le=1)
    title: str | None = None


GOOD = '{"names": [{"segment_id": "T1", "name": "Cosy"}], "k": 4, "tone": "warm", "share": 0.2, "title": null}'
ANSWER = Named.model_validate_json(GOOD)

# --- out ---


def test_schema_requires_every_field_allows_no_other_and_says_no_bound() -> None:
    assert json_schema_of(Named) == {
        "type": "object",
        "properties": {
            "names": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "segment_id": {"enum": ["T1", "T2"], "type": "string"},
                        "name": {"type": "string", "description": "Two words."},
                    },
                    "required": ["segment_id", "name"],
                    "additionalProperties": False,
                },
            },
            "k": {"enum": [4, 5], "type": "integer"},
            "tone": {"enum": ["warm", "plain"], "type": "string"},
            "share": {"type": "number"},
            "title": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["names", "k", "tone", "share", "title"],
        "additionalProperties": False,
    }


def test_schema_is_a_valid_json_schema_that_takes_a_good_answer_and_refuses_others() -> None:
    validator = jsonschema.Draft202012Validator(json_schema_of(Named))
    validator.check_schema(validator.schema)
    validator.validate(json.loads(GOOD))
    assert not validator.is_valid(json.loads(GOOD) | {"k": 7})
    assert not validator.is_valid(json.loads(GOOD) | {"more": 1})


def test_enum_made_at_run_time_is_in_the_schema_even_with_one_choice() -> None:
    choices = ("a1",)
    chosen = create_model("Chosen", __base__=Answer, choice=(Literal[choices], ...))
    assert json_schema_of(chosen)["properties"]["choice"] == {"enum": ["a1"], "type": "string"}


def test_field_called_like_a_word_of_json_schema_keeps_its_name() -> None:
    odd = create_model("Odd", __base__=Answer, title=(str, ...), description=(str, ...), maximum=(int, ...))
    assert list(json_schema_of(odd)["properties"]) == ["title", "description", "maximum"]


class Tree(BaseModel):
    children: list[Tree]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (
            dict[str, int],
            "Bad.field: a dict has no strict JSON schema, because its keys are open. "
            "Use a list of objects with a field for the key.",
        ),
        (Any, "Bad.field: a value of any type has no strict JSON schema. Give the field a type."),
        (
            tuple[int, str],
            "Bad.field: only a list of one type has a strict JSON schema. Use list[...] or an object.",
        ),
        (list, "Bad.field: a value of any type has no strict JSON schema. Give the field a type."),
        (Tree, "Bad.field.children: Tree holds itself, which a strict JSON schema cannot say. Use a list instead."),
    ],
)
def test_type_without_a_strict_schema_is_refused_by_name(annotation: Any, message: str) -> None:
    bad = create_model("Bad", field=(annotation, ...))
    with pytest.raises(TypeError) as refused:
        json_schema_of(bad)
    assert str(refused.value) == message


def test_answer_that_allows_further_fields_is_closed_on_the_wire() -> None:
    open_type = create_model("Open", __config__=ConfigDict(extra="allow"), field=(str, ...))
    assert json_schema_of(open_type)["additionalProperties"] is False


# --- back ---


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\ufeff\n {GOOD} \n",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}```",
        f"Here you are:\n```JSON\n{GOOD}\n```\nAnything else?",
        f"Sure! {GOOD} I hope that helps {{\"k\": ",
        f"With {{{{customers}}}} in mind: {GOOD}",
        f"{{'single': 'quotes'}} no: {{\"broken\": 1,}} yes: {GOOD}",
        f'<think>{{"k": 5}} or maybe not</think>\n{GOOD}',
    ],
)  # fmt: skip
def test_answer_is_found_wherever_it_stands(text: str) -> None:
    assert parse_answer(text, Named) == (ANSWER, [])


def test_braces_and_quotes_in_strings_do_not_end_an_object() -> None:
    answer = Named(names=[Name(segment_id="T1", name='}"{{')], k=5)
    assert parse_answer(f"So: {answer.model_dump_json()} !", Named) == (answer, [])


def test_text_that_never_was_json_is_a_finding_with_its_beginning() -> None:
    assert parse_answer("Segment 4 is the best, because", Named) == (
        None,
        [Finding("not_json", 'The reply holds no JSON object; it begins with "Segment 4 is the best, because".')],
    )


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "The reply is empty; it must be one JSON object."),
        ("  \n", "The reply is empty; it must be one JSON object."),
        (
            GOOD[:-20],
            "The reply ends inside its JSON object; write a shorter answer, and close every brace.",
        ),
        ('{"k" 4}', "The reply is no valid JSON: Expecting ':' delimiter at line 1, column 6."),
        ('{"k": NaN}', "The reply is no valid JSON: NaN and Infinity are no numbers."),
        ('{"k": ' + "9" * 5000 + "}", "The reply is no valid JSON: a number that is too long."),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "The reply is no valid JSON: objects nested too deeply."),
    ],
)
def test_what_is_no_json_is_said_in_words(text: str, detail: str) -> None:
    assert parse_answer(text, Named) == (None, [Finding("not_json", detail)])


def test_truncated_answer_is_not_read_as_one_of_its_inner_objects() -> None:
    answer, findings = parse_answer(f'{{"outer": {GOOD}, "k": "tru', Named)
    assert answer is None
    assert [finding.rule for finding in findings] == ["not_json"]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"k": 7}, 'k: must be one of 4 or 5, not "7".'),
        (
            {"names": [{"segment_id": "T9", "name": "x"}]},
            """names[0].segment_id: must be one of 'T1' or 'T2', not "T9".""",
        ),
        ({"names": [{"segment_id": "T1"}]}, "names[0].name: the field is missing."),
        ({"names": "Cosy"}, 'names: must be a list, not the text "Cosy".'),
        ({"names": None}, "names: must be a list, not null."),
        ({"names": ["Cosy"]}, 'names[0]: must be an object, not the text "Cosy".'),
        ({"title": 3}, 'title: must be text, not the number "3".'),
        ({"title": {"a": 1}}, "title: must be text, not an object."),
        ({"share": "much"}, 'share: must be a number, not the text "much".'),
        ({"share": 2}, "share: Input should be less than or equal to 1."),
        ({"verdict": "send"}, "verdict: no such field was asked for."),
        ({"title": "\ud800"}, "The reply: a character that no text may hold."),
    ],
)  # fmt: skip
def test_json_of_another_form_is_said_field_by_field(change: dict[str, Any], detail: str) -> None:
    answer, findings = parse_answer(json.dumps(json.loads(GOOD) | change), Named)
    assert answer is None
    assert findings == [Finding("wrong_form", detail)]


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (f"[{GOOD}]", "The reply: must be an object, not a list."),
        ("42", 'The reply: must be an object, not the number "42".'),
        ("null", "The reply: must be an object, not null."),
    ],
)
def test_json_that_is_no_object_is_another_form(text: str, detail: str) -> None:
    assert parse_answer(text, Named) == (None, [Finding("wrong_form", detail)])


def test_findings_end_after_eight_and_count_the_rest() -> None:
    answer, findings = parse_answer(json.dumps({f"f{number}": 1 for number in range(30)}), Name)
    assert answer is None
    assert len(findings) == 9
    assert findings[-1].detail == "and 24 more of this kind."


@settings(deadline=None)
@given(st.text(min_size=200, max_size=400, alphabet=st.characters(codec="utf-8")))
def test_no_finding_repeats_more_than_eighty_characters_of_a_reply(text: str) -> None:
    for reply in (text, json.dumps({"k": text, text: 1, "names": text})):
        for finding in parse_answer(reply, Named)[1]:
            longest = max(
                (end - start for start in range(len(text)) for end in (start + LONGEST_ECHO + 1,)
                 if end <= len(text) and text[start:end] in finding.detail),
                default=0,
            )  # fmt: skip
            assert longest == 0, finding.detail


_ANYTHING = st.one_of(
    st.text(),
    st.text(alphabet='{}[]":,\\`<think>/ \n\ud800aT14'),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just("T1"),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["k", "names", "name", "segment_id"]), inner),
    ).map(json.dumps),
    st.binary().map(lambda data: data.decode("latin-1")),
)  # fmt: skip


@settings(deadline=None)
@given(_ANYTHING)
@example('{"\ud800": 1}')
@example('{"\\ud800": 1}')
@example('{"k": 1e999999}')
def test_no_text_whatever_raises_and_each_has_an_answer_or_a_finding(text: str) -> None:
    answer, findings = parse_answer(text, Named)
    assert (answer is None) == bool(findings)
    for finding in findings:
        assert finding.rule in {"not_json", "wrong_form"}
        finding.detail.encode()


@settings(deadline=None)
@given(st.lists(st.builds(Name, segment_id=st.sampled_from(["T1", "T2"]), name=st.text(max_size=5)), min_size=1))
def test_answer_survives_the_way_there_and_back(names: list[Name]) -> None:
    answer = Named(names=names, k=4, tone=Tone.WARM)
    assert parse_answer(answer.model_dump_json(), Named) == (answer, [])


@pytest.mark.parametrize(
    "text",
    ["{" * 200_000, '{"' + '\\"' * 100_000, "```" * 50_000, '{"a"' * 50_000, '{"a":[}' * 20_000, '"' * 200_001,
     "<think>" * 30_000],
    ids=["braces", "escapes", "fences", "starts", "broken", "quotes", "thoughts"],
)  # fmt: skip
def test_hostile_reply_is_read_in_time_linear_in_its_length(text: str) -> None:
    begun = time.process_time()
    answer, findings = parse_answer(text, Named)
    assert answer is None
    assert findings
    assert time.process_time() - begun < 1.5


def test_optional_written_in_the_older_way_is_nullable_too() -> None:
    older = create_model("Older", __base__=Answer, note=(Optional[str], None))  # noqa: UP045
    assert json_schema_of(older)["properties"]["note"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
