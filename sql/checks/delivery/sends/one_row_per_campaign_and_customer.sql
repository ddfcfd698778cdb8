-- A customer has one send in a campaign, with a known arm and status.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: look at the state store: something wrote to it around the outbox.
select campaign_id, customer_id, send_id, arm, status
from delivery.sends
qualify count(*) over (partition by campaign_id, customer_id) > 1
    or count(*) over (partition by send_id) > 1
    or coalesce(arm, '') not in ('treated', 'control', 'hold_out')
    or coalesce(status, '') not in
       ('pending', 'claimed', 'sent', 'failed', 'uncertain', 'expired', 'skipped', 'ghost')
    or coalesce(tries, -1) < 0
