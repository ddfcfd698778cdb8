-- One row per chosen product, with where it was chosen.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: `segmentation products list` shows the choices, `segmentation products clear ID` takes one back.
select product_id, chosen_in
from campaigns.product_choices
qualify count(*) over (partition by product_id) > 1
    or product_id is null
    or trim(product_id) = ''
    or chosen_in is null
    or chosen_in not in ('state', 'run')
