"""Dagster helpers: the warehouse resource, the run lock, table steps with their checks, metadata and plots.

What belongs here knows Dagster and knows no table in particular. Tables are declared in `defs/`; decisions are made
in the rooms.
"""
