-- The shares of customers and of revenue sum to one on each axis, unless there are no customers or no revenue.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Rebuild segments/segment_summary; a segment is missing or counted twice on the named axis.
select
    axis,
    sum(customer_share) as customer_total,
    sum(revenue_share) as revenue_total
from segments.segment_summary
group by axis
having (sum(customers) > 0 and coalesce(abs(sum(customer_share) - 1) > 0.00001, true))
    or (sum(revenue_amount) <> 0 and coalesce(abs(sum(revenue_share) - 1) > 0.00001, true))
order by axis
