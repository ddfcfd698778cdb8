-- How many can be spoken to in each crossing of taste and stage: customers, reachable customers and known adults among
-- both, none of them known to be a minor; and how many past customers tell the crossing's purchase rate.
-- grain: one row per taste segment and stage segment with a customer in it
-- column customers: customers who are not known to be minors
-- column reachable_customers: those of them with consent and a valid address
-- column adult_customers: customers known to be adults
-- column adult_reachable_customers: reachable customers known to be adults
-- column observed_customers: customers who stood here 90 days ago (campaigns.past_audiences)
with cells as (
    select
        coalesce(members.taste_segment_id, 'T0') as taste_segment_id,
        coalesce(members.stage_segment_id, 'S0') as stage_segment_id,
        count(*) filter (not coalesce(reachability.is_minor, false)) as customers,
        count(*) filter (not coalesce(reachability.is_minor, false) and reachability.is_reachable)
            as reachable_customers,
        count(*) filter (reachability.is_adult) as adult_customers,
        count(*) filter (reachability.is_adult and reachability.is_reachable) as adult_reachable_customers
    from segments.customer_segments as members
    inner join features.reachability as reachability on reachability.customer_id = members.customer_id
    group by 1, 2
),
observed as (
    select past.taste_segment_id, past.stage_segment_id, count(*) as customers
    from campaigns.past_audiences as past
    group by past.taste_segment_id, past.stage_segment_id
)
select
    cells.taste_segment_id,
    cells.stage_segment_id,
    cells.customers,
    cells.reachable_customers,
    cells.adult_customers,
    cells.adult_reachable_customers,
    coalesce(observed.customers, 0) as observed_customers
from cells
left join observed
    on observed.taste_segment_id = cells.taste_segment_id and observed.stage_segment_id = cells.stage_segment_id
order by cells.taste_segment_id, cells.stage_segment_id
