-- One row per campaign, and one newest campaign per segment.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Look for a second primary row of the campaign in results.campaign_results.
select campaign_id, segment_id, 'copies of the campaign' as what, count(*) as found
from results.segment_campaigns
group by campaign_id, segment_id
having count(*) > 1
union all
select min(campaign_id) as campaign_id, segment_id, 'newest campaigns of the segment' as what,
    count(*) filter (where is_newest) as found
from results.segment_campaigns
group by segment_id
having count(*) filter (where is_newest) <> 1
order by 1, 2
