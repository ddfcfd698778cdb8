-- Every customer of the shop stands in the plan exactly once, and nobody else does: so nobody is in two campaigns, and
-- nobody is left out silently.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise delivery/plan after clean/customers.
select coalesce(customers.customer_id, plan.customer_id) as customer_id, count(plan.customer_id) as plan_rows
from clean.customers as customers
full join delivery.plan as plan on plan.customer_id = customers.customer_id
group by all
having count(plan.customer_id) <> 1 or count(customers.customer_id) <> 1
