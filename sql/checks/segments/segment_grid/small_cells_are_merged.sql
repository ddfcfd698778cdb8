-- No cell under 50 customers stands alone, and each pair of segments has one row.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Rebuild segments/segment_grid; sql/segments/segment_grid.sql merges cells under 50 per taste.
select stage_segment_id, taste_segment_id, sum(customers) as customers, count(*) as copies
from segments.segment_grid
group by stage_segment_id, taste_segment_id
having count(*) > 1
    or (min(customers) < 50 and not bool_and(is_merged))
    or bool_or(is_merged) is distinct from (stage_segment_id = 'other')
order by stage_segment_id, taste_segment_id
