-- One row per dimension, value, axis and segment, and each segment exists.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/segment_purchases after segments/customer_segments.
with counted as (
    select dimension, value, axis, segment_id, count(*) as purchase_rows
    from campaigns.segment_purchases
    group by dimension, value, axis, segment_id
)
select counted.dimension, counted.value, counted.axis, counted.segment_id, counted.purchase_rows
from counted
left join segments.segment_summary as summary
    on summary.axis = counted.axis and summary.segment_id = counted.segment_id
where counted.purchase_rows > 1 or summary.segment_id is null
