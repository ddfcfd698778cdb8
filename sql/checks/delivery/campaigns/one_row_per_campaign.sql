-- A campaign stands once, with a status, a metric and window fixed before sending, and an end after its beginning.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: look at the state store: something wrote to it around approving.
select campaign_id, status, primary_metric, window_days, control_share, starts_at, not_after
from delivery.campaigns
qualify count(*) over (partition by campaign_id) > 1
    or coalesce(status, '') not in ('approved', 'rejected', 'voided', 'sending', 'sent', 'cancelled')
    or coalesce(primary_metric, '') = ''
    or coalesce(window_days, 0) < 1
    or not coalesce(control_share >= 0 and control_share < 1, false)
    or not coalesce(starts_at < not_after, false)
