-- A discount larger than quantity times price would make the sale negative. Lines that bring their own line_amount
-- are not touched (it wins), and a cent is left for rounding.
-- detail: discount_amount is more than quantity times unit_price.
select i._row_id
from temp.order_items as i
where
    i.line_amount is null
    and i.discount_amount > i.quantity * i.unit_price + 0.01
