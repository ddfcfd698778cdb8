-- Which product should be offered to which segment, and what margin would it bring?
-- The answer has one row per promotable product, taste segment and group of stages it was matched with, the largest
-- expected margin first within the taste. The audience is those customers of the taste and the stages who are expected
-- to buy at least activity_floor products in 90 days (campaigns.audience_members). The range of buyers is the
-- uncertainty of the estimate; where beats_baseline is false, the simple rule does as well and the match should not be
-- relied on.
-- grain: taste_segment_id, stage_group, product_id
-- column taste_segment_id: The taste segment.
-- column taste_name: Its name.
-- column stage_group: Group of stages that wants the same approach.
-- column stage_segment_ids: Stages of the audience, comma separated.
-- column activity_floor: Fewest products a member of the audience is expected to buy in 90 days.
-- column product_id: The product.
-- column product_name: Its name.
-- column category: Its category.
-- column offer_price: Price per unit after the discount offered to these stages, in the source's currency.
-- column margin_share: Margin over that price, 0 to 1.
-- column reachable_customers: Customers of the audience who may and can be reached.
-- column expected_buyers: Expected buyers among them.
-- column low: Lower end of the range of buyers.
-- column high: Upper end of the range of buyers.
-- column expected_margin_amount: Expected margin, in the source's currency.
-- column beats_baseline: True when the match does better than the simple rules.
select
    m.taste_segment_id,
    s.name as taste_name,
    m.stage_group,
    m.stage_segment_ids,
    m.activity_floor,
    m.product_id,
    p.name as product_name,
    p.category,
    round(cast(p.list_price as double) * (1 - m.discount_share), 4) as offer_price,
    round(
        1 - cast(p.unit_cost as double) / nullif(cast(p.list_price as double) * (1 - m.discount_share), 0), 9
    ) as margin_share,
    m.reachable_customers,
    m.expected_buyers,
    m.low,
    m.high,
    m.expected_margin_amount,
    m.beats_baseline
from campaigns.product_segment_matches as m
inner join campaigns.promotable_products as p on p.product_id = m.product_id
left join segments.segment_summary as s on s.axis = 'taste' and s.segment_id = m.taste_segment_id
where p.is_promotable
order by m.taste_segment_id, m.expected_margin_amount desc, m.product_id, m.stage_group
