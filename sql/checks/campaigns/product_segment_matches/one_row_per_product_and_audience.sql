-- One row per product and audience, with sizes and an interval that make sense.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/product_segment_matches again; the columns named contradict each other.
select product_id, taste_segment_id, stage_segment_ids, audience_customers, reachable_customers, low, expected_buyers, high
from campaigns.product_segment_matches
qualify count(*) over (partition by product_id, taste_segment_id, stage_segment_ids) > 1
    or audience_customers < 0
    or reachable_customers < 0
    or reachable_customers > audience_customers
    or low < 0
    or low > expected_buyers + 0.000001
    or expected_buyers > high + 0.000001
    or score not between 0 and 1
    or (beats_baseline and score <= baseline_score)
