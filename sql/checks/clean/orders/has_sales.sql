-- At least one order counts as a sale (completed, shipped or processing), when there are orders at all.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: Check the mapping of orders.status; with every order cancelled nobody is a buyer.
select
    'every order' as order_id,
    count(*) as orders
from clean.orders
having count(*) > 0 and count(*) filter (where status in ('completed', 'shipped', 'processing')) = 0
