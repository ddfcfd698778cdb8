-- One row per campaign, arm and metric; an effect is the treated's value less the control's and lies in its interval.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Materialise results/campaign_results again; the columns named contradict each other.
select campaign_id, arm, metric, effect, low, high
from results.campaign_results
qualify count(*) over (partition by campaign_id, arm, metric) > 1
    or abs(effect - (treated_value - control_value)) > 0.000001
    or effect < low - 0.000001
    or effect > high + 0.000001
    or (effect is not null and (low is null or high is null or not isfinite(effect)))
order by campaign_id, arm, metric
