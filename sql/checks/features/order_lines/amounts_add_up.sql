-- Gross amount less discount is the net amount, on every line.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Compare the line's quantity, unit_price, discount_amount and line_amount in clean.order_items with how order_lines.sql combines them.
select order_item_id, gross_amount, discount_amount, net_amount
from features.order_lines
where gross_amount - discount_amount is distinct from net_amount
order by order_item_id
