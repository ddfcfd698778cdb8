-- Each component has one weight between 0 and 1, and the weights of the blend sum to 1.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/next_best_weights again; if it stays, its function breaks its own rules: report it.
select component, weight
from campaigns.next_best_weights
qualify count(*) over (partition by component) > 1
    or coalesce(trim(component), '') = ''
    or weight is null
    or not isfinite(weight)
    or weight not between 0 and 1
    or abs(sum(weight) over () - 1) > 0.000001
