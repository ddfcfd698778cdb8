"""How many wrong statements the residual scan finds, and how often it stops a right one.

`python benchmarks/grounding.py` writes correct texts (profiles and e-mail copy by the embedded writers over random
facts, and paraphrases in other words), injects one error into copies of them (wrong key, wrong unit, another segment's
fact, wrong rank, wrong direction, invented figure, number word), half as placeholder text and half rendered, and
prints what was caught per class and form beside the false alarms. The paraphrases called held out were written with the
others, before the rules, and never looked at while the rules were tuned: their figures are printed apart. An injection
that happens to be true (the same rendering) is drawn again. Nothing is written to disk.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TypeVar

import numpy as np
import polars as pl

from segmentation_assets.language.facts import SHOP, Fact, FactBook, FactKind
from segmentation_assets.language.grounding import Finding, sentences, ungrounded, ungrounded_rendered
from segmentation_assets.language.profile_writer import profile_templates
from segmentation_assets.language.rendering import PLACEHOLDER, forms_of, render, render_fact
from segmentation_assets.language.segment_facts import Offer, gather_segment_facts
from segmentation_assets.merchandising.plan import STAGE_GROUPS
from segmentation_assets.messaging.copywriter import write_copy

CLASSES = (
    "wrong key", "wrong unit", "another segment's fact", "wrong rank", "wrong direction", "invented figure",
    "number word",
)  # fmt: skip
FORMS = ("placeholders", "rendered")


@dataclass(frozen=True)
class Text:
    """One correct text as a template, its facts, the subject it is about, and the facts of a neighbour."""

    template: str
    book: FactBook
    subject: str
    other: FactBook
    origin: str = ""


@dataclass(frozen=True)
class Paraphrase:
    """A wording and the signs that its words take for granted: +1 or -1 of a delta, "top" or "bottom" of a rank."""

    template: str
    signs: dict[str, int | str] = field(default_factory=dict)


_P = Paraphrase

#: Wordings of a segment that were at hand while the rules were tuned.
SEGMENT_PARAPHRASES = (
    _P("With {{customers}} people and {{revenue_share}} of sales, this is where the shop earns its living."),
    _P("{{customers}} shoppers, or {{customer_share}} of the customer base."),
    _P("We count {{customers}} customers here; {{reachable}} of them can be reached by e-mail."),
    _P("Of these, {{reachable_share}} agreed to receive our e-mails, while {{unreachable}} cannot be reached."),
    _P("A typical customer has placed {{orders}} orders and spent {{spend}} to date."),
    _P("Typically {{spend}} spent over the whole relationship, at {{basket}} per order."),
    _P("Average basket: {{basket}}. Median time since the last order: {{recency}}."),
    _P("The usual gap between orders is {{pause}}, and they have been customers for {{tenure}}."),
    _P("They come back every {{pause}} and were last seen {{recency}} ago."),
    _P("Silent for {{recency}}, which is {{recency_gap|longer}} than the typical customer."),
    _P("Discounts make up {{discount}} of their prices, {{discount_gap|above}} the shop's average."),
    _P("{{coupon}} of their orders carry a coupon, {{coupon_gap|more}} than elsewhere in the shop."),
    _P("Returns stand at {{returns}}, {{returns_gap|higher}} than in the shop as a whole."),
    _P("Weekends bring {{weekend}} of their orders ({{weekend_gap|above}} the shop's own share)."),
    _P("About {{response}} of the campaigns sent to them were answered, {{response_gap|more}} than usual."),
    _P("In spring they place {{spring}} of their orders; in winter {{winter}}."),
    _P("Lifetime spending comes to {{spend}}, against {{spend_shop}} for the shop's typical customer."),
    _P("The shop's typical customer spends {{spend_shop}}; here it is {{spend}}."),
    _P("Their orders are worth {{basket}} on average, compared with {{basket_shop}} across the shop."),
    _P("They order {{orders|times}} where the shop's customers order {{orders_shop|times}}."),
    _P("They spend more than the shop's typical customer, by {{spend_gap|size}}.", {"spend_gap": 1}),
    _P("They spend less than the shop's typical customer, by {{spend_gap|size}}.", {"spend_gap": -1}),
    _P("Baskets are larger than usual by {{basket_gap|size}}.", {"basket_gap": 1}),
    _P("Baskets are smaller than usual by {{basket_gap|size}}.", {"basket_gap": -1}),
    _P("Their discount share is below the shop's by {{discount_gap|size}}.", {"discount_gap": -1}),
    _P("Their orders are more frequent: {{orders_gap}} against the shop, rising above it.", {"orders_gap": 1}),
    _P("Measured by revenue it ranks {{revenue_rank}} among the segments."),
    _P("By size it comes {{size_rank}}; by revenue {{revenue_rank}}."),
    _P("It is the {{size_rank|largest}} segments by number of customers."),
    _P("The largest segment of the axis ({{size_rank}}).", {"size_rank": "top"}),
    _P("The smallest segment of the axis ({{size_rank}}).", {"size_rank": "bottom"}),
    _P("No group brings in more money: revenue is the highest of all ({{revenue_rank}}).", {"revenue_rank": "top"}),
    _P("Revenue of {{revenue}} comes from {{customers}} customers."),
    _P("Together they have brought in {{revenue}}, which is {{revenue_share}} of all revenue."),
    _P("{{category1_share}} of their purchases are {{category1}}, and {{category2_share}} are {{category2}}."),
    _P("{{brand1}} accounts for {{brand1_share}} of what they buy, {{brand1_gap|more}} than in the shop."),
    _P("They love {{category1}}, know what they want, and rarely need persuading."),
    _P("A good reason to write is what is new in {{category1}}; keep the tone calm and the offer simple."),
    _P("Offer {{offer_product}} with {{offer_discount}} off."),
    _P("The group grew: {{customers_change|more}} customers since the last run.", {"customers_change": 1}),
    _P("{{customers_change|fewer}} customers than before; revenue share {{revenue_share_change|up}}."),
    _P("The edges are firm: on resampled customers the agreement is {{stability}}."),
    _P("They bought {{recency}} ago, usually wait {{pause}} and tend to spend {{basket}} at a time."),
    _P("Prices they choose are {{price_level_gap|above}} the usual level of the category."),
    _P("They viewed products {{events|times}} in recent weeks, {{events_gap|more}} than usual."),
)

#: Wordings of a segment that nobody looks at while the rules are tuned.
HELD_OUT_SEGMENT_PARAPHRASES = (
    _P("This group holds {{customers}} customers; that is {{customer_share}} of everyone who ever bought."),
    _P("They are responsible for {{revenue_share}} of turnover with only {{customer_share}} of the customers."),
    _P("{{reachable}} can be written to; for {{unreachable}} there is no consent."),
    _P("On median they have bought {{orders|times}} and paid {{spend}} altogether."),
    _P("Each order brings about {{basket}}, and a customer is worth {{spend}} over time."),
    _P("It has been {{recency}} since the typical customer's last purchase."),
    _P("Between two visits {{pause}} go by; most joined {{tenure}} ago."),
    _P("Only {{returns}} of the goods go back, {{returns_gap|fewer}} than the shop sees overall."),
    _P("A discount was involved to the tune of {{discount}}, {{discount_gap|more}} than normal."),
    _P("Vouchers were used in {{coupon}} of orders."),
    _P("On Saturdays and Sundays they place {{weekend}} of their orders."),
    _P("Summer is their season, with {{summer}} of all orders ({{summer_gap|more}} than the shop)."),
    _P("Campaigns get an answer from them {{response}} of the time."),
    _P("Where the shop's median customer has spent {{spend_shop}}, theirs has spent {{spend}}."),
    _P("A basket of {{basket}} is {{basket_gap|above}} what the shop usually sees."),
    _P("Customers here wait {{pause}} before they order again, {{pause_gap|longer}} than others do."),
    _P("Spending is higher than in the shop by {{spend_gap|size}}.", {"spend_gap": 1}),
    _P("Spending is lower than in the shop by {{spend_gap|size}}.", {"spend_gap": -1}),
    _P("They buy more often than others do, with {{orders_gap|size}} between them.", {"orders_gap": 1}),
    _P("They return fewer goods; the difference is {{returns_gap|size}}.", {"returns_gap": -1}),
    _P("In terms of revenue the segment is {{revenue_rank|highest}}."),
    _P("It ranks {{size_rank}} by head count."),
    _P("Our biggest group, {{size_rank}} in size.", {"size_rank": "top"}),
    _P("The lowest revenue of all segments: {{revenue_rank}}.", {"revenue_rank": "bottom"}),
    _P("So far {{revenue}} in revenue came from here."),
    _P("{{category1}} comes up in {{category1_share}} of order lines, {{category1_gap|more}} than is usual."),
    _P("Nearly everything else is {{category2}}, at {{category2_share}} of the lines."),
    _P("{{channel1}} is how they buy: {{channel1_share}} of order lines arrive that way."),
    _P("Start from {{category1}}, stay brief, and let the product speak."),
    _P("Give them {{offer_discount}} off {{offer_product}} and nothing else."),
    _P("Since last time the segment lost customers: {{customers_change}}.", {"customers_change": -1}),
    _P("How sure are we? Repeats on resampled data agree to {{stability}}."),
)

#: Wordings of an e-mail that were at hand while the rules were tuned.
MAIL_PARAPHRASES = (
    _P("{{product1}} for {{price1|exact}} instead of {{list_price1|exact}}, until {{valid_until}}."),
    _P("Save {{discount}} on {{product1}} until {{valid_until|short}}."),
    _P("Now {{price1}} (before: {{list_price1}}). The offer ends on {{valid_until}}."),
    _P("We took {{discount}} off everything you see below, and it stays that way until {{valid_until}}."),
    _P("{{product1}} costs {{price1}} and goes well with {{product2}} at {{price2}}."),
    _P("Thank you for being with us. Your {{discount}} discount on {{category}} is valid until {{valid_until}}."),
    _P("Take a quiet look at {{category}}: we set {{product1}} aside for you."),
    _P("A new favourite? {{product1}}, yours for {{price1}}."),
    _P("Your reduction of {{discount}} is already in the price, and lasts until {{valid_until|short}}."),
)

#: Wordings of an e-mail that nobody looks at while the rules are tuned.
HELD_OUT_MAIL_PARAPHRASES = (
    _P("Until {{valid_until}} you pay {{price1|exact}} for {{product1}}, not {{list_price1|exact}}."),
    _P("{{discount}} less on {{category}}: a small thank-you from us."),
    _P("You will find {{product1}} at {{price1}} and {{product2}} at {{price2}} in the shop."),
    _P("Have you tried {{product1}}? It is {{discount}} off through {{valid_until}}."),
    _P("The price of {{product1}} is {{price1}} these days."),
    _P("If {{category}} is your thing, have a look before {{valid_until|short}}."),
)

_CATEGORIES = ("Coffee", "Tea", "Garden", "Kitchen", "Books", "Toys", "Running", "Camping", "Bath", "Lighting")
_BRANDS = ("Nordlys", "Halden", "Casa Verde", "Omber", "Fjell", "Quill")
_CHANNELS = ("web", "app", "store", "marketplace")
_PRODUCTS = ("House Blend", "Hand Mill", "Trail Lamp", "Linen Towel", "Oak Board", "Garden Shears", "Enamel Pot 3000")
_SITUATIONS = ("loyal", "active", "new", "lapsing", "lapsed", "unknown")
_METRIC_SCALES: dict[str, tuple[float, float]] = {
    "recency_days": (8, 400), "order_count": (1, 20), "monetary_amount": (20, 900), "average_order_amount": (12, 160),
    "tenure_days": (60, 1500), "days_between_orders": (9, 200), "discount_share": (0.01, 0.3),
    "coupon_order_share": (0.01, 0.4), "return_share": (0.01, 0.25), "weekend_share": (0.15, 0.5),
    "campaign_response_share": (0.01, 0.3), "price_level": (0.7, 1.4), "events_last_90_days": (1, 40),
    "spring_share": (0.1, 0.5), "summer_share": (0.1, 0.5), "autumn_share": (0.1, 0.5), "winter_share": (0.1, 0.5),
}  # fmt: skip


def _shop(draw: np.random.Generator) -> list[tuple[FactBook, str, dict[str, str]]]:
    """Book, subject and profile templates of every segment of one random shop."""
    places = [("stage", f"S{place}") for place in range(7)] + [("taste", f"T{place}") for place in range(6)]
    summary, metrics, mix, drivers = [], [], [], []
    sizes = draw.lognormal(7, 0.9, len(places)).astype(int) + 60
    for place, (axis, segment_id) in enumerate(places):
        peers = [size for size, (other, _) in zip(sizes, places, strict=True) if other == axis]
        values = {metric: float(draw.uniform(*scale)) for metric, scale in _METRIC_SCALES.items()}
        values["order_count"] = float(round(values["order_count"]))
        revenue = float(sizes[place]) * values["monetary_amount"]
        summary.append(
            (axis, segment_id, f"Name {axis} {segment_id}", int(sizes[place]), float(sizes[place] / sum(peers)),
             int(sizes[place] * draw.uniform(0.3, 0.9)), revenue, float(draw.uniform(0.02, 0.6)),
             round(values["recency_days"]), values["order_count"], values["monetary_amount"],
             values["average_order_amount"])
        )  # fmt: skip
        for metric, (low, high) in _METRIC_SCALES.items():
            overall = float(low + (high - low) * (0.35 + 0.02 * len(metric)))
            metrics.append((axis, segment_id, metric, values[metric], values[metric], overall, overall))
        for dimension, names, most in (("category", _CATEGORIES, 3), ("brand", _BRANDS, 1), ("channel", _CHANNELS, 1)):
            shares = np.sort(draw.dirichlet(np.full(most + 2, 2.0)))[::-1]
            for name, own in zip(draw.choice(names, most, replace=False), shares[:most], strict=True):
                overall = max(0.03, float(own * draw.uniform(0.4, 1.0)))
                mix.append((axis, segment_id, dimension, str(name), 100, 100, 1.0, float(max(own, 0.04)), overall))
        for rank, metric in enumerate(draw.choice(list(_METRIC_SCALES), 4, replace=False), start=1):
            drivers.append((axis, segment_id, rank, str(metric), float(draw.uniform(-2, 2))))
    frame = pl.DataFrame(
        summary, orient="row", schema=["axis", "segment_id", "name", "customers", "customer_share",
                                       "reachable_customers", "revenue_amount", "revenue_share", "median_recency_days",
                                       "median_order_count", "median_monetary_amount", "mean_average_order_amount"],
    )  # fmt: skip
    earlier = frame.with_columns(
        pl.Series("customers", [int(size * draw.uniform(0.8, 1.2)) for size in sizes]),
        pl.Series("revenue_share", draw.uniform(0.02, 0.6, len(places))),
    )
    gathered = gather_segment_facts(
        frame,
        pl.DataFrame(metrics, orient="row", schema=["axis", "segment_id", "metric", "mean", "median", "overall_mean",
                                                    "overall_median"]),
        pl.DataFrame(drivers, orient="row", schema=["axis", "segment_id", "rank", "feature",
                                                    "standardised_difference"]),
        pl.DataFrame(mix, orient="row", schema=["axis", "segment_id", "dimension", "value", "customers", "line_count",
                                                "net_amount", "line_share", "overall_share"]),
        situations={f"S{place}": _SITUATIONS[place - 1] for place in range(1, 7)},
        verdicts={"stage": "reproducible", "taste": "natural"},
        stabilities={"stage": float(draw.uniform(0.5, 0.98)), "taste": float(draw.uniform(0.5, 0.98))},
        offers={
            place: Offer(str(draw.choice(_PRODUCTS)), float(draw.choice([0.05, 0.1, 0.15, 0.2]))) for place in places
        },
        previous=earlier,
        currency=str(draw.choice(["EUR", "USD", "GBP", "CHF"])),
    )  # fmt: skip
    return [(segment.book, segment.subject, profile_templates(segment)) for segment in gathered]


def _mail(draw: np.random.Generator) -> FactBook:
    discount = float(draw.choice([0.05, 0.1, 0.15, 0.2, 0.25]))
    facts = []
    for place, name in enumerate(draw.choice(_PRODUCTS, 3, replace=False), start=1):
        price = float(round(draw.uniform(8, 1400), 2))
        facts += [
            Fact(f"product{place}", FactKind.NAME, str(name)),
            Fact(f"list_price{place}", FactKind.MONEY, price),
            Fact(f"price{place}", FactKind.MONEY, round(price * (1 - discount), 2)),
        ]
    facts.append(Fact("discount", FactKind.SHARE, discount))
    facts.append(Fact("category", FactKind.NAME, str(draw.choice(_CATEGORIES))))
    facts.append(Fact("valid_until", FactKind.DATE, date(2024, 1, 1) + timedelta(days=int(draw.integers(0, 700)))))
    return FactBook(tuple(facts), str(draw.choice(["EUR", "USD", "GBP", "CHF"])))


def _holds(paraphrase: Paraphrase, book: FactBook) -> bool:
    """Whether every fact of the wording is there and has the sign or place that its words take for granted."""
    if not all(match[1] in book for match in PLACEHOLDER.finditer(paraphrase.template)):
        return False
    for key, wanted in paraphrase.signs.items():
        fact = book.get(key)
        if fact is None or (isinstance(wanted, int) and fact.number * wanted <= 0.005):
            return False
        if wanted in {"top", "bottom"} and fact.number != (1 if wanted == "top" else fact.of):
            return False
    return True


def correct_texts(count: int, seed: int, held_out: bool = False) -> list[Text]:
    """`count` correct texts; without `held_out` two fifths profiles, a fifth e-mail copy and two fifths paraphrases."""
    draw = np.random.default_rng(np.random.SeedSequence([seed, 41]))
    of_segments = HELD_OUT_SEGMENT_PARAPHRASES if held_out else SEGMENT_PARAPHRASES
    of_mails = HELD_OUT_MAIL_PARAPHRASES if held_out else MAIL_PARAPHRASES
    profiles: list[Text] = []
    mails: list[Text] = []
    wordings: list[Text] = []
    wanted = (0, 0, count) if held_out else (2 * count // 5, count // 5, count - 2 * count // 5 - count // 5)
    while len(profiles) < wanted[0] or len(mails) < wanted[1] or len(wordings) < wanted[2]:
        shop = _shop(draw)
        for place, (book, subject, templates) in enumerate(shop):
            neighbour = shop[place - 1][0]
            with_figures = [text for text in templates.values() if PLACEHOLDER.search(text)]
            picked = draw.choice(len(with_figures), min(3, len(with_figures)), replace=False)
            profiles += [Text(with_figures[int(i)], book, subject, neighbour, "profile") for i in picked]
            fitting = [wording.template for wording in of_segments if _holds(wording, book)]
            picked = draw.choice(len(fitting), 3, replace=False)
            wordings += [Text(fitting[int(i)], book, subject, neighbour, "wording") for i in picked]
        for group in STAGE_GROUPS:
            book, other = _mail(draw), _mail(draw)
            written = write_copy(group, str(draw.choice(["A", "B"])), book)
            parts = (written.subject, written.preheader, written.opening, written.offer)
            mails += [Text(part, book, SHOP, other, "copy") for part in parts if PLACEHOLDER.search(part)]
            chosen = of_mails[int(draw.integers(len(of_mails)))]
            wordings.append(Text(chosen.template, book, SHOP, other, "wording"))
    texts = []
    for pool, size in zip((profiles, mails, wordings), wanted, strict=True):
        picked = draw.permutation(len(pool))[:size]
        texts += [pool[int(i)] for i in picked]
    return texts


def alarms(text: str, form: str, book: FactBook, subject: str) -> list[Finding]:
    """What the scan says of `text` in its form."""
    return ungrounded(text, book, subject) if form == "placeholders" else ungrounded_rendered(text, book, subject)


_FIGURES = {FactKind.MONEY, FactKind.SHARE, FactKind.DAYS, FactKind.COUNT, FactKind.RANK, FactKind.DELTA}
_UNIT_WORDS: dict[FactKind, tuple[str, ...]] = {
    FactKind.MONEY: ("{}%", "{} days", "{} customers", "{} orders", "{} ago", "{} of the revenue", "{} times"),
    FactKind.SHARE: ("€{}", "{} days", "{} customers", "{} ago", "{} orders", "{} times", "${}"),
    FactKind.DAYS: ("€{}", "{} percent", "{} customers", "{} of the revenue", "{} off", "{} orders"),
    FactKind.COUNT: ("€{}", "{}%", "{} days", "{} ago", "{} percent", "{} of the revenue", "{} weeks"),
    FactKind.RANK: ("€{}", "{}%", "{} days", "{} ago", "{} of the revenue", "{} percent"),
    FactKind.DELTA: ("€{}", "{} ago", "{} customers ago", "{} percent", "{} of the revenue"),
}
_WORDS_FOR_FIGURES = (
    "twelve", "three", "forty-two", "a hundred", "seven", "several thousand", "a dozen", "one in five", "two-thirds",
    "half", "a quarter of", "ninety percent", "twice", "a third of",
)  # fmt: skip
_HIGHER = (
    "{} higher", "{} above the usual figure", "{} more than usual", "up {}", "rising by {}", "{} longer than usual",
)  # fmt: skip
_LOWER = (
    "{} lower", "{} below the usual figure", "{} less than usual", "down {}", "falling by {}", "{} shorter than usual",
)  # fmt: skip
_RANK_CLAIMS = (
    "the largest group of all", "the highest revenue in the shop", "the smallest segment", "the lowest spend of all",
    "the most valuable segment", "number one in the shop",
)  # fmt: skip


@dataclass(frozen=True)
class _Slot:
    start: int
    end: int
    key: str
    form: str | None
    fact: Fact


def _slots(text: Text, kinds: set[FactKind] | None = None) -> list[_Slot]:
    found = []
    for match in PLACEHOLDER.finditer(text.template):
        fact = text.book.get(match[1])
        if fact is not None and fact.kind in (kinds or _FIGURES):
            found.append(_Slot(match.start(), match.end(), match[1], match[2], fact))
    return found


def _put(text: Text, slot: _Slot, words: str) -> str:
    return text.template[: slot.start] + words + text.template[slot.end :]


def _written(slot: _Slot, text: Text, form: str | None = None) -> str:
    return render_fact(slot.fact, text.book.currency, form if form is not None else slot.form)


_T = TypeVar("_T")


def _pick(draw: np.random.Generator, options: Sequence[_T]) -> _T:
    return options[int(draw.integers(len(options)))]


def _wrong_key(text: Text, form: str, draw: np.random.Generator) -> str | None:
    slots = _slots(text)
    if not slots:
        return None
    slot = _pick(draw, slots)
    # Half of the liars mistake a figure for another of its kind, half take any.
    close = [fact for fact in text.book if fact.kind is slot.fact.kind]
    pool = [
        fact for fact in (close if draw.random() < 0.5 else text.book) if fact.kind in _FIGURES and fact.key != slot.key
    ]
    if not pool:
        return None
    fact = _pick(draw, pool)
    kept = slot.form if slot.form and slot.form in forms_of(fact.kind) else None
    if render_fact(fact, text.book.currency, kept) == _written(slot, text):
        return None
    bad = _put(text, slot, f"{{{{{fact.key}{f'|{kept}' if kept else ''}}}}}")
    return bad if form == "placeholders" else render(bad, text.book)


def _wrong_unit(text: Text, form: str, draw: np.random.Generator) -> str | None:
    slots = _slots(text)
    if not slots:
        return None
    slot = _pick(draw, slots)
    pattern = _pick(draw, _UNIT_WORDS[slot.fact.kind])
    if form == "placeholders":
        if slot.fact.kind is FactKind.DELTA and slot.form:
            return None
        return _put(text, slot, pattern.format(text.template[slot.start : slot.end]))
    written = _written(slot, text)
    bare = re.search(r"\d[\d.,]*\d|\d", written)
    if bare is None:
        return None
    bad = pattern.format(bare[0] if draw.random() < 0.5 else written)
    return None if bad == written else render(_put(text, slot, bad), text.book)


def _other_segment(text: Text, form: str, draw: np.random.Generator) -> str | None:
    slots = [slot for slot in _slots(text) if slot.key in text.other]
    if not slots:
        return None
    slot = _pick(draw, slots)
    fact = text.other.get(slot.key)
    if fact is None or render_fact(fact, text.book.currency, slot.form) == _written(slot, text):
        return None
    if form == "placeholders":
        return _put(text, slot, f"{{{{other.{slot.key}{f'|{slot.form}' if slot.form else ''}}}}}")
    return render(_put(text, slot, render_fact(fact, text.book.currency, slot.form)), text.book)


def _wrong_rank(text: Text, form: str, draw: np.random.Generator) -> str | None:
    ranks = _slots(text, {FactKind.RANK})
    if ranks and draw.random() < 0.7:
        slot = _pick(draw, ranks)
        of, place = int(slot.fact.of or 1), int(slot.fact.number)
        wrong = 1 + (place - 1 + int(draw.integers(1, max(2, of)))) % of
        if wrong == place:
            return None
        words = render_fact(Fact("rank", FactKind.RANK, wrong, of=of), text.book.currency, slot.form)
        if form == "placeholders":
            # In placeholder text the place itself is by reference, so the lie is in the words beside it.
            claim = "the largest" if place != 1 else "the smallest"
            return _put(text, slot, f"{text.template[slot.start : slot.end]}, {claim}")
        return render(_put(text, slot, words), text.book)
    said = sentences(text.template)
    spoken = _pick(draw, said).rstrip(".!?")
    claim = _pick(draw, _RANK_CLAIMS)
    named = [text.book.get(match[1]) for match in PLACEHOLDER.finditer(spoken)]
    top = any(fact is not None and fact.kind is FactKind.RANK for fact in named)
    if top:
        return None
    bad = text.template.replace(spoken, f"{spoken}, {claim}", 1)
    return bad if form == "placeholders" else render(bad, text.book)


def _wrong_direction(text: Text, form: str, draw: np.random.Generator) -> str | None:
    slots = [slot for slot in _slots(text, {FactKind.DELTA}) if abs(slot.fact.number) > 0.0005]
    if not slots:
        return None
    slot = _pick(draw, slots)
    size = _written(slot, text, "size")
    rest = text.template[slot.end :]
    if re.match(r" (?:the|than|their|its|what|against|usual)\b", rest) and slot.form and slot.form != "size":
        flipped = Fact(slot.key, FactKind.DELTA, -slot.fact.number, unit=slot.fact.unit)
        words = render_fact(flipped, text.book.currency, slot.form)
        words = words.replace(size, f"{{{{{slot.key}|size}}}}") if form == "placeholders" else words
    else:
        pattern = _pick(draw, _LOWER if slot.fact.number > 0 else _HIGHER)
        words = pattern.format(f"{{{{{slot.key}|size}}}}" if form == "placeholders" else size)
    if words == _written(slot, text):
        return None
    bad = _put(text, slot, words)
    return bad if form == "placeholders" else render(bad, text.book)


def _invented(text: Text, form: str, draw: np.random.Generator) -> str | None:
    slots = _slots(text, _FIGURES | {FactKind.DATE})
    if not slots:
        return None
    slot = _pick(draw, slots)
    written = _written(slot, text)
    match slot.fact.kind:
        case FactKind.DATE:
            moved = date(2024, 1, 1) + timedelta(days=int(draw.integers(0, 1400)))
            fact = Fact("invented", FactKind.DATE, moved)
        case FactKind.RANK:
            fact = Fact("invented", FactKind.RANK, int(draw.integers(1, 12)), of=12)
        case FactKind.DELTA:
            number = slot.fact.number * float(draw.uniform(1.1, 3)) + float(np.sign(slot.fact.number)) * 0.01
            fact = Fact("invented", FactKind.DELTA, number, unit=slot.fact.unit)
        case kind:
            fact = Fact("invented", kind, slot.fact.number * float(draw.uniform(0.3, 3)) + 0.01)
    words = render_fact(fact, text.book.currency, slot.form)
    if words == written:
        return None
    bad = _put(text, slot, words)
    return bad if form == "placeholders" else render(bad, text.book)


def _number_word(text: Text, form: str, draw: np.random.Generator) -> str | None:
    slots = _slots(text)
    if not slots:
        return None
    slot = _pick(draw, slots)
    unit = " days" if slot.fact.kind is FactKind.DAYS else ""
    bad = _put(text, slot, _pick(draw, _WORDS_FOR_FIGURES) + unit)
    return bad if form == "placeholders" else render(bad, text.book)


_INJECTORS: dict[str, Callable[[Text, str, np.random.Generator], str | None]] = {
    "wrong key": _wrong_key, "wrong unit": _wrong_unit, "another segment's fact": _other_segment,
    "wrong rank": _wrong_rank, "wrong direction": _wrong_direction, "invented figure": _invented,
    "number word": _number_word,
}  # fmt: skip


@dataclass(frozen=True)
class Injected:
    """One text with one error."""

    kind: str
    form: str
    bad: str
    text: Text

    def is_caught(self) -> bool:
        """Whether the scan has anything to say."""
        book = self.text.book
        if self.form == "placeholders":
            # The other segment's facts are at hand under keys of their own, as where several segments are compared.
            book = book.extended(
                Fact(f"other.{fact.key}", fact.kind, fact.value, subject="another segment", unit=fact.unit, of=fact.of)
                for fact in self.text.other
            )
        return bool(alarms(self.bad, self.form, book, self.text.subject))


def injected(texts: Sequence[Text], count: int, seed: int) -> Iterator[Injected]:
    """`count` errors, the classes and the two forms in turn, each in a text drawn from `texts`."""
    draw = np.random.default_rng(np.random.SeedSequence([seed, 43]))
    for place in range(count):
        kind, form = CLASSES[place % len(CLASSES)], FORMS[(place // len(CLASSES)) % 2]
        bad, text = None, texts[0]
        while bad is None:
            text = _pick(draw, texts)
            bad = _INJECTORS[kind](text, form, draw)
            right = text.template if form == "placeholders" else render(text.template, text.book)
            bad = None if bad == right else bad
        yield Injected(kind, form, bad, text)


@dataclass(frozen=True)
class Result:
    """`caught`: (class, form) -> (caught, injected); `false_alarms`: form -> texts with an alarm, of `texts`."""

    caught: dict[tuple[str, str], tuple[int, int]]
    false_alarms: dict[str, int]
    texts: int
    missed: tuple[Injected, ...]
    alarmed: tuple[tuple[str, str, Text], ...]

    def share(self, kind: str | None = None) -> float:
        """Share caught of one class, or of all."""
        chosen = [pair for (name, _), pair in self.caught.items() if kind in {None, name}]
        return sum(caught for caught, _ in chosen) / max(1, sum(of for _, of in chosen))


def measure(texts: Sequence[Text], errors: int, seed: int) -> Result:
    """Scan every correct text in both forms, and `errors` injected ones."""
    false_alarms = dict.fromkeys(FORMS, 0)
    alarmed = []
    for text in texts:
        for form in FORMS:
            said = text.template if form == "placeholders" else render(text.template, text.book)
            if alarms(said, form, text.book, text.subject):
                false_alarms[form] += 1
                alarmed.append((form, said, text))
    caught: dict[tuple[str, str], tuple[int, int]] = {}
    missed = []
    for injection in injected(texts, errors, seed):
        is_caught = injection.is_caught()
        have, of = caught.get((injection.kind, injection.form), (0, 0))
        caught[injection.kind, injection.form] = have + is_caught, of + 1
        if not is_caught:
            missed.append(injection)
    return Result(caught, false_alarms, len(texts), tuple(missed), tuple(alarmed))


def report(title: str, result: Result) -> str:
    """The result as a table of text."""
    lines = [title, f"{'class':<24}" + "".join(f"{form:>18}" for form in FORMS) + f"{'share':>9}"]
    for kind in CLASSES:
        cells = [result.caught.get((kind, form), (0, 0)) for form in FORMS]
        lines.append(f"{kind:<24}" + "".join(f"{f'{a} of {b}':>18}" for a, b in cells) + f"{result.share(kind):>9.1%}")
    lines.append(f"{'all':<60}{result.share():>9.1%}")
    alarms_said = ", ".join(f"{form} {result.false_alarms[form]} of {result.texts}" for form in FORMS)
    return "\n".join([*lines, f"false alarms: {alarms_said}", ""])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Injected errors caught by the residual scan, and its false alarms.")
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--errors", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print every miss and false alarm (not of the held out)")
    options = parser.parse_args()
    result = measure(correct_texts(options.texts, options.seed), options.errors, options.seed)
    print(report("Texts at hand while the rules were tuned", result))
    if options.show:
        for injection in result.missed:
            print(f"missed: {injection.kind}, {injection.form}: {injection.bad}\n    of: {injection.text.template}")
        for form, said, text in result.alarmed:
            print(f"alarm, {form}: {said}\n    {alarms(said, form, text.book, text.subject)}")
    held_out = measure(correct_texts(options.texts, options.seed, held_out=True), options.errors, options.seed)
    print(report("Held-out wordings", held_out))


if __name__ == "__main__":
    main()
