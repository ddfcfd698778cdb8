-- No message may leave in the quiet hours of its recipient, by the clock of the recipient's time zone.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise delivery/plan again; nothing may be sent by this plan.
with clocks as (
    select
        plan.customer_id, plan.timezone, plan.not_before, rules.quiet_from_hour, rules.quiet_to_hour,
        extract(hour from (plan.not_before at time zone 'UTC') at time zone plan.timezone) as local_hour
    from delivery.plan as plan
    cross join delivery.send_rules as rules
    where plan.decision <> 'excluded' and plan.timezone in (select name from pg_timezone_names())
)
select customer_id, timezone, not_before, local_hour
from clocks
where case
    when quiet_from_hour = quiet_to_hour then false
    when quiet_from_hour < quiet_to_hour then local_hour >= quiet_from_hour and local_hour < quiet_to_hour
    else local_hour >= quiet_from_hour or local_hour < quiet_to_hour
end
