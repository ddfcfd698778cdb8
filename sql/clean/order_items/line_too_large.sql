-- One line worth more than any single amount can be (10,000,000) is an error in quantity or price, even where each of
-- the two is possible by itself; products of decimals downstream rely on it too.
-- detail: quantity times unit_price is more than 10000000, the largest amount there can be.
select i._row_id
from temp.order_items as i
where cast(i.quantity as double) * cast(i.unit_price as double) > 10000000
