-- Every customer of customer_features has exactly one row, and nobody else has one.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Make the table again after features/customer_features; one of the two is of another day.
with found as (
    select customer_id, count(*) as copies
    from value.customer_lifetime
    group by customer_id
)

select coalesce(c.customer_id, f.customer_id) as customer_id, coalesce(f.copies, 0) as copies
from features.customer_features as c
full join found as f on f.customer_id = c.customer_id
where c.customer_id is null
    or f.copies is distinct from 1
order by 1
