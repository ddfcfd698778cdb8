-- Nobody is written to, or drawn into a group beside those who are, without consent, with a suppression, as a minor, or
-- without a valid address of their own.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise features/reachability and delivery/suppressions, then delivery/plan; send nothing before that.
select plan.customer_id, plan.decision, reachability.is_reachable, suppressions.kind
from delivery.plan as plan
left join features.reachability as reachability on reachability.customer_id = plan.customer_id
left join delivery.suppressions as suppressions on suppressions.customer_id = plan.customer_id
where plan.decision <> 'excluded'
    and (not coalesce(reachability.is_reachable, false) or suppressions.customer_id is not null)
