-- Nobody who does not want to be profiled has features or shares, and reachability says that they opted out.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Materialise features/profiling_opt_outs, then features/reachability, features/customer_shares and this.
select o.customer_id
from features.profiling_opt_outs as o
left join features.reachability as r on r.customer_id = o.customer_id
where o.customer_id in (select customer_id from features.customer_features)
    or o.customer_id in (select customer_id from features.customer_shares)
    or not coalesce(r.is_opted_out, true)
order by o.customer_id
