"""The data API: segments, profiles, matches, drafts and results of the published copy, and the frozen model applied.

What belongs here: what is shown, under which names, to whom. What does not: reading (`published`), assigning
(`assigning`). Nothing here opens the people database, and no column shown holds personal data.
"""

from __future__ import annotations

import dataclasses
import math
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from segmentation_assets.service.parts import ENV_API_KEYS, MOST_ROWS, Service
from segmentation_assets.service.published import UnavailableError
from segmentation_assets.state.store import StateStore

if TYPE_CHECKING:
    from segmentation_assets.segmentation.model import FrozenModel

Axis = Literal["stage", "taste"]
_Row = TypeVar("_Row", bound=BaseModel)
Limit = Annotated[int, Query(ge=1, le=1000, description="Most rows to give.")]
Offset = Annotated[int, Query(ge=0, le=10_000_000, description="Rows to pass over.")]
Text = Annotated[str | None, Query(max_length=200)]


class Problem(BaseModel):
    """What was wrong, in a sentence."""

    detail: str


class Listing(BaseModel, Generic[_Row]):
    """One page of rows."""

    items: list[_Row]
    total: int = Field(description="Rows in all pages.")
    limit: int
    offset: int
    as_of: str = Field(description="Day that the data is of.")


class Segment(BaseModel):
    """A segment of one axis."""

    axis: Axis
    segment_id: str = Field(description="The same in every table, page and answer; S0 and T0 are outside.")
    name: str
    customers: int
    customer_share: float | None
    reachable_customers: int | None = Field(description="Customers who may be written to by e-mail.")
    revenue_amount: Decimal | None = Field(description="Money of their orders, in the source's currency.")
    revenue_share: float | None


class Profile(BaseModel):
    """A segment in words."""

    axis: Axis
    segment_id: str
    name: str
    who: str | None
    what: str | None
    how: str | None
    objective: str | None
    message: str | None
    channel: str | None
    resonance: str | None
    do_not: str | None
    confidence_sentence: str | None
    customers: int
    reachable_customers: int | None
    revenue_share: float | None
    change_since_last: str | None
    top_categories: str | None
    best_offer: str | None
    written_by: str | None
    is_degraded: bool | None


class CustomerSegment(BaseModel):
    """The segments of one customer."""

    customer_id: str
    stage_segment_id: str | None
    stage_name: str | None
    taste_segment_id: str | None
    taste_name: str | None
    label: str | None = Field(description="Both in one, as people are shown it.")


class Match(BaseModel):
    """How well a product fits an audience, beside the simplest rule that could do it."""

    product_id: str
    taste_segment_id: str
    stage_segment_ids: str
    audience_customers: int | None
    reachable_customers: int | None
    score: float | None
    baseline_score: float | None
    expected_buyers: float | None
    low: float | None
    high: float | None
    expected_margin_amount: Decimal | None
    beats_baseline: bool | None
    reason: str | None


class Draft(BaseModel):
    """An e-mail as it was drafted; merge fields stand in double brackets."""

    draft_id: str
    brief_id: str
    variant: str
    taste_segment_id: str | None
    stage_segment_ids: str | None
    product_ids: str | None
    discount_share: float | None
    valid_until: date | None
    call_to_action: str | None
    audience_customers: int | None
    subject: str
    preheader: str | None
    body_text: str
    body_html: str
    status: str | None


class Result(BaseModel):
    """One measured figure of a campaign: treated beside control, with its interval."""

    campaign_id: str
    arm: str | None
    metric: str
    treated_customers: int | None
    control_customers: int | None
    treated_value: float | None
    control_value: float | None
    effect: float | None
    low: float | None
    high: float | None
    is_experiment: bool | None = Field(description="False: no random control, so an association and no lift.")
    relative_effect: float | None
    relative_low: float | None
    relative_high: float | None
    method: str | None
    is_primary: bool | None = Field(description="Whether it is what the campaign was to be judged by.")
    note: str | None


class Count(BaseModel):
    """Order lines of a value, and how many different products they are of."""

    model_config = ConfigDict(extra="forbid")

    lines: float
    products: float


class CustomerFeatures(BaseModel):
    """A new customer as a model sees one."""

    model_config = ConfigDict(extra="forbid")

    customer_id: str = Field(min_length=1, max_length=200, description="Any name for the row; it is only given back.")
    features: dict[str, float | str | None] = Field(
        default_factory=dict, description="Every feature of the model by column name; null for unknown."
    )
    shares: dict[str, dict[str, float | Count]] = Field(
        default_factory=dict,
        description='Order lines by dimension and value: {"category": {"Coffee & Tea": 3}}. Where products were bought '
        'again, {"Coffee & Tea": {"lines": 3, "products": 2}} is closer to what the model was made from.',
    )


class AssignRequest(BaseModel):
    """Customers to be given a segment."""

    model_config = ConfigDict(extra="forbid")

    axis: Axis
    customers: list[CustomerFeatures] = Field(min_length=1, max_length=MOST_ROWS)


class Assignment(BaseModel):
    """The segment of one customer."""

    customer_id: str
    segment_id: str
    name: str
    distance: float | None = Field(description="To the segment's centre, in the model's units; null outside.")
    margin: float | None = Field(description="How much further the nearest other centre is.")
    is_misfit: bool | None = Field(description="Further away than 99 % of the segment's customers at the fit.")


class Assignments(BaseModel):
    """What the frozen model says."""

    axis: Axis
    version: int = Field(description="Version of the model.")
    assignments: list[Assignment] = Field(description="In the order of the request.")


_BEARER = HTTPBearer(auto_error=False, description=f"One of the keys in {ENV_API_KEYS}.")
_ANSWERS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No key, or not one of ours."},
    429: {"model": Problem, "description": "Too many requests with this key; see Retry-After."},
    503: {"model": Problem, "description": "No keys are set, or nothing is published."},
}


def api_routes(service: Service) -> APIRouter:
    """The routes under /api/v1."""

    async def require_key(offered: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        if not service.has_api_keys:
            raise HTTPException(503, f"The data API is off: no key is set in {ENV_API_KEYS}.")
        key = service.api_key(offered.credentials) if offered else None
        if key is None:
            raise HTTPException(
                401, "A key is needed: Authorization: Bearer KEY.", headers={"WWW-Authenticate": "Bearer"}
            )
        if wait := service.limits.wait(key):
            raise HTTPException(
                429, f"Too many requests with this key. Try again in {math.ceil(wait)} s.",
                headers={"Retry-After": str(math.ceil(wait))},
            )  # fmt: skip

    routes = APIRouter(prefix="/api/v1", tags=["data"], dependencies=[Depends(require_key)], responses=_ANSWERS)

    def listing(
        model: type[_Row], table: str, where: dict[str, str | None], order: list[str], *, limit: int, offset: int
    ) -> Listing[_Row]:
        page = service.parts.published.page(table, list(model.model_fields), where, order, limit=limit, offset=offset)
        items = [model.model_validate(row) for row in page.items]
        return Listing[model](items=items, total=page.total, limit=limit, offset=offset, as_of=page.as_of)  # type: ignore[valid-type]

    @routes.get("/segments", summary="Segments")
    def segments(axis: Axis | None = None, limit: Limit = 100, offset: Offset = 0) -> Listing[Segment]:
        """Every segment of an axis, or of both, with its size and worth."""
        return listing(
            Segment, "segments.segment_summary", {"axis": axis}, ["axis", "segment_id"], limit=limit, offset=offset
        )

    @routes.get("/profiles", summary="Profiles of segments")
    def profiles(
        axis: Axis | None = None, segment_id: Text = None, limit: Limit = 100, offset: Offset = 0
    ) -> Listing[Profile]:
        """Who the customers of a segment are, what they want and how to reach them."""
        where = {"axis": axis, "segment_id": segment_id}
        return listing(Profile, "profiles.segment_profiles", where, ["axis", "segment_id"], limit=limit, offset=offset)

    @routes.get(
        "/customers/{customer_id}/segment", summary="Segments of a customer",
        responses={404: {"model": Problem, "description": "No such customer."}},
    )  # fmt: skip
    def customer_segment(customer_id: Annotated[str, Path(max_length=200)]) -> CustomerSegment:
        """The stage and the taste of one customer."""
        found = listing(
            CustomerSegment,
            "segments.customer_segments",
            {"customer_id": customer_id},
            ["customer_id"],
            limit=1,
            offset=0,
        )
        if not found.items:
            raise HTTPException(404, "There is no customer with this id in the published copy.")
        return found.items[0]

    @routes.get("/matches", summary="Products and audiences")
    def matches(
        product_id: Text = None, taste_segment_id: Text = None, limit: Limit = 100, offset: Offset = 0
    ) -> Listing[Match]:
        """Which products fit which audience, and whether the match beats the simplest rule."""
        where = {"product_id": product_id, "taste_segment_id": taste_segment_id}
        order = ["product_id", "taste_segment_id", "stage_segment_ids"]
        return listing(Match, "campaigns.product_segment_matches", where, order, limit=limit, offset=offset)

    @routes.get("/drafts", summary="E-mail drafts")
    def drafts(brief_id: Text = None, limit: Limit = 20, offset: Offset = 0) -> Listing[Draft]:
        """Both subject arms of each campaign, as a person would approve them."""
        return listing(
            Draft, "campaigns.email_drafts", {"brief_id": brief_id}, ["draft_id"], limit=limit, offset=offset
        )

    @routes.get("/campaigns/results", summary="Results of campaigns")
    def results(campaign_id: Text = None, limit: Limit = 100, offset: Offset = 0) -> Listing[Result]:
        """What campaigns caused, against people who were left out at random."""
        where = {"campaign_id": campaign_id}
        return listing(
            Result, "results.campaign_results", where, ["campaign_id", "arm", "metric"], limit=limit, offset=offset
        )

    @routes.post(
        "/assign", summary="Segments of new customers",
        responses={
            409: {"model": Problem, "description": "The axis has no model."},
            422: {"model": Problem, "description": "The features do not fit the model."},
        },
    )  # fmt: skip
    def assign(request: AssignRequest) -> Assignments:
        """Applies the frozen model that the published segments are of; nothing is fitted or kept."""
        # Models bring scikit-learn, which takes seconds to import: a service that only tracks need not wait for it.
        from segmentation_assets.service.assigning import AssignError, NewCustomer, assign_new

        model, names = _model(service, request.axis)
        spec = service.parts.specs[request.axis]
        rows = [NewCustomer(row.customer_id, row.features, _counts(row)) for row in request.customers]
        try:
            found = assign_new(model, spec, rows)
        except AssignError as error:
            raise HTTPException(422, str(error)) from None
        by_id = {row["customer_id"]: row for row in found.iter_rows(named=True)}
        names = {spec.outside_id: spec.outside_name, **names}
        return Assignments(
            axis=request.axis,
            version=model.version,
            assignments=[
                Assignment(**by_id[row.customer_id], name=names[by_id[row.customer_id]["segment_id"]]) for row in rows
            ],
        )

    return routes


def _counts(row: CustomerFeatures) -> dict[str, dict[str, tuple[float, float]]]:
    return {
        dimension: {
            value: (count.lines, count.products) if isinstance(count, Count) else (count, count)
            for value, count in counts.items()
        }
        for dimension, counts in row.shares.items()
    }


def _model(service: Service, axis: Axis) -> tuple[FrozenModel, dict[str, str]]:
    """The frozen model of the published segments (the newest one, where nothing is published), and segments' names."""
    from segmentation_assets.segmentation.model import FrozenModel

    store: StateStore = service.parts.store
    try:
        version = service.parts.published.model_version(axis)
    except UnavailableError:
        version = None
    record = store.latest_model(axis) if version is None else store.model(axis, version)
    if record is None:
        raise HTTPException(
            409, f"The {axis} axis has no model: it is off, a rule takes its place, or nothing was run yet."
        )
    segments = store.segments_of(axis, record.version)
    ids = tuple(segment.segment_id for segment in segments)
    model = FrozenModel.from_dict(dataclasses.asdict(record), ids)
    return model, {segment.segment_id: segment.name for segment in segments}
