-- Which segments earn the most, and how many of their customers can we reach?
-- The answer has one row per segment of either axis, the largest revenue first within its axis. Do not sum over axes
-- (every customer is on both of them).
-- grain: axis, segment_id
-- column axis: stage (when and with what offer) or taste (with what product).
-- column segment_id: The segment.
-- column name: Its name.
-- column customers: Customers in it.
-- column reachable_customers: Those who may and can be reached by marketing e-mail.
-- column reachable_share: Reachable customers over all of the segment, 0 to 1; null when it is empty.
-- column revenue_amount: Money they spent after discounts, in the source's currency.
-- column revenue_share: Share of all revenue, 0 to 1.
-- column revenue_per_customer_amount: Revenue over customers, in the source's currency.
select
    axis,
    segment_id,
    name,
    customers,
    reachable_customers,
    round(reachable_customers / nullif(customers, 0), 4) as reachable_share,
    revenue_amount,
    revenue_share,
    round(revenue_amount / nullif(customers, 0), 2) as revenue_per_customer_amount
from segments.segment_summary
order by axis, revenue_amount desc, segment_id
