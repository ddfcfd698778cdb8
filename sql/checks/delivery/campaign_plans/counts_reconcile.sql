-- A campaign's customers by decision are those of the plan, add up to its audience, and with those who are in another
-- campaign to the audience its brief states.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/audience_members and campaigns/briefs, then delivery/plan.
with counted as (
    select
        campaign_id, count(*) as audience, count(*) filter (decision = 'send') as send,
        count(*) filter (decision = 'control') as control, count(*) filter (decision = 'hold_out') as hold_out,
        count(*) filter (decision = 'excluded') as excluded
    from delivery.plan
    group by campaign_id
)
select plans.campaign_id, plans.audience_customers, plans.elsewhere_customers, briefs.audience_customers as of_brief
from delivery.campaign_plans as plans
left join counted on counted.campaign_id = plans.campaign_id
left join campaigns.briefs as briefs on briefs.brief_id = plans.campaign_id
where plans.audience_customers is distinct from coalesce(counted.audience, 0)
   or plans.send_customers is distinct from coalesce(counted.send, 0)
   or plans.control_customers is distinct from coalesce(counted.control, 0)
   or plans.hold_out_customers is distinct from coalesce(counted.hold_out, 0)
   or plans.excluded_customers is distinct from coalesce(counted.excluded, 0)
   or plans.audience_customers is distinct from
      plans.send_customers + plans.control_customers + plans.hold_out_customers + plans.excluded_customers
   or plans.elsewhere_customers < 0
   or plans.audience_customers + plans.elsewhere_customers is distinct from briefs.audience_customers
