-- Every segment named here is one of the two models, or S0 or T0; and it is the one the customer was assigned to.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: Rebuild segments/customer_segments after the assignments of both axes.
select s.customer_id, s.stage_segment_id, s.taste_segment_id
from segments.customer_segments as s
left join segments.stage_assignments as a on a.customer_id = s.customer_id
left join segments.taste_assignments as b on b.customer_id = s.customer_id
where s.stage_segment_id <> coalesce(a.segment_id, 'S0')
    or s.taste_segment_id <> coalesce(b.segment_id, 'T0')
    or (s.stage_segment_id <> 'S0' and s.stage_segment_id not in (select segment_id from segments.stage_model))
    or (s.taste_segment_id <> 'T0' and s.taste_segment_id not in (select segment_id from segments.taste_model))
order by s.customer_id
