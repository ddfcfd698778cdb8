-- Everyone is in a segment of the model that was applied, or in S0, which is outside the clustering.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: Assign again with the model that is in segments.stage_model; the assignments are of another version.
select a.customer_id, a.segment_id, a.version
from segments.stage_assignments as a
left join segments.stage_model as m on m.segment_id = a.segment_id and m.version is not distinct from a.version
where m.segment_id is null
    and a.segment_id is distinct from 'S0'
order by a.customer_id
