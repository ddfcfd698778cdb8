-- What each segment buys and where, beside the shop: its share of order lines by category, brand and channel. Both axes.
-- grain: one row per axis, segment, dimension and value
-- column dimension: category, brand or channel
-- column value: the category, brand or channel; unknown ones are left out
-- column customers: customers of the segment with such a line
-- column line_count: order lines of the segment
-- column net_amount: money for those lines, net of discounts
-- column line_share: share of the segment's order lines in this dimension
-- column overall_share: share of all order lines in this dimension
with located as (
    select 'stage' as axis, segments.customer_id, segments.stage_segment_id as segment_id
    from segments.customer_segments as segments
    where segments.stage_segment_id is not null
    union all
    select 'taste' as axis, segments.customer_id, segments.taste_segment_id as segment_id
    from segments.customer_segments as segments
    where segments.taste_segment_id is not null
),
counted as (
    select
        located.axis,
        located.segment_id,
        shares.dimension,
        shares.value,
        count(*) as customers,
        cast(sum(shares.line_count) as bigint) as line_count,
        sum(shares.net_amount) as net_amount
    from features.customer_shares as shares
    inner join located on located.customer_id = shares.customer_id
    where shares.value <> 'unknown'
    group by located.axis, located.segment_id, shares.dimension, shares.value
)
select
    axis,
    segment_id,
    dimension,
    value,
    customers,
    line_count,
    net_amount,
    round(line_count / sum(line_count) over (partition by axis, segment_id, dimension), 9) as line_share,
    round(
        sum(line_count) over (partition by axis, dimension, value) / sum(line_count) over (partition by axis, dimension), 9
    ) as overall_share
from counted
order by axis, segment_id, dimension, line_count desc, value
