-- One row per method, scope and metric, and each figure lies in its interval.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/match_backtest again; the columns named contradict each other.
select method, scope, metric, estimate, low, high
from campaigns.match_backtest
qualify count(*) over (partition by method, scope, metric) > 1
    or estimate is null
    or low is null
    or high is null
    or not isfinite(estimate)
    or low > estimate + 0.000001
    or high < estimate - 0.000001
    or (low < 0 and not contains(method, ' minus '))
