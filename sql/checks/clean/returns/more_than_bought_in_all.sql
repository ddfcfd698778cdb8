-- All returns of a line together are not more than the line; which of them is wrong cannot be known, so they stay.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: Ask the shop's returns desk about these lines; return shares are capped at 1 further on.
with returned as (
    select
        order_item_id,
        sum(quantity) as quantity
    from clean.returns
    group by order_item_id
)

select
    i.order_item_id,
    i.quantity as bought_quantity,
    r.quantity as returned_quantity
from returned as r
inner join clean.order_items as i on r.order_item_id = i.order_item_id
where r.quantity > i.quantity
