-- What each buyer buys: for every category, brand and channel of their sold lines, how many lines and how much money.
-- Lines whose product or channel is not known count under the value unknown, so the shares of a dimension sum to one.
-- Lines of sensitive goods count under unknown too, so that they cannot enter taste. Who does not want to be profiled is
-- not in it.
-- grain: customer_id, dimension, value
-- column dimension: What is shared out (category, brand or channel).
-- column value: The category, brand or channel.
-- column line_count: Sold lines of the customer with this value.
-- column product_count: Different products among those lines; buying a favourite again says nothing new about taste.
-- column net_amount: Money of those lines after discounts, in the source's currency.
-- column line_share: Those lines over all sold lines of the customer, 0 to 1.
with lines as (
    select
        customer_id,
        case when is_sensitive then 'unknown' else category end as category,
        case when is_sensitive then 'unknown' else brand end as brand,
        channel,
        product_id,
        count(*) as line_count,
        sum(net_amount) as net_amount
    from features.order_lines
    where customer_id not in (select customer_id from features.profiling_opt_outs)
    group by
        customer_id,
        case when is_sensitive then 'unknown' else category end,
        case when is_sensitive then 'unknown' else brand end,
        channel,
        product_id
),

-- A product has one category and one brand, so products are counted before channels are told apart.
products as (
    select customer_id, category, brand, product_id, sum(line_count) as line_count, sum(net_amount) as net_amount
    from lines
    group by customer_id, category, brand, product_id
),

totals as (
    select customer_id, sum(line_count) as line_count
    from products
    group by customer_id
),

counts as (
    select customer_id, 'category' as dimension, category as value, sum(line_count) as line_count,
        count(*) as product_count, sum(net_amount) as net_amount
    from products
    group by customer_id, category
    union all
    select customer_id, 'brand' as dimension, brand as value, sum(line_count) as line_count,
        count(*) as product_count, sum(net_amount) as net_amount
    from products
    group by customer_id, brand
    union all
    select customer_id, 'channel' as dimension, channel as value, sum(line_count) as line_count,
        count(*) as product_count, sum(net_amount) as net_amount
    from lines
    group by customer_id, channel
)

select
    c.customer_id,
    c.dimension,
    c.value,
    cast(c.line_count as bigint) as line_count,
    cast(c.product_count as bigint) as product_count,
    cast(coalesce(c.net_amount, 0) as decimal(18, 4)) as net_amount,
    round(c.line_count / t.line_count, 9) as line_share
from counts as c
inner join totals as t on t.customer_id = c.customer_id
