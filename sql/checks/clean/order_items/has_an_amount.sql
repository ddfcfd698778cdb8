-- A line without a price and without an amount is worth nothing in every figure: it is kept, and said here.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: Map unit_price or line_amount in the source.
select order_item_id
from clean.order_items
where line_amount is null and unit_price is null
