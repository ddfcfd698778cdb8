-- A prospect has one likely segment of the axis, with a probability.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look at lifetime/prospects.py for the named customer.
with known as (
    select 'stage' as axis, segment_id from segments.stage_model
    union all
    select 'taste' as axis, segment_id from segments.taste_model
)

select p.axis, p.customer_id, count(*) as copies, min(p.segment_id) as segment_id, min(p.probability) as probability
from segments.prospects as p
left join known as k on k.axis = p.axis and k.segment_id = p.segment_id
group by p.axis, p.customer_id
having count(*) > 1
    or count(k.segment_id) = 0
    or coalesce(not min(p.probability) between 0 and 1, true)
order by p.axis, p.customer_id
