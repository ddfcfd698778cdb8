-- What was sold, by category of product: customers, orders, lines, units and money up to the as-of date. An order with
-- several categories counts in each of them, so customers and orders do not add up over the rows; money does.
-- grain: category
-- column category: Category of the product; unknown when the line has no product or the product no category.
-- column customers: Customers who bought in the category.
-- column orders: Orders with at least one line of the category.
-- column lines: Sold lines.
-- column quantity: Units sold.
-- column net_amount: Money after discounts, in the source's currency.
-- column net_share: Share of the money of all categories, 0 to 1; null when nothing was earned.
with by_order as (
    select
        category,
        customer_id,
        order_id,
        count(*) as lines,
        sum(quantity) as quantity,
        sum(net_amount) as net_amount
    from features.order_lines
    group by category, customer_id, order_id
),

by_customer as (
    select
        category,
        customer_id,
        count(*) as orders,
        sum(lines) as lines,
        sum(quantity) as quantity,
        sum(net_amount) as net_amount
    from by_order
    group by category, customer_id
),

by_category as (
    select
        category,
        count(*) as customers,
        cast(sum(orders) as bigint) as orders,
        cast(sum(lines) as bigint) as lines,
        cast(sum(quantity) as decimal(18, 3)) as quantity,
        cast(coalesce(sum(net_amount), 0) as decimal(18, 4)) as net_amount
    from by_customer
    group by category
)

select
    category,
    customers,
    orders,
    lines,
    quantity,
    net_amount,
    round(net_amount / nullif(sum(net_amount) over (), 0), 6) as net_share
from by_category
order by net_amount desc, category
