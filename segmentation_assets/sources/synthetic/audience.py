"""How the simulated audience answers a campaign's messages: who reads, clicks, leaves, bounces, and buys because of it.

What belongs here: drawing reactions from what is planted in people. What does not: anything that reads messages or
makes requests (`delivery.simulation`), and the orders themselves (`later_days`).

The chance that a message moves somebody to one extra order is the persona's `campaign_effect` times a strength of the
campaign, as in the world's past campaigns; the other rates are those of past responses as well (`aftermath`). What
a customer does depends on the seed, the campaign and the customer alone, never on who else was written to.
"""

from __future__ import annotations

import zlib

import numpy as np
import polars as pl

from segmentation_assets.sources.synthetic.customers import Block
from segmentation_assets.sources.synthetic.personas import PERSONA_NAMES, PERSONAS
from segmentation_assets.sources.synthetic.settings import BLOCK, Floats, Topic
from segmentation_assets.sources.synthetic.vocabulary import draw, pick

#: Through what people read, and how often. A proxy fetches pictures on their behalf.
READERS = ("google_image_proxy", "yahoo_proxy", "apple_mail_proxy", "mail_client", "browser")
_READER_SHARES = (0.40, 0.06, 0.30, 0.10, 0.14)
#: What stands before a mailbox: nothing, a scanner that follows every link at once, one that follows a single link, or
#: one that asks with HEAD before it follows them all.
MACHINES = ("", "link_scanner", "single_scanner", "head_scanner")
_MACHINE_SHARES = (0.86, 0.08, 0.04, 0.02)
_HARD_BOUNCES = 0.008
_SOFT_BOUNCES = 0.004
_CLICKS = 0.05  # of those the message did not move
_READS = 0.24  # of those who do not click
_LEAVES = 0.004
_COMPLAINS = 0.0005
_HIDES_PICTURES = 0.3  # of readers without a proxy
_PREFETCHES = 0.85  # of readers behind Apple's proxy
_STRENGTH_SPREAD = 0.2

#: One row per customer of a campaign. `planted_effect` is the chance of one extra order when the message arrives;
#: `place` and `haste` are shares in [0, 1): of the time until reading, and of the time until clicking.
REACTIONS: dict[str, pl.DataType] = {
    "customer_id": pl.String(),
    "persona": pl.String(),
    "planted_effect": pl.Float64(),
    "bounce": pl.String(),
    "is_moved": pl.Boolean(),
    "is_reading": pl.Boolean(),
    "is_clicking": pl.Boolean(),
    "is_clicking_twice": pl.Boolean(),
    "reader": pl.String(),
    "hides_pictures": pl.Boolean(),
    "is_prefetched": pl.Boolean(),
    "machine": pl.String(),
    "leaves_by": pl.String(),
    "is_complaining": pl.Boolean(),
    "place": pl.Float64(),
    "haste": pl.Float64(),
}


def planted_effects(campaign_id: str, seed: int) -> Floats:
    """The chance of one extra order per persona when a message of this campaign arrives; shape (personas,)."""
    rng = _stream(campaign_id, seed)
    strength = np.exp(rng.normal(0, _STRENGTH_SPREAD))
    effects: Floats = (strength * np.array([persona.campaign_effect for persona in PERSONAS])).clip(0, 0.5)
    return effects


def draw_reactions(block: Block, campaign_id: str, seed: int) -> pl.DataFrame:
    """What each customer of a block does with a message of the campaign, should it reach them: REACTIONS, in order.

    `bounce` is hard, soft or empty; a message that bounces is neither read nor does it move anybody. Machines
    before the mailbox see every message that arrives. `leaves_by` is one_click, page or empty.
    """
    rng = _stream(campaign_id, seed, block.number)
    persona = block.traits.persona
    effect = planted_effects(campaign_id, seed)[persona]
    luck = rng.random(BLOCK)
    is_hard = luck < _HARD_BOUNCES
    has_bounced = luck < _HARD_BOUNCES + _SOFT_BOUNCES
    arrives = ~has_bounced
    is_moved = arrives & (rng.random(BLOCK) < effect)
    is_clicking = is_moved | (arrives & (rng.random(BLOCK) < _CLICKS))
    is_reading = is_clicking | (arrives & (rng.random(BLOCK) < _READS))
    reader = draw(rng, _READER_SHARES, BLOCK)
    has_proxy = reader <= READERS.index("apple_mail_proxy")
    leaves = arrives & (rng.random(BLOCK) < _LEAVES)
    return pl.DataFrame(
        {
            "customer_id": block.ids,
            "persona": pick(PERSONA_NAMES, persona),
            "planted_effect": effect,
            "bounce": pick(("", "soft", "hard"), np.where(is_hard, 2, np.where(has_bounced, 1, 0))),
            "is_moved": is_moved,
            "is_reading": is_reading,
            "is_clicking": is_clicking,
            "is_clicking_twice": is_clicking & (rng.random(BLOCK) < 0.2),
            "reader": pick(READERS, reader),
            "hides_pictures": ~has_proxy & (rng.random(BLOCK) < _HIDES_PICTURES),
            "is_prefetched": arrives
            & (reader == READERS.index("apple_mail_proxy"))
            & (rng.random(BLOCK) < _PREFETCHES),
            "machine": pick(MACHINES, np.where(arrives, draw(rng, _MACHINE_SHARES, BLOCK), 0)),
            "leaves_by": pick(("", "one_click", "page"), np.where(leaves, rng.integers(1, 3, BLOCK), 0)),
            "is_complaining": arrives & (rng.random(BLOCK) < _COMPLAINS),
            "place": rng.random(BLOCK),
            "haste": rng.random(BLOCK),
        },
        schema=REACTIONS,
    )


def _stream(campaign_id: str, seed: int, *place: int) -> np.random.Generator:
    key = (int(Topic.AUDIENCE), zlib.crc32(campaign_id.encode()), *place)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
