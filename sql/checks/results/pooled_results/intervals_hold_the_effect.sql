-- One row per scope, metric and method, and each effect lies in its interval.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: Materialise results/pooled_results again; the columns named contradict each other.
select scope, metric, method, effect, low, high
from results.pooled_results
qualify count(*) over (partition by scope, metric, method) > 1
    or effect < low - 0.000001
    or effect > high + 0.000001
order by scope, metric, method
