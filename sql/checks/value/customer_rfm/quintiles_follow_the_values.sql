-- Quintiles are 1 to 5 and follow the values they are of: who is strictly better never has a lower one, and equal values
-- have equal ones.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Look at the two customers named; one of them was scored on another value than customer_features has now.
with scores as (
    select r.customer_id, 'recency' as score, -f.recency_days as value, r.recency_quintile as quintile
    from value.customer_rfm as r
    inner join features.customer_features as f on f.customer_id = r.customer_id
    union all
    select r.customer_id, 'frequency', cast(f.order_count as double), r.frequency_quintile
    from value.customer_rfm as r
    inner join features.customer_features as f on f.customer_id = r.customer_id
    union all
    select r.customer_id, 'monetary', cast(f.monetary_amount as double), r.monetary_quintile
    from value.customer_rfm as r
    inner join features.customer_features as f on f.customer_id = r.customer_id
),

-- Beside the next better customer; among equal values the lowest quintile comes last, so a difference shows.
neighbours as (
    select
        *,
        lead(customer_id) over (partition by score order by value, quintile desc, customer_id) as next_customer_id,
        lead(quintile) over (partition by score order by value, quintile desc, customer_id) as next_quintile
    from scores
    where quintile is not null
)

select customer_id, score, quintile, next_customer_id, next_quintile
from neighbours
where quintile not between 1 and 5
    or next_quintile < quintile
order by customer_id, score
