-- Every brief holds a control group out of those it can reach, and says what that costs at most.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/briefs again; the columns named contradict each other.
select brief_id, reachable_customers, control_customers, expected_margin_amount, control_cost_amount
from campaigns.briefs
where control_customers is null
   or control_cost_amount is null
   or control_customers not between 0 and reachable_customers
   or control_cost_amount not between 0 and expected_margin_amount
