"""What customers are worth and will do: rule groups, repeat purchase and spend models, forecasts out of time.

Pure: frames and arrays in, frames and figures out. Nothing here knows the warehouse, settings or the orchestrator.
For the repeat-purchase models the way is `purchases` (what happened, one row per customer), `gates` (what the data
can support), `bg_nbd` and `gamma_gamma` (the two models), `lifetime` (all of it, judged on held-out time).
"""
