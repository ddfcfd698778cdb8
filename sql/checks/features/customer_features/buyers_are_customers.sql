-- Every customer who has a sold line and did not opt out of profiling is here, and everyone here is a clean customer.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: Rebuild clean.customers, features.order_lines and features.customer_features from the same source.
select b.customer_id, 'sold lines without a row here' as fault
from (select distinct customer_id from features.order_lines) as b
left join features.customer_features as f on f.customer_id = b.customer_id
where f.customer_id is null
    and b.customer_id not in (select customer_id from features.profiling_opt_outs)
union all
select f.customer_id, 'not a clean customer' as fault
from features.customer_features as f
left join clean.customers as c on c.customer_id = f.customer_id
where c.customer_id is null
order by 1, 2
