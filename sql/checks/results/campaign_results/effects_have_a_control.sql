-- Only what treated and control both have is compared, and everybody who was assigned is in the comparison.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: Compare the counts with results.measured_campaigns; a customer was dropped after the assignment.
select r.campaign_id, r.metric, r.treated_customers, r.control_customers
from results.campaign_results as r
inner join results.measured_campaigns as c on c.campaign_id = r.campaign_id
where r.effect is not null
    and (
        r.control_customers is null
        or r.control_customers = 0
        or r.treated_customers <> c.treated_customers
        or r.control_customers <> c.control_customers
    )
order by r.campaign_id, r.metric
