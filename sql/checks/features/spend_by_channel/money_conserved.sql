-- The money of all rows is the money of all sold lines, and each channel has one row.
-- group: business
-- severity: error
-- blocking: no
-- remedy: Compare sql/features/spend_by_channel.sql with features.order_lines for the named channel.
with expected as (
    select channel, count(*) as lines, coalesce(sum(net_amount), 0) as net_amount
    from features.order_lines
    group by channel
),

found as (
    select channel, sum(lines) as lines, sum(net_amount) as net_amount, count(*) as copies
    from features.spend_by_channel
    group by channel
)

select
    coalesce(e.channel, f.channel) as channel,
    f.copies,
    e.net_amount as sold_amount,
    f.net_amount as found_amount
from expected as e
full join found as f on f.channel = e.channel
where f.copies is distinct from 1
    or e.lines is distinct from f.lines
    or e.net_amount is distinct from f.net_amount
order by 1
