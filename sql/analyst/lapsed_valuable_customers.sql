-- Which valuable customers went quiet in the last 90 days?
-- The answer has one row per customer who spent at least as much as three quarters of all buyers and whose last order is
-- 90 to 179 days ago: within the last 90 days they passed the mark of 90 days without an order. Ids only; who may be
-- written to is said by is_reachable. The largest spender comes first.
-- grain: customer_id
-- column customer_id: The customer.
-- column label: Their stage and taste.
-- column recency_days: Days since the last order.
-- column days_between_orders: Their usual days between orders; null for who ordered once.
-- column order_count: Orders.
-- column monetary_amount: Money spent after discounts, in the source's currency.
-- column favourite_category: Category they buy most.
-- column is_reachable: True when they may and can be reached by marketing e-mail.
with bar as (
    select quantile_disc(monetary_amount, 0.75) as amount
    from features.customer_features
    where is_buyer
)

select
    f.customer_id,
    s.label,
    f.recency_days,
    f.days_between_orders,
    f.order_count,
    f.monetary_amount,
    f.favourite_category,
    f.is_reachable
from features.customer_features as f
inner join segments.customer_segments as s on s.customer_id = f.customer_id
cross join bar as b
where f.recency_days >= 90
    and f.recency_days < 180
    and f.monetary_amount >= b.amount
order by f.monetary_amount desc, f.customer_id
