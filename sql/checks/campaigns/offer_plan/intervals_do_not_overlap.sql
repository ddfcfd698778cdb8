-- Nobody is offered a product twice, and every interval of ranks has somebody in it and figures that make sense.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/offer_plan again; the columns named contradict each other.
select product_id, taste_segment_id, stage_group, is_adult, from_rank, to_rank, customers
from campaigns.offer_plan
qualify from_rank < 0
    or to_rank <= from_rank
    or customers is distinct from to_rank - from_rank
    or expected_buyers < 0
    or expected_margin_amount < 0
    or from_rank < max(to_rank) over (
        partition by product_id, taste_segment_id, stage_group, is_adult order by from_rank, to_rank
        rows between unbounded preceding and 1 preceding
    )
