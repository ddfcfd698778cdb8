-- No known minor is in an audience, only known adults count as such, and nobody is reached who cannot be.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: materialise features/reachability and then campaigns/audience_members; they are of different runs.
select members.customer_id, members.is_adult, members.is_reachable
from campaigns.audience_members as members
left join features.reachability as reachability on reachability.customer_id = members.customer_id
where reachability.is_minor
   or members.is_adult is distinct from coalesce(reachability.is_adult, false)
   or members.is_reachable is distinct from coalesce(reachability.is_reachable, false)
