-- Who bought what: for each segment of both axes and each product, category, brand and price band, how many of its
-- customers ever bought it, how many came back for it, and how recent that is. Counts are exact. Sensitive goods are
-- left out entirely, and so are lines without a product and values that are not known. Customers of unknown taste (T0)
-- are not on the taste axis, those who never bought (S0) not on the stage axis. A cell without a buyer has no row.
-- grain: dimension, value, axis, segment_id
-- column dimension: product, category, brand or price_band (of the category's prices).
-- column value: product_id, or the name of the category, brand or price band.
-- column axis: stage or taste.
-- column segment_id: The segment.
-- column buyers: Customers of the segment who ever bought it.
-- column repeat_buyers: Those of them who bought it on at least two days.
-- column purchase_days: Days on which they bought it, summed over the buyers.
-- column recent_buyers: The buyers, each counted half for every 180 days since the last purchase of it.
-- column segment_customers: Customers of the segment.
with located as (
    select
        customer_id,
        nullif(taste_segment_id, 'T0') as taste_segment_id,
        nullif(stage_segment_id, 'S0') as stage_segment_id
    from segments.customer_segments
),
-- Everything below runs on numbers, which join and group many times faster than ids.
members as materialized (
    select
        customer_id,
        taste_segment_id,
        stage_segment_id,
        cast(row_number() over (order by customer_id) as integer) as customer_number,
        cast(dense_rank() over (order by taste_segment_id, stage_segment_id) as integer) as cell_number
    from located
),
bought as (
    -- A product may be sold and not be in the catalogue; then nothing but its id is known.
    select distinct lines.product_id
    from features.order_lines as lines
    where lines.product_id is not null and not lines.is_sensitive
),
items as (
    select
        bought.product_id,
        traits.category,
        traits.brand,
        traits.price_band,
        cast(row_number() over (order by bought.product_id) as integer) as product_number
    from bought
    left join campaigns.product_traits as traits on traits.product_id = bought.product_id
    where not coalesce(traits.is_sensitive, false)
),
days as materialized (
    select distinct
        members.customer_number,
        items.product_number,
        cast(date_diff('day', lines.ordered_on, cast($as_of as date)) as integer) as days_ago
    from features.order_lines as lines
    inner join members on members.customer_id = lines.customer_id
    inner join items on items.product_id = lines.product_id
    where not lines.is_sensitive
        and (members.taste_segment_id is not null or members.stage_segment_id is not null)
),
item_values as materialized (
    select 'category' as dimension, category as value, product_number from items where category is not null
    union all
    select 'brand', brand, product_number from items where brand is not null
    union all
    select 'price_band', price_band, product_number from items where price_band is not null
    union all
    select 'product', product_id, product_number from items
),
numbered as materialized (
    select
        dimension,
        value,
        product_number,
        cast(dense_rank() over (order by dimension, value) as integer) as value_number
    from item_values
),
customer_values as (
    -- Days of one product are distinct already; those of several products of a value are not.
    select days.customer_number, numbered.value_number, count(*) as bought_days, min(days.days_ago) as last_days
    from days
    inner join numbered on numbered.product_number = days.product_number and numbered.dimension = 'product'
    group by days.customer_number, numbered.value_number
    union all
    select customer_number, value_number, count(*), min(days_ago)
    from (
        select distinct days.customer_number, numbered.value_number, days.days_ago
        from days
        inner join numbered on numbered.product_number = days.product_number and numbered.dimension = 'category'
    )
    group by customer_number, value_number
    union all
    select customer_number, value_number, count(*), min(days_ago)
    from (
        select distinct days.customer_number, numbered.value_number, days.days_ago
        from days
        inner join numbered on numbered.product_number = days.product_number and numbered.dimension = 'brand'
    )
    group by customer_number, value_number
    union all
    select customer_number, value_number, count(*), min(days_ago)
    from (
        select distinct days.customer_number, numbered.value_number, days.days_ago
        from days
        inner join numbered on numbered.product_number = days.product_number and numbered.dimension = 'price_band'
    )
    group by customer_number, value_number
),
cells as materialized (
    select
        customer_values.value_number,
        members.cell_number,
        count(*) as buyers,
        count(*) filter (customer_values.bought_days > 1) as repeat_buyers,
        sum(customer_values.bought_days) as purchase_days,
        -- Decimals add up to the same sum in any order.
        sum(cast(power(0.5, customer_values.last_days / 180) as decimal(18, 9))) as recent_buyers
    from customer_values
    inner join members on members.customer_number = customer_values.customer_number
    group by customer_values.value_number, members.cell_number
),
cell_segments as (
    select distinct cell_number, 'taste' as axis, taste_segment_id as segment_id from members
    union all
    select distinct cell_number, 'stage', stage_segment_id from members
),
sizes as (
    select 'taste' as axis, taste_segment_id as segment_id, count(*) as segment_customers
    from members
    group by taste_segment_id
    union all
    select 'stage', stage_segment_id, count(*)
    from members
    group by stage_segment_id
),
names as (
    select distinct dimension, value, value_number from numbered
)
select
    names.dimension,
    names.value,
    sizes.axis,
    sizes.segment_id,
    cast(sum(cells.buyers) as bigint) as buyers,
    cast(sum(cells.repeat_buyers) as bigint) as repeat_buyers,
    cast(sum(cells.purchase_days) as bigint) as purchase_days,
    round(cast(sum(cells.recent_buyers) as double), 6) as recent_buyers,
    sizes.segment_customers
from cells
inner join names on names.value_number = cells.value_number
inner join cell_segments on cell_segments.cell_number = cells.cell_number
-- Those outside an axis have no segment there and find no size.
inner join sizes on sizes.axis = cell_segments.axis and sizes.segment_id = cell_segments.segment_id
group by names.dimension, names.value, sizes.axis, sizes.segment_id, sizes.segment_customers
order by names.dimension, names.value, sizes.axis, sizes.segment_id
