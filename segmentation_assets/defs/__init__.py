"""What Dagster shows, one module per stage: read, call, write, report. No decision is taken here.

`axes`, `history` and `hidden_text` hold what stages share and no asset.
"""
