-- A customer has at most five next best products, each once, ranked from 1 without a gap, and with a score and a basis.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/next_best_products again; if it stays, its function breaks its own rules: report it.
select customer_id, rank, product_id, score, basis
from campaigns.next_best_products
qualify rank is distinct from row_number() over (partition by customer_id order by rank, product_id)
    or rank > 5
    or count(*) over (partition by customer_id, product_id) > 1
    or score is null
    or score <= 0
    or score > coalesce(lag(score) over (partition by customer_id order by rank), score)
    or is_repurchase is null
    or coalesce(trim(basis), '') = ''
