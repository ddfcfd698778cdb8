"""`segmentation serve`: the HTTP service of a HOME.

What belongs here: the command. What does not: anything that answers a request (`service`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from segmentation_assets.cli_shared import HomeOption, out, sentences
from segmentation_assets.settings import find_home, load_settings

serve_app = typer.Typer()


@serve_app.command("serve")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 127.0.0.1 is this machine alone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1,
    trusted_proxy: Annotated[
        list[str] | None, typer.Option(help="Address or network of a proxy whose X-Forwarded-For is believed.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Answer open pixels, links, unsubscribes, reports of mail providers, and the data API, until Ctrl-C.

    Secrets are read from the environment: SEGMENTATION_API_KEYS, SEGMENTATION_SENDGRID_KEY,
    SEGMENTATION_POSTMARK_SECRET, SEGMENTATION_SES_TOPIC, SEGMENTATION_MAILGUN_KEY. What is heard goes into HOME/spool.
    """
    from segmentation_assets.delivery.spool import SpoolError
    from segmentation_assets.service.hooks import SUBSCRIPTION
    from segmentation_assets.service.server import app_check, bind
    from segmentation_assets.service.server import serve as answer
    from segmentation_assets.state.store import NewerStateError, open_state
    from segmentation_assets.state.values import get_value

    with sentences():
        place = find_home(home).ensure()
        load_settings(place)
        proxies = tuple(trusted_proxy or ())
        try:
            told = app_check(place.path, proxies)
        except (SpoolError, NewerStateError) as error:
            raise ValueError(str(error)) from None
        listener = bind(host, port)
        with open_state(place.state) as store:
            asked = get_value(store, SUBSCRIPTION)
    at, number = listener.getsockname()[:2]
    shown = f"[{at}]" if ":" in at else at
    out.print(f"The service answers on http://{shown}:{number}/ (Ctrl-C ends it).", markup=False, soft_wrap=True)
    out.print(told, markup=False, soft_wrap=True)
    if asked:
        words = f"SNS asked at {asked['asked_at']} to be confirmed; open this address, if not done: {asked['url']}"
        out.print(words, markup=False, soft_wrap=True)
    answer(place.path, listener, workers=workers, trusted_proxies=proxies)
    out.print("The service has ended; everything it answered is kept.", markup=False)
