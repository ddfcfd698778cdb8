-- All briefs together offer nobody more products than the offer plan's limit. A customer is of one taste and one stage,
-- so every brief of that taste whose stages include it counts.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/offer_plan, then campaigns/briefs; campaigns.offers_per_customer sets the limit.
with offered as (
    select
        taste_segment_id, unnest(string_split(stage_segment_ids, ',')) as stage_segment_id,
        len(string_split(product_ids, ',')) as products
    from campaigns.briefs
),

setting as (
    select coalesce(min(offers_limit), 0) as offers_limit from campaigns.offer_plan having count(*) > 0
)

select
    offered.taste_segment_id, offered.stage_segment_id, sum(offered.products) as products,
    any_value(setting.offers_limit) as offers_limit
from offered
cross join setting
group by offered.taste_segment_id, offered.stage_segment_id
having sum(offered.products) > any_value(setting.offers_limit)
