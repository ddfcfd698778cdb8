-- Who is called better was clearly better than every simple rule on the days held back: all purchases and first ones.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: the verdict and the figures of campaigns/match_backtest are of different runs; materialise both again.
with differences as (
    select
        case when method like 'matches minus %' then 'product_to_audience' else 'customer_to_product' end as topic,
        method,
        scope,
        low
    from campaigns.match_backtest
    where (method like 'matches minus %' and scope like 'product to audience, % within stage groups')
       or (method like 'next best products minus %' and metric = 'ndcg_at_10')
)
select verdicts.topic, verdicts.method, differences.method as difference, differences.scope, differences.low
from campaigns.match_verdicts as verdicts
left join differences on differences.topic = verdicts.topic
where verdicts.is_better
  and (differences.low is null
       or differences.low <= 0
       or (verdicts.topic = 'product_to_audience' and verdicts.method <> 'taste and activity'))
