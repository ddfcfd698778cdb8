-- Stage segments explain what customers spend next at least as well as the RFM groups, which need no clustering.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: Set segments.stage_by = "rfm" to use the groups of value.customer_rfm in the place of the clusters.
select method, metric, estimate, low, high
from segments.stage_usefulness
where method like '% minus %'
    and metric = 'spend_r2'
    and high < 0
order by method
