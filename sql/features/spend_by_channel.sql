-- What was sold, by sales channel: customers, orders, lines, units and money up to the as-of date. A customer may buy
-- through several channels and counts in each of them; orders, lines and money add up over the rows.
-- grain: channel
-- column channel: Sales channel; unknown when the source does not say.
-- column customers: Customers who bought through the channel.
-- column orders: Orders.
-- column lines: Sold lines.
-- column quantity: Units sold.
-- column net_amount: Money after discounts, in the source's currency.
-- column net_share: Share of the money of all channels, 0 to 1; null when nothing was earned.
with by_order as (
    select
        channel,
        customer_id,
        order_id,
        count(*) as lines,
        sum(quantity) as quantity,
        sum(net_amount) as net_amount
    from features.order_lines
    group by channel, customer_id, order_id
),

by_customer as (
    select
        channel,
        customer_id,
        count(*) as orders,
        sum(lines) as lines,
        sum(quantity) as quantity,
        sum(net_amount) as net_amount
    from by_order
    group by channel, customer_id
),

by_channel as (
    select
        channel,
        count(*) as customers,
        cast(sum(orders) as bigint) as orders,
        cast(sum(lines) as bigint) as lines,
        cast(sum(quantity) as decimal(18, 3)) as quantity,
        cast(coalesce(sum(net_amount), 0) as decimal(18, 4)) as net_amount
    from by_customer
    group by channel
)

select
    channel,
    customers,
    orders,
    lines,
    quantity,
    net_amount,
    round(net_amount / nullif(sum(net_amount) over (), 0), 6) as net_share
from by_channel
order by net_amount desc, channel
