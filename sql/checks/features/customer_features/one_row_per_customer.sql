-- One row per customer known by the as-of date who did not opt out of profiling: a fan-out here would count customers twice
-- in every segment.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look for a second row of the customer in the table of clean that customer_features.sql joins to it.
with found as (
    select customer_id, count(*) as copies
    from features.customer_features
    group by customer_id
)

select coalesce(r.customer_id, f.customer_id) as customer_id, coalesce(f.copies, 0) as copies
from (select customer_id from features.reachability where not is_opted_out) as r
full join found as f on f.customer_id = r.customer_id
where r.customer_id is null
    or f.copies is distinct from 1
order by 1
