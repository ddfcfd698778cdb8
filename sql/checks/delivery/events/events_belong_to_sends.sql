-- Every event belongs to a send of the same campaign and customer.
-- group: references
-- severity: error
-- blocking: no
-- remedy: look at the state store: a restored backup lacks sends, or something wrote to it around the folding.
select events.event_id, events.send_id, events.campaign_id, events.customer_id
from delivery.events as events
left join delivery.sends as sends
    on sends.send_id = events.send_id
    and sends.campaign_id = events.campaign_id
    and sends.customer_id = events.customer_id
where sends.send_id is null
