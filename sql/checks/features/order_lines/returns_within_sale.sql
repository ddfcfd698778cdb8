-- No more comes back of a line than was sold on it.
-- group: business
-- severity: error
-- blocking: no
-- remedy: Look at the returns of the line in clean.returns; the same return may be recorded twice.
select order_item_id, quantity, returned_quantity, net_amount, returned_amount
from features.order_lines
where returned_quantity < 0
    or returned_quantity > quantity
    or abs(returned_amount) > abs(net_amount)
order by order_item_id
