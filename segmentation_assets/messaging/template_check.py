"""The check of a shop's own layout: which Jinja2 it may use, by an allow-list of the syntax tree.

What belongs here: judging and compiling a template. What does not: rendering it (`layout`), and what the finished
message must hold (`lint`, `message_lint`).

A sandbox does not stop bombs (`{{ 'a' * 10**9 }}` renders a gigabyte in Jinja's own), so nothing is permitted that can
make more of something: no calls, no arithmetic, no ranges, no loops in loops. What is left can write at most its own
length times the number of products.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import jinja2
from jinja2 import nodes

from segmentation_assets.messaging.merge_fields import MERGE_FIELD, MERGE_FIELDS
from segmentation_assets.messaging.message_lint import Finding

#: What a layout may name, and what it is.
VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "language": "the language of the text (ISO 639-1)",
        "subject": "the subject line",
        "preheader": "what a mail program shows behind the subject",
        "greeting": "the line of greeting",
        "opening": "the first paragraph",
        "products": "the products; each has name, price and url",
        "offer": "the sentence about the offer",
        "closing": "the last paragraph",
        "call_to_action": "the words on the button",
        "sign_off": "the words above the shop's name",
        "why": "why the reader gets this",
        "accent_colour": "the colour of the button",
    }
)
LISTS = frozenset({"products"})
ATTRIBUTES = frozenset({"name", "price", "url"})
FILTERS = frozenset({"e", "escape", "upper", "lower", "title", "trim", "default", "length"})
#: Longest layout, in characters: Gmail cuts a message beyond 102,000 bytes, so a longer layout is of no use.
LONGEST_SOURCE = 60_000
#: Deepest nesting of if and for.
DEEPEST = 6
_LONGEST_SHOWN = 40

_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Name, nodes.Const, nodes.Getattr,
    nodes.Filter, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr,
)  # fmt: skip
_COMPARISONS = frozenset({"eq", "ne", "gt", "gteq", "lt", "lteq"})

#: What a refused node is called in the template, by its class in Jinja2; the first that fits.
_REFUSED: tuple[tuple[tuple[type[nodes.Node], ...], str], ...] = (
    ((nodes.Call,), "a call"),
    ((nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Pow, nodes.Neg, nodes.Pos,
      nodes.Concat), "arithmetic"),
    ((nodes.Getitem, nodes.Slice), "access by index"),
    ((nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair), "a list of its own"),
    ((nodes.Include,), "include"),
    ((nodes.Import, nodes.FromImport), "import"),
    ((nodes.Extends, nodes.Block), "inheritance"),
    ((nodes.Macro, nodes.CallBlock), "a macro"),
    ((nodes.Assign, nodes.AssignBlock, nodes.NSRef), "set"),
    ((nodes.FilterBlock,), "a filter block"),
    ((nodes.With,), "with"),
    ((nodes.Test,), "a test"),
    ((nodes.Scope, nodes.ScopedEvalContextModifier, nodes.EvalContextModifier), "autoescape"),
)  # fmt: skip


class LayoutError(ValueError):
    """A shop's own layout cannot be used; the message says why and where."""


def _environment() -> jinja2.Environment:
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)


def check_template(source: str) -> list[Finding]:
    """Everything in a layout's Jinja2 that is not permitted, each with its line; an empty list lets it be used."""
    if len(source) > LONGEST_SOURCE:
        return [_finding(f"The layout has {len(source):,} characters; at most {LONGEST_SOURCE:,} are read.")]
    try:
        tree = _environment().parse(source)
        found = [_finding(detail) for detail in _walk(tree, {}, 0)]
    except jinja2.TemplateSyntaxError as error:
        return [_finding(f"Line {error.lineno}: this is no Jinja2: {error.message}")]
    except RecursionError:
        return [_finding("The layout is nested too deeply to be read.")]
    for match in MERGE_FIELD.finditer(source):
        if match[1] not in MERGE_FIELDS:
            line = source.count("\n", 0, match.start()) + 1
            detail = f"Line {line}: there is no merge field [[{_shown(match[1])}]]; there are {_listed(MERGE_FIELDS)}."
            found.append(Finding("unknown_merge_field", "error", detail))
    return list(dict.fromkeys(found))


def compile_template(source: str) -> jinja2.Template:
    """The layout, checked. LayoutError with every finding when it is not permitted."""
    if found := check_template(source):
        raise LayoutError("The layout cannot be used. " + " ".join(finding.detail for finding in found))
    return _environment().from_string(source)


def _finding(detail: str) -> Finding:
    return Finding("template", "error", detail)


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "..."


def _listed(names: Mapping[str, str] | frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _line_of(node: nodes.Node) -> int:
    """The line of a node; Jinja2 leaves some without, and then their first child has it."""
    if node.lineno:
        return node.lineno
    return next((line for child in node.iter_child_nodes() if (line := _line_of(child))), 0)


def _walk(node: nodes.Node, loop_names: Mapping[str, str], depth: int) -> Iterator[str]:
    """Sentences on `node` and what is below it. `loop_names` are names of loops around it and the lists they walk."""
    at = f"Line {_line_of(node)}: "
    if not isinstance(node, _ALLOWED):
        what = next((name for kinds, name in _REFUSED if isinstance(node, kinds)), type(node).__name__)
        yield f"{at}{what} is not permitted in a layout."
        return
    if isinstance(node, nodes.Name) and node.name not in VARIABLES and node.name not in loop_names:
        yield f"{at}there is no variable {_shown(node.name)!r}; there are {_listed(VARIABLES)}."
    if isinstance(node, nodes.Getattr):
        if not (isinstance(node.node, nodes.Name) and node.node.name in loop_names and node.attr in ATTRIBUTES):
            yield f"{at}.{_shown(node.attr)} is not permitted; a product has {_listed(ATTRIBUTES)}."
        return
    if isinstance(node, nodes.Filter):
        if node.name not in FILTERS:
            yield f"{at}the filter {_shown(node.name)!r} is not permitted; there are {_listed(FILTERS)}."
            return
        if node.node is None:
            yield f"{at}a filter block is not permitted in a layout."
            return
        if node.kwargs or node.dyn_args or node.dyn_kwargs or (node.args and node.name != "default"):
            yield f"{at}the filter {node.name!r} takes no arguments here."
            return
    if isinstance(node, nodes.Operand) and node.op not in _COMPARISONS:
        yield f"{at}the comparison {node.op!r} is not permitted in a layout."
    if isinstance(node, nodes.If | nodes.For):
        depth += 1
        if depth > DEEPEST:
            yield f"{at}if and for are nested more than {DEEPEST} deep."
            return
    if isinstance(node, nodes.For):
        yield from _for_findings(node, loop_names, depth, at)
        return
    for child in node.iter_child_nodes():
        yield from _walk(child, loop_names, depth)


def _for_findings(node: nodes.For, loop_names: Mapping[str, str], depth: int, at: str) -> Iterator[str]:
    if loop_names:
        yield f"{at}a loop in a loop is not permitted in a layout."
        return
    if node.recursive:
        yield f"{at}a recursive loop is not permitted in a layout."
    if not (isinstance(node.iter, nodes.Name) and node.iter.name in LISTS):
        yield f"{at}a loop is over {_listed(LISTS)} alone."
        return
    if not isinstance(node.target, nodes.Name) or node.target.name in VARIABLES:
        yield f"{at}a loop has one name of its own, as in: for product in products."
        return
    inner = {**loop_names, node.target.name: node.iter.name}
    for child in (*node.body, *([node.test] if node.test else [])):
        yield from _walk(child, inner, depth)
    for child in node.else_:
        yield from _walk(child, loop_names, depth)
