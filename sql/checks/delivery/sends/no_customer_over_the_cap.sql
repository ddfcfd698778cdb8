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
),

-- A window rather than a join of a customer's sends with each other, which grows with their square.
in_days as (
    select
        counted.customer_id, counted.send_id, counted.sent_on, rules.cap_messages,
        count(*) over (
            partition by counted.customer_id order by counted.sent_on
            range between to_days(cast(rules.cap_days - 1 as integer)) preceding and current row
        ) as messages
    from counted
    cross join delivery.send_rules as rules
)

select customer_id, sent_on, messages, cap_messages
from in_days
where messages > cap_messages
