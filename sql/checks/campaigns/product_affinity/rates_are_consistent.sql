-- Rates are shares, buyers do not outnumber the segment, and shrinkage never moves a lift across 1 or away from it.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: a join fanned out, or segments and order lines are of different runs; materialise both again.
select dimension, value, taste_segment_id, buyers, segment_customers, lift, shrunken_lift
from campaigns.product_affinity
where buyers < 0
   or buyers > segment_customers
   or purchase_rate not between 0 and 1
   or base_rate not between 0 and 1
   or abs(shrunken_lift - 1) > abs(lift - 1) + 0.00001
   or (shrunken_lift - 1) * (lift - 1) < -0.00001
