-- No day is after the as-of date and none is before it began: recency and tenure are not negative, and the first order is
-- not after the last.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Look at the customer's orders and sign-up in the clean tables; one of them is dated after the as-of date.
select customer_id, recency_days, tenure_days, days_since_event, first_order_on, last_order_on
from features.customer_features
where recency_days < 0
    or tenure_days < 0
    or days_since_event < 0
    or first_order_on > last_order_on
    or last_order_on > cast($as_of as date)
order by customer_id
