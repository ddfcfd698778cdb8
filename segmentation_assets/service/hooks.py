"""Reports of mail providers over HTTP.

What belongs here: asking `delivery.webhooks` whether a call is genuine, keeping what it tells, and answering. What does
not: signatures and shapes.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from segmentation_assets.delivery.spool import SpoolError
from segmentation_assets.delivery.webhooks import (
    CertificateMissingError,
    Subscription,
    WebhookMalformedError,
    WebhookRefusedError,
    WebhookReplayedError,
)
from segmentation_assets.service.parts import Service, logger, utc
from segmentation_assets.state.values import put_value

#: Where SNS's question is kept for a person, in the state store.
SUBSCRIPTION = "ses_subscription"


class Kept(BaseModel):
    """What became of a provider's call."""

    recorded: int = Field(description="Events of our sends that are kept; those told before count once.")
    ignored: int = Field(description="Entries of no use: other kinds, or messages that are not ours.")


def webhook_routes(service: Service) -> APIRouter:
    """The route /webhooks/PROVIDER."""
    routes = APIRouter(tags=["mail providers"])

    @routes.post("/webhooks/{provider}", summary="Report of a mail provider")
    async def report(
        provider: Annotated[str, Path(description="sendgrid, postmark, ses or mailgun")], request: Request
    ) -> Kept:
        """Deliveries, bounces, complaints, opens and clicks, with the provider's own signature."""
        name = next((known for known in service.parts.secrets.providers if known == provider), None)
        if name is None:
            raise HTTPException(404, "No reports are expected here: this provider's secret is not set.")
        body = await request.body()
        try:
            told = service.webhooks.read(name, request.headers, body)
            if told.events:
                service.keep(told.events)
            if told.subscription is not None:
                await run_in_threadpool(_remember, service, told.subscription)
            service.webhooks.answered(name, body)
        except WebhookReplayedError as error:
            raise HTTPException(406, str(error)) from None  # Mailgun does not try again after a 406
        except WebhookRefusedError as error:
            logger.warning("A report for %s was refused: %s", name, error)
            raise HTTPException(401, str(error)) from None
        except WebhookMalformedError as error:
            raise HTTPException(400, str(error)) from None
        except (CertificateMissingError, SpoolError) as error:
            logger.error("A report of %s was asked to come back. %s", name, error)
            raise HTTPException(
                503, "The report cannot be taken just now. Try again later.", {"retry-after": "60"}
            ) from None
        return Kept(recorded=len(told.events), ignored=told.ignored)

    return routes


def _remember(service: Service, subscription: Subscription) -> None:
    told = {"topic": subscription.topic, "url": subscription.url, "asked_at": utc(service.parts.machine())}
    put_value(service.parts.store, SUBSCRIPTION, told)
    logger.warning("SNS asks to be confirmed. `segmentation serve` shows the address when it starts; open it yourself.")
