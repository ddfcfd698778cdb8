-- One row per window, product and cell of taste and stage, with at least one buyer and no more first buyers than buyers.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/window_purchases again; the columns named contradict each other.
select windows_ago, product_id, taste_segment_id, stage_segment_id, buyers, first_buyers
from campaigns.window_purchases
qualify count(*) over (partition by windows_ago, product_id, taste_segment_id, stage_segment_id) > 1
    or windows_ago not in (1, 2)
    or buyers < 1
    or first_buyers < 0
    or first_buyers > buyers
