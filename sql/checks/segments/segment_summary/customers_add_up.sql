-- Each segment has as many customers as customer_segments puts in it, so that each axis adds up to everyone.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Compare the named segment in segments.customer_segments and segments.segment_summary.
with members as (
    select 'stage' as axis, stage_segment_id as segment_id, count(*) as customers
    from segments.customer_segments
    group by stage_segment_id
    union all
    select 'taste' as axis, taste_segment_id as segment_id, count(*) as customers
    from segments.customer_segments
    group by taste_segment_id
),

found as (
    select axis, segment_id, sum(customers) as customers
    from segments.segment_summary
    group by axis, segment_id
)

select
    coalesce(m.axis, f.axis) as axis,
    coalesce(m.segment_id, f.segment_id) as segment_id,
    coalesce(m.customers, 0) as members,
    coalesce(f.customers, 0) as customers
from members as m
full join found as f on f.axis = m.axis and f.segment_id = m.segment_id
where coalesce(m.customers, 0) <> coalesce(f.customers, 0)
order by 1, 2
