-- Each metric has one row per segment that has customers, with the figures of segment and whole.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: Rebuild segments/segment_metrics after segments/customer_segments.
with present as (
    select distinct 'stage' as axis, stage_segment_id as segment_id from segments.customer_segments
    union all
    select distinct 'taste' as axis, taste_segment_id as segment_id from segments.customer_segments
)

select m.axis, m.segment_id, m.metric, count(*) as copies
from segments.segment_metrics as m
left join present as p on p.axis = m.axis and p.segment_id = m.segment_id
group by m.axis, m.segment_id, m.metric
having count(*) > 1
    or count(p.segment_id) = 0
    or count(m.mean) = 0
    or count(m.overall_mean) = 0
order by m.axis, m.segment_id, m.metric
