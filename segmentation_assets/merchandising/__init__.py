"""Which product for whom: what may be promoted, who leans to it, which audience, and which few campaigns.

What belongs here: rules and estimates over products, audiences and offers, as pure functions over frames. What does
not: counting order lines (`sql/campaigns/`), writing copy (`messaging`), and proving that a campaign earned anything
(`measurement`).
"""
