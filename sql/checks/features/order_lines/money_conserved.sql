-- The money of each order is the same here as in the clean tables, to the cent: no sold line is lost, doubled or
-- changed on the way.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Compare the lines of the named order in clean.order_items and features.order_lines.
with expected as (
    select
        i.order_id,
        count(*) as lines,
        sum(
            coalesce(
                i.line_amount,
                cast(round(i.quantity * i.unit_price - coalesce(i.discount_amount, 0), 4) as decimal(18, 4))
            )
        ) as amount
    from clean.order_items as i
    inner join clean.orders as o on o.order_id = i.order_id
    where o.status in ('completed', 'shipped', 'processing')
        and cast(o.ordered_at as date) <= cast($as_of as date)
    group by i.order_id
),

found as (
    select order_id, count(*) as lines, sum(net_amount) as amount
    from features.order_lines
    group by order_id
)

select
    coalesce(e.order_id, f.order_id) as order_id,
    e.lines as clean_lines,
    f.lines as sold_lines,
    e.amount as clean_amount,
    f.amount as sold_amount
from expected as e
full join found as f on f.order_id = e.order_id
where e.lines is distinct from f.lines
    or e.amount is distinct from f.amount
order by 1
