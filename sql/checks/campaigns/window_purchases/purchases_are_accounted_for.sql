-- Buyers, summed over products and cells, are the products that the customers bought in the window: none lost or doubled.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/customer_activity and then campaigns/window_purchases; they are of different runs.
with bought as (
    select windows_ago, sum(buyers) as purchases, sum(first_buyers) as first_purchases
    from campaigns.window_purchases
    group by windows_ago
),
known as (
    select windows_ago, sum(products_next) as purchases, sum(first_products_next) as first_purchases
    from campaigns.customer_activity
    where windows_ago > 0
    group by windows_ago
)
select known.windows_ago, known.purchases, bought.purchases as counted, known.first_purchases,
    bought.first_purchases as first_counted
from known
full join bought on bought.windows_ago = known.windows_ago
where coalesce(known.purchases, 0) <> coalesce(bought.purchases, 0)
   or coalesce(known.first_purchases, 0) <> coalesce(bought.first_purchases, 0)
