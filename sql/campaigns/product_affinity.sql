-- How much more a taste segment buys a product, or a category, than all customers of known taste do. The lift is shrunk
-- toward 1 by an empirical-Bayes gamma prior whose variance is estimated per dimension by moments (Marshall 1991, Mapping
-- disease and mortality rates using empirical Bayes estimators): few buyers move it little. Customers of unknown taste
-- (T0) are in neither the rates nor the base.
-- grain: one row per dimension, value and taste segment, for values with at least one buyer
-- column dimension: product or category
-- column value: product_id, or the name of the category
-- column buyers: customers of the segment who ever bought it
-- column segment_customers: customers of the segment
-- column purchase_rate: buyers over customers of the segment
-- column base_rate: buyers over customers, all known tastes together
-- column lift: purchase rate over base rate
-- column shrunken_lift: the lift after empirical-Bayes shrinkage toward 1
with members as (
    select segments.customer_id, segments.taste_segment_id
    from segments.customer_segments as segments
    where segments.taste_segment_id <> 'T0'
),
sizes as (
    select taste_segment_id, count(*) as segment_customers from members group by taste_segment_id
),
everyone as (
    select sum(segment_customers) as customers from sizes
),
bought as (
    select 'product' as dimension, lines.product_id as value, lines.customer_id
    from features.order_lines as lines
    where lines.product_id is not null
    group by lines.product_id, lines.customer_id
    union all
    select 'category' as dimension, lines.category as value, lines.customer_id
    from features.order_lines as lines
    where lines.category <> 'unknown'
    group by lines.category, lines.customer_id
),
cells as (
    select bought.dimension, bought.value, members.taste_segment_id, count(*) as buyers
    from bought
    inner join members on members.customer_id = bought.customer_id
    group by bought.dimension, bought.value, members.taste_segment_id
),
overall as (
    select dimension, value, sum(buyers) as buyers from cells group by dimension, value
),
grid as (
    select
        overall.dimension,
        overall.value,
        sizes.taste_segment_id,
        cast(coalesce(cells.buyers, 0) as bigint) as buyers,
        sizes.segment_customers,
        overall.buyers / everyone.customers as base_rate,
        overall.buyers / everyone.customers * sizes.segment_customers as expected
    from overall
    cross join sizes
    cross join everyone
    left join cells
        on cells.dimension = overall.dimension and cells.value = overall.value
        and cells.taste_segment_id = sizes.taste_segment_id
),
-- Sums over exact counts in a fixed grouping; rounded so that the order of addition cannot show.
spread as (
    select
        dimension,
        round(sum(expected * power(buyers / expected - 1, 2)) / sum(expected) - 1 / avg(expected), 6) as variance
    from grid
    group by dimension
)
select
    grid.dimension,
    grid.value,
    grid.taste_segment_id,
    grid.buyers,
    grid.segment_customers,
    round(grid.buyers / grid.segment_customers, 9) as purchase_rate,
    round(grid.base_rate, 9) as base_rate,
    round(grid.buyers / grid.expected, 6) as lift,
    -- No variance beyond chance: every lift is 1.
    round(
        case when spread.variance > 0 then (grid.buyers + 1 / spread.variance) / (grid.expected + 1 / spread.variance)
             else 1 end, 6
    ) as shrunken_lift
from grid
inner join spread on spread.dimension = grid.dimension
order by grid.dimension, grid.value, grid.taste_segment_id
