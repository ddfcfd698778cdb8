-- No effect on margin is shown below 300 buyers in either group: its interval would miss the truth too often.
-- group: business
-- severity: error
-- blocking: no
-- remedy: The rule is LEAST_BUYERS in measurement/lift.py; nothing may write effects around it.
select m.campaign_id, m.arm, b.control_value * b.control_customers as control_buyers
from results.campaign_results as m
inner join results.campaign_results as b
    on b.campaign_id = m.campaign_id and b.arm = m.arm and b.metric = 'buyers'
where m.metric in ('margin', 'revenue')
    and m.effect is not null
    and least(b.control_value * b.control_customers, b.treated_value * b.treated_customers) < 299.5
order by m.campaign_id, m.arm
