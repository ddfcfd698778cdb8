-- Who bought has orders, who did not has none and no money, and whoever clicked has opened.
-- group: business
-- severity: error
-- blocking: no
-- remedy: Look at the final SELECT of sql/results/campaign_customers.sql.
select campaign_id, customer_id, is_buyer, order_count, net_amount
from results.campaign_customers
where is_buyer <> (order_count > 0)
    or (not is_buyer and (net_amount <> 0 or margin_amount <> 0))
    or (is_clicked and not is_opened)
    or (arm <> 'treated' and variant is not null)
order by campaign_id, customer_id
