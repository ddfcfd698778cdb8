-- One row per sold order line: a join that fans out would count money twice.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Find the join of sql/features/order_lines.sql that matches more than one row per line, and aggregate that side first.
select order_item_id, count(*) as copies
from features.order_lines
group by order_item_id
having count(*) > 1 or order_item_id is null
order by order_item_id
