-- Every customer of the plan is counted under one reason of one campaign, and each reason says itself in a sentence.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise delivery/plan again.
with counted as (
    select campaign_id, decision, reason, count(*) as customers from delivery.plan group by all
)
select
    coalesce(counted.campaign_id, reasons.campaign_id) as campaign_id,
    coalesce(counted.reason, reasons.reason) as reason,
    counted.customers as planned, reasons.customers as told
from counted
full join delivery.plan_reasons as reasons
    on reasons.campaign_id is not distinct from counted.campaign_id
    and reasons.decision = counted.decision and reasons.reason = counted.reason
where counted.customers is distinct from reasons.customers or coalesce(reasons.sentence, '') = ''
