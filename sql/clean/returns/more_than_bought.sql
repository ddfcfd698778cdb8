-- One return cannot hold more units than the whole line had. Several returns of one line that do so together are
-- kept and warned of (check more_than_bought_in_all): which of them is wrong cannot be known.
-- detail: quantity is more than the line's quantity.
select r._row_id
from temp.returns as r
inner join clean.order_items as i on r.order_item_id = i.order_item_id
where r.quantity > i.quantity
