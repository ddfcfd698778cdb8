-- No customer is offered a product that the customer sent back. (Whether a product rests after a purchase depends on a
-- setting and on how often it is bought again; the function that writes the table is tested for it.)
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/next_best_products after clean/returns and features/order_lines.
with sent_back as (
    select lines.customer_id, lines.product_id
    from features.order_lines as lines
    inner join clean.returns as returns on returns.order_item_id = lines.order_item_id
    where returns.returned_at is null or cast(returns.returned_at as date) <= cast($as_of as date)
    union
    -- An order that came back as a whole is no sale, so its lines are not among the order lines.
    select orders.customer_id, items.product_id
    from clean.orders as orders
    inner join clean.order_items as items on items.order_id = orders.order_id
    where orders.status = 'returned' and cast(orders.ordered_at as date) <= cast($as_of as date)
)
select next_best.customer_id, next_best.product_id
from campaigns.next_best_products as next_best
inner join sent_back on sent_back.customer_id = next_best.customer_id and sent_back.product_id = next_best.product_id
