-- The counts of an axis add up to those of all customers: nobody who was written to is lost or counted twice.
-- group: references
-- severity: error
-- blocking: no
-- remedy: Materialise features/engagement, then results/segment_engagement; look for customers without a segment.
with whole as (
    select
        count(*) filter (where days_since_message is not null) as written_to,
        cast(coalesce(sum(messages_last_90_days), 0) as bigint) as messages,
        count(*) filter (where days_since_message < 365 and clicks_last_365_days > 0) as clicked,
        count(*) filter (where days_since_message < 365 and is_fatigued) as fatigued,
        count(*) filter (where days_since_message is not null and is_unsubscribed) as unsubscribed
    from features.engagement
)

select
    e.axis,
    sum(e.written_to_customers) as written_to_customers,
    sum(e.messages_last_90_days) as messages_last_90_days,
    sum(e.clicked_last_365_days_customers) as clicked_last_365_days_customers,
    sum(e.fatigued_customers) as fatigued_customers,
    sum(e.unsubscribed_customers) as unsubscribed_customers
from results.segment_engagement as e
cross join whole as w
group by e.axis, w.written_to, w.messages, w.clicked, w.fatigued, w.unsubscribed
having sum(e.written_to_customers) <> w.written_to
    or sum(e.messages_last_90_days) <> w.messages
    or sum(e.clicked_last_365_days_customers) <> w.clicked
    or sum(e.fatigued_customers) <> w.fatigued
    or sum(e.unsubscribed_customers) <> w.unsubscribed
order by e.axis
