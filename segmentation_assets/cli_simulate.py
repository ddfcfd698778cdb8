"""`segmentation simulate`: the simulated audience of the synthetic world.

What belongs here: asking, calling and printing. What does not: the audience (`delivery.simulation`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from segmentation_assets.cli_shared import HomeOption, at_home, out, say_next, sentences
from segmentation_assets.settings import SettingsError, find_home, load_settings


def simulate(
    days: Annotated[
        int | None,
        typer.Option(min=1, max=365, help="Days that pass after the messages; when not given, the window and a day."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of who does what; the world's own, when not given.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Play the audience of the messages the catcher caught, then let days pass: the synthetic world only.

    The service must be running (`segmentation serve`). With SEGMENTATION_MAILGUN_KEY set to the same text here and
    there, bounces and complaints are reported as well.
    """
    from segmentation_assets.delivery.clock import system_clock
    from segmentation_assets.delivery.events import FoldError
    from segmentation_assets.delivery.simulation import simulate as play
    from segmentation_assets.delivery.webhooks import SECRET_NAMES
    from segmentation_assets.sources.choice import simulated_world
    from segmentation_assets.state.store import open_state

    with sentences():
        place = find_home(home)
        settings = load_settings(place)
        if not place.state.exists():
            raise SettingsError(f"Nothing was sent from {place.path} yet. `segmentation run{at_home(place)}` begins.")
        # The window begins with the sending, in the middle of a day: it is over a day later than its length.
        passing = settings.measurement.window_days + 1 if days is None else days
        world = simulated_world(settings, place)
        with open_state(place.state) as store, out.status("reading the inbox") as status:
            try:
                done = play(
                    place, settings, store, world, days=passing, seed=settings.seed if seed is None else seed,
                    machine=system_clock, tell=status.update,
                )  # fmt: skip
            except FoldError as error:
                raise SettingsError(str(error)) from None
    out.print(f"{done.messages:,} messages were answered with {done.requests:,} requests:")
    for what, count in sorted(done.did.items()):
        out.print(f"  {count:>7,} {what}")
    if done.unknown:
        out.print(f"! {done.unknown:,} caught messages are not of this HOME and were left alone.", style="yellow")
    if done.refused:
        out.print(f"! The service refused {done.refused:,} requests.", style="yellow")
    if done.unreported:
        out.print(
            f"! {done.unreported:,} bounces and complaints were not reported: set {SECRET_NAMES['mailgun']} to the "
            "same text for `segmentation serve` and for this command.",
            style="yellow", soft_wrap=True,
        )  # fmt: skip
    out.print(done.folded.sentence, soft_wrap=True)
    out.print(
        f"{done.orders:,} orders came in until {done.as_of}, {done.caused_orders:,} of them because of a message.",
        soft_wrap=True,
    )
    say_next(place, "run", "Measure it with")
