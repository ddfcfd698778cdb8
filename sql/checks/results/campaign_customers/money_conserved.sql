-- Per campaign the customers' money in the window is that of their order lines in it: no join repeats or loses an
-- order.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Look for a second row of a customer or product in clean.products, features.order_lines or results.measured_campaigns.
with lines as (
    select t.campaign_id, sum(l.net_amount) as net_amount, count(distinct l.order_id) as order_count
    from results.campaign_customers as t
    inner join features.order_lines as l
        on l.customer_id = t.customer_id
        and l.ordered_at >= t.started_at
        and l.ordered_at < t.window_ends_at
    group by t.campaign_id
),

found as (
    select campaign_id, sum(net_amount) as net_amount, sum(order_count) as order_count
    from results.campaign_customers
    group by campaign_id
)

select f.campaign_id, f.net_amount, l.net_amount as lines_amount
from found as f
left join lines as l on l.campaign_id = f.campaign_id
where f.net_amount <> coalesce(l.net_amount, 0)
    or f.order_count <> coalesce(l.order_count, 0)
order by f.campaign_id
