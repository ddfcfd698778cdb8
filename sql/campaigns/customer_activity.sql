-- What each customer had bought by the day a window of 90 days began, and how many products they bought in it. Window 0
-- begins today and has no outcome; windows 1 and 2 began 90 and 180 days ago, and customers stand in the segments the
-- models in use give them for that day (segments.past_segments). Only what was known by then describes them. Goods of
-- sensitive categories do not count; a line without a product counts as an order and a line, not as a product.
-- grain: windows_ago, customer_id
-- column windows_ago: 0 for today; 1 or 2 for the 90 days that began 90 or 180 days ago.
-- column taste_segment_id: Taste segment when the window began; T0 when the taste was not known.
-- column stage_segment_id: Stage segment when the window began; S0 for who had never bought.
-- column recency_days: Days since the last order when the window began; null for who had never bought.
-- column order_count: Orders by then.
-- column orders_last_90_days: Orders in the 90 days before.
-- column orders_last_365_days: Orders in the 365 days before.
-- column product_count: Different products bought by then.
-- column products_last_90_days: Different products bought in the 90 days before.
-- column products_last_365_days: Different products bought in the 365 days before.
-- column line_count: Sold lines by then.
-- column tenure_days: Days since the first order when the window began; null for who had never bought.
-- column signup_days: Days since sign-up when the window began; null when the day is not known or came later.
-- column products_next: Different products bought in the window; null for today's.
-- column first_products_next: Those of them never bought before; null for today's.
with lines as (
    -- Days before the as-of date: the windows are then whole numbers, which group faster than dates.
    select
        customer_id,
        order_id,
        product_id,
        date_diff('day', ordered_on, cast($as_of as date)) as days_ago
    from features.order_lines
    where not is_sensitive and ordered_on <= cast($as_of as date)
),
orders as (
    select customer_id, order_id, max(days_ago) as days_ago, count(*) as line_count
    from lines
    group by customer_id, order_id
),
-- A list holds the figure of the windows that began 0, 90 and 180 days ago.
by_orders as (
    select
        customer_id,
        max(days_ago) as first_days_ago,
        [
            min(days_ago),
            min(days_ago) filter (days_ago >= 90),
            min(days_ago) filter (days_ago >= 180)
        ] as last_days_ago,
        [
            count(*),
            count(*) filter (days_ago >= 90),
            count(*) filter (days_ago >= 180)
        ] as order_count,
        [
            count(*) filter (days_ago < 90),
            count(*) filter (days_ago >= 90 and days_ago < 180),
            count(*) filter (days_ago >= 180 and days_ago < 270)
        ] as orders_last_90_days,
        [
            count(*) filter (days_ago < 365),
            count(*) filter (days_ago >= 90 and days_ago < 455),
            count(*) filter (days_ago >= 180 and days_ago < 545)
        ] as orders_last_365_days,
        [
            sum(line_count),
            sum(line_count) filter (days_ago >= 90),
            sum(line_count) filter (days_ago >= 180)
        ] as line_count
    from orders
    group by customer_id
),
-- One row per customer and product, so that every figure below is a count of products.
products as (
    select
        customer_id,
        product_id,
        max(days_ago) as first_days_ago,
        bool_or(days_ago < 90) as in_0,
        bool_or(days_ago >= 90 and days_ago < 180) as in_1,
        bool_or(days_ago >= 180 and days_ago < 270) as in_2,
        bool_or(days_ago < 365) as year_0,
        bool_or(days_ago >= 90 and days_ago < 455) as year_1,
        bool_or(days_ago >= 180 and days_ago < 545) as year_2
    from lines
    where product_id is not null
    group by customer_id, product_id
),
by_products as (
    select
        customer_id,
        [
            count(*),
            count(*) filter (first_days_ago >= 90),
            count(*) filter (first_days_ago >= 180)
        ] as product_count,
        [count(*) filter (in_0), count(*) filter (in_1), count(*) filter (in_2)] as products_last_90_days,
        [count(*) filter (year_0), count(*) filter (year_1), count(*) filter (year_2)] as products_last_365_days,
        [null, count(*) filter (in_0), count(*) filter (in_1)] as products_next,
        [
            null,
            count(*) filter (in_0 and first_days_ago < 90),
            count(*) filter (in_1 and first_days_ago < 180)
        ] as first_products_next
    from products
    group by customer_id
),
standing as (
    select 0 as windows_ago, customer_id, taste_segment_id, stage_segment_id
    from segments.customer_segments
    union all
    select windows_ago, customer_id, taste_segment_id, stage_segment_id
    from segments.past_segments
)
select
    cast(standing.windows_ago as bigint) as windows_ago,
    standing.customer_id,
    coalesce(standing.taste_segment_id, 'T0') as taste_segment_id,
    coalesce(standing.stage_segment_id, 'S0') as stage_segment_id,
    cast(o.last_days_ago[standing.windows_ago + 1] - 90 * standing.windows_ago as bigint) as recency_days,
    cast(coalesce(o.order_count[standing.windows_ago + 1], 0) as bigint) as order_count,
    cast(coalesce(o.orders_last_90_days[standing.windows_ago + 1], 0) as bigint) as orders_last_90_days,
    cast(coalesce(o.orders_last_365_days[standing.windows_ago + 1], 0) as bigint) as orders_last_365_days,
    cast(coalesce(p.product_count[standing.windows_ago + 1], 0) as bigint) as product_count,
    cast(coalesce(p.products_last_90_days[standing.windows_ago + 1], 0) as bigint) as products_last_90_days,
    cast(coalesce(p.products_last_365_days[standing.windows_ago + 1], 0) as bigint) as products_last_365_days,
    cast(coalesce(o.line_count[standing.windows_ago + 1], 0) as bigint) as line_count,
    case
        when o.first_days_ago >= 90 * standing.windows_ago
            then cast(o.first_days_ago - 90 * standing.windows_ago as bigint)
    end as tenure_days,
    case
        when cast(c.signed_up_at as date) <= cast($as_of as date) - cast(90 * standing.windows_ago as integer)
            then cast(
                date_diff('day', cast(c.signed_up_at as date), cast($as_of as date)) - 90 * standing.windows_ago
                as bigint
            )
    end as signup_days,
    case
        when standing.windows_ago > 0
            then cast(coalesce(p.products_next[standing.windows_ago + 1], 0) as bigint)
    end as products_next,
    case
        when standing.windows_ago > 0
            then cast(coalesce(p.first_products_next[standing.windows_ago + 1], 0) as bigint)
    end as first_products_next
from standing
left join by_orders as o on o.customer_id = standing.customer_id
left join by_products as p on p.customer_id = standing.customer_id
left join clean.customers as c on c.customer_id = standing.customer_id
order by standing.windows_ago, standing.customer_id
