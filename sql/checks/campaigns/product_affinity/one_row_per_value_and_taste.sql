-- One row per dimension, value and taste segment, and each taste segment exists.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/product_affinity after segments/customer_segments.
with counted as (
    select dimension, value, taste_segment_id, count(*) as affinity_rows
    from campaigns.product_affinity
    group by dimension, value, taste_segment_id
)
select counted.dimension, counted.value, counted.taste_segment_id, counted.affinity_rows
from counted
left join segments.segment_summary as summary
    on summary.axis = 'taste' and summary.segment_id = counted.taste_segment_id
where counted.affinity_rows > 1 or summary.segment_id is null
