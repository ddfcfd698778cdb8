-- The cells of each taste add up to its customers and revenue, so nobody is lost by merging small cells.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Compare the named taste in segments.segment_summary and segments.segment_grid.
with cells as (
    select taste_segment_id, sum(customers) as customers, sum(reachable_customers) as reachable_customers,
        sum(revenue_amount) as revenue_amount
    from segments.segment_grid
    group by taste_segment_id
),

tastes as (
    select s.taste_segment_id, count(*) as customers, count(*) filter (where f.is_reachable) as reachable_customers,
        coalesce(sum(f.monetary_amount), 0) as revenue_amount
    from segments.customer_segments as s
    inner join features.customer_features as f on f.customer_id = s.customer_id
    group by s.taste_segment_id
)

select
    coalesce(t.taste_segment_id, c.taste_segment_id) as taste_segment_id,
    t.customers as members,
    c.customers,
    t.revenue_amount as spent_amount,
    c.revenue_amount
from tastes as t
full join cells as c on c.taste_segment_id = t.taste_segment_id
where t.customers is distinct from c.customers
    or t.reachable_customers is distinct from c.reachable_customers
    or t.revenue_amount is distinct from c.revenue_amount
order by 1
