-- Every measured campaign has one verdict, with a sentence.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Materialise results/campaign_verdicts again, together with results/measured_campaigns.
select coalesce(c.campaign_id, v.campaign_id) as campaign_id, count(v.campaign_id) as verdicts
from results.measured_campaigns as c
full join results.campaign_verdicts as v on v.campaign_id = c.campaign_id
group by 1
having count(v.campaign_id) <> 1
    or count(c.campaign_id) = 0
    or min(coalesce(v.sentence, '')) = ''
order by 1
