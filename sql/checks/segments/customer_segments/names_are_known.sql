-- Every segment has one name, no two segments share one, and every customer has a label to show.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Give the named segment a name of its own in segments.stage_model or segments.taste_model.
with names as (
    select distinct stage_segment_id as segment_id, stage_name as name from segments.customer_segments
    union all
    select distinct taste_segment_id as segment_id, taste_name as name from segments.customer_segments
)

select segment_id, name
from names
where coalesce(name, '') = ''
    or name in (select name from names group by name having count(*) > 1)
    or segment_id in (select segment_id from names group by segment_id having count(*) > 1)
union all
select distinct stage_segment_id as segment_id, label as name
from segments.customer_segments
where coalesce(label, '') = ''
order by 1, 2
