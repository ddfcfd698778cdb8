-- A discount larger than quantity times price would make the sale negative. Lines that bring their own line_amount
-- are not touched (it wins), and a cent is left for rounding. Doubles, because this also sees rows
-- with absurd numbers, whose product no decimal holds.
-- detail: discount_amount is more than quantity times unit_price.
select i._row_id
from temp.order_items as i
where
    i.line_amount is null
    and cast(i.discount_amount as double) > cast(i.quantity as double) * cast(i.unit_price as double) + 0.0101
