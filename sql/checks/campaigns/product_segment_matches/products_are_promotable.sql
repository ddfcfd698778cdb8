-- No product is matched that has no stock for its buyers, is below its margin floor, discontinued or sensitive.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/product_segment_matches after campaigns/promotable_products; its reason column says why.
select matches.product_id, matches.taste_segment_id, matches.stage_group, promotable.reason
from campaigns.product_segment_matches as matches
left join campaigns.promotable_products as promotable on promotable.product_id = matches.product_id
where promotable.product_id is null
   or not promotable.is_promotable
   or promotable.is_sensitive
   or promotable.stock_quantity - promotable.safety_stock < 1
   or matches.expected_buyers > promotable.stock_quantity - promotable.safety_stock + 0.000001
   or matches.discount_share > promotable.discount_share + 0.000001
