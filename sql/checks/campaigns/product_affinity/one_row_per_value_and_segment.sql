-- One row per dimension, value, axis and segment, and each segment exists.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/segment_purchases and campaigns/product_affinity after segments/customer_segments.
with counted as (
    select dimension, value, axis, segment_id, count(*) as affinity_rows
    from campaigns.product_affinity
    group by dimension, value, axis, segment_id
)
select counted.dimension, counted.value, counted.axis, counted.segment_id, counted.affinity_rows
from counted
left join segments.segment_summary as summary
    on summary.axis = counted.axis and summary.segment_id = counted.segment_id
where counted.affinity_rows > 1 or summary.segment_id is null
