-- One row per campaign, with a window that ends after it begins.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look for a second row of the campaign in delivery.campaigns or clean.campaigns, and at its dates.
select campaign_id, started_at, window_ends_at
from results.measured_campaigns
qualify count(*) over (partition by campaign_id) > 1
    or started_at is null
    or window_ends_at is null
    or window_ends_at <= started_at
order by campaign_id
