-- Only orders that are completed, shipped or processing are sales; cancelled and returned ones are not revenue.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Look at the status of the order in clean.orders and at the filter of order_lines.sql.
select l.order_item_id, l.order_id, o.status
from features.order_lines as l
inner join clean.orders as o on o.order_id = l.order_id
where o.status not in ('completed', 'shipped', 'processing')
order by l.order_item_id
