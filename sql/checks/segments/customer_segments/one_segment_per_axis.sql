-- Every customer is in exactly one segment of each axis.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Rebuild both assignments, then segments/customer_segments.
with found as (
    select
        customer_id,
        count(*) as copies,
        count(stage_segment_id) as stages,
        count(taste_segment_id) as tastes
    from segments.customer_segments
    group by customer_id
)

select
    coalesce(c.customer_id, f.customer_id) as customer_id,
    coalesce(f.copies, 0) as copies,
    coalesce(f.stages, 0) as stages,
    coalesce(f.tastes, 0) as tastes
from features.customer_features as c
full join found as f on f.customer_id = c.customer_id
where c.customer_id is null
    or f.copies is distinct from 1
    or f.stages is distinct from 1
    or f.tastes is distinct from 1
order by 1
