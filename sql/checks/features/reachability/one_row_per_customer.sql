-- One row per customer known by the as-of date, and nobody who is not a clean customer.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look for a second row of the customer in clean.customers, clean.contact_flags or clean.campaign_responses.
with known as (
    select customer_id
    from clean.customers
    where signed_up_at is null
        or cast(signed_up_at as date) <= cast($as_of as date)
        or customer_id in (select customer_id from features.order_lines)
),

found as (
    select customer_id, count(*) as copies
    from features.reachability
    group by customer_id
)

select coalesce(k.customer_id, f.customer_id) as customer_id, coalesce(f.copies, 0) as copies
from known as k
full join found as f on f.customer_id = k.customer_id
where k.customer_id is null
    or f.copies is distinct from 1
order by 1
