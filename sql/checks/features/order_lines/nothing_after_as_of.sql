-- Nothing after the as-of date is known yet: a later line would leak the future into every feature.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Set the source's as-of date to the last day it covers, or reject the later orders in clean.orders.
select order_item_id, ordered_at
from features.order_lines
where cast(ordered_at as date) > cast($as_of as date)
order by order_item_id
