"""The marketer's pages: what a person reads to decide.

What belongs here: page models and their rendering. What does not: computing the figures they show.
"""
