"""What would be approved: a brief's drafts, products, links, sender and plan, frozen from the published copy.

What belongs here: reading a campaign as it stands, and refusing what no message may hold. What does not: whether a
person approved it (`approval`), building messages (`messaging`), and writing anything anywhere.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit

import duckdb
import polars as pl

from segmentation_assets.language.facts import Fact, FactBook, FactKind, clean_name
from segmentation_assets.language.rendering import money
from segmentation_assets.messaging.content import CampaignContent, ProductLine, SenderIdentity, Variant
from segmentation_assets.messaging.lint import read_html
from segmentation_assets.settings import SenderSettings, Settings

#: A token numbers a link in two bytes.
MOST_LINKS = 65_536
#: Mail programs and proxies cut longer addresses.
LONGEST_LINK = 2_000
#: Characters of a product's name, as in the drafts.
LONGEST_NAME = 60

#: Columns that are read of the published copy.
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "campaigns.briefs": ("brief_id", "name", "product_ids", "discount_share", "valid_until"),
    "campaigns.email_drafts": (
        "draft_id", "brief_id", "variant", "subject", "preheader", "body_text", "body_html", "call_to_action",
        "is_degraded", "written_by", "valid_until", "edited_fields", "edited_at",
    ),
    "campaigns.draft_facts": ("brief_id", "key", "kind", "value", "number", "value_on"),
    "campaigns.promotable_products": ("product_id", "name", "list_price", "is_sensitive"),
    "delivery.plan": ("customer_id", "campaign_id", "decision", "variant", "product_ids"),
    "delivery.campaign_plans": (
        "campaign_id", "starts_at", "not_after", "audience_customers", "send_customers", "control_customers",
        "hold_out_customers", "excluded_customers", "elsewhere_customers", "control_share", "base_rate",
        "smallest_detectable_effect", "control_cost_amount", "sentence", "hold_out_share",
    ),
    "delivery.plan_reasons": ("campaign_id", "decision", "reason", "sentence", "customers"),
}  # fmt: skip
_HOST = re.compile(r"(?=.{4,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")
#: What RFC 3986 allows in an address, percent signs in pairs of digits apart.
_URL_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
#: Ends a header or a line, or turns the direction of what follows: none of it belongs into a name.
_HOSTILE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class FreezeError(ValueError):
    """A campaign cannot be put together from the published copy and the settings; the message says why."""


@dataclass(frozen=True)
class PlanReason:
    """How many customers of an audience are decided upon for one reason."""

    decision: str
    reason: str
    sentence: str
    customers: int


@dataclass(frozen=True)
class CampaignPlan:
    """A campaign's row of delivery.campaign_plans with its reasons. Rates are None where nothing is known of them.

    `smallest_detectable_effect` is a difference of buying rates, and `sentence` says what it means.
    `elsewhere_customers` would fit this audience and are in another campaign's. Times are naive UTC.
    """

    campaign_id: str
    starts_at: dt.datetime
    not_after: dt.datetime
    audience_customers: int
    send_customers: int
    control_customers: int
    hold_out_customers: int
    excluded_customers: int
    control_share: float
    base_rate: float | None
    smallest_detectable_effect: float | None
    control_cost_amount: Decimal | None
    elsewhere_customers: int = 0
    sentence: str = ""
    hold_out_share: float = 0.0
    reasons: tuple[PlanReason, ...] = ()

    def counts(self) -> dict[str, Any]:
        """What a person was shown of the audience, JSON-able."""
        return {
            "audience": self.audience_customers,
            "send": self.send_customers,
            "control": self.control_customers,
            "hold_out": self.hold_out_customers,
            "excluded": self.excluded_customers,
            "hold_out_share": self.hold_out_share,
            "reasons": {f"{row.decision}: {row.reason}": row.customers for row in self.reasons},
            "base_rate": self.base_rate,
            "smallest_detectable_effect": self.smallest_detectable_effect,
            "control_cost_amount": None if self.control_cost_amount is None else str(self.control_cost_amount),
        }


def require_tables(con: duckdb.DuckDBPyConnection) -> None:
    """FreezeError where the published copy is of a version that could not send yet."""
    lacking = []
    for table, columns in _NEEDED.items():
        try:  # far faster than a look at the catalogue
            con.execute(f"select {', '.join(columns)} from {table} limit 0").fetchall()
        except (duckdb.CatalogException, duckdb.BinderException):
            lacking.append(table)
    if lacking:
        raise FreezeError(
            f"The published copy does not hold {', '.join(lacking)} as campaigns need it: it was made before campaigns "
            "could be sent. `segmentation run` renews it."
        )


def freeze_campaign(con: duckdb.DuckDBPyConnection, brief_id: str, settings: Settings) -> CampaignContent:
    """The campaign of a brief as it would be sent, from the published copy that `con` reads.

    Products are the brief's, at its discount, in its order, then those that recipients of the plan are shown as their
    own, at the list price, by id. Link 0 is `sender.campaign_url`, the products' follow in that order. A product of a
    recipient without a price is left out: a message does not name it.

    FreezeError for an unknown brief, drafts that do not fit it, products that the copy does not hold or that are
    sensitive, and for links, addresses and names that `check_link` and `sender_identity` refuse.
    """
    require_tables(con)
    brief = _brief(con, brief_id)
    drafts = read_drafts(con, brief_id)
    if not drafts:
        raise FreezeError(f"Brief {brief_id} has no draft. `segmentation run` writes them.")
    if any(row["valid_until"] != brief["valid_until"] for row in drafts):
        raise FreezeError(
            f"The drafts of brief {brief_id} were written for another offer. `segmentation run` mends it."
        )
    currency = str(con.execute("select currency from raw.source").fetchall()[0][0])
    lines = _products(con, brief, currency)
    sender = settings.sender
    links = [check_link(sender.campaign_url, "sender.campaign_url")]
    links += [product_link(sender.product_url, product_id) for product_id, _, _ in lines]
    if len(links) > MOST_LINKS:
        raise FreezeError(
            f"Campaign {brief_id} would name {len(links) - 1:,} products; a campaign has at most {MOST_LINKS - 1:,}."
        )
    return CampaignContent(
        campaign_id=brief_id,
        name=str(brief["name"] or brief_id),
        language=read_html(drafts[0]["body_html"]).language or "en",
        sender=sender_identity(settings),
        variants=tuple(
            Variant(
                variant=row["variant"], draft_id=row["draft_id"], subject=row["subject"], preheader=row["preheader"],
                body_text=row["body_text"], body_html=row["body_html"], call_to_action=row["call_to_action"],
            )
            for row in drafts
        ),
        links=tuple(links),
        products={
            product_id: ProductLine(product_id, name, price, number)
            for number, (product_id, name, price) in enumerate(lines, start=1)
        },
        valid_until=brief["valid_until"],
    )  # fmt: skip


def read_drafts(con: duckdb.DuckDBPyConnection, brief_id: str) -> list[dict[str, Any]]:
    """The rows of campaigns.email_drafts of a brief, as far as they are needed here, by variant."""
    columns = ", ".join(_NEEDED["campaigns.email_drafts"])
    return _rows(con, f"select {columns} from campaigns.email_drafts where brief_id = ? order by variant", brief_id)


def read_facts(con: duckdb.DuckDBPyConnection, brief_id: str) -> FactBook:
    """The facts that the drafts of a brief may state, as their writer had them."""
    rows = _rows(
        con, "select key, kind, value, number, value_on from campaigns.draft_facts where brief_id = ?", brief_id
    )
    facts = []
    for row in rows:
        values = {FactKind.DATE: row["value_on"], FactKind.NAME: row["value"], FactKind.TEXT: row["value"]}
        facts.append(Fact(row["key"], FactKind(row["kind"]), values.get(FactKind(row["kind"]), row["number"])))
    return FactBook(tuple(facts), str(con.execute("select currency from raw.source").fetchall()[0][0]))


def read_plan(con: duckdb.DuckDBPyConnection, campaign_id: str) -> CampaignPlan | None:
    """The plan of one campaign, None where it has none."""
    return next(iter(read_plans(con, campaign_id)), None)


def read_plans(con: duckdb.DuckDBPyConnection, campaign_id: str | None = None) -> list[CampaignPlan]:
    """The plans of all campaigns, or of one, sorted by id, with their reasons: the largest number first."""
    reasons = _reasons(con)
    columns = ", ".join(_NEEDED["delivery.campaign_plans"])
    return [
        CampaignPlan(**row, reasons=tuple(reasons.get(row["campaign_id"], ())))
        for row in _rows(con, f"select {columns} from delivery.campaign_plans order by campaign_id")
        if campaign_id in (None, row["campaign_id"])
    ]


def read_unplanned(con: duckdb.DuckDBPyConnection) -> list[PlanReason]:
    """Why customers are in no campaign at all."""
    return _reasons(con).get(None, [])


def read_audience(con: duckdb.DuckDBPyConnection, campaign_id: str) -> pl.DataFrame:
    """A campaign's rows of delivery.plan: customer_id, decision, variant and product_ids, sorted by customer."""
    columns = ", ".join(name for name in _NEEDED["delivery.plan"] if name != "campaign_id")
    query = f"select {columns} from delivery.plan where campaign_id = ? order by customer_id, decision"
    return con.sql(query, params=[campaign_id]).pl()


def sender_identity(settings: Settings) -> SenderIdentity:
    """Who writes, from the settings, with addresses in ASCII. FreezeError names the setting that cannot be used."""
    sender = settings.sender
    shop_name = _checked_name(sender, "shop_name")
    address = _checked_address(sender, "address")
    return SenderIdentity(
        shop_name=shop_name,
        from_name=_checked_name(sender, "from_name") or shop_name,
        address=address,
        reply_to=_checked_address(sender, "reply_to") if sender.reply_to.strip() else address,
        bounce_address=_checked_address(sender, "bounce_address") if sender.bounce_address.strip() else address,
        postal_address=_checked_name(sender, "postal_address"),
        public_url=check_public_url(settings.delivery.public_url, is_production=settings.delivery.is_production),
    )


def product_link(template: str, product_id: str) -> str:
    """Where a product leads: the setting with the id filled in, percent-encoded. FreezeError as of `check_link`."""
    return check_link(
        template.replace("{product_id}", quote(product_id.encode("utf-8", "replace"), safe="")),
        f"sender.product_url (product {ascii(product_id)[1:-1]})",
    )


def check_link(url: str, where: str) -> str:
    """`url` when a message may lead there: absolute, https, a host name, nothing hidden in it; FreezeError otherwise.

    Letters beyond ASCII are refused rather than encoded: what a person approves is what a reader's program opens.
    """
    return _checked_url(url, where, ("https",), "https://shop.example/offers", allows_ip=False)


def check_public_url(url: str, *, is_production: bool) -> str:
    """The address of the service without a slash at its end; FreezeError when messages cannot name it.

    It is https, as one-click unsubscribing asks for (RFC 8058). Only outside production it may be http on this machine.
    """
    example = "https://mail.shop.example"
    if is_local(url) and not is_production:
        return _checked_url(url, "delivery.public_url", ("http", "https"), example, allows_ip=True).rstrip("/")
    checked = _checked_url(url, "delivery.public_url", ("https",), example, allows_ip=False)
    if urlsplit(checked).query or urlsplit(checked).fragment:
        raise FreezeError(f"delivery.public_url has a ? or a # in it. Give an address such as {example}.")
    return checked.rstrip("/")


def is_local(url: str) -> bool:
    """Whether the address is one of this very machine: 127.0.0.1, ::1 or localhost."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)


def _checked_url(url: str, where: str, schemes: Sequence[str], example: str, *, allows_ip: bool) -> str:
    def refuse(why: str, *, shows: bool = True) -> FreezeError:
        shown = f" ({ascii(url[:80])[1:-1]})" if shows and url else ""
        return FreezeError(f"{where}{shown} {why}. Give an absolute address such as {example}.")

    if not url:
        raise refuse("is empty")
    if _HOSTILE.search(url):
        raise refuse("holds a control character")
    if any(character.isspace() for character in url) or "\\" in url:
        raise refuse("holds a space or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise refuse("is no address") from None
    if parts.scheme.lower() not in schemes:
        raise refuse(f"does not begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if "@" in parts.netloc:
        raise refuse("holds a user name or a password", shows=False)
    host = (parts.hostname or "").lower()
    if not host:
        raise refuse("names no host")
    if not host.isascii():
        raise refuse("has a host with letters beyond ASCII; write it as xn--")
    if not _HOST.fullmatch(host) and not (allows_ip and (host == "localhost" or _is_ip(host))):
        raise refuse("has no host name that everybody can reach")
    if port == 0 or parts.netloc.endswith(":"):
        raise refuse("has no usable port")
    if not _URL_CHARACTERS.fullmatch(url):
        raise refuse("holds characters that must be percent-encoded")
    if len(url) > LONGEST_LINK:
        raise refuse(f"has {len(url):,} characters, more than {LONGEST_LINK:,}")
    return url


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _checked_name(sender: SenderSettings, name: str) -> str:
    text = str(getattr(sender, name))
    if hit := _HOSTILE.search(text):
        raise FreezeError(
            f"sender.{name} holds the character U+{ord(hit[0]):04X}, which has no place in a message. Take it out."
        )
    text = " ".join(text.split())
    if not text and name != "from_name":
        raise FreezeError(f"sender.{name} is empty. Readers must see who writes.")
    return text


def _checked_address(sender: SenderSettings, name: str) -> str:
    # The library behind it starts slowly.
    from segmentation_assets.messaging.address import AddressError, AddressProblem, ascii_address

    try:
        return ascii_address(str(getattr(sender, name)))
    except AddressError as error:
        is_beyond = error.reason is AddressProblem.NEEDS_SMTPUTF8
        why = "has letters beyond ASCII before the @" if is_beyond else "is no e-mail address"
        raise FreezeError(f"sender.{name} {why}. Give one such as news@shop.example.") from None


def brief_products(con: duckdb.DuckDBPyConnection, brief_id: str) -> tuple[str, ...]:
    """Ids of the products that the brief offers, in its order. FreezeError where there is no such brief."""
    return tuple(_ids(_brief(con, brief_id)["product_ids"]))


def _ids(listed: str | None) -> list[str]:
    """The ids of a comma-separated list, each once."""
    return list(dict.fromkeys(found for part in str(listed or "").split(",") if (found := part.strip())))


def _brief(con: duckdb.DuckDBPyConnection, brief_id: str) -> dict[str, Any]:
    columns = ", ".join(_NEEDED["campaigns.briefs"])
    rows = _rows(con, f"select {columns} from campaigns.briefs where brief_id = ?", brief_id)
    if not rows:
        raise FreezeError(
            f"Brief {brief_id} is not among those planned now. `segmentation drafts list` shows what there is."
        )
    return rows[0]


def _products(con: duckdb.DuckDBPyConnection, brief: Mapping[str, Any], currency: str) -> list[tuple[str, str, str]]:
    """Id, name and written-out price of every product a message of the campaign may name, in the order of links."""
    own = _ids(brief["product_ids"])
    theirs = [
        row["product_id"]
        for row in _rows(
            con,
            "select distinct trim(part) as product_id from (select unnest(string_split(product_ids, ',')) as part "
            "from delivery.plan where campaign_id = ? and decision = 'send') where trim(part) <> '' order by 1",
            brief["brief_id"],
        )
    ]
    wanted = [*own, *(product_id for product_id in theirs if product_id not in set(own))]
    known = {
        row["product_id"]: row
        for row in _rows(
            con,
            "select product_id, name, list_price, is_sensitive from campaigns.promotable_products "
            "where list_contains(?::varchar[], product_id)",
            wanted,
        )
    }
    if missing := [product_id for product_id in wanted if product_id not in known]:
        raise FreezeError(
            f"Campaign {brief['brief_id']} names {_listed(missing)}, and campaigns.promotable_products has no such "
            "product. `segmentation run` makes both of the same catalogue."
        )
    if sensitive := [product_id for product_id in wanted if known[product_id]["is_sensitive"]]:
        raise FreezeError(
            f"Campaign {brief['brief_id']} names {_listed(sensitive)} of a sensitive category "
            "(privacy.sensitive_categories), which no message may. `segmentation run` plans anew."
        )
    if unpriced := [product_id for product_id in own if known[product_id]["list_price"] is None]:
        raise FreezeError(f"Campaign {brief['brief_id']} offers {_listed(unpriced)} without a price.")
    discount = float(brief["discount_share"] or 0)
    lines = []
    for number, product_id in enumerate(wanted):
        row = known[product_id]
        if row["list_price"] is None:
            continue
        # Rounded as the drafts' facts are, so that text and product line cannot differ by a cent.
        price = round(float(row["list_price"]) * (1 - (discount if number < len(own) else 0.0)), 2)
        name = clean_name(str(row["name"] or ""), LONGEST_NAME) or product_id
        lines.append((product_id, name, money(price, currency, exact=True)))
    return lines


def _reasons(con: duckdb.DuckDBPyConnection) -> dict[str | None, list[PlanReason]]:
    found: dict[str | None, list[PlanReason]] = {}
    for row in _rows(
        con,
        "select campaign_id, decision, reason, sentence, customers from delivery.plan_reasons "
        "order by campaign_id nulls last, decision, customers desc, reason",
    ):
        told = PlanReason(row["decision"], row["reason"], row["sentence"], row["customers"])
        found.setdefault(row["campaign_id"], []).append(told)
    return found


def _rows(con: duckdb.DuckDBPyConnection, query: str, *parameters: Any) -> list[dict[str, Any]]:
    return con.sql(query, params=list(parameters)).pl().to_dicts()


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 12:,} more" if len(ids) > 12 else ""
    return ", ".join(ids[:12]) + more
