-- The segments of both axes with their size and worth. Every customer is in exactly one segment of each axis, so
-- customers and revenue of an axis add up to the whole. S0 (never bought) and T0 (taste unknown) are always there.
-- grain: axis, segment_id
-- column axis: The axis the segment belongs to, stage or taste.
-- column segment_id: The segment; S0 and T0 are outside the clustering.
-- column name: Name of the segment.
-- column customers: Customers in the segment.
-- column customer_share: Share of all customers, 0 to 1.
-- column reachable_customers: Customers of the segment who may and can be reached by marketing e-mail.
-- column revenue_amount: Money the segment spent after discounts, in the source's currency.
-- column revenue_share: Share of the money all customers spent, 0 to 1; 0 when nothing was spent.
-- column median_recency_days: Median of the days since the last order, of those who have one.
-- column median_order_count: Median number of orders.
-- column median_monetary_amount: Median money spent, in the source's currency.
-- column mean_average_order_amount: Mean over the customers of their money per order, in the source's currency.
with names as (
    select 'stage' as axis, segment_id, name from segments.stage_model
    union all
    select 'taste' as axis, segment_id, name from segments.taste_model
    union all
    select
        'stage' as axis,
        'S0' as segment_id,
        case
            when (select count(*) from segments.stage_model) = 0
                and (select count(*) from features.customer_features where is_buyer) > 0
                then 'All customers'
            else 'Never bought'
        end as name
    union all
    select 'taste' as axis, 'T0' as segment_id, 'Unknown' as name
),

members as (
    select 'stage' as axis, stage_segment_id as segment_id, customer_id from segments.customer_segments
    union all
    select 'taste' as axis, taste_segment_id as segment_id, customer_id from segments.customer_segments
),

figures as (
    select
        m.axis,
        m.segment_id,
        count(*) as customers,
        count(*) filter (where f.is_reachable) as reachable_customers,
        coalesce(sum(f.monetary_amount), 0) as revenue_amount,
        median(cast(f.recency_days as double)) as median_recency_days,
        median(cast(f.order_count as double)) as median_order_count,
        median(cast(f.monetary_amount as double)) as median_monetary_amount,
        sum(f.average_order_amount) / nullif(count(f.average_order_amount), 0) as mean_average_order_amount
    from members as m
    inner join features.customer_features as f on f.customer_id = m.customer_id
    group by m.axis, m.segment_id
)

select
    n.axis,
    n.segment_id,
    n.name,
    coalesce(f.customers, 0) as customers,
    round(
        coalesce(coalesce(f.customers, 0) / nullif(sum(f.customers) over (partition by n.axis), 0), 0), 9
    ) as customer_share,
    coalesce(f.reachable_customers, 0) as reachable_customers,
    cast(coalesce(f.revenue_amount, 0) as decimal(18, 4)) as revenue_amount,
    round(
        coalesce(coalesce(f.revenue_amount, 0) / nullif(sum(f.revenue_amount) over (partition by n.axis), 0), 0), 9
    ) as revenue_share,
    round(f.median_recency_days, 6) as median_recency_days,
    round(f.median_order_count, 6) as median_order_count,
    cast(round(f.median_monetary_amount, 4) as decimal(18, 4)) as median_monetary_amount,
    cast(round(f.mean_average_order_amount, 4) as decimal(18, 4)) as mean_average_order_amount
from names as n
left join figures as f on f.axis = n.axis and f.segment_id = n.segment_id
-- S2 before S10.
order by n.axis, length(n.segment_id), n.segment_id
