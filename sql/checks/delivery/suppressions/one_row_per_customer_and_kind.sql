-- A suppression stands once per customer and kind, with a known kind and a time.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: look at the state store: something wrote to it around suppressing.
select customer_id, kind, created_at
from delivery.suppressions
qualify count(*) over (partition by customer_id, kind) > 1
    or coalesce(customer_id, '') = ''
    or created_at is null
    or coalesce(kind, '') not in ('unsubscribe', 'complaint', 'hard_bounce', 'forgotten', 'manual')
