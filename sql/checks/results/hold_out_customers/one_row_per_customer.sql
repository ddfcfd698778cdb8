-- One row per customer, held out or not.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look at sql/results/hold_out_customers.sql: a join repeats a customer.
select customer_id, count(*) as copies
from results.hold_out_customers
group by customer_id
having count(*) > 1
    or min(arm) not in ('treated', 'hold_out')
order by customer_id
