-- A chosen audience is one of the scored candidates of its product.
-- group: references
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/match_choices again; the matches have changed since.
select choices.product_id, choices.taste_segment_id, choices.stage_segment_ids
from campaigns.match_choices as choices
anti join campaigns.product_segment_matches as matches
    on matches.product_id = choices.product_id
    and matches.taste_segment_id = choices.taste_segment_id
    and matches.stage_segment_ids = choices.stage_segment_ids
