-- Every buyer whose recency, orders and money are known is in one of the eleven groups, and nobody else is: who never
-- bought is told so, and a buyer with an unknown figure is Unknown.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Compare the customer's row in features.customer_features with the cases at the end of sql/value/customer_rfm.sql.
select r.customer_id, r.rfm_group, f.is_buyer, f.recency_days, f.order_count, f.monetary_amount
from value.customer_rfm as r
inner join features.customer_features as f on f.customer_id = r.customer_id
where r.rfm_group is null
    or (r.rfm_group = 'Never bought') is distinct from f.never_bought
    or (r.rfm_group = 'Unknown') is distinct from (
        f.is_buyer and (f.recency_days is null or f.order_count = 0 or f.monetary_amount is null)
    )
    or r.rfm_group not in (
        'Champions', 'Loyal', 'Potential loyalist', 'New customers', 'Promising', 'Need attention', 'About to sleep',
        'At risk', 'Cannot lose them', 'Hibernating', 'Lost', 'Never bought', 'Unknown'
    )
order by r.customer_id
