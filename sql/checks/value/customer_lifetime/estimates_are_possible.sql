-- Expected orders and money are not negative, a probability is within 0 and 1 and absent where a single purchase day says
-- nothing, an amount comes with orders, and a customer without an estimate has the reason.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Look at the fit in value.lifetime_model; a parameter there is outside what the formulas take.
with purchase_days as (
    select customer_id, min(ordered_on) < max(ordered_on) as has_repeated
    from features.order_lines
    group by customer_id
)

select l.*
from value.customer_lifetime as l
left join purchase_days as p on p.customer_id = l.customer_id
where l.expected_orders < 0
    or l.expected_amount < 0
    or l.heuristic_orders < 0
    or not isfinite(coalesce(l.expected_orders, 0))
    or l.active_probability not between 0 and 1
    or (l.active_probability is not null and not coalesce(p.has_repeated, false))
    or (l.active_probability is null and l.expected_orders is not null and p.has_repeated)
    or (l.expected_orders is null and l.expected_amount is not null)
    or (l.expected_amount is null) <> (l.reason is not null)
    or l.horizon_days is null
    or l.method is null
order by l.customer_id
