"""Customer segments you can trust and e-mail campaigns you can approve: a Dagster graph over DuckDB."""
