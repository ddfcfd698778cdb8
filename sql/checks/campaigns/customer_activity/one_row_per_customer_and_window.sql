-- One row per customer and window, and everyone of today's segments in window 0.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/customer_activity after segments/customer_segments and segments/past_segments.
with counted as (
    select windows_ago, customer_id, count(*) as customer_rows
    from campaigns.customer_activity
    group by windows_ago, customer_id
)
select
    coalesce(counted.windows_ago, 0) as windows_ago,
    coalesce(counted.customer_id, members.customer_id) as customer_id,
    coalesce(counted.customer_rows, 0) as customer_rows
from counted
full join segments.customer_segments as members
    on members.customer_id = counted.customer_id and counted.windows_ago = 0
where coalesce(counted.customer_rows, 0) <> 1
   or counted.windows_ago not in (0, 1, 2)
   or (counted.windows_ago = 0 and members.customer_id is null)
