-- One row per customer with a send that counts, and counts that fit together.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise the mirrors (delivery/sends and the others), then delivery/contact_history.
select customer_id, messages_in_cap, messages_since_click, last_message_at, present_campaign_id, present_messages
from delivery.contact_history
qualify count(*) over (partition by customer_id) > 1
    or messages_in_cap < 0
    or messages_since_click < 0
    or (messages_since_click > 0 and last_message_at is null)
    or (present_messages > 0) <> (present_campaign_id is not null)
