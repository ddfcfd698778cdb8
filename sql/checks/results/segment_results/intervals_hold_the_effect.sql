-- One row per campaign, dimension, level and metric; effects lie in their intervals, and adjusting makes no p-value
-- smaller.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: Materialise results/segment_results again; the columns named contradict each other.
select campaign_id, dimension, level, metric, effect, low, high
from results.segment_results
qualify count(*) over (partition by campaign_id, dimension, level, metric) > 1
    or effect < low - 0.000001
    or effect > high + 0.000001
    or shrunk_effect < shrunk_low - 0.000001
    or shrunk_effect > shrunk_high + 0.000001
    or p_holm < p_value - 0.000001
order by campaign_id, dimension, level, metric
