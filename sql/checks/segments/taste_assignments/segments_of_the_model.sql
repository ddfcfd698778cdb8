-- Everyone is in a segment of the model that was applied, or in T0, which is outside the clustering.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: Assign again with the model that is in segments.taste_model; the assignments are of another version.
select a.customer_id, a.segment_id, a.version
from segments.taste_assignments as a
left join segments.taste_model as m on m.segment_id = a.segment_id and m.version is not distinct from a.version
where m.segment_id is null
    and a.segment_id is distinct from 'T0'
order by a.customer_id
