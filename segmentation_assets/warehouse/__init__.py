"""Plain DuckDB: connecting, SQL models, writing a table, publishing the copy.

What belongs here works on any DuckDB file and knows no asset, no customer and no Dagster.
"""
