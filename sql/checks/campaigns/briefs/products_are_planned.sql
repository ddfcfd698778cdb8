-- Every product of a brief is in the offer plan for its audience, and stands in no other brief for the same customers.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/offer_plan, then campaigns/briefs.
with named as (
    select
        brief_id, taste_segment_id, stage_segment_ids, unnest(string_split(product_ids, ',')) as product_id
    from campaigns.briefs
)
select brief_id, product_id, taste_segment_id, stage_segment_ids
from named
qualify count(*) over (partition by taste_segment_id, stage_segment_ids, product_id) > 1
    or not exists (
        select 1
        from campaigns.offer_plan as plan
        where plan.product_id = named.product_id
          and plan.taste_segment_id = named.taste_segment_id
          and plan.stage_segment_ids = named.stage_segment_ids
    )
