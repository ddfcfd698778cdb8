-- The segments of every customer: one on the stage axis (whether, when and with what offer to approach them) and one on
-- the taste axis (with what product). S0 are customers who never bought, T0 those whose taste is unknown; both are
-- outside the clustering, and everyone is there when the axis is off. A person is shown one label.
-- grain: customer_id
-- column stage_segment_id: Segment on the stage axis (S0, S1, ...).
-- column taste_segment_id: Segment on the taste axis (T0, T1, ...).
-- column stage_name: Name of the stage segment.
-- column taste_name: Name of the taste segment.
-- column label: The one label a person is shown, stage and taste in one; the stage alone where the taste is unknown, the taste alone where the stage axis is off.
with outside as (
    select
        -- Without a model nobody was placed by what they bought, so calling buyers never bought would be untrue.
        case
            when (select count(*) from segments.stage_model) = 0
                and (select count(*) from features.customer_features where is_buyer) > 0
                then 'All customers'
            else 'Never bought'
        end as stage_name,
        'Unknown' as taste_name
),

named as (
    select
        f.customer_id,
        coalesce(a.segment_id, 'S0') as stage_segment_id,
        coalesce(b.segment_id, 'T0') as taste_segment_id,
        coalesce(s.name, o.stage_name) as stage_name,
        coalesce(t.name, o.taste_name) as taste_name
    from features.customer_features as f
    cross join outside as o
    left join segments.stage_assignments as a on a.customer_id = f.customer_id
    left join segments.taste_assignments as b on b.customer_id = f.customer_id
    left join segments.stage_model as s on s.segment_id = a.segment_id
    left join segments.taste_model as t on t.segment_id = b.segment_id
)

select
    customer_id,
    stage_segment_id,
    taste_segment_id,
    stage_name,
    taste_name,
    case
        when taste_segment_id = 'T0' then stage_name
        when stage_name = 'All customers' then taste_name
        else stage_name || ' · ' || taste_name
    end as label
from named
order by customer_id
