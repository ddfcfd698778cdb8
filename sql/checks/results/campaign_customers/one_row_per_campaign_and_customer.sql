-- One row per campaign and customer.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look for a second row of the customer in delivery.sends, clean.campaign_contacts or segments.customer_segments.
select campaign_id, customer_id, count(*) as copies
from results.campaign_customers
group by campaign_id, customer_id
having count(*) > 1
order by campaign_id, customer_id
