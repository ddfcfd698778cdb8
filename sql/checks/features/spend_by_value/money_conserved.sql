-- The money of each dimension is the money of all sold lines, and each value has one row.
-- group: business
-- severity: error
-- blocking: no
-- remedy: Compare sql/features/spend_by_value.sql with features.order_lines for the named value.
with expected as (
    select dimension, value, count(*) as lines, coalesce(sum(net_amount), 0) as net_amount
    from features.order_lines
    unpivot (value for dimension in (category, channel))
    group by dimension, value
),

found as (
    select dimension, value, sum(lines) as lines, sum(net_amount) as net_amount, count(*) as copies
    from features.spend_by_value
    group by dimension, value
)

select
    coalesce(e.dimension, f.dimension) as dimension,
    coalesce(e.value, f.value) as value,
    f.copies,
    e.net_amount as sold_amount,
    f.net_amount as found_amount
from expected as e
full join found as f on f.dimension = e.dimension and f.value = e.value
where f.copies is distinct from 1
    or e.lines is distinct from f.lines
    or e.net_amount is distinct from f.net_amount
order by 1, 2
