-- Each event of delivery.events is labelled, once, and nothing else is: raw events stay.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Materialise delivery/labelled_events again; if it stays, a join in sql/delivery/labelled_events.sql repeats or drops rows.
select coalesce(e.event_id, l.event_id) as event_id, count(l.event_id) as labels
from delivery.events as e
full join delivery.labelled_events as l on l.event_id = e.event_id
group by 1
having count(l.event_id) <> 1
    or count(e.event_id) = 0
order by 1
