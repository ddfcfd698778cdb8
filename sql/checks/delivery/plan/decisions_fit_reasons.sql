-- A decision is one of four and fits its reason, its campaign, its subject arm and its times; who is excluded has a
-- reason to be.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise delivery/plan again; the columns named contradict each other.
select customer_id, campaign_id, decision, reason, variant, not_before, not_after
from delivery.plan
where decision is null
   or decision not in ('send', 'control', 'hold_out', 'excluded')
   or reason is null
   or reason = ''
   or (decision <> 'excluded') <> (reason = decision)
   or (campaign_id is null and reason not in ('no_campaign', 'opted_out'))
   or (campaign_id is not null and reason = 'no_campaign')
   or (decision = 'send') <> (coalesce(variant, '') in ('A', 'B'))
   or (decision <> 'send' and variant <> '')
   or (decision <> 'excluded' and (not_before is null or not_after is null or not_before >= not_after))
