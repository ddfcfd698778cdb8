-- A customer opted out once, on a day.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look at profiling_opt_outs in the state store: something wrote to it around the command opt-out.
select customer_id, count(*) as copies
from features.profiling_opt_outs
group by customer_id
having count(*) > 1 or customer_id is null or bool_or(opted_out_at is null)
order by customer_id
