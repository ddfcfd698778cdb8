-- The revenue of the segments of each axis is what all customers spent, to the cent.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Compare the sums by segment in segments.customer_segments joined to features.customer_features with this table.
with spent as (
    select coalesce(sum(monetary_amount), 0) as amount
    from features.customer_features
),

found as (
    select axis, sum(revenue_amount) as amount
    from segments.segment_summary
    group by axis
)

select f.axis, s.amount as spent_amount, f.amount as revenue_amount
from found as f
cross join spent as s
where f.amount is distinct from s.amount
order by f.axis
