-- One row per customer, and every customer known by the as-of date who may be profiled has one.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look for a second row of the customer in features.reachability.
select coalesce(c.customer_id, e.customer_id) as customer_id, count(e.customer_id) as copies
from (from features.reachability where not is_opted_out) as c
full join features.engagement as e on e.customer_id = c.customer_id
group by 1
having count(e.customer_id) <> 1
    or count(c.customer_id) = 0
order by 1
