-- Every segment of both models has one row, and so have S0 and T0 even when they are empty.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Rebuild segments/segment_summary after both models.
with expected as (
    select 'stage' as axis, segment_id from segments.stage_model
    union
    select 'taste' as axis, segment_id from segments.taste_model
    union
    select axis, segment_id from (values ('stage', 'S0'), ('taste', 'T0')) as z(axis, segment_id)
),

found as (
    select axis, segment_id, count(*) as copies
    from segments.segment_summary
    group by axis, segment_id
)

select
    coalesce(e.axis, f.axis) as axis,
    coalesce(e.segment_id, f.segment_id) as segment_id,
    coalesce(f.copies, 0) as copies
from expected as e
full join found as f on f.axis = e.axis and f.segment_id = e.segment_id
where e.axis is null
    or f.copies is distinct from 1
order by 1, 2
