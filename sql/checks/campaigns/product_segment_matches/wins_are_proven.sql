-- Matches are scored by the method the back-test chose, and none beats the baselines where matching is not proven better.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/match_verdicts and then campaigns/product_segment_matches; they are of different runs.
select matches.product_id, matches.taste_segment_id, matches.stage_group, matches.scored_by, verdicts.method,
    verdicts.is_better
from campaigns.product_segment_matches as matches
left join campaigns.match_verdicts as verdicts on verdicts.topic = 'product_to_audience'
where matches.scored_by is distinct from verdicts.method
   or (matches.beats_baseline and not coalesce(verdicts.is_better, false))
