-- No offer is of a product that may not be promoted, is sensitive, misses its margin floor at the discount of the match,
-- or is age-restricted and offered to somebody not known to be an adult.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/offer_plan after campaigns/promotable_products; a product's reason column says why.
select plan.product_id, plan.taste_segment_id, plan.stage_group, plan.is_adult, matches.discount_share, promotable.reason
from campaigns.offer_plan as plan
left join campaigns.promotable_products as promotable on promotable.product_id = plan.product_id
left join campaigns.product_segment_matches as matches
    on matches.product_id = plan.product_id
    and matches.taste_segment_id = plan.taste_segment_id
    and matches.stage_group = plan.stage_group
where promotable.product_id is null
   or not promotable.is_promotable
   or promotable.is_sensitive
   or (promotable.is_age_restricted and not plan.is_adult)
   or promotable.list_price * (1 - matches.discount_share) - promotable.unit_cost
      < promotable.margin_floor_share * promotable.list_price * (1 - matches.discount_share) - 0.0001
