-- A segment is told of an effect only where people were left out at random, the metric was fixed before sending, the
-- window has ended, and the figures are the campaign's own.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Materialise results/campaign_results and results/segment_campaigns together; exploratory rows have no place here.
select
    s.campaign_id,
    s.segment_id,
    s.effect,
    r.effect as campaign_effect
from results.segment_campaigns as s
left join results.campaign_results as r
    on r.campaign_id = s.campaign_id
    and r.is_primary
    and r.metric = 'buyers'
    and r.origin = 'sent'
    and r.is_experiment
    and not r.is_aa
    and not r.is_early_look
where r.campaign_id is null
    or r.effect is distinct from s.effect
    or r.low is distinct from s.low
    or r.high is distinct from s.high
    or s.treated_buyers > s.treated_customers
    or s.control_buyers > s.control_customers
    or s.segment_share < 0.8
order by s.campaign_id
