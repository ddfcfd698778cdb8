-- Every line belongs to a clean order of the customer it names, and to a clean product where it names one.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: Rebuild clean.orders, clean.order_items and clean.products from the same source, then order_lines.
select l.order_item_id, l.order_id, l.customer_id, l.product_id
from features.order_lines as l
left join clean.orders as o on o.order_id = l.order_id and o.customer_id = l.customer_id
left join clean.products as p on p.product_id = l.product_id
where o.order_id is null
    or (l.product_id is not null and p.product_id is null)
order by l.order_item_id
