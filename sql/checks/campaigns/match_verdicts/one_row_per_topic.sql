-- One verdict per topic, with a method and a sentence.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: materialise campaigns/match_verdicts again.
select topic, method, sentence
from campaigns.match_verdicts
qualify count(*) over (partition by topic) > 1
    or topic not in ('product_to_audience', 'customer_to_product')
    or trim(coalesce(method, '')) = ''
    or trim(coalesce(sentence, '')) = ''
    or is_better is null
