-- One row per segment of the summary, with as many customers as are there.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Materialise segments/segment_summary and features/engagement on the same data; a customer is missing in one.
select
    coalesce(s.axis, e.axis) as axis,
    coalesce(s.segment_id, e.segment_id) as segment_id,
    count(e.segment_id) as copies,
    any_value(s.customers) as summary_customers,
    any_value(e.customers) as customers
from segments.segment_summary as s
full join results.segment_engagement as e on e.axis = s.axis and e.segment_id = s.segment_id
group by 1, 2
having count(e.segment_id) <> 1
    or count(s.segment_id) = 0
    or any_value(s.customers) <> any_value(e.customers)
order by 1, 2
