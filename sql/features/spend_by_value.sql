-- What was sold, by category of product and by sales channel: customers, orders, lines, units and money up to the as-of
-- date. Within a dimension lines and money add up over its values. A customer may buy in several and counts in each, and
-- so does an order with several categories.
-- grain: dimension, value
-- column dimension: What the money is divided by: category or channel.
-- column value: The category or channel; unknown when the source does not say.
-- column customers: Customers who bought there.
-- column orders: Orders with at least one line there.
-- column lines: Sold lines.
-- column quantity: Units sold.
-- column net_amount: Money after discounts, in the source's currency.
-- column net_share: Share of the money of the dimension, 0 to 1; null when nothing was earned.
with by_order as (
    select
        category,
        channel,
        customer_id,
        order_id,
        count(*) as lines,
        sum(quantity) as quantity,
        sum(net_amount) as net_amount
    from features.order_lines
    group by grouping sets ((category, customer_id, order_id), (channel, customer_id, order_id))
),

by_customer as (
    select
        case when category is null then 'channel' else 'category' end as dimension,
        coalesce(category, channel) as value,
        customer_id,
        count(*) as orders,
        sum(lines) as lines,
        sum(quantity) as quantity,
        sum(net_amount) as net_amount
    from by_order
    group by category, channel, customer_id
),

by_value as (
    select
        dimension,
        value,
        count(*) as customers,
        cast(sum(orders) as bigint) as orders,
        cast(sum(lines) as bigint) as lines,
        cast(sum(quantity) as decimal(18, 3)) as quantity,
        cast(coalesce(sum(net_amount), 0) as decimal(18, 4)) as net_amount
    from by_customer
    group by dimension, value
)

select
    dimension,
    value,
    customers,
    orders,
    lines,
    quantity,
    net_amount,
    round(net_amount / nullif(sum(net_amount) over (partition by dimension), 0), 6) as net_share
from by_value
order by dimension, net_amount desc, value
