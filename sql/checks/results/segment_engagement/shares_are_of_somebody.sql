-- A part is no larger than its whole, and a share is there exactly where it is of somebody: never a nought for nobody.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Look in sql/results/segment_engagement.sql for a share without nullif, or a count without its condition.
select
    axis,
    segment_id,
    written_to_customers,
    written_to_last_365_days_customers,
    clicked_share,
    fatigued_share,
    unsubscribed_share,
    messages_per_customer
from results.segment_engagement
where written_to_customers > customers
    or written_to_last_365_days_customers > written_to_customers
    or written_to_last_90_days_customers > written_to_last_365_days_customers
    or messages_last_90_days < written_to_last_90_days_customers
    or clicked_last_365_days_customers > written_to_last_365_days_customers
    or fatigued_customers > written_to_last_365_days_customers
    or unsubscribed_customers > written_to_customers
    or (clicked_share is null) <> (written_to_last_365_days_customers = 0)
    or (fatigued_share is null) <> (written_to_last_365_days_customers = 0)
    or (unsubscribed_share is null) <> (written_to_customers = 0)
    or (messages_per_customer is null) <> (written_to_last_90_days_customers = 0)
    or (written_to_share is null and written_to_customers > 0)
order by axis, segment_id
