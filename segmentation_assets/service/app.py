"""The application: routes put together, and every error said in a sentence.

What belongs here: `make_app`, and how errors are answered. What does not: opening stores and starting a server
(`server`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from segmentation_assets.service.api import api_routes
from segmentation_assets.service.guard import Guard
from segmentation_assets.service.hooks import webhook_routes
from segmentation_assets.service.pages import api_page
from segmentation_assets.service.parts import Parts, Service, logger
from segmentation_assets.service.published import UnavailableError
from segmentation_assets.service.tracking import NOT_FOUND, tracking_routes

_JSON_PATHS = ("/api/", "/webhooks/")
_ABOUT = (
    "Segments, profiles, matches, drafts and results of the published copy, and new customers assigned by the frozen "
    "model. Read only; no personal data."
)
_STORE = "The state store cannot be read just now. Try again in a minute."


def make_app(parts: Parts, on_close: Callable[[], None] | None = None) -> FastAPI:
    """The service over opened parts; `on_close` is called when the server has answered its last request."""
    service = Service(parts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if on_close is not None:
            on_close()

    app = FastAPI(
        title="Customer segments and campaigns",
        description=_ABOUT,
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/v1/openapi.json",
        lifespan=lifespan,
    )
    app.state.service = service
    app.state.close = on_close or (lambda: None)
    app.include_router(tracking_routes(service))
    app.include_router(webhook_routes(service))
    app.include_router(api_routes(service))
    app.add_middleware(Guard)

    @app.get("/api/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(api_page(app.openapi()))

    @app.get("/healthz", include_in_schema=False)
    async def health() -> PlainTextResponse:
        if service.lost:
            return PlainTextResponse("Some opens or clicks could not be kept; see the log.\n", 503)
        return PlainTextResponse("The service answers.\n")

    @app.exception_handler(HTTPException)
    async def told(request: Request, error: HTTPException) -> Response:
        words = NOT_FOUND if error.detail == "Not Found" else str(error.detail)
        if error.detail == "Method Not Allowed":
            words = "This address does not answer to such a request."
        return _answer(request, error.status_code, words, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # What was sent is not repeated: it may be anything.
        problems = [
            f"{'.'.join(str(part) for part in problem['loc'] if part != 'body')[:120] or 'The body'}: "
            f"{str(problem['msg'])[:200]}"
            for problem in error.errors()[:5]
        ]
        return _answer(request, 422, "; ".join(problems) + ".", {})

    @app.exception_handler(UnavailableError)
    async def unavailable(request: Request, error: UnavailableError) -> Response:
        return _answer(request, 503, str(error), {"retry-after": "30"})

    @app.exception_handler(SQLAlchemyError)
    async def unreadable(request: Request, error: SQLAlchemyError) -> Response:
        logger.error("The state store could not be read (%s).", type(error).__name__)
        return _answer(request, 503, _STORE, {"retry-after": "30"})

    return app


def _answer(request: Request, status: int, words: str, headers: dict[str, str]) -> Response:
    if request.url.path.startswith(_JSON_PATHS):
        return JSONResponse({"detail": words}, status, headers)
    return PlainTextResponse(f"{words}\n", status, headers)
