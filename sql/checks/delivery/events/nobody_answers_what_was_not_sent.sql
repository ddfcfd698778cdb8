-- Nothing happens to a message that never left: ghosts, skipped and expired messages have no events.
-- group: business
-- severity: error
-- blocking: no
-- remedy: look at who made these events: a token was guessed or the outbox tells less than was sent.
select events.event_id, events.send_id, events.kind, sends.status
from delivery.events as events
inner join delivery.sends as sends on sends.send_id = events.send_id
where sends.status in ('ghost', 'skipped', 'expired', 'pending')
