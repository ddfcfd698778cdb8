-- One row per brief with one to six products, sizes and margins that are known and make sense, and an offer that ends
-- after it begins.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/briefs again; the columns named contradict each other.
select brief_id, product_ids, starts_on, valid_until, audience_customers, reachable_customers
from campaigns.briefs
qualify count(*) over (partition by brief_id) > 1
    or brief_id is null
    or taste_segment_id is null
    or stage_segment_ids is null
    or product_ids is null
    or starts_on is null
    or valid_until is null
    or audience_customers is null
    or reachable_customers is null
    or discount_share is null
    or expected_margin_amount is null
    or low_margin_amount is null
    or high_margin_amount is null
    or len(string_split(product_ids, ',')) not between 1 and 6
    or product_ids = ''
    or audience_customers < 0
    or reachable_customers < 0
    or reachable_customers > audience_customers
    or valid_until <= cast($as_of as date)
    or valid_until < starts_on
    or discount_share < 0
    or discount_share >= 1
    or low_margin_amount > expected_margin_amount
    or high_margin_amount < expected_margin_amount
