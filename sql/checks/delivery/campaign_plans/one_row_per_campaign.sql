-- Every brief has one plan, with rates that are shares, a cost and an end after its beginning.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/briefs, then delivery/plan.
select coalesce(briefs.brief_id, plans.campaign_id) as campaign_id, count(*) as plans
from campaigns.briefs as briefs
full join delivery.campaign_plans as plans on plans.campaign_id = briefs.brief_id
group by all
having count(*) <> 1
    or count(briefs.brief_id) <> 1
    or count(plans.campaign_id) <> 1
    or not bool_and(coalesce(
        plans.base_rate between 0 and 1 and plans.control_cost_amount >= 0 and plans.starts_at < plans.not_after
        and plans.sentence <> '' and len(plans.audience_digest) = 64, false
    ))
