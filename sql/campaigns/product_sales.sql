-- What each product sold: over all history and in the 90 days up to the as-of date, with the price usually paid.
-- grain: one row per product that was ever sold
-- column units: units sold over all history
-- column net_amount: money for those units, net of discounts
-- column units_last_90_days: units sold in the 90 days up to the as-of date
-- column median_unit_price: median price per unit before the discount on the line
-- column last_sold_on: day of the newest sale
select
    lines.product_id,
    sum(lines.quantity) as units,
    sum(lines.net_amount) as net_amount,
    coalesce(sum(lines.quantity) filter (lines.ordered_on > cast($as_of as date) - 90), 0) as units_last_90_days,
    median(lines.unit_price) as median_unit_price,
    max(lines.ordered_on) as last_sold_on
from features.order_lines as lines
where lines.product_id is not null
group by lines.product_id
order by lines.product_id
