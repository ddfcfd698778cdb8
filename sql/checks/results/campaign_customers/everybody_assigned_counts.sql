-- By intention to treat: whoever was assigned to an arm is measured in it, also where the message bounced or never
-- left.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: Compare the arms of delivery.sends and clean.campaign_contacts with results.campaign_customers for the campaign.
with found as (
    select
        campaign_id,
        count(*) filter (where arm = 'treated') as treated_customers,
        count(*) filter (where arm = 'control') as control_customers,
        count(*) filter (where arm = 'hold_out') as hold_out_customers
    from results.campaign_customers
    group by campaign_id
)

select c.campaign_id, c.treated_customers, c.control_customers, c.hold_out_customers
from results.measured_campaigns as c
left join found as f on f.campaign_id = c.campaign_id
where f.treated_customers is distinct from c.treated_customers
    or f.control_customers is distinct from c.control_customers
    or f.hold_out_customers is distinct from c.hold_out_customers
order by c.campaign_id
