-- A buyer's line shares sum to one in each of the dimensions category, brand and channel, and each dimension is there:
-- taste is read from these shares. Who opted out of profiling is no part of it.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Compare the customer's lines in features.order_lines with their rows here; a value may be there twice or not at all.
with buyers as (
    select c.customer_id, d.dimension
    from (
        select distinct customer_id
        from features.order_lines
        where customer_id not in (select customer_id from features.profiling_opt_outs)
    ) as c
    cross join (values ('category'), ('brand'), ('channel')) as d(dimension)
),

found as (
    select customer_id, dimension, sum(cast(line_share as decimal(18, 9))) as total
    from features.customer_shares
    group by customer_id, dimension
)

select
    coalesce(b.customer_id, f.customer_id) as customer_id,
    coalesce(b.dimension, f.dimension) as dimension,
    f.total as share_total
from buyers as b
full join found as f on f.customer_id = b.customer_id and f.dimension = b.dimension
where b.customer_id is null
    or f.total is null
    or abs(f.total - 1) > 0.00001
order by 1, 2
