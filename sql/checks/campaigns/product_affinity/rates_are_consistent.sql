-- Rates are shares and follow from the counts, intervals hold their lift, shrinkage of a category, brand or price band
-- never moves a lift across 1 or away from it, and what is borrowed has no buyer.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: a join fanned out, or segments and order lines are of different runs; materialise both again.
select dimension, value, axis, segment_id, buyers, segment_customers, lift, low, shrunken_lift, high
from campaigns.product_affinity
where buyers < 0
   or buyers > segment_customers
   or purchase_rate not between 0 and 1
   or base_rate not between 0 and 1
   or abs(purchase_rate * segment_customers - buyers) > 0.01
   or shrunken_lift is null or low is null or high is null or recent_lift is null
   or shrunken_lift <= 0 or recent_lift <= 0
   or low > shrunken_lift + 0.000001
   or shrunken_lift > high + 0.000001
   or first_purchases <> buyers
   or repeat_purchases < 0
   or (repeat_share is null) <> (buyers = 0)
   or coalesce(repeat_share not between 0 and 1, false)
   or is_borrowed <> (lift is null)
   or (is_borrowed and (buyers > 0 or dimension <> 'product'))
   or (dimension <> 'product' and abs(shrunken_lift - 1) > abs(lift - 1) + 0.00001)
   or (dimension <> 'product' and (shrunken_lift - 1) * (lift - 1) < -0.00001)
