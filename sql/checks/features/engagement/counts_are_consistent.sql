-- Shorter windows hold no more than longer ones, days count back, and who was never written to tired of nothing.
-- group: business
-- severity: error
-- blocking: no
-- remedy: Look for events or contacts dated after the as-of date in delivery.sends, delivery.events and clean.campaign_contacts.
select
    customer_id,
    messages_last_90_days,
    clicks_last_90_days,
    clicks_last_365_days,
    days_since_message,
    days_since_click,
    messages_since_click,
    is_fatigued
from features.engagement
where clicks_last_90_days > clicks_last_365_days
    or days_since_message < 0
    or days_since_click < 0
    or (clicks_last_365_days > 0 and days_since_click is null)
    or (messages_last_90_days > 0 and days_since_message is null)
    or (days_since_message is null and messages_since_click > 0)
    or (is_fatigued and messages_since_click = 0)
order by customer_id
