-- One row per product and audience, with sizes, rates and an interval that are known and make sense, and no win without
-- a lead.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/product_segment_matches again; the columns named contradict each other.
select product_id, taste_segment_id, stage_group, audience_customers, reachable_customers, matched_customers, low,
    expected_buyers, high
from campaigns.product_segment_matches
qualify count(*) over (partition by product_id, taste_segment_id, stage_group) > 1
    or product_id is null
    or taste_segment_id is null
    or stage_group is null
    or stage_segment_ids is null
    or audience_customers is null
    or reachable_customers is null
    or matched_customers is null
    or activity_floor is null
    or discount_share is null
    or low is null
    or expected_buyers is null
    or high is null
    or score is null
    or matched_score is null
    or baseline_score is null
    or past_rate_score is null
    or random_score is null
    or expected_margin_amount is null
    or beats_baseline is null
    or scored_by is null
    or audience_customers < 1
    or reachable_customers < 0
    or reachable_customers > audience_customers
    or audience_customers > matched_customers
    or low < 0
    or low > expected_buyers + 0.000001
    or expected_buyers > high + 0.000001
    or expected_buyers > reachable_customers + 0.000001
    or score not between 0 and 1
    or matched_score not between 0 and 1
    or expected_margin_amount <= 0
    or (beats_baseline and matched_score <= greatest(baseline_score, past_rate_score, random_score))
    or (beats_baseline and scored_by <> 'taste and activity')
    or trim(coalesce(reason, '')) = ''
