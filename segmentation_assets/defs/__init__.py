"""What Dagster shows, one module per stage: read, call, write, report. No decision is taken here."""
