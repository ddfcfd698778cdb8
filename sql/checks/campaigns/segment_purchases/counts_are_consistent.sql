-- Buyers are customers of the segment, those who came back are some of them, and nobody counts for more than one.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: a join fanned out, or segments and order lines are of different runs; materialise both again.
select dimension, value, axis, segment_id, buyers, repeat_buyers, purchase_days, recent_buyers, segment_customers
from campaigns.segment_purchases
where dimension not in ('product', 'category', 'brand', 'price_band')
   or axis not in ('taste', 'stage')
   or value is null
   or buyers < 1
   or buyers > segment_customers
   or repeat_buyers not between 0 and buyers
   or purchase_days < buyers + repeat_buyers
   or recent_buyers < 0
   or recent_buyers > buyers + 0.000001
