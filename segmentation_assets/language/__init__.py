"""Text about segments whose every figure is the warehouse's own: facts, rendering, grounding, writers.

What belongs here: typed facts, templates that name them, the scan that proves a text says nothing else, and the
embedded writer that needs no model and no network. What does not: campaigns, products and e-mail layout (they hand
this room their facts and texts), and anything that opens a database.
"""
