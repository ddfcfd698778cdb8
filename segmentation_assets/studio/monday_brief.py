"""The Monday brief: one page from which a person who has not seen the tables can decide what to do this week.

What belongs here: choosing what is said, in which order, and rendering it as a self-contained page and as a short
text. What does not: computing figures, opening databases, writing files.

The page has five parts, in the order of a decision: what moved, what to do (at most five moves, and what became of the
products somebody chose), what not to do, what the data cannot say yet, and how far the data themselves can be trusted.
Later parts (measured margin, spend, drift)
are added as `Section`s.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import jinja2
import polars as pl

from segmentation_assets.language.facts import clean_name
from segmentation_assets.language.rendering import count, day, money, share
from segmentation_assets.language.task import EMBEDDED
from segmentation_assets.merchandising.plan import BY_TASTE

MOST_MOVES = 5
#: Chosen products named one by one; more are counted.
MOST_NAMED = 5


@dataclass(frozen=True)
class Figure:
    """A figure at the head of the page; `note` says what moved."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Move:
    """One thing to do: its sentence, its figures with their uncertainty, and how to look at it."""

    rank: int
    brief_id: str
    title: str
    sentence: str
    audience: str
    expected: str
    interval: str
    control: str
    detectable: str
    evidence: str
    caution: str
    subjects: tuple[str, ...]
    review_command: str


@dataclass(frozen=True)
class Line:
    """One statement and its reason."""

    statement: str
    reason: str


@dataclass(frozen=True)
class SegmentLine:
    """One segment in the table of segments."""

    axis: str
    name: str
    customers: str
    customer_share: float
    revenue: str
    reachable: str
    change: str


@dataclass(frozen=True)
class Accounted:
    """Rows of one table: what came in and what became of it."""

    table_name: str
    raw_rows: str
    clean_rows: str
    rejected_rows: str
    repaired_rows: str
    is_exact: bool


@dataclass(frozen=True)
class Section:
    """A further part of the page: a heading and its statements."""

    heading: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class BriefModel:
    """Everything the page says, already in words."""

    title: str
    source: str
    as_of: str
    headline: str
    figures: tuple[Figure, ...]
    moved: tuple[Line, ...]
    moves: tuple[Move, ...]
    no_moves_reason: str
    chosen: tuple[Line, ...]
    effects: Section | None
    avoid: tuple[Line, ...]
    unknown: tuple[Line, ...]
    segments: tuple[SegmentLine, ...]
    accounting: tuple[Accounted, ...]
    accounting_sentence: str
    sections: tuple[Section, ...] = ()


def build_brief(
    *,
    title: str,
    as_of: date,
    currency: str,
    summary: pl.DataFrame,
    profiles: pl.DataFrame,
    briefs: pl.DataFrame,
    drafts: pl.DataFrame,
    matches: pl.DataFrame,
    promotable: pl.DataFrame,
    capabilities: pl.DataFrame,
    accounting: pl.DataFrame,
    verdicts: Mapping[str, str] | None = None,
    previous_summary: pl.DataFrame | None = None,
    previous_as_of: date | None = None,
    effects: Section | None = None,
    sections: Sequence[Section] = (),
    home: str = "",
) -> BriefModel:
    """The page's content.

    `title` names the source; `summary` segments.segment_summary, `profiles` profiles.segment_profiles, `briefs`,
    `drafts`, `matches`, `promotable` the campaigns tables, `capabilities` quality.capabilities, `accounting`
    quality.row_accounting. `verdicts`: by axis, from AXIS_choice. `previous_summary`: the summary of the run before
    and `previous_as_of` its date; None at the first run. `effects`: what campaigns did, of `results_told`, told in
    the terminal too; `sections`: further parts of the page. `home` stands in the commands; empty for the default home.
    """
    moves = _moves(briefs, drafts, matches, promotable, _segment_names(summary), currency=currency, home=home)
    lines, sentence = _accounting(accounting)
    return BriefModel(
        title=clean_name(title) or "The shop",
        source=clean_name(title),
        as_of=day(as_of),
        headline=_headline(moves, briefs, currency),
        figures=_figures(summary, previous_summary, currency),
        moved=_moved(summary, previous_summary, previous_as_of, as_of),
        moves=moves,
        no_moves_reason="" if moves else _why_no_moves(promotable, capabilities),
        chosen=_chosen(promotable, briefs),
        effects=effects,
        avoid=_avoid(briefs, promotable, profiles),
        unknown=_unknown(capabilities, verdicts or {}, briefs),
        segments=_segments(summary, previous_summary, currency),
        accounting=lines,
        accounting_sentence=sentence,
        sections=tuple(sections),
    )


#: What was judged out of time, as a heading for a reader; topics without one are not for this page.
_JUDGED = {
    "stage_usefulness": "Whether stage segments tell more than the RFM rule.",
    "taste_usefulness": "Whether taste segments tell more than each customer's favourite category.",
    "spend_forecast": "How well spend can be forecast.",
    "product_to_audience": "Whether matching by taste finds more buyers than the most active customers.",
    "customer_to_product": "Whether each customer's next best products beat the simplest lists.",
}


def trust_section(choices: Mapping[str, str], verdicts: pl.DataFrame, drifts: Mapping[str, str]) -> Section:
    """How far segments and matches can be trusted: what they claim, how they did on days not seen, whether they hold.

    `choices`: by axis, the sentence of AXIS_choice. `verdicts`: topic and sentence, the rows of
    segments.out_of_time_verdicts and of campaigns.match_verdicts. `drifts`: by axis, what has drifted; axes without
    drift are not in it.
    """
    lines = [Line(f"What the {axis} segments are.", sentence) for axis, sentence in sorted(choices.items()) if sentence]
    told = dict(verdicts.select("topic", "sentence").iter_rows())
    lines += [Line(heading, told[topic]) for topic, heading in _JUDGED.items() if told.get(topic)]
    lines += [
        Line(f"The {axis} segments no longer fit today's customers.", why) for axis, why in sorted(drifts.items())
    ]
    return Section("How far segments and matches can be trusted", tuple(lines))


def words_section(profiles: pl.DataFrame, drafts: pl.DataFrame, spent: tuple[int, float] | None) -> Section:
    """Who wrote the page's words, at what cost, what a model failed to write, and what a person wrote.

    `profiles` profiles.segment_profiles and `drafts` campaigns.email_drafts, of which written_by, is_degraded and
    edited_fields are read; `spent`: calls and US dollars of this run, None when no model was asked.
    """
    columns = ("written_by", "is_degraded", "edited_fields")
    texts = pl.concat([profiles.select(columns), drafts.select(columns)])
    by_writer = texts.group_by("written_by").len().sort("len", "written_by", descending=[True, False])
    whose = ", ".join(
        f"{_plural(number, 'text')} by {'the embedded writer' if writer == EMBEDDED else writer}"
        for writer, number in by_writer.iter_rows()
    )
    cost = "no language model was asked"
    if spent is not None:
        cost = f"{_plural(spent[0], 'call')} to a language model, {spent[1]:,.2f} US dollars"
    lines = [Line("Profiles and drafts.", f"{whose or 'None yet'}; {cost}.")]
    if failed := int(texts["is_degraded"].sum()):
        lines.append(
            Line(
                "What a model was to write and did not.",
                f"{_plural(failed, 'text')} by the embedded writer instead; language.model_calls says why.",
            )
        )
    if edited := texts.filter(pl.col("edited_fields") != "").height:
        lines.append(Line("What a person wrote.", f"{_plural(edited, 'text')} edited by a person; those words stand."))
    return Section("Who wrote this", tuple(lines))


def _number(value: object) -> float:
    return 0.0 if value is None else float(str(value))


def _plural(number: float, word: str, plural: str | None = None) -> str:
    shown = count(number)
    return f"{shown} {word if shown == '1' else plural or word + 's'}"


def _headline(moves: Sequence[Move], briefs: pl.DataFrame, currency: str) -> str:
    if not moves:
        return "No campaign is proposed this week. The reason is below."
    low, expected, high = (
        float(briefs.head(MOST_MOVES)[name].cast(pl.Float64).sum())
        for name in ("low_margin_amount", "expected_margin_amount", "high_margin_amount")
    )
    return (
        f"{_plural(len(moves), 'campaign')} {'is' if len(moves) == 1 else 'are'} ready to review. Buyers like "
        f"these would "
        f"bring about {money(expected, currency)} of margin while the offers run ({money(low, currency)} to "
        f"{money(high, currency)}), part of it also without an e-mail: only a control group shows how much."
    )


def _totals(summary: pl.DataFrame) -> tuple[float, float, float]:
    """Customers, reachable customers and revenue: the sum over either axis, which hold everyone."""
    axes = summary["axis"].unique().sort().to_list()
    part = summary.filter(pl.col("axis") == axes[0]) if axes else summary

    def total(name: str) -> float:
        return _number(part[name].cast(pl.Float64).sum())

    return total("customers"), total("reachable_customers"), total("revenue_amount")


def _figures(summary: pl.DataFrame, previous: pl.DataFrame | None, currency: str) -> tuple[Figure, ...]:
    customers, reachable, revenue = _totals(summary)
    before = _totals(previous) if previous is not None else None

    def note(now: float, then: float | None, write: bool = False) -> str:
        if then is None or round(now - then, 2) == 0:
            return "" if then is None else "unchanged"
        size = money(abs(now - then), currency) if write else count(abs(now - then))
        return f"{'+' if now > then else '−'}{size} since last time"

    segments = summary.filter(pl.col("customers") > 0).height
    return (
        Figure("customers", count(customers), note(customers, before[0] if before else None)),
        Figure(
            "reachable by e-mail",
            count(reachable),
            note(reachable, before[1] if before else None)
            or (f"{share(reachable / customers)} of all" if customers else ""),
        ),
        Figure(
            "revenue in the data",
            money(revenue, currency) if revenue else "not known",
            note(revenue, before[2] if before else None, write=True),
        ),
        Figure("segments", count(segments), "on two axes: stage and taste" if summary["axis"].n_unique() > 1 else ""),
    )


def _moved(
    summary: pl.DataFrame, previous: pl.DataFrame | None, previous_as_of: date | None, as_of: date
) -> tuple[Line, ...]:
    if previous is None:
        return (Line("This is the first run.", "From the next run on, this part says what moved and by how much."),)
    joined = summary.join(
        previous.select("axis", "segment_id", "name", "customers", "revenue_share"),
        on=["axis", "segment_id"], how="full", coalesce=True, suffix="_before",
    ).with_columns(
        change=pl.col("customers").fill_null(0).cast(pl.Int64) - pl.col("customers_before").fill_null(0).cast(pl.Int64),
    )  # fmt: skip
    since = f"since {day(previous_as_of)}" if previous_as_of and previous_as_of != as_of else "since the last run"
    rows = (
        joined.with_columns(
            size=pl.col("change").abs(),
            relative=pl.col("change") / pl.col("customers_before").fill_null(0).clip(lower_bound=1),
        )
        .filter(pl.col("size") > 0)
        .sort(["size", "axis", "segment_id"], descending=[True, False, False])
        .head(4)
        .to_dicts()
    )
    if not rows:
        return (Line("Nothing moved.", f"Every segment has as many customers as {since.removeprefix('since ')}."),)
    lines = []
    for row in rows:
        name = clean_name(row["name"] or row["name_before"]) or row["segment_id"]
        word = "gained" if row["change"] > 0 else "lost"
        if row["customers_before"] is None:
            lines.append(Line(f"{name} is new.", f"{_plural(row['change'], 'customer')} {since}."))
            continue
        if row["customers"] is None:
            lines.append(Line(f"{name} is gone.", f"It had {_plural(row['customers_before'], 'customer')}."))
            continue
        direction = "more" if row["change"] > 0 else "fewer"
        reason = f"Now {count(row['customers'])}, {share(abs(row['relative']))} {direction} {since}."
        lines.append(Line(f"{name} {word} {_plural(row['size'], 'customer')}.", reason))
    return tuple(lines)


def _segment_names(summary: pl.DataFrame) -> dict[tuple[str, str], str]:
    return {
        (row["axis"], row["segment_id"]): clean_name(row["name"]) or row["segment_id"] for row in summary.to_dicts()
    }


def _moves(
    briefs: pl.DataFrame,
    drafts: pl.DataFrame,
    matches: pl.DataFrame,
    promotable: pl.DataFrame,
    segment_names: Mapping[tuple[str, str], str],
    *,
    currency: str,
    home: str,
) -> tuple[Move, ...]:
    names = dict(zip(promotable["product_id"], promotable["name"], strict=True))
    subjects: dict[str, list[str]] = {}
    for row in drafts.sort("brief_id", "variant").select("brief_id", "subject").to_dicts():
        subjects.setdefault(row["brief_id"], []).append(row["subject"])
    verdicts = {
        (row["product_id"], row["taste_segment_id"], row["stage_segment_ids"]): row for row in matches.to_dicts()
    }
    moves = []
    for rank, brief in enumerate(briefs.head(MOST_MOVES).to_dicts(), start=1):
        ids = brief["product_ids"].split(",")
        rows = [verdicts.get((i, brief["taste_segment_id"], brief["stage_segment_ids"])) for i in ids]
        evidence, caution = _rate_words([row for row in rows if row is not None], len(ids))
        products = [clean_name(names.get(i)) or i for i in ids]
        listed = products[0] if len(products) == 1 else f"{products[0]} and {len(products) - 1} more"
        reachable, buyers = _number(brief["reachable_customers"]), _number(brief["expected_buyers"])
        effect = brief["smallest_detectable_effect"]
        base = buyers / reachable if reachable else 0.0
        held_out = _number(brief["control_customers"])
        control = (
            f"{_plural(held_out, 'customer')} {'is' if held_out == 1 else 'are'} held out so that the effect can be "
            f"measured: that costs {money(_number(brief['control_cost_amount']), currency)} of margin at most."
        )
        if effect is None or base <= 0:
            detectable = "Too few reachable customers to show any effect with a control group."
        else:
            detectable = (
                f"With {count(held_out)} held out, only a lift of {share(effect / base)} or more could be shown"
                f"{': read the result as a hint, not as proof' if effect / base > 0.5 else ''}."
            )
        stages = [segment_names.get(("stage", stage), stage) for stage in brief["stage_segment_ids"].split(",")]
        taste = segment_names.get(("taste", brief["taste_segment_id"]), brief["taste_segment_id"])
        label = " / ".join(stages) if brief["taste_segment_id"] == "T0" else f"{' / '.join(stages)} · {taste}"
        discount = _number(brief["discount_share"])
        price = f"at {share(discount)} off" if discount else "at full price"
        moves.append(
            Move(
                rank=rank,
                brief_id=brief["brief_id"],
                title=clean_name(brief["name"], 120),
                sentence=(
                    f"Offer {listed} {price} to {count(reachable)} reachable {label} customers until "
                    f"{day(brief['valid_until'])}. "
                    f"{brief['objective']}"
                ),
                audience=brief["audience"],
                expected=money(_number(brief["expected_margin_amount"]), currency),
                interval=(
                    f"{money(_number(brief['low_margin_amount']), currency)} to "
                    f"{money(_number(brief['high_margin_amount']), currency)}, from about {_plural(buyers, 'purchase')}"
                ),
                control=control,
                detectable=detectable,
                evidence=evidence,
                caution=caution,
                subjects=tuple(subjects.get(brief["brief_id"], ())),
                review_command=(
                    f"segmentation drafts show {shlex.quote(str(brief['brief_id']))}"
                    + (f" --home {shlex.quote(home)}" if home else "")
                ),
            )
        )
    return tuple(moves)


def _rate_words(rows: Sequence[Mapping[str, object]], products: int) -> tuple[str, str]:
    """What speaks for the rate of a brief's matches, or what to be careful about: one of the two is empty."""
    if wins := sum(bool(row["beats_baseline"]) for row in rows):
        each = "Each" if wins == products else f"{wins} of {products}"
        return (
            f"{each} of the products sells better to the customers of these stages matched with it than to as many of "
            "the most active.",
            "",
        )
    rules = sorted({str(row["scored_by"]) for row in rows} - {BY_TASTE})
    if rules:
        return "", (
            "On days held back, matching by taste did no better than simpler rules, so these customers are chosen by "
            f"one: {' and '.join(rules)}."
        )
    if any(_number(row["matched_score"]) > _number(row["baseline_score"]) for row in rows):
        return "", (
            "At equal size the most active customers buy these about as often, too close to call: do this for its "
            "objective, not its rate."
        )
    return "", (
        "At equal size the most active customers buy these as often or more: do this for its objective, not its rate."
    )


def _chosen(promotable: pl.DataFrame, briefs: pl.DataFrame) -> tuple[Line, ...]:
    """What became of the products that somebody chose; empty when nobody chose any."""
    chosen = promotable.filter(pl.col("is_chosen").fill_null(value=False)).sort("product_id")
    if chosen.is_empty():
        return ()
    names = {row["product_id"]: clean_name(row["name"]) or row["product_id"] for row in chosen.iter_rows(named=True)}
    lines = [Line(f"Products chosen by you: {_listed(list(names.values()))}.", "No other product is offered.")]
    for row in chosen.filter(~pl.col("is_promotable")).head(MOST_NAMED).iter_rows(named=True):
        lines.append(Line(f"Chosen, but not offered: {names[row['product_id']]}.", str(row["reason"])))
    planned = {product for ids in briefs["product_ids"] for product in ids.split(",")}
    idle = [names[product] for product in chosen.filter("is_promotable")["product_id"] if product not in planned]
    if idle:
        lines.append(
            Line(
                f"Chosen, but in no campaign this week: {_listed(idle)}.",
                "No audience suits them well enough, or the others earn more.",
            )
        )
    return tuple(lines)


def _listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and {count(len(names) - MOST_NAMED)} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _why_no_moves(promotable: pl.DataFrame, capabilities: pl.DataFrame) -> str:
    off = dict(capabilities.filter(~pl.col("is_on")).select("capability", "reason").iter_rows())
    for needed in ("products", "matching", "margins", "email"):
        if needed in off:
            return str(off[needed])
    if promotable.is_empty():
        return "The source has no products, so nothing can be offered."
    able = int(promotable["is_promotable"].sum())
    if able == 0:
        reasons = promotable.group_by("reason").len().sort(["len", "reason"], descending=[True, False])
        return f"None of {_plural(promotable.height, 'product')} may be promoted; most often: {reasons['reason'][0]}"
    return (
        f"{_plural(able, 'product')} could be promoted, but no audience has enough reachable customers with a purchase "
        "rate to go by."
    )


def _avoid(briefs: pl.DataFrame, promotable: pl.DataFrame, profiles: pl.DataFrame) -> tuple[Line, ...]:
    lines = []
    if promotable.height and (left_out := promotable.filter(~pl.col("is_promotable"))).height:
        kinds = (
            left_out.with_columns(
                kind=pl.when(pl.col("is_sensitive"))
                .then(pl.lit("in sensitive categories"))
                .when(pl.col("reason").str.starts_with("Stock"))
                .then(pl.lit("with too little stock"))
                .when(pl.col("reason").str.starts_with("Margin"))
                .then(pl.lit("below the margin floor"))
                .when(pl.col("reason").str.starts_with("Discontinued"))
                .then(pl.lit("discontinued"))
                .when(pl.col("reason").str.starts_with("No purchase cost"))
                .then(pl.lit("without a known cost"))
                .otherwise(pl.lit("failing another rule"))
            )
            .group_by("kind")
            .len()
            .sort(["len", "kind"], descending=[True, False])
        )
        why = ", ".join(f"{count(row['len'])} {row['kind']}" for row in kinds.to_dicts())
        lines.append(
            Line(
                f"Do not promote {count(left_out.height)} of {_plural(promotable.height, 'product')}.",
                f"{why[:1].upper()}{why[1:]}.",
            )
        )
    if briefs.height and (briefs["discount_share"] == 0).any() and (briefs["discount_share"] > 0).any():
        lines.append(
            Line(
                "Do not give loyal customers the win-back discount.",
                "They buy at full price; the discount would be margin given away.",
            )
        )
    stages = profiles.filter((pl.col("axis") == "stage") & (pl.col("customers") > 0))
    for row in stages.sort(["customers", "segment_id"], descending=[True, False]).head(3).to_dicts():
        first, _, rest = str(row["do_not"]).partition(": ")
        lines.append(Line(f"{clean_name(row['name'])}: {first.rstrip('.')}.", f"{rest[:1].upper()}{rest[1:]}"))
    return tuple(lines)


_VERDICTS = {
    "constructive": "a useful cut through a continuum, not groups that exist of themselves",
    "reproducible": "a cut that can be repeated, though not clearly separate groups",
}


_OFF = "Off: "


def _unknown(capabilities: pl.DataFrame, verdicts: Mapping[str, str], briefs: pl.DataFrame) -> tuple[Line, ...]:
    lines = []
    if briefs.height:
        lines.append(
            Line(
                "Whether an e-mail of this week causes a purchase.",
                "Expected margins are recent purchase rates of such customers; the control groups will tell.",
            )
        )
    for axis, verdict in sorted(verdicts.items()):
        if words := _VERDICTS.get(verdict):
            lines.append(Line(f"Where one {axis} segment ends.", f"The {axis} segments are {words}."))
    if capabilities.height:
        on = set(capabilities.filter(pl.col("is_on"))["capability"])
        for row in capabilities.filter(~pl.col("is_on")).sort("capability").to_dicts():
            if row["capability"] == "attributes" and "orders" in on:
                continue  # ready-made attributes stand in for orders: with orders, nobody misses them
            lines.append(Line(f"{_OFF}{str(row['capability']).replace('_', ' ')}.", str(row["reason"])))
    return tuple(lines)


def _segments(summary: pl.DataFrame, previous: pl.DataFrame | None, currency: str) -> tuple[SegmentLine, ...]:
    before = {
        (row["axis"], row["segment_id"]): row["customers"]
        for row in (previous.to_dicts() if previous is not None else [])
    }
    lines = []
    for row in summary.sort(["axis", "customers", "segment_id"], descending=[False, True, False]).to_dicts():
        change = ""
        if (then := before.get((row["axis"], row["segment_id"]))) is not None and row["customers"] != then:
            change = f"{'+' if row['customers'] > then else '−'}{count(abs(row['customers'] - then))}"
        lines.append(
            SegmentLine(
                axis=str(row["axis"]),
                name=clean_name(row["name"]) or str(row["segment_id"]),
                customers=count(row["customers"]),
                customer_share=round(_number(row["customer_share"]), 4),
                revenue=share(_number(row["revenue_share"])) if row["revenue_share"] is not None else "–",
                reachable=count(row["reachable_customers"]),
                change=change,
            )
        )
    return tuple(lines)


def _accounting(frame: pl.DataFrame) -> tuple[tuple[Accounted, ...], str]:
    rows = frame.filter(pl.col("raw_rows") > 0).sort(["raw_rows", "table_name"], descending=[True, False]).to_dicts()
    lines = tuple(
        Accounted(
            table_name=row["table_name"],
            raw_rows=count(row["raw_rows"]),
            clean_rows=count(row["clean_rows"]),
            rejected_rows=count(row["rejected_rows"]),
            repaired_rows=count(row["repaired_rows"]),
            is_exact=row["raw_rows"] == row["clean_rows"] + row["rejected_rows"],
        )
        for row in rows
    )
    raw, rejected, repaired = (
        sum(row[name] for row in rows) for name in ("raw_rows", "rejected_rows", "repaired_rows")
    )
    odd = [line.table_name for line in lines if not line.is_exact]
    if odd:
        return lines, f"Rows are missing in {', '.join(odd)}: do not act on this page before that is explained."
    sentence = (
        f"Every one of {_plural(raw, 'row')} is accounted for: {count(raw - rejected)} kept, {count(rejected)} "
        f"rejected "
        f"with the rule they broke, {_plural(repaired, 'row')} among the kept repaired and recorded."
    )
    return lines, sentence


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("segmentation_assets.studio", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("monday_brief.html.j2")


def render_html(model: BriefModel) -> str:
    """The page: one self-contained HTML document, nothing loaded from elsewhere, every text escaped."""
    return _template().render(brief=model)


def render_text(model: BriefModel) -> str:
    """The same in short for the terminal: headline, moves, what moved, what is off."""
    lines = [f"Monday brief · {model.title} · as of {model.as_of}", "", model.headline]
    if model.no_moves_reason:
        lines += ["", model.no_moves_reason]
    for move in model.moves:
        lines += [
            "",
            f"{move.rank}. {move.title}",
            f"   {move.sentence}",
            f"   Expected margin {move.expected} ({move.interval}).",
            f"   {move.control}",
        ]
        if move.caution:
            lines.append(f"   {move.caution}")
        lines.append(f"   review: {move.review_command}")
    if model.chosen:
        lines += ["", *(f"{line.statement} {line.reason}".rstrip() for line in model.chosen)]
    if model.effects is not None:
        lines += ["", f"{model.effects.heading}:"]
        lines += [f"- {line.statement} {line.reason}".rstrip() for line in model.effects.lines]
    lines += ["", "What moved:", *(f"- {line.statement} {line.reason}".rstrip() for line in model.moved)]
    if model.unknown:
        told = [line for line in model.unknown if not line.statement.startswith(_OFF)]
        # The page gives each its reason; here the names do.
        off = [line.statement.removeprefix(_OFF).rstrip(".") for line in model.unknown if line not in told]
        lines += ["", "What the data cannot say yet:", *(f"- {line.statement} {line.reason}".rstrip() for line in told)]
        if off:
            lines.append(f"- Off, for want of data: {', '.join(off)}. Reasons: quality.capabilities.")
    return "\n".join([*lines, "", model.accounting_sentence, ""])
