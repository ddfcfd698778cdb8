-- Stage crossed with taste: how many customers each pair of segments has, how many can be reached and what they spent.
-- Cells under 50 customers are merged, per taste, into one row called other: a campaign for them alone is not worth
-- planning and a figure about them says too much about single people. The merged row itself may be small.
-- grain: stage_segment_id, taste_segment_id
-- column stage_segment_id: Segment on the stage axis; the text other for merged small cells.
-- column taste_segment_id: Segment on the taste axis.
-- column stage_name: Name of the stage segment.
-- column taste_name: Name of the taste segment.
-- column customers: Customers in the cell.
-- column reachable_customers: Those of them who may and can be reached by marketing e-mail.
-- column revenue_amount: Money they spent after discounts, in the source's currency.
-- column is_merged: True when the row stands for several stages (or one) with fewer than 50 customers of this taste.
with cells as (
    select
        s.stage_segment_id,
        s.taste_segment_id,
        min(s.stage_name) as stage_name,
        min(s.taste_name) as taste_name,
        count(*) as customers,
        count(*) filter (where f.is_reachable) as reachable_customers,
        coalesce(sum(f.monetary_amount), 0) as revenue_amount
    from segments.customer_segments as s
    inner join features.customer_features as f on f.customer_id = s.customer_id
    group by s.stage_segment_id, s.taste_segment_id
)

select
    case when customers < 50 then 'other' else stage_segment_id end as stage_segment_id,
    taste_segment_id,
    case when customers < 50 then 'Other stages' else min(stage_name) end as stage_name,
    min(taste_name) as taste_name,
    cast(sum(customers) as bigint) as customers,
    cast(sum(reachable_customers) as bigint) as reachable_customers,
    cast(sum(revenue_amount) as decimal(18, 4)) as revenue_amount,
    customers < 50 as is_merged
from cells
group by case when customers < 50 then 'other' else stage_segment_id end, taste_segment_id, customers < 50
order by taste_segment_id, is_merged, stage_segment_id
