-- Nobody had more messages, ghosts included, within the cap's days than the cap allows (by the settings as they are
-- now).
-- group: business
-- severity: warning
-- blocking: no
-- remedy: look at which campaigns overlapped; delivery.cap_messages and delivery.cap_days set the cap.
with counted as (
    select customer_id, send_id, cast(finished_at as date) as sent_on
    from delivery.sends
    where status in ('sent', 'uncertain', 'ghost') and finished_at is not null
)
select counted.customer_id, counted.sent_on, count(*) as messages, any_value(rules.cap_messages) as cap_messages
from counted
cross join delivery.send_rules as rules
inner join counted as others
    on others.customer_id = counted.customer_id
    and others.sent_on <= counted.sent_on
    and others.sent_on > counted.sent_on - cast(rules.cap_days as integer)
group by counted.customer_id, counted.send_id, counted.sent_on
having count(*) > any_value(rules.cap_messages)
