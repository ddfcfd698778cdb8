"""Pixel, links and the way out: what recipients, and the machines between, ask for.

What belongs here: the answers, and which of them are events. What does not: reading tokens (`delivery.tokens`), and
telling people from robots, which is done in SQL on everything that was heard.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from urllib.parse import parse_qs

from fastapi import APIRouter, HTTPException, Request, Response
from sqlalchemy.exc import SQLAlchemyError

from segmentation_assets.delivery.events import new_event_id, refusal
from segmentation_assets.delivery.spool import SpoolError
from segmentation_assets.delivery.tokens import TokenKind
from segmentation_assets.service.pages import unsubscribe_done, unsubscribe_page
from segmentation_assets.service.parts import Service, logger
from segmentation_assets.state.events import EventKind, MessageEvent

#: A transparent point, the smallest there is that every mail program shows: 43 bytes.
GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAAAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")
NOT_FOUND = "There is nothing at this address. If a link in a message led here, it was not copied whole."
#: A header of a part of a form: which field it is. Looked for once in each line.
_FIELD = re.compile(rb'content-disposition:[^\r\n]*\bname="?List-Unsubscribe(?:"|;|\s|$)', re.IGNORECASE)


def tracking_routes(service: Service) -> APIRouter:
    """The routes /o, /c and /u."""
    # Plain routes: half the time of those that are checked and described, and recipients read no description.
    routes = APIRouter()

    async def pixel(request: Request) -> Response:
        """Always the same point; an event for a genuine token that was fetched."""
        found = service.signer.read(request.path_params["token"], TokenKind.OPEN)
        if found is not None and request.method == "GET":
            service.keep_if_possible(_event(service, request, "open", found.send_id, source="pixel"))
        return Response(GIF, media_type="image/gif", headers={"cache-control": "no-store, no-cache, max-age=0"})

    async def click(request: Request) -> Response:
        """Leads to the link's target in the campaign's registry, and nowhere else whatever the request says."""
        found = service.signer.read(request.path_params["token"], TokenKind.CLICK)
        if found is None:
            raise HTTPException(404, NOT_FOUND)
        try:
            target = await service.links.target(found.send_id, found.link)
        except SQLAlchemyError:
            logger.error("The state store could not be read, so a link could not be followed.")
            raise HTTPException(503, "The link cannot be followed just now. Try again in a minute.") from None
        if target is None:
            raise HTTPException(404, NOT_FOUND)
        if request.method == "GET":
            service.keep_if_possible(_event(service, request, "click", found.send_id, source="link", link=found.link))
        return Response(status_code=302, headers={"location": target})

    async def ask(request: Request) -> Response:
        """A page with one button. Looking at it changes nothing: machines look at everything."""
        if service.signer.read(request.path_params["token"], TokenKind.UNSUBSCRIBE) is None:
            raise HTTPException(404, NOT_FOUND)
        return _page(unsubscribe_page, service)

    async def unsubscribe(request: Request) -> Response:
        """By the button of a mail program (`List-Unsubscribe=One-Click`) or that of the page; any number of times."""
        found = service.signer.read(request.path_params["token"], TokenKind.UNSUBSCRIBE)
        if found is None:
            raise HTTPException(404, NOT_FOUND)
        source = _asked_by(request.headers.get("content-type", ""), await request.body())
        if source is None:
            raise HTTPException(
                400,
                "Nothing was changed, because the request does not say that it unsubscribes. Open the address in a "
                "browser and press the button.",
            )
        agent, network = _who(service, request)
        event = refusal(found.send_id, service.parts.clock(), source, user_agent=agent, network=network)
        try:
            service.keep([event])
        except SpoolError as error:
            logger.error("%s An unsubscribe was asked to come back.", error)
            raise HTTPException(
                503, "This could not be kept just now. Try again in a minute.", {"retry-after": "60"}
            ) from None
        return _page(unsubscribe_done, service)

    async def way_out(request: Request) -> Response:
        return await (unsubscribe(request) if request.method == "POST" else ask(request))

    routes.add_route("/o/{token}.gif", pixel, methods=["GET", "HEAD"])
    routes.add_route("/c/{token}", click, methods=["GET", "HEAD"])
    routes.add_route("/u/{token}", way_out, methods=["GET", "HEAD", "POST"])
    return routes


def _event(
    service: Service, request: Request, kind: EventKind, send_id: str, *, source: str, link: int | None = None
) -> MessageEvent:
    agent, network = _who(service, request)
    return MessageEvent(
        new_event_id(), send_id, kind, service.parts.clock(), source, link, request.method, agent, network
    )


def _who(service: Service, request: Request) -> tuple[str, str]:
    return service.who(request.client.host if request.client else "", request.headers)


def _page(page: Callable[[str], str], service: Service) -> Response:
    return Response(page(service.parts.shop_name), media_type="text/html; charset=utf-8")


def _asked_by(content_type: str, body: bytes) -> str | None:
    """`one_click` or `page` by what the form holds; None where it asks for nothing."""
    if content_type.lower().startswith("multipart/form-data"):
        return "one_click" if _says_one_click(body) else None
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=20)
    except ValueError:
        return None
    if "One-Click" in fields.get("List-Unsubscribe", ()):
        return "one_click"
    return "page" if fields.get("unsubscribe") == ["yes"] else None


def _says_one_click(body: bytes) -> bool:
    """Whether a part of the form is the field List-Unsubscribe with the value One-Click.

    Line by line, each looked at once: recipients write this body, and a pattern over all of it can be made to take
    minutes, in which nobody is answered.
    """
    is_named = is_head = False
    value = b""
    for line in body.split(b"\n"):
        if line.startswith(b"--"):
            if is_named and not is_head and value.strip().lower() == b"one-click":
                return True
            is_head, is_named, value = True, False, b""
        elif not is_head:
            value += line[:20] if len(value) < 40 else b""
        elif not line.strip():
            is_head = False
        elif _FIELD.match(line):
            is_named = True
    return False
