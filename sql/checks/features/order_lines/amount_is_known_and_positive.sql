-- A line without an amount counts as nothing, and a negative one reduces revenue: both are kept, and worth a look
-- because a wrong price or a discount above the price is the usual cause.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: Check unit_price, discount_amount and line_amount of the line in the source.
select order_item_id, quantity, unit_price, discount_amount, net_amount
from features.order_lines
where net_amount is null or net_amount < 0
order by order_item_id
