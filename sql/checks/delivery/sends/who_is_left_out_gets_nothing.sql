-- Control group and hold-out are ghosts alone: none was sent, has a subject arm or waits to be sent. A treated customer
-- is a ghost in a trial only, in which nobody is written to.
-- group: business
-- severity: error
-- blocking: no
-- remedy: stop sending, and judge the campaign by intention to treat: its groups are no longer what was drawn.
select sends.send_id, sends.campaign_id, sends.arm, sends.status, sends.variant
from delivery.sends as sends
left join delivery.campaigns as campaigns on campaigns.campaign_id = sends.campaign_id
where (sends.arm <> 'treated' and (sends.status <> 'ghost' or sends.variant <> ''))
   or (sends.arm = 'treated' and (sends.status = 'ghost') <> coalesce(campaigns.is_aa, false))
