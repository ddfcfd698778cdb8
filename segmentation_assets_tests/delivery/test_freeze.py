"""Freezing a campaign: all that would be sent, from the published copy, or a sentence that says what is wrong."""

from __future__ import annotations

import datetime as dt
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from segmentation_assets.delivery.freeze import (
    FreezeError,
    check_link,
    check_public_url,
    freeze_campaign,
    product_link,
    read_plan,
    read_unplanned,
    require_tables,
    sender_identity,
)
from segmentation_assets.messaging.content import CampaignContent
from segmentation_assets_tests.delivery.campaign_world import LAPSED, LOYAL, World, published, settings

WITH_SENSITIVE = (("send", "A", "P5"),)


#: Publishing the ordinary world takes a while, and it is frozen the same every time: the last test says so.
_ORDINARY: dict[str, CampaignContent] = {}


def frozen(world: World | None = None, **sections: Any) -> CampaignContent:
    if world is None and not sections and _ORDINARY:
        return _ORDINARY["content"]
    with published(world or World()) as con:
        content = freeze_campaign(con, LOYAL, settings(**sections))
    if world is None and not sections:
        _ORDINARY["content"] = content
    return content


def refused(world: World | None = None, **sections: Any) -> str:
    with pytest.raises(FreezeError) as caught:
        frozen(world, **sections)
    return str(caught.value)


# --- content -----------------------------------------------------------------------------------------------------


def test_both_drafts_of_the_brief_are_its_subject_arms() -> None:
    content = frozen()
    assert [(arm.variant, arm.draft_id) for arm in content.variants] == [("A", f"{LOYAL}-A"), ("B", f"{LOYAL}-B")]
    assert content.variants[0].subject == "First look: House Espresso"
    assert (content.language, content.name, content.valid_until) == ("en", "Early access · Home", dt.date(2026, 7, 14))


def test_the_products_of_the_brief_come_first_at_its_discount_then_the_recipients_own_at_the_list_price() -> None:
    content = frozen()
    assert [(line.product_id, line.name, line.price, line.link) for line in content.products.values()] == [
        ("P1", "House Espresso", "€18.00", 1),
        ("P2", "Day Pack", "€36.00", 2),
        ("P3", "Tea Pot", "€30.00", 3),
        ("P4", "Lamp", "€51.99", 4),
    ]


def test_a_product_line_has_the_price_that_the_draft_says() -> None:
    content = frozen(World(discount_share=0.15, product_ids="P4,P1"))
    for product_id in ("P4", "P1"):
        assert content.products[product_id].price in content.variants[0].body_text


def test_link_0_is_the_offer_and_each_product_has_the_link_of_its_number() -> None:
    content = frozen()
    assert content.links == (
        "https://shop.example/offers",
        *(f"https://shop.example/products/P{n}" for n in (1, 2, 3, 4)),
    )
    assert all(content.links[line.link].endswith(line.product_id) for line in content.products.values())


def test_products_of_people_who_are_left_out_are_not_in_the_campaign() -> None:
    assert list(frozen(World(plan=(("send", "A", "P3"), ("control", None, "P4")))).products) == ["P1", "P2", "P3"]


def test_a_product_of_a_recipient_without_a_price_is_left_out() -> None:
    content = frozen(World(plan=(("send", "A", "P6,P3"),)))
    assert list(content.products) == ["P1", "P2", "P3"]
    assert content.links[3] == "https://shop.example/products/P3"


def test_frozen_content_survives_being_stored() -> None:
    content = frozen()
    assert CampaignContent.from_json(content.to_json()) == content


def test_an_unknown_brief_is_refused() -> None:
    with published() as con, pytest.raises(FreezeError) as caught:
        freeze_campaign(con, "nothing", settings())
    assert str(caught.value) == (
        "Brief nothing is not among those planned now. `segmentation drafts list` shows what there is."
    )


def test_a_product_of_a_sensitive_category_is_refused_even_as_a_recipients_own() -> None:
    assert refused(World(plan=WITH_SENSITIVE)) == (
        f"Campaign {LOYAL} names P5 of a sensitive category (privacy.sensitive_categories), which no message may. "
        "`segmentation run` plans anew."
    )


def test_a_product_that_the_catalogue_does_not_hold_is_refused() -> None:
    assert refused(World(plan=(("send", "A", "P9"),))) == (
        f"Campaign {LOYAL} names P9, and campaigns.promotable_products has no such product. `segmentation run` makes "
        "both of the same catalogue."
    )


def test_drafts_of_another_offer_are_refused() -> None:
    with published() as con:
        con.execute("update campaigns.briefs set valid_until = valid_until + 1")
        with pytest.raises(FreezeError, match=f"The drafts of brief {LOYAL} were written for another offer"):
            freeze_campaign(con, LOYAL, settings())


def test_a_brief_without_drafts_is_refused() -> None:
    with published() as con:
        con.execute("delete from campaigns.email_drafts")
        with pytest.raises(FreezeError, match=f"Brief {LOYAL} has no draft"):
            freeze_campaign(con, LOYAL, settings())


def test_a_copy_that_was_published_before_campaigns_could_be_sent_is_refused_with_the_remedy() -> None:
    with published(World(drops=("delivery/plan",))) as con, pytest.raises(FreezeError) as caught:
        require_tables(con)
    assert str(caught.value) == (
        "The published copy does not hold delivery.plan as campaigns need it: it was made before campaigns could be "
        "sent. `segmentation run` renews it."
    )


def test_an_empty_copy_is_refused_by_naming_every_table() -> None:
    with duckdb.connect() as con, pytest.raises(FreezeError, match=r"campaigns\.briefs, .*delivery\.plan_reasons"):
        require_tables(con)


# --- the plan ----------------------------------------------------------------------------------------------------


def test_the_plan_has_its_reasons_and_reconciles() -> None:
    with published() as con:
        plan, others = read_plan(con, LOYAL), read_unplanned(con)
        assert read_plan(con, LAPSED) is None
    assert plan is not None
    told = plan.counts()
    assert told["audience"] == told["send"] + told["control"] + told["hold_out"] + told["excluded"] == 10
    assert sum(reason.customers for reason in plan.reasons) == plan.audience_customers
    assert told["reasons"]["excluded: no_consent"] == 2
    assert told["hold_out_share"] == 0.05
    assert [(row.reason, row.customers) for row in others] == [("no_campaign", 1)]


# --- links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "is empty"),
        ("javascript:alert(1)", "does not begin with https://"),
        ("data:text/html,x", "does not begin with https://"),
        ("http://shop.example/offers", "does not begin with https://"),
        ("//shop.example/offers", "does not begin with https://"),
        ("/offers", "does not begin with https://"),
        ("https:///offers", "names no host"),
        ("https:shop.example", "names no host"),
        ("https://localhost/offers", "has no host name that everybody can reach"),
        ("https://127.0.0.1/offers", "has no host name that everybody can reach"),
        ("https://[::1]/offers", "has no host name that everybody can reach"),
        ("https://0x7f.1/", "has no host name that everybody can reach"),
        ("https://-shop.example/", "has no host name that everybody can reach"),
        ("https://shop..example/", "has no host name that everybody can reach"),
        ("https://shop_x.example/", "has no host name that everybody can reach"),
        ("https://shöp.example/", "has a host with letters beyond ASCII; write it as xn--"),
        ("https://shop.example:0/", "has no usable port"),
        ("https://shop.example:99999/", "is no address"),
        ("https://shop.example:/", "has no usable port"),
        ("https://[shop.example/", "is no address"),
        ("https://shop.example/a b", "holds a space or a backslash"),
        ("https://shop.example\\@evil.example/", "holds a space or a backslash"),
        ("https://shop.example/\r\nX: y", "holds a control character"),
        ("https://shop.example/\u202egnp", "holds a control character"),
        ("https://shop.example/\x00", "holds a control character"),
        ("https://shop.example/ö", "holds characters that must be percent-encoded"),
        ("https://shop.example/%zz", "holds characters that must be percent-encoded"),
        ('https://shop.example/"><script>', "holds characters that must be percent-encoded"),
        ("https://shop.example/{product_id}", "holds characters that must be percent-encoded"),
        ("https://shop.example/" + "a" * 2000, "has 2,021 characters, more than 2,000"),
    ],
)
def test_a_link_that_no_message_may_hold_is_refused_with_the_reason(url: str, why: str) -> None:
    shown = f" ({ascii(url[:80])[1:-1]})" if url else ""
    with pytest.raises(FreezeError) as caught:
        check_link(url, "sender.campaign_url")
    assert str(caught.value) == (
        f"sender.campaign_url{shown} {why}. Give an absolute address such as https://shop.example/offers."
    )


def test_a_link_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(FreezeError) as caught:
        check_link("https://user:hunter2@shop.example/", "sender.campaign_url")
    assert str(caught.value) == (
        "sender.campaign_url holds a user name or a password. Give an absolute address such as "
        "https://shop.example/offers."
    )


@pytest.mark.parametrize("url", ["https://shop.example", "https://xn--shp-sna.example:8443/a%20b?c=d&e=%C3%B6#f"])
def test_a_plain_https_link_stays_as_it_is(url: str) -> None:
    assert check_link(url, "x") == url


@trying(max_examples=60, deadline=None)
@given(st.text(max_size=30))
def test_no_id_of_a_product_leads_away_from_the_shop(product_id: str) -> None:
    link = product_link("https://shop.example/products/{product_id}?ref=mail", product_id)
    assert link.startswith("https://shop.example/products/")
    assert link.endswith("?ref=mail")
    assert check_link(link, "x") == link


def test_a_product_address_that_is_none_is_refused_with_the_product() -> None:
    assert refused(sender={"product_url": "https://shop.example/{sku}/{product_id}"}).startswith(
        "sender.product_url (product P1) (https://shop.example/{sku}/P1) holds characters that must be percent-encoded."
    )


# --- the sender --------------------------------------------------------------------------------------------------


def test_what_is_not_set_of_the_sender_is_the_address_and_the_shop() -> None:
    sender = sender_identity(settings(sender={"from_name": "", "reply_to": "", "bounce_address": ""}))
    assert (sender.from_name, sender.reply_to, sender.bounce_address) == (
        "Nordlys", "news@shop.example", "news@shop.example",
    )  # fmt: skip


@pytest.mark.parametrize("field", ["address", "reply_to", "bounce_address"])
def test_an_address_of_the_sender_that_is_none_is_refused_without_showing_it(field: str) -> None:
    with pytest.raises(FreezeError) as caught:
        sender_identity(settings(sender={field: "not an address"}))
    assert str(caught.value) == f"sender.{field} is no e-mail address. Give one such as news@shop.example."


@pytest.mark.parametrize("field", ["shop_name", "from_name", "postal_address"])
@pytest.mark.parametrize("hostile", ["\r\nBcc: x", "\u202e", "\x85", "\u2028", "\x00"])
def test_a_name_of_the_sender_that_would_break_a_header_is_refused(field: str, hostile: str) -> None:
    with pytest.raises(FreezeError) as caught:
        sender_identity(settings(sender={field: f"Nordlys, the shop{hostile}"}))
    assert str(caught.value) == (
        f"sender.{field} holds the character U+{ord(hostile[0]):04X}, which has no place in a message. Take it out."
    )


def test_the_service_is_on_this_machine_or_on_https() -> None:
    assert check_public_url("http://127.0.0.1:8080/", is_production=False) == "http://127.0.0.1:8080"
    assert check_public_url("https://mail.shop.example/t/", is_production=True) == "https://mail.shop.example/t"
    for url, is_production in (("http://127.0.0.1:8080", True), ("http://mail.shop.example", False)):
        with pytest.raises(FreezeError, match=r"delivery.public_url .* does not begin with https://"):
            check_public_url(url, is_production=is_production)
    with pytest.raises(FreezeError, match=r"delivery.public_url has a \? or a #"):
        check_public_url("https://mail.shop.example/?a=b", is_production=True)


def test_the_same_copy_is_frozen_the_same_whatever_the_order_of_its_rows() -> None:
    backwards = World(plan=tuple(reversed(World().plan)))
    assert frozen(World()) == frozen() == frozen(backwards)
