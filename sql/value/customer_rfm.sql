-- Recency, frequency and money of every customer in fifths of the buyers, and the rule group they make: the classic
-- table everybody knows, and the rule a clustering must beat. A quintile is 1 and one more for each full fifth of the
-- buyers who are strictly worse, so equal values have equal scores and a tie takes the score of its lowest place (where
-- half of the buyers ordered once, one order is a 1 and two are at least a 3). Worth is the mean of the frequency and
-- the monetary quintile, rounded down. The group by recency quintile, for worth 1, 2, 3, 4, 5 in turn:
-- recency 5 is New customers, Potential loyalist, Potential loyalist, Champions, Champions;
-- recency 4 is Promising, Potential loyalist, Potential loyalist, Loyal, Loyal;
-- recency 3 is About to sleep, About to sleep, Need attention, Loyal, Loyal;
-- recency 2 is Hibernating, Hibernating, At risk, At risk, Cannot lose them;
-- recency 1 is Lost, Lost, At risk, Cannot lose them, Cannot lose them.
-- Who never bought is in none of the eleven, nor is a buyer of whom the source does not say one of the three.
-- grain: customer_id
-- column recency_quintile: Recency in fifths of the buyers, 1 to 5; 5 bought most recently. Null for who never bought and where it is not known.
-- column frequency_quintile: Number of orders in fifths of the buyers, 1 to 5; 5 ordered most often. Null for who never bought and where it is not known.
-- column monetary_quintile: Money spent in fifths of the buyers, 1 to 5; 5 spent most. Null for who never bought and where it is not known.
-- column worth_quintile: Mean of frequency_quintile and monetary_quintile, rounded down; null when one of them is.
-- column rfm_group: One of the eleven RFM groups; Never bought for who never bought, Unknown for a buyer without one of the three quintiles.
with buyers as (
    select
        customer_id,
        recency_days,
        order_count,
        monetary_amount,
        -- A rank among the known counts the unknown ones last, and they are not counted in the whole.
        rank() over (order by recency_days desc nulls last) as recency_place,
        count(recency_days) over () as recency_known,
        -- An order count of 0 beside money spent means that the source does not say how often.
        rank() over (order by nullif(order_count, 0) nulls last) as frequency_place,
        count(nullif(order_count, 0)) over () as frequency_known,
        rank() over (order by monetary_amount nulls last) as monetary_place,
        count(monetary_amount) over () as monetary_known
    from features.customer_features
    where is_buyer
),

quintiles as (
    select
        customer_id,
        case when recency_days is not null then 5 * (recency_place - 1) // recency_known + 1 end as recency_quintile,
        case when order_count > 0 then 5 * (frequency_place - 1) // frequency_known + 1 end as frequency_quintile,
        case when monetary_amount is not null then 5 * (monetary_place - 1) // monetary_known + 1 end
            as monetary_quintile
    from buyers
),

scored as (
    select
        *,
        (frequency_quintile + monetary_quintile) // 2 as worth_quintile
    from quintiles
)

select
    f.customer_id,
    cast(s.recency_quintile as integer) as recency_quintile,
    cast(s.frequency_quintile as integer) as frequency_quintile,
    cast(s.monetary_quintile as integer) as monetary_quintile,
    cast(s.worth_quintile as integer) as worth_quintile,
    case
        when not f.is_buyer then 'Never bought'
        when s.recency_quintile is null or s.worth_quintile is null then 'Unknown'
        when s.recency_quintile = 5 and s.worth_quintile >= 4 then 'Champions'
        when s.recency_quintile >= 3 and s.worth_quintile >= 4 then 'Loyal'
        when s.recency_quintile >= 4 and s.worth_quintile >= 2 then 'Potential loyalist'
        when s.recency_quintile = 5 then 'New customers'
        when s.recency_quintile = 4 then 'Promising'
        when s.recency_quintile = 3 and s.worth_quintile = 3 then 'Need attention'
        when s.recency_quintile = 3 then 'About to sleep'
        when s.worth_quintile = 5 or (s.recency_quintile = 1 and s.worth_quintile = 4) then 'Cannot lose them'
        when s.worth_quintile >= 3 then 'At risk'
        when s.recency_quintile = 2 then 'Hibernating'
        else 'Lost'
    end as rfm_group
from features.customer_features as f
left join scored as s on s.customer_id = f.customer_id
order by f.customer_id
