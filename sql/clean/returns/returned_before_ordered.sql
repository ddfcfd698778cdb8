-- A return dated before the day its line was ordered cannot be; the same day is fine, whatever the hour.
-- detail: returned_at lies before the day the line was ordered.
select r._row_id
from temp.returns as r
inner join clean.order_items as i on r.order_item_id = i.order_item_id
inner join clean.orders as o on i.order_id = o.order_id
where cast(r.returned_at as date) < cast(o.ordered_at as date)
