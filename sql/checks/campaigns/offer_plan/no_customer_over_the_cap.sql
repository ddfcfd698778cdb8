-- No customer is offered more products than the plan's one limit: no rank of a taste, stage group and age lies in more
-- intervals than offers_limit, which is the same in each row.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/offer_plan again; campaigns.offers_per_customer sets the limit.
-- The number of intervals changes only where one begins or ends; those that end at a rank do not cover it.
with edges as (
    select taste_segment_id, stage_group, is_adult, from_rank as activity_rank, 1 as step from campaigns.offer_plan
    union all
    select taste_segment_id, stage_group, is_adult, to_rank, -1 from campaigns.offer_plan
),

covered as (
    select
        taste_segment_id, stage_group, is_adult, activity_rank,
        sum(sum(step)) over (
            partition by taste_segment_id, stage_group, is_adult order by activity_rank
            rows between unbounded preceding and current row
        ) as offers
    from edges
    group by taste_segment_id, stage_group, is_adult, activity_rank
),

setting as (
    select case when count(offers_limit) = count(*) and min(offers_limit) = max(offers_limit) then min(offers_limit) end
        as offers_limit
    from campaigns.offer_plan
)

select
    covered.taste_segment_id, covered.stage_group, covered.is_adult, covered.activity_rank, covered.offers,
    setting.offers_limit
from covered
cross join setting
where covered.offers > coalesce(setting.offers_limit, 0)
