"""The form of an answer on the wire: its JSON schema on the way out, its text on the way back.

What belongs here: a schema that every server understands, and finding the answer in whatever text arrives. What does
not: bounds and truth, which are `Task.check`'s; servers differ in which bounds they know, so the schema says none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from segmentation_assets.language.grounding import Finding

A = TypeVar("A", bound=BaseModel)

#: Most characters of a reply that a finding repeats: what a model wrote is not ours to spread.
LONGEST_ECHO = 80
#: Most characters of our own list of choices in a finding.
_LONGEST_LIST = 400
#: Most findings on the form of one reply: the rest follows from the first ones.
_MOST_FINDINGS = 8

_FENCED = re.compile(r"```[ \t]*\w*[ \t]*\r?\n?(.*?)```", re.DOTALL)
#: Servers without a field of their own for it put a model's thinking before its answer.
_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
#: Only such a brace can begin a JSON object; the braces of a placeholder cannot.
_OBJECT_START = re.compile(r'\{\s*["}]')
#: A string that never ends swallows the rest, so that a scan reads each character once.
_STRING_OR_BRACE = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}]', re.DOTALL)

_KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "date": "a date as YYYY-MM-DD",
    "datetime": "a time as YYYY-MM-DDTHH:MM:SS",
    "model": "an object",
    "none": "null",
}
#: Ends of pydantic's names of errors that say: of another kind.
_WRONG_KIND = frozenset(
    {"type", "parsing", "from_float", "attributes_type", "required", "from_date_parsing", "from_datetime_parsing"}
)


# --- out ---


def json_schema_of(answer_type: type[BaseModel]) -> dict[str, Any]:
    """A strict JSON schema that every known server takes.

    Every property is required (nullable instead of optional) and no other is allowed; references are inlined; enums
    and descriptions are kept; bounds, patterns, formats, titles and defaults are not said. TypeError for a type that
    has no such schema: a dict, a free value, a tuple, a type that holds itself, an answer that is no object.
    """
    full = answer_type.model_json_schema(mode="validation")
    definitions = full.get("$defs", {})
    schema = _strict(full, definitions, answer_type.__name__, ())
    if schema.get("type") != "object":
        raise TypeError(f"{answer_type.__name__} is no object: wrap it in an answer type with one field.")
    return schema


def _strict(
    node: Mapping[str, Any], definitions: Mapping[str, Any], where: str, inside: tuple[str, ...]
) -> dict[str, Any]:
    """One node of a schema made strict; `where` is its path for messages, `inside` the references it stands in."""
    if "$ref" in node:
        name = str(node["$ref"]).rsplit("/", 1)[-1]
        if name in inside:
            raise TypeError(f"{where}: {name} holds itself, which a strict JSON schema cannot say. Use a list instead.")
        strict = _strict(definitions[name], definitions, where, (*inside, name))
        return strict | ({"description": node["description"]} if "description" in node else {})
    described = {"description": node["description"]} if "description" in node else {}
    if "const" in node:
        return described | {"enum": [node["const"]]} | ({"type": node["type"]} if "type" in node else {})
    if "enum" in node:
        return described | {"enum": list(node["enum"])} | ({"type": node["type"]} if "type" in node else {})
    for choice in ("anyOf", "oneOf"):
        if choice in node:
            return described | {"anyOf": [_strict(option, definitions, where, inside) for option in node[choice]]}
    if len(node.get("allOf", ())) == 1:
        return _strict(node["allOf"][0], definitions, where, inside) | described
    kind = node.get("type")
    if kind == "object":
        if "properties" not in node and "additionalProperties" in node:
            raise TypeError(
                f"{where}: a dict has no strict JSON schema, because its keys are open. "
                "Use a list of objects with a field for the key."
            )
        properties = {
            name: _strict(child, definitions, f"{where}.{name}", inside)
            for name, child in node.get("properties", {}).items()
        }
        return described | {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    if kind == "array":
        if "prefixItems" in node or "items" not in node:
            raise TypeError(f"{where}: only a list of one type has a strict JSON schema. Use list[...] or an object.")
        return described | {"type": "array", "items": _strict(node["items"], definitions, where, inside)}
    if kind in {"string", "integer", "number", "boolean", "null"}:
        return described | {"type": kind}
    raise TypeError(f"{where}: a value of any type has no strict JSON schema. Give the field a type.")


# --- back ---


class _NotJSONError(ValueError):
    """Why a text is no JSON."""


def parse_answer(text: str, answer_type: type[A]) -> tuple[A | None, list[Finding]]:
    """The answer in a reply, or everything wrong with the reply's form.

    Taken from the whole text when that is JSON, else from the first fenced block that is, else from the first
    balanced object that is. Never raises, whatever the text (as long as the type's own validators raise only what
    pydantic expects). Findings are of rule `not_json` or `wrong_form` and repeat at most 80 characters of the reply.
    """
    # A lone surrogate can be neither validated nor stored.
    text = text.encode("utf-8", "replace").decode("utf-8").removeprefix("\ufeff")
    text = _THINKING.sub("", text, count=1).strip()
    if not text:
        return None, [Finding("not_json", "The reply is empty; it must be one JSON object.")]
    try:
        found = _json_in(text)
    except _NotJSONError as error:
        return None, [Finding("not_json", str(error))]
    try:
        return answer_type.model_validate_json(found), []
    except ValidationError as error:
        return None, _findings(error)


def _json_in(text: str) -> str:
    """The part of a text that is JSON; _NotJSONError says why there is none."""
    problem = _problem(text)
    if problem is None:
        return text
    for block in _FENCED.finditer(text):
        inner = block.group(1).strip()
        if _problem(inner) is None:
            return inner
    position = 0
    while start := _OBJECT_START.search(text, position):
        end = _end_of_object(text, start.start())
        if end is None:
            # What stands inside an object that never ends is a part of an answer, not the answer.
            raise _NotJSONError("The reply ends inside its JSON object; write a shorter answer, and close every brace.")
        inner = text[start.start() : end]
        inner_problem = _problem(inner)
        if inner_problem is None:
            return inner
        problem = inner_problem
        position = end
    if position == 0:
        raise _NotJSONError(f"The reply holds no JSON object; it begins with {_echo(text, 40)}.")
    raise _NotJSONError(f"The reply is no valid JSON: {problem}.")


def _problem(text: str) -> str | None:
    """Why a text is no JSON; None when it is."""
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    except RecursionError:
        return "objects nested too deeply"
    except ValueError as error:
        # NaN and Infinity, and integers of thousands of digits.
        return "NaN and Infinity are no numbers" if isinstance(error, _NotJSONError) else "a number that is too long"
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise _NotJSONError(name)


def _end_of_object(text: str, start: int) -> int | None:
    """Where the object that begins at `start` ends, braces in strings not counted; None when it does not."""
    depth = 0
    for token in _STRING_OR_BRACE.finditer(text, start):
        if token.group() == "{":
            depth += 1
        elif token.group() == "}":
            depth -= 1
            if depth == 0:
                return token.end()
    return None


def _findings(error: ValidationError) -> list[Finding]:
    details = [_detail(problem) for problem in error.errors(include_url=False)]
    shown = list(dict.fromkeys(details))
    findings = [Finding("wrong_form", detail) for detail in shown[:_MOST_FINDINGS]]
    if len(shown) > _MOST_FINDINGS:
        findings.append(Finding("wrong_form", f"and {len(shown) - _MOST_FINDINGS} more of this kind."))
    return findings


def _detail(problem: Mapping[str, Any]) -> str:
    """One thing wrong with the form, in words: the field, and what it must be."""
    kind, field = str(problem["type"]), _path(problem["loc"])
    if kind == "missing":
        return f"{field}: the field is missing."
    if kind == "extra_forbidden":
        return f"{field}: no such field was asked for."
    if kind in {"literal_error", "enum"}:
        expected = _shorten(str(problem["ctx"]["expected"]), _LONGEST_LIST)
        return f"{field}: must be one of {expected}, not {_echo(problem['input'], 40)}."
    if kind == "json_invalid":
        return f"{field}: a character that no text may hold."
    stem, _, reason = kind.partition("_")
    if stem in _KINDS and reason in _WRONG_KIND:
        return f"{field}: must be {_KINDS[stem]}, not {_kind_of(problem['input'])}."
    return f"{field}: {_shorten(str(problem['msg']), LONGEST_ECHO)}."


def _path(location: tuple[int | str, ...]) -> str:
    """`names[2].name`; keys come from the reply, so they are shortened."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return _shorten(path.removeprefix("."), 40) or "The reply"


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return f"the {'text' if isinstance(value, str) else 'number'} {_echo(value, 40)}"


def _echo(value: object, longest: int) -> str:
    return '"' + _shorten(str(value), longest).replace('"', "'") + '"'


def _shorten(text: str, longest: int) -> str:
    """On one line, without control characters, at most `longest` characters."""
    line = "".join(character if character.isprintable() else " " for character in text[: longest + 1])
    line = " ".join(line.split())
    return line if len(text) <= longest else line[: longest - 1] + "…"
