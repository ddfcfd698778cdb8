-- The levels of a dimension together hold no more treated or control customers than the campaign; subject arms share
-- one control.
-- group: references
-- severity: error
-- blocking: no
-- remedy: A customer is in several levels: look for a second row in delivery.sends or segments.customer_segments.
select s.campaign_id, s.dimension, sum(s.treated_customers) as treated_customers
from results.segment_results as s
inner join results.measured_campaigns as c on c.campaign_id = s.campaign_id
where s.metric = 'buyers'
    and s.dimension <> 'subject'
group by s.campaign_id, s.dimension
having sum(s.treated_customers) > min(c.treated_customers)
    or (s.dimension <> 'variant' and sum(s.control_customers) > min(c.control_customers))
order by s.campaign_id, s.dimension
