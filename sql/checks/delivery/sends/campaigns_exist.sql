-- Every send belongs to a campaign that a person approved.
-- group: references
-- severity: error
-- blocking: no
-- remedy: look at the state store: something wrote to it around the outbox.
select sends.send_id, sends.campaign_id
from delivery.sends as sends
left join delivery.campaigns as campaigns on campaigns.campaign_id = sends.campaign_id
where campaigns.campaign_id is null
