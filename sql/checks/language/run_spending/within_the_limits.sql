-- A run makes no more calls, and spends no more tokens and money, than its settings allow.
-- group: business
-- severity: error
-- blocking: no
-- remedy: look at language.model_calls for what the run asked; the limits are calls_per_run, tokens_per_run and cost_per_run of [language].
select run_id, calls, calls_limit, tokens, tokens_limit, cost_amount, cost_limit_amount
from language.run_spending
where calls > calls_limit or tokens > tokens_limit or cost_amount > cost_limit_amount
