-- An event stands once, with a known kind and a time.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: look at the state store: something wrote to it around the folding of events.
select event_id, kind, occurred_at
from delivery.events
qualify count(*) over (partition by event_id) > 1
    or occurred_at is null
    or coalesce(kind, '') not in
       ('delivered', 'open', 'click', 'unsubscribe', 'complaint', 'hard_bounce', 'soft_bounce')
